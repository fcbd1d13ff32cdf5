"""`transferzoo attack --pack FILE`: the images of a run in one file, chosen without a look at any target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.cli.output import log

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.cli.attack_request import AttackRequest
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder


def for_pack(request: AttackRequest) -> AttackRequest:
    """Return what is asked where it shall be packed: images that the surrogates, or nobody, choose.

    Raises:
        UsageError: targets are named, or the file is no .zip.
    """
    from transferzoo.results.writers import check_folder

    assert request.pack is not None
    if request.targets or request.images_correct_for == "target":
        said = "--target" if request.targets else "--images-correct-for target"
        raise UsageError(
            "a pack is made without a look at any target",
            expected="surrogates alone",
            got=said,
            hint=f"try it on targets afterwards: transferzoo score {request.pack} --target NAME",
        )
    if request.pack.suffix.lower() != ".zip" or request.pack.is_dir():
        raise UsageError("a pack is a zip", expected="FILE.zip", got=str(request.pack))
    check_folder(request.pack.parent)
    return replace(request, images_correct_for=request.images_correct_for or "all")


def pack(job: Job, folder: RunFolder, file: Path) -> None:
    """Write a pack and say what is in it."""
    from transferzoo.base.digests import digest_of
    from transferzoo.base.distributed import this_device
    from transferzoo.evaluation.write_pack import write_pack

    manifest = write_pack(file, job, folder, this_device())
    rows, size = len(manifest.images), file.stat().st_size
    count = (len(manifest.files) - 1) // (rows + 1)
    images = f"{count} images, {rows} row{'s' * (rows > 1)}, {size:,} bytes"
    log(f"Pack: {file}, {images}, SHA-256 {digest_of(file, 64)}")
