"""Models that a program holds in memory, as a run takes those that have names: held still, and told apart."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from transferzoo.base.errors import ModelError, UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.datasets import Batch, check_ids
from transferzoo.models.classifier import Classifier, frozen
from transferzoo.models.predict import logits_of
from transferzoo.models.predictor import Predictor, checked
from transferzoo.models.resolve import defended
from transferzoo.models.weight_digests import state_digest
from transferzoo.models.wrap import as_network
from transferzoo.zoo.model_source import LoadableSource
from transferzoo.zoo.schema import ROLES, DatasetSpec, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.models.wrap import Model


@dataclass(frozen=True, eq=False)
class InMemory(LoadableSource):
    """A model that a program holds: it is neither copied nor changed.

    Attributes:
        model: [0, 1] pixels (N, C, H, W) → logits (N, K).
        number: tells it from the others of a call, where it has no weights.
    """

    model: nn.Module
    number: int

    pattern: ClassVar[str] = ""
    written: ClassVar[str] = ""
    as_is: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str) -> Self:
        """Refuse: no text stands for it."""
        raise ValueError("a model that can be named")

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        """Refuse: nobody can write it."""
        raise UsageError("a model in memory has no name")

    @property
    def place(self) -> str:
        """Name of its class."""
        return type(self.model).__name__

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        """See `LoadableSource.load`; the weights are the model's own."""
        if isinstance(self.model, Classifier):
            return self.model
        return Classifier(self.model, channels=dataset.channels).eval()

    def identity(self) -> tuple[str, str]:
        """See `LoadableSource.identity`; it holds within one call."""
        itself = fingerprint({"number": self.number})
        return (state_digest(self.model) if self.model.state_dict() else itself), itself


class HeldCode(InMemory):
    """A function, or a session of another library, that a program holds."""

    runs_code: ClassVar[bool] = True

    def gives_gradients(self) -> bool:
        """See `LoadableSource.gives_gradients`."""
        return False


@dataclass(frozen=True)
class Held:
    """Models and images of a call.

    Attributes:
        data: the images.
        dataset: what is known of them.
        surrogates: by name.
        targets: likewise.
        device: where they are.
    """

    data: Batch
    dataset: DatasetSpec
    surrogates: tuple[ModelSpec, ...]
    targets: tuple[ModelSpec, ...]
    device: torch.device

    @property
    def names(self) -> dict[str, Any]:
        """What a configuration says of them."""
        surrogates, targets = (tuple(m.name for m in each) for each in (self.surrogates, self.targets))
        return {"dataset": "", "split": "", "surrogates": surrogates, "targets": targets}


@contextmanager
def held_still(surrogates: Mapping[str, Model], targets: Mapping[str, Model], data: Batch) -> Iterator[Held]:
    """Hold models still, on one device, and give what is known of them; they are handed back as they came.

    Raises:
        UsageError: there is no target or no image, two models share a name, or one is none.
        DataError: an id repeats.
        ModelError: see `as_network` and `evaluate`.
    """
    if not isinstance(targets, Mapping):
        raise UsageError(
            "targets have names", expected="{'mine': model}", got=f"a bare {type(targets).__name__}"
        )
    if not targets or not len(data):
        what = "an image" if targets else "a target"
        raise UsageError(f"nothing can be evaluated without {what}", expected="one at least", got="none")
    check_ids(data.ids, "the batch")
    every = _networks(
        [*surrogates.items(), *((name.partition("|")[0].strip(), m) for name, m in targets.items())],
        data.images.shape[1],
    )
    with ExitStack() as still:
        for model in {id(model): model for _, model in every}.values():
            still.enter_context(frozen(model))
            if (home := _device(model)) is not None:
                still.callback(model.to, home)
        classes = _classes(every, data)
        check_classes("labels", data.labels, len(data), classes)
        for predictor in (part for _, model in every for part in _predictors(model)):
            if predictor.classes is None:  # it does not say how many classes it knows
                predictor.classes = classes
                still.callback(setattr, predictor, "classes", None)
        dataset = DatasetSpec.model_construct(
            name="", classes=tuple(map(str, range(classes))), channels=data.images.shape[1]
        )
        sources = {
            id(model): (HeldCode if _predictors(model) else InMemory)(model, number)
            for number, (_, model) in enumerate(every)
        }
        specs = [ModelSpec(name=name, roles=ROLES, source=sources[id(model)]) for name, model in every]
        behind = [name.partition("|")[2].strip() for name in (*surrogates, *targets)]
        specs = [defended(one, spec) if spec else one for one, spec in zip(specs, behind, strict=True)]
        _check_names(specs)
        device = next((at for _, model in every if (at := _device(model)) is not None), torch.device("cpu"))
        first, others = tuple(specs[: len(surrogates)]), tuple(specs[len(surrogates) :])
        yield Held(data, dataset, first, others, device)


def check_classes(what: str, classes: Tensor, images: int, count: int) -> None:
    """Check that there is a class for each image.

    Args:
        what: what they are called.
        classes: int64 (N,), in 0..`count` − 1.
        images: how many there are.
        count: of classes.

    Raises:
        UsageError: there is not.
    """
    if classes.dtype != torch.int64 or classes.shape != (images,):
        kind = str(classes.dtype).removeprefix("torch.")
        raise UsageError(
            f"the {what} are not one an image",
            expected=f"int64 ({images},)",
            got=f"{kind} {tuple(classes.shape)}",
        )
    if not 0 <= int(classes.min()) <= int(classes.max()) < count:
        raise UsageError(
            f"the {what} are out of range",
            expected=f"0 to {count - 1}",
            got=f"{int(classes.min())} to {int(classes.max())}",
        )


def _networks(models: Sequence[tuple[str, Model]], channels: int) -> list[tuple[str, nn.Module]]:
    """Return models as networks: one for each, under however many names it stands."""
    known: dict[int, nn.Module] = {}
    for name, model in models:
        if id(model) not in known:
            known[id(model)] = as_network(model, name, channels)
    return [(name, known[id(model)]) for name, model in models]


def _predictors(model: nn.Module) -> list[Predictor]:
    """Return what answers for a model that is not of PyTorch."""
    return [part for part in model.modules() if isinstance(part, Predictor)]


def _device(model: nn.Module) -> torch.device | None:
    """Return where a model is, None where it has no weights.

    Raises:
        ModelError: it is on several devices.
    """
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if len(devices) > 1:
        raise ModelError(
            f"a {type(model).__name__} lies on several devices",
            expected="one",
            got=", ".join(map(str, devices)),
        )
    return devices.pop() if devices else None


def _classes(models: Sequence[tuple[str, nn.Module]], data: Batch) -> int:
    """Return how many classes all models tell apart.

    Raises:
        ModelError: one gives no logits, others than the first, or does not know every label.
    """
    classes = int(data.labels.max()) + 1
    first = ""
    for who, model in models:
        output = logits_of(model, data.images[:1])
        if isinstance(model, Classifier) and model.labels_only:
            continue
        found = output.shape[1] if isinstance(output, Tensor) and output.ndim == 2 else classes
        checked(output, 1, found if not first else classes, who)
        if found < classes:
            raise ModelError(
                f"'{who}' does not know all labels", expected=f"at least {classes} classes", got=str(found)
            )
        first, classes = who, found
    return classes


def _check_names(models: Sequence[ModelSpec]) -> None:
    """Check that a name stands for one model.

    Raises:
        UsageError: it stands for two.
    """
    known: dict[str, ModelSpec] = {}
    for model in models:
        if known.setdefault(model.name, model).source != model.source:
            raise UsageError(f"two models are called '{model.name}'", hint="give one another name")
