"""The main job for programs: attacks by spec string, models by name, success rates of any `nn.Module`."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from transferzoo.attacks.configure import resolve
from transferzoo.attacks.engine import Attack, craft
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.errors import DataError, UsageError
from transferzoo.datasets import Batch
from transferzoo.datasets.sources import load_split
from transferzoo.evaluation import perturbation_metrics
from transferzoo.evaluation.job import versions
from transferzoo.models import load
from transferzoo.models.classifier import Classifier, frozen, state_digest, weights_digest
from transferzoo.models.download import located
from transferzoo.models.predict import predict
from transferzoo.models.resolve import Foreign
from transferzoo.results.comparisons import Findings
from transferzoo.results.records import Record
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def load_model(
    name: str, dataset: str | None = None, *, architecture: str = "", allow_code: bool = False
) -> Classifier:
    """Load a model of the zoo, or one of your own, as a classifier of [0, 1] pixels.

    Args:
        name: "resnet50-lsam", "cifar10/resnet18", "./my-model", "hf-hub:OWNER/NAME", "weights.safetensors",
            "model.onnx", "package.module:function".
        dataset: whose classes it has; the default data set where nothing is said.
        architecture: the network that a weight file fits, "resnet18".
        allow_code: let a function of a Python module be run.

    Returns:
        [0, 1] pixels (N, C, H, W) → logits (N, K); float32, in evaluation mode, on the CPU.

    Raises:
        UsageError: nothing, or no single model, of that name; or code that is not allowed to run.
        ModelError: it is damaged or does not fit the data set.
    """
    zoo = load_zoo()
    spec = zoo.dataset(dataset or (zoo.models[name].dataset if name in zoo.models else zoo.default_dataset))
    foreign = Foreign(architecture, allow_code)
    found = zoo.select([name], spec.name, "target", foreign)
    if len(found) != 1:
        raise UsageError(f"'{name}' is no single model", expected="one name", got=f"{len(found)} models")
    foreign.check_used(zoo.models, found)
    return load.load_classifier(located(found[0]), spec)


def load_images(
    dataset: str | None = None, split: str | None = None, root: str | Path | None = None
) -> Batch:
    """Load images of a data set of the zoo: uint8 (N, C, H, W), with labels and ids.

    Args:
        dataset: its name; the default one where nothing is said.
        split: which part; the one that is attacked where nothing is said.
        root: a place of your own, as `--data` takes it.

    Raises:
        UsageError: an unknown name.
        DataError: the images are not there or damaged.
    """
    zoo = load_zoo()
    spec = zoo.dataset(dataset or zoo.default_dataset)
    return load_split(spec, split or spec.attack.split, root=None if root is None else Path(root))


def read_attack(
    spec: str,
    *,
    norm: str | None = None,
    epsilon: str | None = None,
    step: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    dataset: str | None = None,
) -> Attack:
    """Read an attack as the command line does.

    Args:
        spec: presets and techniques, "mi+di:p=0.7".
        norm: "linf" or "l2"; it and the next three are the preset's or the data set's where nothing is said.
        epsilon: budget in [0, 1] pixels (L∞) or length (L2), "8/255".
        step: step size, "eps/10" or a number.
        steps: number of steps.
        seed: of its random draws.
        dataset: whose budget it has; the default one where nothing is said.

    Raises:
        UsageError: it cannot be read, or something is out of range.
    """
    zoo = load_zoo()
    budget = {"norm": norm, "epsilon": epsilon, "step": step, "steps": steps}
    given = {key: value for key, value in budget.items() if value is not None}
    return Attack.of(resolve(zoo, dataset or zoo.default_dataset, spec, given), seed)


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
    `report.tables` makes tables of the result.

    Args:
        what: the attack.
        surrogate: [0, 1] pixels (N, C, H, W) → logits (N, K).
        targets: name → model, likewise, in evaluation mode; one at least.
        images: clean images, uint8 (N, C, H, W).
        labels: true classes, int64 (N,).
        ids: what seeds an image's draws, int64 (N,); 0..N−1 where nothing is said.
        name: of the surrogate.
        batch_size: images at a time.

    Raises:
        DataError: no image is classified correctly by all targets.
        ModelError: no gradient reaches the images, or it is not finite.
    """
    batch = Batch(images, labels, torch.arange(len(images)) if ids is None else ids)
    with frozen(surrogate):
        own = predict(surrogate, images) == labels
    clean = {victim: predict(model, images) == labels for victim, model in targets.items()}
    chosen = batch.select(torch.stack(list(clean.values())).all(0))
    if not len(chosen):
        raise DataError("no image is left to attack: the targets classify none of them correctly together")
    adversarial, seconds = _crafted(what, surrogate, chosen, Pool(images, labels), batch_size)
    weights, learned = state_digest(surrogate), weights_digest(surrogate)
    common = {
        "surrogate": name, "attack": what.canonical, "steps": what.steps, "targeted": "", "dataset": "",
        "split": "", "seed": what.seed, "gradients": what.cost(), "precision": _precision(surrogate),
        "versions": versions(),
        "selection": hashlib.sha256(repr(chosen.ids.tolist()).encode()).hexdigest(),
        "surrogate_accuracy": _share(own), "surrogate_sha256": weights,
    }  # fmt: skip
    records = []
    for victim, model in targets.items():
        fooled = predict(model, adversarial) != chosen.labels
        outcomes = "".join("1" if hit else "0" for hit in fooled.tolist())
        records.append(
            Record.of(
                outcomes, **common, target=victim, target_sha256=state_digest(model),
                white_box=learned is not None and learned == weights_digest(model),
                target_accuracy=_share(clean[victim]),
            )
        )  # fmt: skip
    look = perturbation_metrics.measure(name, what.canonical, adversarial, chosen.images)
    return Findings(records, (), {records[0].source: seconds}, [look])


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
