"""Recipes, flags and names → a training configuration, and where the models it needs lie.

Nothing here imports torch before a minimizer is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.plugins import used
from transferzoo.base.spec_strings import parse_terms
from transferzoo.base.train_config import TrainConfig
from transferzoo.minimizers import MINIMIZERS, read_rule, show_rule
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.download import download_model
from transferzoo.models.resolve import resolve_model, select_models, silent
from transferzoo.models.unlisted_options import UnlistedOptions, running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

VALIDATION = 2000
"""Images held out where an epoch or a radius is selected and nothing else is said."""


@dataclass(frozen=True)
class Plan:
    """A training with everything it names found.

    Attributes:
        config: what to do.
        validators: full name → checkpoint folder of the validation targets.
        start: checkpoint folder that is fine-tuned; None for fresh weights.
        labels: model whose classes are the labels, located; None for the data set's own.
    """

    config: TrainConfig
    validators: Mapping[str, Path]
    start: Path | None
    labels: ModelSpec | None


def plan(
    zoo: Zoo,
    recipe: str | None,
    flags: Mapping[str, Any],
    *,
    usual: Mapping[str, Any] = MappingProxyType({}),
    rho: float | None = None,
    tune: str | None = None,
    notify: Callable[[str], None] = silent,
    allow_code: bool = False,
) -> Plan:
    """Lay flags over a recipe, bring specs into their canonical form, and find the models that are named.

    Args:
        zoo: what names mean.
        recipe: name of a recipe; None for the defaults.
        flags: fields of `TrainConfig` that were given. `start`, `labels_from` and `validators` are names of
            models, see `models.resolve`.
        usual: fields where neither the recipe nor a flag has them.
        rho: replaces the minimizer's radius.
        tune: "rho=0.05,0.1": radii to choose from.
        notify: called with a sentence that the user should read.
        allow_code: whether models that are code may be run.

    Raises:
        UsageError: an option is missing or wrong, a name is unknown, or a model is code that may not run.
    """
    values: dict[str, Any] = {"dataset": zoo.default_dataset, **usual}
    if recipe is not None:
        values |= zoo.recipe(recipe).model_dump(exclude_unset=True)
    values |= flags
    zoo.dataset(values["dataset"])
    if tune is not None:
        values["tune"] = read_tune(tune)
    start = _start(zoo, values, UnlistedOptions(flags.get("architecture") or "", allow_code), notify)
    if "architecture" not in values:
        raise UsageError(
            "nothing to train",
            expected="--recipe, --architecture or --from",
            hint="see `transferzoo list recipes`",
        )
    labels = _labels(zoo, values, UnlistedOptions(allow_code=allow_code), notify)
    judges = _validators(zoo, values, UnlistedOptions(allow_code=allow_code))
    values["validators"] = tuple(model.full_name for model in judges)
    if judges or values.get("select", "last") != "last" or values.get("tune"):
        values["validation"] = values.get("validation") or VALIDATION
    schedule = read_rule(values.get("minimizer", "sgd")).schedule
    config = TrainConfig.of(**{**schedule, **values})
    if rho is not None and config.tune:
        raise UsageError("a radius is given and chosen at once", expected="either --rho or --tune")
    spec = config.minimizer if rho is None else with_rho(config.minimizer, rho)
    for value in config.tune:
        show_rule(with_rho(spec, value))
    config = config.model_copy(update={"minimizer": show_rule(spec)})
    return Plan(config, {m.full_name: download_model(m).folder for m in judges}, start, labels)


def _start(
    zoo: Zoo, values: dict[str, Any], options: UnlistedOptions, notify: Callable[[str], None]
) -> Path | None:
    """Return the checkpoint that is fine-tuned, and put its architecture into `values`.

    Where the user names one it stands, and the trainer refuses another than the source's. Of a bare weight
    file, and of code, it is the network that the weights fit.
    """
    name = values.get("start")
    if not name:
        return None
    from transferzoo.training.finetuning import architecture_of

    given = options.architecture
    model = resolve_model(zoo, name, values["dataset"], options, notify)
    options.check(model)
    if model.source.runs_code:
        from transferzoo.models.code_weights import checkpoint_of_code

        notify(running(model))
        folder = checkpoint_of_code(model, given, zoo.dataset(values["dataset"]))
    else:
        folder = download_model(model, notify).folder
    fits = model.source.runs_code or (model.weights is not None and model.weights.architecture == given)
    values["architecture"] = architecture_of(folder) if fits or not given else given
    return folder


def _labels(
    zoo: Zoo, values: dict[str, Any], options: UnlistedOptions, notify: Callable[[str], None]
) -> ModelSpec | None:
    """Return the model that labels the images, and put its full name into `values`."""
    name = values.get("labels_from")
    if not name:
        return None
    found = select_models(zoo, [name], values["dataset"], "target", options, notify)
    if len(found) != 1:
        raise UsageError("labels come from one model", expected="one name", got=f"'{name}', {len(found)}")
    values["labels_from"] = found[0].full_name
    if found[0].source.runs_code:
        notify(running(found[0]))
    return download_model(found[0], notify)


def _validators(zoo: Zoo, values: Mapping[str, Any], options: UnlistedOptions) -> Sequence[ModelSpec]:
    """Return the validation targets: those named, else all of the data set where any are needed."""
    dataset, names = values["dataset"], values.get("validators") or ()
    if not names and values.get("select") != "transfer" and not values.get("tune"):
        return ()
    try:
        found = select_models(zoo, names or ("all",), dataset, "validator", options)
    except UnknownNameError as error:
        raise UsageError(f"a validation target is unknown: {str(error).removesuffix('.')}") from None
    if not found:
        raise UsageError(
            f"'{dataset}' has no validation targets to select by",
            expected="one or more --validator MODEL",
            hint="train some and name their folders",
        )
    return found


def read_tune(text: str) -> tuple[float, ...]:
    """Read "rho=0.05,0.1,0.2".

    Raises:
        UsageError: not of that form.
    """
    key, equals, rest = text.partition("=")
    try:
        values = tuple(float(number) for number in rest.split(","))
    except ValueError:
        values = ()
    if key.strip() != "rho" or not equals or len(set(values)) < 2:
        raise UsageError(
            "cannot read --tune",
            expected="rho= and at least two radii, as in rho=0.05,0.1,0.2",
            got=f"'{text}'",
        )
    return tuple(sorted(set(values)))


def with_rho(minimizer: str, rho: float) -> str:
    """Return a minimizer spec with another radius.

    Raises:
        UsageError: it cannot be read.
    """
    terms = parse_terms(minimizer)
    if len(terms) != 1:
        raise UsageError("a radius needs one minimizer", got=f"'{minimizer}'")
    options = {**terms[0].options, "rho": repr(rho)}
    return f"{terms[0].name}:" + ",".join(f"{key}={value}" for key, value in options.items())


def plugins_of(config: TrainConfig) -> dict[str, Any]:
    """Return what a key of a training says of plug-ins and revisions; nothing where all is as it ever was."""
    return used(*MINIMIZERS.origins(config.minimizer), *ARCHITECTURES.origins(config.architecture))


def usual_architecture(dataset: DatasetSpec) -> str:
    """Return the spec of the network that is trained on a data set without a recipe where none is named."""
    from transferzoo.training.stream import streams

    return "resnet18" if streams(dataset) else "small_resnet18"


def short_name(config: TrainConfig) -> str:
    """Return "architecture-minimizer" without options, for a folder."""
    return f"{parse_terms(config.architecture)[0].name}-{parse_terms(config.minimizer)[0].name}"
