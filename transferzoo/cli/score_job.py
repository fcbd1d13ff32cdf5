"""From what a user asks of `transferzoo score` to what is measured: twins, labels, the budget, answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError, UnknownNameError, UsageError, few
from transferzoo.cli.output import as_written, log, progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from transferzoo.base.budget import Ball, Budget
    from transferzoo.cli.score import ScoreRequest
    from transferzoo.datasets import Batch
    from transferzoo.evaluation.given_images import ImageFolder
    from transferzoo.results.comparisons import Findings
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def listed(labels: Path, clean: Path | None) -> Path:
    """Return where a list and the images that it is of lie together: links in the cache, if they do not.

    Raises:
        DataError: the list is not there, or the images are no folder.
    """
    from transferzoo.base.cache_folder import cache_folder
    from transferzoo.base.frozen_model import fingerprint

    if not labels.is_file():
        raise DataError(f"there is no list {labels}", expected="a CSV file with columns file and label")
    if clean is None:
        return labels
    if not clean.is_dir():
        raise DataError(f"{clean} is no folder", expected="the folder of the images that --labels lists")
    home = cache_folder("lists") / fingerprint([str(labels.resolve()), str(clean.resolve())])[:16]
    home.mkdir(parents=True, exist_ok=True)
    for name, place in (("labels.csv", labels), ("images", clean)):
        if not (home / name).is_symlink():
            (home / name).symlink_to(place.resolve())
    return home


def sized(spec: DatasetSpec, folder: ImageFolder) -> DatasetSpec:
    """Return the data set with images as large as the adversarial ones, if it does not say how large.

    Raises:
        UsageError: it does, and they have another size.
    """
    channels, height, width = folder.shape
    if height != width or spec.size not in (0, height):
        raise UsageError(
            f"the images of {folder.place} do not fit '{spec.name}'",
            expected=f"{spec.size}x{spec.size} pixels" if spec.size else "as high as wide",
            got=f"{height}x{width}",
        )
    channels = spec.channels or channels
    half = (0.5,) * channels
    size = {"channels": channels, "size": height, "mean": spec.mean or half, "std": spec.std or half}
    return spec.model_copy(update=size)


def scored(
    request: ScoreRequest,
    folder: ImageFolder,
    spec: DatasetSpec,
    split: str,
    root: Path | None,
    targets: Sequence[ModelSpec],
    known: tuple[int, ...],
) -> Findings:
    """Return what one folder of images found, of the classes that all targets know."""
    from transferzoo.attacks.noise import noise_name
    from transferzoo.base.attack_config import AttackConfig, AttackSpec
    from transferzoo.base.digests import tensors_digest
    from transferzoo.base.distributed import this_device
    from transferzoo.evaluation.given_images import GivenImages
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.known_classes import only_known
    from transferzoo.evaluation.noise_images import of_labels_only
    from transferzoo.evaluation.run import measure_given
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.results.records import SurrogateAttack

    adversarial, clean, names, spec = _paired(request, folder, spec, split, root)
    if len(known) < len(spec.classes):
        kept = [at for at, label in enumerate(clean.labels.tolist()) if label in known]
        if not kept:
            raise DataError(
                f"no image of {folder.place} is of a class that every target knows",
                expected="images of their classes, or other targets",
            )
        adversarial, names = adversarial[kept], [names[at] for at in kept]
        spec, clean = only_known(spec, clean, known)
    answering = [
        answering_target(file, names, adversarial, clean, spec) for file in request.predictions or ()
    ]
    budget = _budget(request, folder, adversarial, clean.images, names)
    every = (*targets, *answering)
    label = _label(request.images, folder.place)
    config = AttackConfig.of(
        dataset=spec.name,
        split=split,
        surrogates=(f"{spec.name}/{label}",),
        targets=tuple(model.full_name for model in every),
        attacks=(AttackSpec(techniques="", **budget.written),),
        images=len(clean),
        images_correct_for=request.images_correct_for or "all",
        seed=request.seed or 0,
        batch_size=spec.attack.batch_size,
    )
    read = frozenset(model.full_name for model in answering)
    silent = read if request.noise else read | of_labels_only(targets, spec, log)
    job = Job(
        config,
        spec,
        (),
        every,
        clean,
        trusted=read,
        allow_inaccurate=request.allow_inaccurate,
        noiseless=silent,
    )
    pair = SurrogateAttack(f"{spec.name}/{label}", noise_name(budget).replace("noise", "given", 1))
    key = {**job.key, "given": tensors_digest(adversarial)}
    run = RunFolder.of(request.runs, key, re.sub(r"[^a-z0-9+._-]+", "-", f"score-{label}".lower()))
    found = measure_given(job, run, [GivenImages(pair, adversarial, {})], this_device(), as_written())
    log(f"Run folder: {run.path}")
    return found


def _paired(
    request: ScoreRequest, folder: ImageFolder, spec: DatasetSpec, split: str, root: Path | None
) -> tuple[Tensor, Batch, list[str], DatasetSpec]:
    """Return the adversarial images that have a clean twin, those twins, and the names of the former's files.

    Clean images of another size are cut or squeezed to that of the adversarial ones, whichever comes nearer.
    """
    from transferzoo.datasets.sources import load_split
    from transferzoo.evaluation.given_images import twins

    with progress("reading images") as advance:
        own = spec.name not in _known(request)
        fits = ("squash", "crop") if own else (spec.fit,)
        specs = [spec.model_copy(update={"fit": fit}) for fit in fits]
        batches = [load_split(one, split, root=root, on_progress=advance) for one in specs]
        given = folder.read(spec, lambda done, total: advance("reading images", done, total))
    mine, theirs = twins(folder.names, batches[0], str(folder.place))
    given = given[mine]
    nearest = min(range(len(fits)), key=lambda at: _distance(given, batches[at].images[theirs]))
    names = [folder.names[at] for at in mine]
    if left := sorted({*folder.names} - {*names}):
        count = f"{len(left)} of {len(folder.names)} images"
        log(f"Left out: {count} of {folder.place} have no clean twin ({few(left)}).")
    return given, batches[nearest].select(theirs), names, specs[nearest]


def _known(request: ScoreRequest) -> Mapping[str, DatasetSpec]:
    from transferzoo.zoo.reader import load_zoo

    return load_zoo(request.zoo).datasets


def _distance(adversarial: Tensor, clean: Tensor) -> float:
    """Return how far images are apart: the sum of their mean distances, in levels."""
    return sum(
        float((a.short() - b.short()).abs().float().mean()) for a, b in zip(adversarial, clean, strict=True)
    )


def _budget(
    request: ScoreRequest, folder: ImageFolder, adversarial: Tensor, clean: Tensor, names: Sequence[str]
) -> Budget:
    """Return the budget that was allowed, or else used, and say how far the images are from their twins."""
    from transferzoo.base.budget import BALLS, Budget
    from transferzoo.evaluation.given_images import observed_budget, perturbations

    if request.norm not in (None, *BALLS):
        raise UnknownNameError("norm", str(request.norm), BALLS)
    norm: Ball = "l2" if request.norm == "l2" else "linf"
    seen = observed_budget(adversarial, clean, norm)
    budget = seen if request.epsilon is None else Budget.read(norm, request.epsilon, "eps", 1)
    found = perturbations(adversarial, clean, budget)
    sentence = (
        f"Perturbations of {folder.place}: at most {found.linf} levels of 255 (L∞), {found.l2:.3f} (L2)"
    )
    if request.epsilon is None:
        log(f"{sentence}; that is taken for the budget, as --epsilon says none.")
    elif found.beyond:
        share = f"{len(found.beyond)} of {len(names)} images"
        log(f"{sentence}; {share} are beyond {request.epsilon} ({few([names[at] for at in found.beyond])}).")
    else:
        log(f"{sentence}; all are within {request.epsilon}.")
    return budget


def answering_target(
    file: Path,
    names: Sequence[str],
    adversarial: Tensor,
    clean: Batch,
    spec: DatasetSpec,
    twins: Sequence[str] = (),
) -> ModelSpec:
    """Return the target whose predictions a file has, named by the file.

    Args:
        file: what `read_answers` reads.
        names: of the adversarial images' files.
        adversarial: these, uint8 (M, C, H, W).
        clean: their twins, once or for one row of several.
        spec: gives the classes.
        twins: names of the files of the clean images, where the file may have lines of its own for them.
    """
    import torch

    from transferzoo.evaluation.answers import Answers, read_answers
    from transferzoo.evaluation.held_models import InMemory
    from transferzoo.zoo.schema import ModelSpec

    answers, before = read_answers(file, names, spec, twins)
    if before is None:
        log(
            f"Note: {file} has no predictions of the clean images, so that what its target gets wrong "
            "without an attack counts as fooled."
        )
    labels = torch.cat([torch.tensor(answers), clean.labels if before is None else torch.tensor(before)])
    model = Answers(torch.cat([adversarial, clean.images]), labels, len(spec.classes), file.stem)
    return ModelSpec.model_construct(
        name=file.stem,
        dataset=spec.name,
        roles=("target",),
        source=InMemory(model, 0),
        defence="",
        weights=None,
        extra=False,
        recipe=None,
        claimed=None,
    )


def _label(places: Sequence[Path], place: Path) -> str:
    """Return what a folder is called in tables: by its name, by its path where two have the same."""
    names = [each.resolve().name for each in places]
    own = place.resolve().name
    text = own if names.count(own) == 1 else place.as_posix()
    return re.sub(r"[,|&\s]+", "-", text).strip("-") or "images"
