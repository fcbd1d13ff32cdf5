"""`transferzoo attack`: flags → configuration → run folder → table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.cli.options import (
    DataRoot,
    Dataset,
    Json,
    Output,
    ZooFile,
    complete_attacks,
    complete_minimizers,
    complete_models,
)
from transferzoo.cli.output import progress_bar, say, show_json
from transferzoo.cli.report import publish
from transferzoo.errors import DataError, UsageError

if TYPE_CHECKING:
    from transferzoo.config import AttackConfig
    from transferzoo.datasets import Batch
    from transferzoo.finetuning import FineTuning
    from transferzoo.runs import RunFolder
    from transferzoo.specs import DatasetSpec, ModelSpec
    from transferzoo.trainer import Progress
    from transferzoo.transfer import Job
    from transferzoo.zoo import Zoo


def attack(
    surrogate: Annotated[
        list[str],
        typer.Option(
            "--surrogate",
            "-s",
            help="Model to craft on; repeat for a matrix.",
            autocompletion=complete_models,
        ),
    ],
    targets: Annotated[
        list[str],
        typer.Option(
            "--target",
            "--targets",
            "-t",
            help="Models to try: names, globs, all.",
            autocompletion=complete_models,
        ),
    ] = ["all"],  # noqa: B006
    attack: Annotated[
        str,
        typer.Option(
            "--attack",
            "-a",
            help="Preset or techniques, for example mi+di:p=0.7.",
            autocompletion=complete_attacks,
        ),
    ] = "bim",
    finetune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", show_default=False, autocompletion=complete_minimizers,
            help="Attack from each surrogate as it is, and fine-tuned by a minimizer, with options of it and "
            "of a training, sam:rho=0.4,epochs=2; repeatable.",
        ),
    ] = None,
    train_data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Images to fine-tune on.", show_default="the data set's training images"
        ),
    ] = None,
    dataset: Dataset = None,
    split: Annotated[
        str | None, typer.Option(help="Which images of the data set.", show_default="the data set's")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf or l2.", show_default="the data set's")] = None,
    epsilon: Annotated[
        str | None,
        typer.Option(
            "--epsilon", "--eps", help="Budget in [0, 1] pixels: 8/255.", show_default="the data set's"
        ),
    ] = None,
    step: Annotated[
        str | None, typer.Option(help="Step size: eps/10 or a number.", show_default="eps/10")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps.", show_default="50")] = None,
    images: Annotated[
        int | None, typer.Option(help="How many images at most.", show_default="the data set's")
    ] = None,
    images_correct_for: Annotated[
        str | None,
        typer.Option(
            help="Images that all targets, each target, or none must classify correctly.", show_default="all"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the draw of images and of random techniques.", show_default="0")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images attacked together.", show_default="the data set's")
    ] = None,
    data: DataRoot = None,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Where run folders are kept.")] = Path("runs"),
    output: Output = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and what it costs.")
    ] = False,
    json: Json = False,
    zoo: ZooFile = None,
) -> None:  # fmt: skip
    """Craft adversarial images on surrogates and try them on targets; the same command resumes."""
    from transferzoo.export import check_output
    from transferzoo.presets import configure
    from transferzoo.runs import RunFolder
    from transferzoo.zoo import load_zoo

    files = [check_output(path) for path in output or []]
    flags = {
        "split": split, "norm": norm, "epsilon": epsilon, "step": step, "steps": steps, "images": images,
        "images_correct_for": images_correct_for, "seed": seed, "batch_size": batch_size,
    }  # fmt: skip
    records = load_zoo(zoo)
    name = dataset or records.default_dataset
    records.dataset(name)
    surrogates, victims = models(records, name, surrogate, targets)
    tuned = _fine_tunings(records, surrogates, finetune or [], train_data)
    if tuned:
        surrogates = _with_tuned(records.dataset(name), surrogates, tuned)
    config = configure(
        records, name, attack, [m.full_name for m in surrogates], [m.full_name for m in victims], flags
    )
    job = _job(records, config, surrogates, victims, data)
    missing = [one for one in tuned if not one.finished()]
    if dry_run:
        show_json(_plan(job, None if missing else RunFolder.of(runs, job.content), tuned, missing))
        return
    if missing:
        _fine_tune(job, missing, train_data)
    folder = RunFolder.of(runs, job.content)
    from transferzoo.transfer import run

    with progress_bar() as bar:
        task = bar.add_task("starting", total=1, note="")

        def advance(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        results = run(job, folder, on_progress=advance)
    publish(results, folder.seconds(), files, as_json=json)
    say(f"Run folder: {folder.path}")


def models(
    zoo: Zoo, dataset: str, surrogates: list[str], targets: list[str]
) -> tuple[tuple[ModelSpec, ...], tuple[ModelSpec, ...]]:
    """Resolve names; a surrogate that "all" or a glob made a target too is left out of the targets.

    Raises:
        UsageError: a name is unknown or stands for two folders, or no target is left.
    """
    from transferzoo.zoo import distinct, is_pattern

    sources = zoo.select(surrogates, dataset, "surrogate")
    victims = zoo.select(targets, dataset, "target")
    named = [part for text in targets for part in text.split(",") if not is_pattern(part.strip())]
    kept = tuple(m for m in victims if m not in sources or m in zoo.select(named, dataset, "target"))
    distinct((*sources, *kept))
    if not kept:
        raise UsageError(
            "no target is left",
            expected="at least one target that is no surrogate",
            hint="name one with --target",
        )
    return sources, kept


def _job(
    zoo: Zoo,
    config: AttackConfig,
    surrogates: tuple[ModelSpec, ...],
    targets: tuple[ModelSpec, ...],
    data: Path | None,
) -> Job:
    from transferzoo.datasets.sources import load
    from transferzoo.transfer import Job

    dataset = zoo.dataset(config.dataset)
    return Job(config, dataset, surrogates, targets, load(dataset, config.split, root=data))


def _fine_tunings(
    zoo: Zoo, surrogates: tuple[ModelSpec, ...], specs: list[str], data: Path | None
) -> list[FineTuning]:
    """Lay out what has to be fine-tuned: every surrogate with every spec.

    Raises:
        UsageError: a spec is wrong, or there are training images and no spec.
    """
    if data is not None and not specs:
        raise UsageError("there is nothing to train on --train-data", expected="--finetune too")
    if not specs:
        return []
    from transferzoo.finetuning import prepare

    found = [prepare(zoo, model, spec, data) for spec in specs for model in surrogates]
    return list({one.model.full_name: one for one in found}.values())


def _with_tuned(
    dataset: DatasetSpec, originals: tuple[ModelSpec, ...], tuned: list[FineTuning]
) -> tuple[ModelSpec, ...]:
    """Return the originals that know the data set's classes, and behind them what is made of all of them."""
    from transferzoo.finetuning import other_classes

    kept = []
    for model in originals:
        reason = other_classes(model.folder, dataset)
        if reason:
            say(f"Note: {reason}; its head starts afresh, and only the fine-tuned model is attacked from.")
        else:
            kept.append(model)
    return (*kept, *(one.model for one in tuned))


