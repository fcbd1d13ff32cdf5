"""From a composition of techniques to functions: what is maximised, the way up, and the step.

The engine runs the loop; here the parts are put together, each technique at its place.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from transferzoo.attacks.contract import check_objective, checked, drew, shared_draws
from transferzoo.attacks.techniques import (
    Accumulator,
    Ensemble,
    Estimator,
    Features,
    Filter,
    Fusion,
    Loss,
    Patch,
    Refinement,
    Stepper,
    View,
)
from transferzoo.attacks.techniques.layers import hooked
from transferzoo.attacks.techniques.losses import DEFAULT_LOSS
from transferzoo.attacks.techniques.surrogates import DEFAULT_FUSION
from transferzoo.attacks.techniques.work_unit import slope_of
from transferzoo.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

    from torch import Tensor, nn

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.techniques import Logits, Objective, Oracle, Wrapper
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
    for patch in composition.of(Patch):
        for model in surrogates:
            block.enter_context(_watched(patch, model, unit))
    features = composition.of(Features)
    loss = (composition.of(Loss) or [DEFAULT_LOSS])[0]

    def value(scores: Tensor) -> Tensor:
        return scores if features else unit.maximised(loss, scores)

    if features:
        models = [block.enter_context(features[0].objective(model, unit)) for model in surrogates]
    else:
        models = [_refined(composition, model, unit) for model in surrogates]
    if ensemble := composition.of(Ensemble):
        return ensemble[0].parts(models, value, unit)
    fusion = (composition.of(Fusion) or [DEFAULT_FUSION])[0]
    return [fusion.join(models, value, unit)]


def _refined(composition: Composition, model: Logits, unit: WorkUnit) -> Logits:
    for refinement in composition.of(Refinement):
        model = refinement.refine(model, unit)
    return model


@contextmanager
def _watched(technique: Patch, classifier: nn.Module, unit: WorkUnit) -> Iterator[None]:
    """Patch a model, and see to it that the patch acts where the model is asked at all.

    Raises:
        ModelError: it did not act.
    """
    asked: set[bool] = set()
    note = classifier.register_forward_pre_hook(lambda *_: asked.add(True))
    with hooked([note]), technique.patch(classifier, unit) as acted:
        yield
        if asked and not acted():
            raise ModelError(
                f"'{technique.name}' changed nothing of the surrogate",
                hint="leave the technique out, or choose a surrogate of another architecture",
            )


def _gradient(objective: Objective, unit: WorkUnit) -> Oracle:
    """Return the innermost oracle: images (N, C, H, W) → ∂J/∂x of every image; the unit notes each."""

    def gradient(images: Tensor) -> Tensor:
        before = shared_draws(images.device)
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            value = objective(leaf)
            check_objective(value, images)
            total = value.sum()
        unit.surrogate_draws |= drew(before, images.device)
        return unit.noted(slope_of(total, leaf), asked=True)

    return gradient


def ascent(composition: Composition, parts: Sequence[Objective], unit: WorkUnit) -> Oracle:
    """Return the ascent direction that the step follows, images (N, C, H, W) → same shape."""
    oracles = [_wrapped(composition.of(View), _gradient(part, unit), unit) for part in parts]
    ensemble = composition.of(Ensemble)
    joint = oracles[0]
    if ensemble:
        joint = checked(ensemble[0], ensemble[0].combine(oracles, parts, unit), unit)
    direction = _noted(_wrapped(composition.of(Estimator, Filter), joint, unit), unit)
    return _wrapped(composition.of(Accumulator), direction, unit)


def _noted(oracle: Oracle, unit: WorkUnit) -> Oracle:
    """Note what comes before momentum and steps, whose norms and signs hide what is not finite."""

    def noted(images: Tensor) -> Tensor:
        found = oracle(images)
        unit.note_made(found)
        return found

    return noted


def _wrapped(techniques: Sequence[Wrapper], oracle: Oracle, unit: WorkUnit) -> Oracle:
    for technique in techniques:
        outer = checked(technique, technique.wrap(oracle, unit), unit)
        oracle = _joining(oracle, outer, unit, technique.after) if technique.after else outer
    return oracle


def _joining(before: Oracle, later: Oracle, unit: WorkUnit, after: int) -> Oracle:
    """Return an oracle that is another one from a step on."""
    return lambda images: (later if unit.done >= after else before)(images)


def steps_along(composition: Composition, unit: WorkUnit) -> Oracle:
    """Return how an ascent direction becomes a step."""
    stride: Oracle = unit.along
    for technique in composition.of(Stepper):
        stride = checked(technique, technique.stride(stride, unit), unit)
    return stride
