"""`transferzoo train`: flags and recipe → a checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.cli.options import (
    DataRoot,
    Dataset,
    Json,
    ZooFile,
    complete_architectures,
    complete_minimizers,
    complete_recipes,
)
from transferzoo.cli.output import progress_bar, say, show_json, show_line
from transferzoo.errors import DataError, UsageError

if TYPE_CHECKING:
    from transferzoo.config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.specs import DatasetSpec
    from transferzoo.zoo import Zoo


def train(
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe of the zoo; the other options change it.", autocompletion=complete_recipes
        ),
    ] = None,
    dataset: Dataset = None,
    architecture: Annotated[
        str | None,
        typer.Option(help="For example small_resnet50:width=12.", autocompletion=complete_architectures),
    ] = None,
    minimizer: Annotated[
        str | None,
        typer.Option(help="For example sgd, sam, sam:rho=0.2.", autocompletion=complete_minimizers),
    ] = None,
    rho: Annotated[float | None, typer.Option(help="Radius of a sharpness-aware minimizer.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Initial learning rate.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Momentum of SGD.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    schedule: Annotated[str | None, typer.Option(help="step (×0.1 at 1/3 and 2/3) or constant.")] = None,
    augment: Annotated[str | None, typer.Option(help="crop-flip, crop or none.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp32.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Precision of the stored weights: fp32 or fp16.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    data: DataRoot = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Checkpoint folder.", show_default="checkpoints/NAME-FINGERPRINT"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
    json: Json = False,
    zoo: ZooFile = None,
) -> None:
    """Train a surrogate or target; the same command resumes a run that was stopped."""
    from transferzoo.zoo import load_zoo

    records = load_zoo(zoo)
    flags = {
        "dataset": dataset, "architecture": architecture, "minimizer": minimizer, "epochs": epochs,
        "batch_size": batch_size, "learning_rate": learning_rate, "momentum": momentum,
        "weight_decay": weight_decay, "schedule": schedule, "augment": augment, "precision": precision,
        "storage": storage, "seed": seed,
    }  # fmt: skip
    config = resolve(records, recipe, flags, rho)
    _check_architecture(config, records.dataset(config.dataset))
    folder = output or Path("checkpoints") / f"{recipe or _name(config)}-{config.fingerprint()[:8]}"
    if dry_run:
        show_json({"output": str(folder), "config": config.model_dump(mode="json")})
        return
    result = _run(records.dataset(config.dataset), config, data, folder)
    if json:
        show_json({"folder": str(folder), **result})
        return
    measured = result["accuracy"]
    accuracy = (
        f"{measured['accuracy']:.2%} of {measured['n']:,} test images" if measured else "no test images"
    )
    show_line(f"{folder}: {accuracy}, {result['seconds']:.0f} s of training")
    say(f"Attack from it with: {_attack_from(folder, config.dataset)}")


def resolve(zoo: Zoo, recipe: str | None, flags: dict[str, Any], rho: float | None) -> TrainConfig:
    """Lay the flags that were given over the recipe and bring specs into their canonical form.

    Raises:
        UsageError: an option is missing or wrong.
    """
    from transferzoo.config import TrainConfig
    from transferzoo.minimizers import show_rule

    values: dict[str, Any] = {"dataset": zoo.default_dataset}
    if recipe is not None:
        values |= zoo.recipe(recipe).model_dump()
    values |= {key: value for key, value in flags.items() if value is not None}
    if "architecture" not in values:
        raise UsageError(
            "nothing to train", expected="--recipe or --architecture", hint="see `transferzoo list recipes`"
        )
    zoo.dataset(values["dataset"])
    config = TrainConfig.of(**values)
    spec = config.minimizer if rho is None else _with_rho(config.minimizer, rho)
    return config.model_copy(update={"minimizer": show_rule(spec)})


def _check_architecture(config: TrainConfig, dataset: DatasetSpec) -> None:
    """Build the model once, so that a wrong name or argument is told before any data is fetched.

    Raises:
        UsageError: the architecture cannot be built.
    """
    from transferzoo.checkpoint import create

    create(config.architecture, dataset)


def _with_rho(minimizer: str, rho: float) -> str:
    from transferzoo.notation import parse_terms

    terms = parse_terms(minimizer)
    if len(terms) != 1:
        raise UsageError("--rho needs one minimizer", got=f"'{minimizer}'")
    options = {**terms[0].options, "rho": repr(rho)}
    return f"{terms[0].name}:" + ",".join(f"{key}={value}" for key, value in options.items())


def _name(config: TrainConfig) -> str:
    from transferzoo.notation import parse_terms

    return f"{parse_terms(config.architecture)[0].name}-{parse_terms(config.minimizer)[0].name}"


def _attack_from(folder: Path, dataset: str) -> str:
    """Return the command that attacks from a checkpoint; a path is known by its slash or first dot."""
    place = str(folder) if folder.is_absolute() or folder.parts[0] == ".." else f"./{folder}"
    return f"transferzoo attack --dataset {dataset} --surrogate {quote(place)} --targets all"


def _run(dataset: DatasetSpec, config: TrainConfig, root: Path | None, folder: Path) -> dict[str, Any]:
    from transferzoo.datasets.sources import load
    from transferzoo.trainer import Progress, train

    images = load(dataset, "train", root=root)
    test = _test_images(dataset, root, images)
    with progress_bar() as bar:
        task = bar.add_task("training", total=None, note="")

        def advance(at: Progress) -> None:
            note = f"loss {at.loss:.3f}  accuracy {at.accuracy:.1%}  {at.images_per_second:,.0f} images/s"
            title = f"epoch {at.epoch}/{config.epochs}"
            bar.update(task, completed=at.step, total=at.steps, description=title, note=note)
            if bar.disable and at.step * config.epochs % at.steps == 0:
                say(f"{title}  {note}")

        return train(config, dataset, images, test, folder, on_progress=advance)


def _test_images(dataset: DatasetSpec, root: Path | None, train: Batch) -> Batch | None:
    from transferzoo.datasets.sources import load

    if "test" not in dataset.splits:
        return None
    try:
        test = load(dataset, "test", root=root)
    except DataError as error:
        say(f"Note: the accuracy will not be measured: {error}")
        return None
    if test.images.equal(train.images):  # a folder of classes without train/ and test/ in it
        say(f"Note: the accuracy will not be measured: {root} holds the same images for train and test.")
        return None
    return test
