"""`transferzoo attack`: flags → configuration → run folder → table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.cli.options import (
    DataRoot,
    Dataset,
    Json,
    Output,
    Visible,
    ZooFile,
    complete_attacks,
    complete_minimizers,
    complete_models,
)
from transferzoo.cli.output import progress_bar, say, show_json, told_once
from transferzoo.cli.report import publish
from transferzoo.errors import UsageError

if TYPE_CHECKING:
    from transferzoo.config import AttackConfig
    from transferzoo.findings import Findings
    from transferzoo.finetuning import FineTuning
    from transferzoo.jobs import Job
    from transferzoo.parallel import Team
    from transferzoo.runs import RunFolder
    from transferzoo.specs import ModelSpec
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
        list[str],
        typer.Option(
            "--attack",
            "-a",
            help="Preset or techniques, for example mi+di:p=0.7; repeat to compare.",
            autocompletion=complete_attacks,
        ),
    ] = ["bim"],  # noqa: B006
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Attack all surrogates together, not one after the other.")
    ] = False,
    targeted: Annotated[
        str | None,
        typer.Option(
            metavar="random|next|least-likely|FILE", show_default="any wrong class",
            help="Class to be predicted: drawn by the seed, the label's next, the first surrogate's least "
            "likely, or a file with a class a line for every image of the split.",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(metavar="STEPS", help="Measure after these steps too: 1,5,10.", show_default="none"),
    ] = None,
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
    max_gradients: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", show_default=False,
            help="As many steps as N gradient evaluations an image allow, so that attacks cost the same.",
        ),
    ] = None,
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
    visibility: Visible = False,
    save_images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the images as PNGs, and a sheet of ten.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and what it costs.")
    ] = False,
    json: Json = False,
    zoo: ZooFile = None,
) -> None:  # fmt: skip
    """Craft adversarial images on surrogates and try them on targets; the same command resumes."""
    from transferzoo.cli.finetune import fine_tune, fine_tunings, with_tuned
    from transferzoo.export import check_folder, check_output
    from transferzoo.parallel import gather
    from transferzoo.presets import configure
    from transferzoo.runs import RunFolder
    from transferzoo.zoo import load_zoo

    files = [check_output(path) for path in output or []]
    if save_images is not None:
        check_folder(save_images)
    flags = {
        "split": split, "norm": norm, "epsilon": epsilon, "step": step, "steps": steps, "images": images,
        "images_correct_for": images_correct_for, "seed": seed, "batch_size": batch_size,
        "ensemble": ensemble, "curve": _steps(curve), "targeted": _aim(targeted),
    }  # fmt: skip
    records = load_zoo(zoo)
    name = dataset or records.default_dataset
    records.dataset(name)
    surrogates, victims = models(records, name, surrogate, targets)
    tuned = fine_tunings(records, surrogates, finetune or [], train_data)
    if tuned:
        surrogates = with_tuned(records.dataset(name), surrogates, tuned)
    config = configure(
        records,
        name,
        attack,
        [m.full_name for m in surrogates],
        [m.full_name for m in victims],
        flags,
        max_gradients,
    )
    job = _job(records, config, surrogates, victims, data, targeted)
    missing = [one for one in tuned if not one.finished()]
    if dry_run:
        show_json(_plan(job, None if missing else RunFolder.of(runs, job.content), tuned, missing))
        return
    with gather(None, runs) as team, told_once(team.fails_first):
        if missing and team.leads:
            fine_tune(job, missing, train_data)
        team.wait()
        folder = RunFolder.of(runs, job.content)
        found = _run(job, folder, team)
    if not team.leads:
        return
    publish(found, files, as_json=json, visibility=visibility)
    if save_images is not None:
        from transferzoo.transfer import save_images as write

        write(job, folder, save_images)
        say(f"Images: {save_images}")
    say(f"Run folder: {folder.path}")


def _run(job: Job, folder: RunFolder, team: Team) -> Findings:
    from transferzoo.findings import Findings
    from transferzoo.transfer import run

    with progress_bar() as bar:
        task = bar.add_task("starting", total=1, note="")

        def advance(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        results, by_steps = run(job, folder, team=team, on_progress=advance)
    return Findings(results, by_steps, folder.seconds(), folder.visibility())


def models(
    zoo: Zoo, dataset: str, surrogates: list[str], targets: list[str]
) -> tuple[tuple[ModelSpec, ...], tuple[ModelSpec, ...]]:
    """Resolve names; a surrogate that "all" or a glob made a target too is left out of the targets.

    Raises:
        UsageError: a name is unknown or stands for two folders, or no target is left.
    """
    from transferzoo.zoo import distinct, is_pattern, parts

    sources = zoo.select(surrogates, dataset, "surrogate")
    victims = zoo.select(targets, dataset, "target")
    named = [f"{name}|{defence}".rstrip("|") for name, defence in parts(targets) if not is_pattern(name)]
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
    targeted: str | None,
) -> Job:
    from transferzoo.candidates import read_aims
    from transferzoo.datasets.sources import load
    from transferzoo.jobs import Job

    dataset = zoo.dataset(config.dataset)
    images = load(dataset, config.split, root=data)
    listed = read_aims(Path(str(targeted)), dataset, images) if config.targeted == "file" else None
    return Job(config, dataset, surrogates, targets, images, listed)


def _steps(text: str | None) -> tuple[int, ...] | None:
    """Read the steps of a curve."""
    if text is None:
        return None
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(
            "cannot read --curve", expected="steps joined by commas, as in 1,5,10", got=f"'{text}'"
        ) from None


def _aim(text: str | None) -> str | None:
    """Return how the class aimed at is chosen: a word, or "file" for anything that is none."""
    from transferzoo.config import AIMS

    return text if text is None or text in AIMS else "file"


def _plan(
    job: Job, folder: RunFolder | None, tuned: list[FineTuning], missing: list[FineTuning]
) -> dict[str, Any]:
    """Return what a run would do; its folder is known only once every surrogate is trained."""
    from transferzoo.cli.finetune import plan_of

    made = {one.model for one in missing}
    content = {
        "config": job.config.model_dump(mode="json"), "attacks": [a.canonical for a in job.attacks],
    }  # fmt: skip
    costs = {c.source: c.attack.cost(len(c.models)) for c in job.crafts}
    return {
        **(job.content if folder else content),
        "run_folder": str(folder.path) if folder else None,
        "exists": folder is not None and folder.path.exists(),
        **({"fine_tunes": [plan_of(one, one in missing) for one in tuned]} if tuned else {}),
        "gradient_evaluations": {
            "per_image": [{**asdict(source), "gradients": cost} for source, cost in costs.items()],
            "in_all": sum(costs.values()) * min(job.config.images, len(job.data)),
        },
        "loads": {m.full_name: str(m.folder) for m in (*job.surrogates, *job.targets) if m not in made},
    }
