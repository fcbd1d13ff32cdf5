"""`transferzoo score PACK`: what a pack holds, against targets."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.cli.output import as_written, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.cli.score import ScoreRequest
    from transferzoo.evaluation.packs import Pack
    from transferzoo.results.comparisons import Findings
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def given_packs(request: ScoreRequest) -> dict[Path, Pack]:
    """Return the packs among the places of images that a user gives, read.

    Raises:
        UsageError: something is said that a pack says itself.
        DataError: one is damaged.
    """
    from transferzoo.evaluation.pack_manifest import find_pack, names_pack
    from transferzoo.evaluation.packs import read_pack

    places = [place for place in request.images if names_pack(str(place))]
    told = ("clean", "labels", "epsilon", "norm", "split", "seed")
    if places and (said := [f"--{name}" for name in told if getattr(request, name) is not None]):
        raise UsageError(
            f"the pack {places[0]} has clean images, labels, budget and seed of its own",
            expected="none given",
            got=", ".join(said),
        )
    return {place: read_pack(find_pack(str(place))) for place in places}


def score_pack(
    request: ScoreRequest, pack: Pack, spec: DatasetSpec, targets: Sequence[ModelSpec]
) -> Findings:
    """Return what the images of a pack found."""
    import torch

    from transferzoo.base.distributed import this_device
    from transferzoo.cli.score_job import answering_target
    from transferzoo.evaluation.noise_images import of_labels_only
    from transferzoo.evaluation.packs import pack_job
    from transferzoo.evaluation.run import measure_given
    from transferzoo.evaluation.run_folder import RunFolder

    made = torch.cat([row.images for row in pack.rows])
    names, twins = pack.files()
    answering = [
        answering_target(file, names, made, pack.clean, pack.dataset, twins)
        for file in request.predictions or ()
    ]
    read = frozenset(model.full_name for model in answering)
    silent = read if request.noise else read | of_labels_only(targets, pack.dataset, log)
    job = pack_job(
        pack,
        spec,
        (*targets, *answering),
        request.images_correct_for or "all",
        trusted=read,
        allow_inaccurate=request.allow_inaccurate,
    )
    job = replace(job, noiseless=silent)
    images = f"{len(pack.clean)} images"
    if pack.manifest.images_correct_for == "all":
        images += ", of those that its surrogates all get right: clean accuracies are on these"
    log(f"Pack: {pack.name}, SHA-256 {pack.sha256[:12]}, {images}.")
    title = re.sub(r"[^a-z0-9+._-]+", "-", f"score-{pack.name}".lower())
    run = RunFolder.of(request.runs, {**job.key, "pack": pack.sha256}, title)
    found = measure_given(job, run, pack.rows, this_device(), as_written())
    log(f"Run folder: {run.path}")
    return found