def _fine_tune(job: Job, missing: list[FineTuning], data: Path | None) -> None:
    """Fine-tune surrogates, from where an earlier run stopped; what is wrong is told before the first step.

    Raises:
        ModelError: a model is damaged or does not fit.
        DataError: there are no training images.
        TransferZooError: the training diverges, or a folder cannot be written.
    """
    from transferzoo.classifier import load
    from transferzoo.feeds import Memory
    from transferzoo.finetuning import begin

    made = {one.model for one in missing}
    for model in {*job.surrogates, *job.targets} - made:
        load(model.folder, job.dataset)
    for one in missing:
        begin(one.original.folder, job.dataset, one.config.architecture)
    images = _training_images(job.dataset, data)
    for one in missing:
        Memory(images, job.dataset, one.config)
    for one in missing:
        say(f"Fine-tuning {one.original.name} into {one.folder}, once.")
        _train(job.dataset, one, images)


def _train(dataset: DatasetSpec, one: FineTuning, images: Batch) -> None:
    from transferzoo.trainer import train

    with progress_bar() as bar:
        task = bar.add_task(f"fine-tuning {one.original.name}", total=None, note="")

        def advance(at: Progress) -> None:
            note = f"loss {at.loss:.3f}  accuracy {at.accuracy:.1%}  {at.images_per_second:,.0f} images/s"
            bar.update(task, completed=at.step, total=at.steps, note=note)

        start = one.original.folder
        train(one.config, dataset, images, None, one.folder, start=start, on_progress=advance)


def _training_images(dataset: DatasetSpec, root: Path | None) -> Batch:
    from transferzoo.datasets.sources import load

    try:
        return load(dataset, "train", root=root)
    except DataError as error:
        sentence = str(error).removesuffix(".").replace("--data", "--train-data")
        raise DataError(f"nothing to fine-tune on: {sentence}") from None


def _plan(
    job: Job, folder: RunFolder | None, tuned: list[FineTuning], missing: list[FineTuning]
) -> dict[str, Any]:
    """Return what a run would do; its folder is known only once every surrogate is trained."""
    made = {one.model for one in missing}
    content = {"config": job.config.model_dump(mode="json"), "attack": job.attack.canonical}
    return {
        **(job.content if folder else content),
        "run_folder": str(folder.path) if folder else None,
        "exists": folder is not None and folder.path.exists(),
        **({"fine_tunes": [_plan_of(one, one in missing) for one in tuned]} if tuned else {}),
        "gradient_evaluations": {
            "per_image": job.attack.cost,
            "in_all": job.attack.cost * min(job.config.images, len(job.data)) * len(job.surrogates),
        },
        "loads": {m.full_name: str(m.folder) for m in (*job.surrogates, *job.targets) if m not in made},
    }


def _plan_of(one: FineTuning, missing: bool) -> dict[str, Any]:
    return {
        "surrogate": one.model.full_name,
        "from": str(one.original.folder),
        "into": str(one.folder),
        "done": not missing,
        "config": one.config.model_dump(mode="json"),
    }
