"""From a composition of techniques to functions: what is maximised, the way up, and the step.

The engine runs the loop; here the parts are put together, each technique at its place.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch

from transferzoo.attacks.techniques import DEFAULT_FUSION, DEFAULT_LOSS, OUTER, TECHNIQUES, Stage
from transferzoo.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

    from torch import Tensor, nn

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.techniques import (
        Ensemble,
        Features,
        Fusion,
        Logits,
        Loss,
        Objective,
        Oracle,
        Patch,
        Refinement,
        Stepper,
        Wrapper,
    )
    from transferzoo.attacks.techniques.work_unit import WorkUnit


def objectives(
    composition: Composition, surrogates: Sequence[nn.Module], unit: WorkUnit, block: ExitStack
) -> list[Objective]:
    """Return what is maximised, one for all surrogates unless an ensemble technique joins their gradients.

    Args:
        composition: the techniques.
        surrogates: held still.
        unit: what is attacked.
        block: where changes to the surrogates' passes live.
    """
    for name, technique in composition.techniques:
        if technique.stage is Stage.PATCHES:
            for model in surrogates:
                block.enter_context(_watched(name, cast("Patch", technique), model, unit))
    features = cast("list[Features]", composition.of(Stage.FEATURES))
    loss = cast("Loss", (composition.of(Stage.LOSS) or [TECHNIQUES[DEFAULT_LOSS]()])[0])

    def value(scores: Tensor) -> Tensor:
        return scores if features else unit.maximised(loss, scores)

    if features:
        models = [block.enter_context(features[0].objective(model, unit)) for model in surrogates]
    else:
        models = [_refined(composition, model, unit) for model in surrogates]
    if composition.of(Stage.ENSEMBLES):
        return [_of(value, model) for model in models]
    fusion = composition.of(Stage.SURROGATES) or [TECHNIQUES[DEFAULT_FUSION]()]
    return [cast("Fusion", fusion[0]).join(models, value, unit)]


def _refined(composition: Composition, model: Logits, unit: WorkUnit) -> Logits:
    for refinement in cast("list[Refinement]", composition.of(Stage.LOGITS)):
        model = refinement.refine(model, unit)
    return model


def _of(value: Objective, logits: Logits) -> Objective:
    return lambda images: value(logits(images))


@contextmanager
def _watched(name: str, technique: Patch, classifier: nn.Module, unit: WorkUnit) -> Iterator[None]:
    """Patch a model, and see to it that the patch acts.

    Raises:
        ModelError: it did not act at all.
    """
    with technique.patch(classifier, unit) as acted:
        yield
        if not acted():
            raise ModelError(
                f"'{name}' changed nothing of the surrogate",
                hint="leave the technique out, or choose a surrogate of another architecture",
            )


def _gradient(objective: Objective) -> Oracle:
    """Return the innermost oracle: images (N, C, H, W) → ∂J/∂x of every image."""

    def gradient(images: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            total = objective(leaf).sum()
        if not total.requires_grad:
            raise ModelError(
                "no gradient reaches the images", hint="the model detaches its input from its output"
            )
        (slope,) = torch.autograd.grad(total, leaf)
        if not slope.isfinite().all():
            raise ModelError("the gradient of the surrogate is not finite", hint="check its weights for NaN")
        return slope

    return gradient


def ascent(composition: Composition, parts: Sequence[Objective], unit: WorkUnit) -> Oracle:
    """Return the ascent direction that the step follows, images (N, C, H, W) → same shape."""
    oracles = [_wrapped(composition, (Stage.VIEWS,), _gradient(part), unit) for part in parts]
    ensemble = cast("list[Ensemble]", composition.of(Stage.ENSEMBLES))
    joint = ensemble[0].combine(oracles, parts, unit) if ensemble else oracles[0]
    return _wrapped(composition, OUTER, joint, unit)


def _wrapped(composition: Composition, stages: Sequence[Stage], oracle: Oracle, unit: WorkUnit) -> Oracle:
    for technique in cast("list[Wrapper]", composition.of(*stages)):
        outer = technique.wrap(oracle, unit)
        after = getattr(technique, "after", 0)
        oracle = _joining(oracle, outer, unit, after) if after else outer
    return oracle


def _joining(before: Oracle, later: Oracle, unit: WorkUnit, after: int) -> Oracle:
    """Return an oracle that is another one from a step on."""
    return lambda images: (later if unit.done >= after else before)(images)


def steps_along(composition: Composition, unit: WorkUnit) -> Oracle:
    """Return how an ascent direction becomes a step."""
    stride: Oracle = unit.along
    for technique in cast("list[Stepper]", composition.of(Stage.STEP)):
        stride = technique.stride(stride, unit)
    return stride
