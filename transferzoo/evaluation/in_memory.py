"""An attack on models and images in memory, without files: crafted once, tried on every target."""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transferzoo.attacks.engine import Attack, craft
from transferzoo.attacks.noise import noise_name, noisy
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.environment import versions
from transferzoo.base.errors import DataError, ModelError, UsageError
from transferzoo.datasets import Batch, check_ids
from transferzoo.evaluation.perturbation_metrics import PerturbationMetrics, require_change
from transferzoo.models.classifier import checked, frozen, state_digest, weights_digest
from transferzoo.models.predict import logits_of, predict
from transferzoo.results.comparisons import Findings
from transferzoo.results.records import NOISE_FIELDS, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import nn


def evaluate(
    what: Attack,
    surrogate: nn.Module,
    targets: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    ids: Tensor | None = None,
    name: str = "surrogate",
    batch_size: int = 100,
) -> Findings:
    """Craft on a surrogate and try the 8-bit images on targets, in memory.

    Only images that all targets classify correctly are attacked; techniques that mix draw from all images.
    `tables` makes tables of the result, with random noise of the same budget beside it.

    Args:
        what: the attack.
        surrogate: [0, 1] pixels (N, C, H, W) → logits (N, K).
        targets: name → model, likewise; one at least. All models are held in evaluation mode and handed back
            as they came.
        images: clean images, uint8 (N, C, H, W).
        labels: true classes, int64 (N,).
        ids: what seeds an image's draws, int64 (N,); 0..N−1 where none is given.
        name: of the surrogate.
        batch_size: images at a time.

    Raises:
        UsageError: there is no target or no image.
        DataError: no image is classified correctly by all targets, or an id repeats.
        ModelError: a model gives no logits, NaN, or other classes than the others; no gradient reaches the
            images, or it is not finite.
    """
    batch = Batch(images, labels, torch.arange(len(images)) if ids is None else ids)
    check_ids(batch.ids, "the batch")
    with ExitStack() as still:
        for model in (surrogate, *targets.values()):
            still.enter_context(frozen(model))
        _check_outputs(name, surrogate, targets, batch)
        return _evaluated(what, surrogate, targets, batch, name, batch_size)


def _check_outputs(name: str, surrogate: nn.Module, targets: Mapping[str, nn.Module], batch: Batch) -> None:
    """Check that all models give logits of the same number of classes, and know every label.

    Raises:
        UsageError: there is no target or no image.
        ModelError: one gives something else.
    """
    if not targets or not len(batch):
        what = "target" if len(batch) else "image"
        raise UsageError(f"nothing can be evaluated without a {what}", expected="one at least", got="none")
    classes = int(batch.labels.max()) + 1
    first = ""
    for who, model in ((name, surrogate), *targets.items()):
        output = logits_of(model, batch.images[:1])
        found = output.shape[1] if isinstance(output, Tensor) and output.ndim == 2 else classes
        checked(output, 1, found if not first else classes, who)
        if found < classes:
            raise ModelError(
                f"'{who}' does not know all labels", expected=f"at least {classes} classes", got=str(found)
            )
        first, classes = who, found


def _evaluated(
    what: Attack,
    surrogate: nn.Module,
    targets: Mapping[str, nn.Module],
    batch: Batch,
    name: str,
    batch_size: int,
) -> Findings:
    """Return what `evaluate` does, with models that are held still."""
    images, labels = batch.images, batch.labels
    own = predict(surrogate, images) == labels
    clean = {target: predict(model, images) == labels for target, model in targets.items()}
    chosen = batch.select(torch.stack(list(clean.values())).all(0))
    if not len(chosen):
        raise DataError("no image is left to attack: the targets classify none of them correctly together")
    adversarial, seconds = _crafted(what, surrogate, chosen, Pool(images, labels), batch_size)
    learned = weights_digest(surrogate)
    common = {
        "targeted": "",
        "dataset": "",
        "split": "",
        "seed": what.seed,
        "versions": versions(),
        "selection": hashlib.sha256(repr(chosen.ids.tolist()).encode()).hexdigest(),
        "clean_images": len(images),
    }
    same = {target for target, model in targets.items() if learned and learned == weights_digest(model)}
    digests = {target: state_digest(model) for target, model in targets.items()}

    def tried(images: Tensor, white_box: Collection[str], **fields: Any) -> list[Record]:
        return [
            Record.of(
                _outcomes(model, images, chosen.labels),
                **common,
                **fields,
                target=target,
                target_sha256=digests[target],
                white_box=target in white_box,
                target_accuracy=_share(clean[target]),
            )
            for target, model in targets.items()
        ]

    records = tried(
        adversarial,
        same,
        surrogate=name,
        surrogate_accuracy=_share(own),
        surrogate_sha256=state_digest(surrogate),
        attack=what.canonical,
        steps=what.budget.steps,
        gradients=what.cost(),
        precision=_precision(surrogate),
    )
    metrics = PerturbationMetrics()
    metrics.add(adversarial, chosen.images)
    visibility = metrics.result(records[0].pair)
    require_change(visibility)
    noise = noisy(chosen.images, chosen.ids.tolist(), what.budget, what.seed)
    beside = tried(noise, (), **NOISE_FIELDS, attack=noise_name(what.budget))
    return Findings(records, (), {records[0].pair: seconds}, [visibility], beside)


def _outcomes(model: nn.Module, images: Tensor, labels: Tensor) -> str:
    return "".join("1" if hit else "0" for hit in (predict(model, images) != labels).tolist())


def _crafted(
    what: Attack, surrogate: nn.Module, batch: Batch, pool: Pool, batch_size: int
) -> tuple[Tensor, float]:
    """Return the adversarial images, uint8 (N, C, H, W), and the seconds each took."""
    started, device = time.monotonic(), next(surrogate.parameters(), torch.empty(0)).device
    parts = [batch.select(places) for places in torch.arange(len(batch)).split(batch_size)]
    crafted = [craft(what, surrogate, p.images.to(device), p.labels, p.ids, pool=pool).cpu() for p in parts]
    return torch.cat(crafted), (time.monotonic() - started) / len(batch)


def _share(right: Tensor) -> float:
    return round(float(right.double().mean()), 6)


def _precision(model: nn.Module) -> str:
    """Return the precision of a model's weights, "fp32" for `torch.float32`."""
    kind = next(model.parameters(), torch.empty(0)).dtype
    return {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16"}.get(kind, str(kind))
