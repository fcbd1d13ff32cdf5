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
    complete_models,
)
from transferzoo.cli.output import progress_bar, say, show_json
from transferzoo.cli.report import publish
from transferzoo.errors import UsageError

if TYPE_CHECKING:
    from transferzoo.config import AttackConfig
    from transferzoo.runs import RunFolder
    from transferzoo.specs import ModelSpec
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
) -> None:
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
    config = configure(
        records, name, attack, [m.full_name for m in surrogates], [m.full_name for m in victims], flags
    )
    job = _job(records, config, surrogates, victims, data)
    folder = RunFolder.of(runs, job.content)
    if dry_run:
        show_json(_plan(job, folder))
        return
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


def _plan(job: Job, folder: RunFolder) -> dict[str, Any]:
    return {
        **job.content,
        "run_folder": str(folder.path),
        "exists": folder.path.exists(),
        "gradient_evaluations": {
            "per_image": job.attack.cost,
            "in_all": job.attack.cost * min(job.config.images, len(job.data)) * len(job.surrogates),
        },
        "loads": {m.full_name: str(m.folder) for m in (*job.surrogates, *job.targets)},
    }
