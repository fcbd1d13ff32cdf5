"""`transferzoo attack`: flags → configuration → run folder → table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.cli.completion import (
    complete_attacks,
    complete_minimizers,
    complete_surrogates,
    complete_targets,
    one_of,
)
from transferzoo.cli.options import (
    IMAGES,
    MODELS,
    RESULTS,
    SPEED,
    AllowCode,
    Architecture,
    DataRoot,
    Dataset,
    Json,
    Output,
    Plugins,
    Visible,
    ZooFile,
)
from transferzoo.cli.output import as_written, log, progress_bar, report_once, show_json
from transferzoo.cli.report import publish

if TYPE_CHECKING:
    from transferzoo.base.distributed import Team
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.results.comparisons import Findings

ATTACK = "Attack"


def attack(
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            "--surrogate",
            "-s",
            help="Model to craft on; repeat for a matrix.",
            autocompletion=complete_surrogates,
            show_default="the data set's",
        ),
    ] = None,
    targets: Annotated[
        list[str],
        typer.Option(
            "--target",
            "--targets",
            "-t",
            help="Models to try: names, globs, all.",
            autocompletion=complete_targets,
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
    epsilon: Annotated[
        str | None,
        typer.Option(
            "--epsilon", "--eps", help="Budget in [0, 1] pixels: 8/255.", show_default="the data set's"
        ),
    ] = None,
    dataset: Dataset = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of steps.", show_default="50", rich_help_panel=ATTACK)
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            help="Step size: eps/10 or a number.",
            show_default="eps/10, or eps/STEPS if that is more",
            rich_help_panel=ATTACK,
        ),
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option(
            help="linf or l2.",
            autocompletion=one_of("linf", "l2"),
            show_default="the data set's",
            rich_help_panel=ATTACK,
        ),
    ] = None,
    max_gradients: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            rich_help_panel=ATTACK,
            help="As many steps as N gradient evaluations an image allow, so that attacks cost the same.",
        ),
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Attack all surrogates together, not one after the other.",
            rich_help_panel=ATTACK,
        ),
    ] = False,
    targeted: Annotated[
        str | None,
        typer.Option(
            metavar="random|next|least-likely|FILE",
            autocompletion=one_of("random", "next", "least-likely"),
            show_default="any wrong class",
            rich_help_panel=ATTACK,
            help="Class to be predicted: drawn by the seed, the label's next, the first surrogate's least "
            "likely, or a file with a class a line for every image of the split.",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS",
            help="Measure after these steps too: 1,5,10.",
            show_default="none",
            rich_help_panel=ATTACK,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the draw of images and of random techniques.", show_default="0", rich_help_panel=ATTACK
        ),
    ] = None,
    architecture: Architecture = "",
    allow_code: AllowCode = False,
    finetune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            show_default=False,
            rich_help_panel=MODELS,
            autocompletion=complete_minimizers,
            help="Attack from each surrogate as it is, and fine-tuned by a minimizer, with options of it and "
            "of a training, sam:rho=0.4,epochs=2; repeatable.",
        ),
    ] = None,
    train_data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Images to fine-tune on.",
            show_default="the data set's training images",
            rich_help_panel=MODELS,
        ),
    ] = None,
    zoo: ZooFile = None,
    plugin: Plugins = None,
    images: Annotated[
        int | None,
        typer.Option(help="How many images at most.", show_default="the data set's", rich_help_panel=IMAGES),
    ] = None,
    images_correct_for: Annotated[
        str | None,
        typer.Option(
            help="Images that all targets, each target, or none must classify correctly.",
            autocompletion=one_of("all", "target", "none"),
            show_default="all",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    data: DataRoot = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which images of the data set.", show_default="the data set's", rich_help_panel=IMAGES
        ),
    ] = None,
    output: Output = None,
    json: Json = False,
    visibility: Visible = False,
    save_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the images as PNGs, and a sheet of ten.",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None,
    runs: Annotated[
        Path, typer.Option(metavar="DIR", help="Where run folders are kept.", rich_help_panel=RESULTS)
    ] = Path("runs"),
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what would be done, and what it costs.", rich_help_panel=RESULTS
        ),
    ] = False,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            autocompletion=one_of("auto"),
            show_default="the data set's",
            rich_help_panel=SPEED,
            help="Images attacked together; auto: as many as fit in memory.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp32|bf16|auto",
            autocompletion=one_of("fp32", "bf16", "auto"),
            show_default="fp32",
            rich_help_panel=SPEED,
            help="Of the surrogates' weights; auto: bf16 where the processor has it. Targets have fp32.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="one a processor",
            rich_help_panel=SPEED,
            help="Processes, in one thread each; they share the images and the targets.",
        ),
    ] = None,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Let torch.compile make the surrogates faster.", rich_help_panel=SPEED
        ),
    ] = False,
) -> None:
    """Craft adversarial images on surrogates and try them on targets; the same command resumes."""
    from transferzoo.attacks.configure import configure
    from transferzoo.base.distributed import join_team
    from transferzoo.cli.attack_job import (
        AUTO,
        batch_size_of,
        download_models,
        job_of,
        models,
        plan_of,
        precision_of,
        steps_of,
        targeted_of,
        usual_surrogates,
        with_largest_batches,
    )
    from transferzoo.cli.dry_run import lacking, unfetched
    from transferzoo.cli.finetune import fine_tune, fine_tunings, with_tuned
    from transferzoo.cli.models import training_on
    from transferzoo.datasets.sources import measured
    from transferzoo.evaluation.job import weights_of
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.models.resolve import UnlistedOptions, dataset_of
    from transferzoo.results.writers import check_folder, check_output
    from transferzoo.zoo.reader import load_zoo

    files = [check_output(path) for path in output or []]
    if save_images is not None:
        check_folder(save_images)
    flags = {
        "split": split,
        "norm": norm,
        "epsilon": epsilon,
        "step": step,
        "steps": steps,
        "images": images,
        "images_correct_for": images_correct_for,
        "seed": seed,
        "batch_size": batch_size_of(batch_size),
        "ensemble": ensemble,
        "curve": steps_of(curve),
        "targeted": targeted_of(targeted),
        "precision": precision_of(precision),
        "compile": compile,
    }
    records = load_zoo(zoo)
    name = dataset_of(records, dataset, [*(surrogate or ()), *targets])
    records = measured(records, name, split, data)
    crafted_on, tried_on = models(
        records,
        name,
        surrogate or usual_surrogates(records.dataset(name)),
        targets,
        UnlistedOptions(architecture, allow_code),
        training_on(name, zoo=zoo, data=data),
    )
    if dry_run and (absent := lacking(records.dataset(name), (*crafted_on, *tried_on), split, data)):
        settle = partial(configure, records, name, attack, flags=flags, max_gradients=max_gradients)
        show_json(unfetched(settle, crafted_on, tried_on, absent, finetune or []))
        return
    crafted_on, tried_on = download_models(crafted_on, tried_on)
    tuned = fine_tunings(records, crafted_on, finetune or [], train_data)
    if tuned:
        crafted_on = with_tuned(records.dataset(name), crafted_on, tuned)
    config = configure(
        records,
        name,
        attack,
        [m.full_name for m in crafted_on],
        [m.full_name for m in tried_on],
        flags,
        max_gradients,
        {m.full_name: len(weights_of(m, every=True)) for m in crafted_on},
    )
    job = job_of(records, config, crafted_on, tried_on, data, targeted)
    missing = [one for one in tuned if not one.finished()]
    if batch_size == AUTO and not missing:
        job = with_largest_batches(job)
    if dry_run:
        show_json(plan_of(job, None if missing else RunFolder.of(runs, job.key, job.title), tuned, missing))
        return
    with join_team(None, runs) as team, report_once(team.fails_first):
        if missing and team.leads:
            fine_tune(job, missing, train_data)
        team.wait()
        if batch_size == AUTO and missing:
            job = with_largest_batches(job)
        folder = RunFolder.of(runs, job.key, job.title)
        found = _run(job, folder, team, jobs, ssim=visibility and _measures_ssim(team))
    if not team.leads:
        return
    publish(found, files, as_json=json, visibility=visibility)
    if save_images is not None:
        from transferzoo.evaluation.run import save_images as write

        write(job, folder, save_images)
        log(f"Images: {save_images}")
    log(f"Run folder: {folder.path}")


def _measures_ssim(team: Team) -> bool:
    """Return whether what measures the structural similarity is installed; a note says where it is not."""
    from transferzoo.base.errors import TransferZooError
    from transferzoo.base.optional import import_optional

    try:
        import_optional("skimage", "visibility", "SSIM needs")
    except TransferZooError as error:
        if team.leads:
            log(f"Note: the column SSIM stays empty. {error}")
        return False
    return True


def _run(job: Job, folder: RunFolder, team: Team, jobs: int | None, *, ssim: bool) -> Findings:
    from transferzoo.evaluation.run import run

    with progress_bar() as bar:
        task = bar.add_task("starting", total=1, note="")

        def advance(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        return run(job, folder, team=team, jobs=jobs, ssim=ssim, command=as_written(), on_progress=advance)
