"""`transferzoo score`: adversarial images that exist, made by anybody, against targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferzoo.base.errors import UsageError
from transferzoo.base.notes import Notes
from transferzoo.cli.completion import complete_targets, one_of
from transferzoo.cli.options import IMAGES, ClassNumbers
from transferzoo.cli.output import log
from transferzoo.cli.parameters import command
from transferzoo.cli.report import publish
from transferzoo.cli.requests import TargetsRequest


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(TargetsRequest):
    """The parameters of one call of the command, as they were parsed."""

    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES",
            help="Folders or archives of adversarial images, PNGs for example, a row each; packs, by file or "
            "by name.",
        ),
    ]
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "--targets",
            "-t",
            help="Models to try: names, globs, all.",
            autocompletion=complete_targets,
            show_default="all, without --predictions",
        ),
    ] = None
    clean: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Their clean twins, files of the same names, with labels as `attack --data` takes them.",
            show_default="the data set's, by id",
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A list (columns file, label) of the images in --clean, if it lies elsewhere.",
            show_default=False,
        ),
    ] = None
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="What any other target predicted: CSV with id and label, or a score for each class; clean, "
            "if known.",
            show_default=False,
        ),
    ] = None
    classes: ClassNumbers = None
    epsilon: Annotated[
        str | None,
        typer.Option(
            "--epsilon",
            "--eps",
            help="The budget that was allowed: 8/255; what is beyond it is named.",
            show_default="the largest perturbation",
            rich_help_panel=IMAGES,
        ),
    ] = None
    norm: Annotated[
        str | None,
        typer.Option(
            help="Of the budget: linf or l2.",
            autocompletion=one_of("linf", "l2"),
            show_default="linf",
            rich_help_panel=IMAGES,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(help="Of the noise.", show_default="0, or a pack's", rich_help_panel=IMAGES),
    ] = None


@command(ScoreRequest)
def score(request: ScoreRequest) -> None:
    """Try adversarial images that exist on targets, with the noise, intervals and tests of an attack."""
    from transferzoo.cli.score_job import listed, scored, sized
    from transferzoo.cli.score_pack import given_packs, score_pack
    from transferzoo.datasets.own import own_images
    from transferzoo.evaluation.given_images import ImageFolder
    from transferzoo.evaluation.known_classes import note_classes, with_classes
    from transferzoo.evaluation.packs import with_packed
    from transferzoo.models.resolve import named_dataset, select_models
    from transferzoo.results.comparisons import Findings
    from transferzoo.results.writers import check_output
    from transferzoo.sync.on_this_machine import download_models
    from transferzoo.zoo.reader import load_zoo

    files = [check_output(path) for path in request.output or []]
    if request.predictions and len(request.images) > 1:
        raise UsageError(
            "predictions are of one folder of images", expected="one", got=f"{len(request.images)} of them"
        )
    packs = given_packs(request)
    folders = [ImageFolder.of(place) for place in request.images if place not in packs]
    records, packed = with_packed(load_zoo(request.zoo), packs.values())
    place = listed(request.labels, request.clean) if request.labels else request.clean
    names = request.targets or ([] if request.predictions else ["all"])
    said = named_dataset(records, request.dataset or packed, names)
    notes = Notes(log)
    records, name, root = own_images(records, said, place, notes, notes)
    options = request.unlisted
    targets = select_models(records, names, name, "target", options, log) if names else ()
    options.check_used(records, targets)
    _, targets = download_models((), tuple(targets), log)
    options.check_prompt(targets)
    spec = records.dataset(name)
    if request.classes is not None:
        (targets,) = with_classes(spec, request.classes, targets)
    known = note_classes(spec, targets, notes)
    if (request.predictions or packs) and len(known) < len(spec.classes):
        raise UsageError(
            f"{'--predictions are' if request.predictions else 'a pack is'} of all classes",
            expected=f"targets that know all {len(spec.classes):,}",
            got=f"some that know {len(known):,}",
            hint="score the others by themselves",
        )
    notes.tell()
    split = request.split or spec.attack.split
    found = [scored(request, folder, sized(spec, folder), split, root, targets, known) for folder in folders]
    found += [score_pack(request, pack, spec, targets) for pack in packs.values()]
    together = Findings(
        [record for each in found for record in each.records],
        visibility=[one for each in found for one in each.visibility],
        noise=[record for each in found for record in each.noise],
    )
    publish(together, files, as_json=request.json, visibility=request.visibility)
