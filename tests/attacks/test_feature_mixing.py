"""Techniques that mix features with those of clean images (CFM, FTM), against networks rewired by hand."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.attacks import craft, make_attack, perturb, pool_for, random_images, work_unit
from helpers.networks import residual_cnn, tiny_vit
from helpers.patches import BATCH, passes, patched, same
from transferzoo.attacks import engine
from transferzoo.attacks.composition import compose
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.attacks.techniques.work_unit import WorkUnit

pytestmark = pytest.mark.usefixtures("one_thread")

LATE = ["layer2.0.downsample", "layer2.0.conv1", "layer2.0.conv2", "layer3.0.conv1", "layer3.0.conv2"]
LATE += ["layer3.1.downsample", "layer3.1.conv1", "layer3.1.conv2", "fc"]
"""Layers of a `ResidualCNN` whose output is four pixels wide of sixteen, or less."""


class Rewired(nn.Module):
    """A layer that mixes, image by image: first asked for clean features, then at work.

    Attributes:
        clean: of the partners, (M, …).
        tuning: perturbation of every image's features.
    """

    def __init__(self, layer: nn.Module, unit: WorkUnit, p: float, largest: float, beta: float) -> None:
        super().__init__()
        self.layer, self.unit, self.p, self.largest, self.beta = layer, unit, p, largest, beta
        self.clean: Tensor | None = None
        self.tuning: list[Tensor] = []
        self.pending: list[tuple[int, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        if self.clean is None:
            self.clean = outputs.detach().clone()
            return outputs
        self.tuning = self.tuning or [torch.zeros_like(output) for output in outputs]
        self.pending, mixed = [], []
        draws = self.unit.uniform(2 + outputs.shape[1])
        for i, output in enumerate(outputs):
            chosen, partner, *ratios = draws[i].tolist()
            past = self.tuning[i].clone().requires_grad_()
            if self.beta:
                scale = self.beta * output.detach().norm().item() / (past.norm().item() + 1e-7)
                output = output + scale * past
            if chosen < self.p:
                self.pending.append((i, past))
                other = self.clean[int(partner * len(self.clean))]
                rows = [
                    (1 - self.largest * a) * output[c] + self.largest * a * other[c]
                    for c, a in enumerate(ratios)
                ]
                output = torch.stack(rows)
            mixed.append(output)
        return torch.stack(mixed)


def rewire(model: nn.Module, unit: WorkUnit, layers: list[str], *options: float) -> list[Rewired]:
    """Replace layers of a model, and let them see the images of the pool that are mixed with."""
    found = []
    for path in layers:
        parent, _, name = path.rpartition(".")
        new = Rewired(model.get_submodule(path), unit, *options)
        setattr(model.get_submodule(parent), name, new)
        found.append(new)
    model(unit.clean_images(5, "cfm"))
    return found


def literal(
    spec: str, model: Any, layers: list[str], steps: int, *options: float, targets: Tensor | None = None
) -> Tensor:
    """Return the images after so many steps of 1.6/255 in 16/255."""
    unit = work_unit(make_attack(spec), BATCH)
    twin = deepcopy(model).eval()
    places = rewire(twin, unit, layers, *options)
    x, delta = unit.images, torch.zeros_like(unit.images)
    for _ in range(steps):
        leaf = (x + delta).requires_grad_()
        logits = twin(leaf)
        gain = cross_entropy(logits, BATCH.labels, reduction="sum")
        if targets is not None:
            gain = -cross_entropy(logits, targets, reduction="sum")
        learning = [(place, i, past) for place in places for i, past in place.pending]
        slope, *more = torch.autograd.grad(gain, [leaf, *(p for *_, p in learning)], allow_unused=True)
        for (place, i, past), gradient in zip(learning, more, strict=True):
            if gradient is not None:
                place.tuning[i] = (past - gradient).detach()
        delta = (delta + 1.6 / 255 * slope.sign()).clamp(-16 / 255, 16 / 255).clamp(-x, 1 - x)
    return x + delta


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("cfm:partners=5", (0.1, 0.75, 0.0)),
        ("cfm:p=0.6,largest=0.5,partners=5", (0.6, 0.5, 0.0)),
        ("ftm:partners=5,beta=0.05", (0.1, 0.75, 0.05)),
        ("ftm:p=0.6,partners=5", (0.6, 0.75, 0.01)),
    ],
)
@pytest.mark.parametrize("targeted", [False, True])
def test_mixing_attacks_are_the_rewired_network(
    spec: str, options: tuple[float, ...], targeted: bool
) -> None:
    model = residual_cnn().eval()
    targets = (BATCH.labels + 1) % 10 if targeted else None
    found = engine.perturb(
        make_attack(spec, steps=4),
        model,
        BATCH.images,
        BATCH.labels,
        BATCH.ids,
        target_classes=targets,
        pool=pool_for(BATCH),
        dtype=torch.float64,
    )
    wanted = literal(spec, model, LATE, 4, *options, targets=targets)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("spec", "beta"), [("cfm:p=0.6,partners=5", 0.0), ("ftm:p=0.6,partners=5", 0.01)])
def test_every_layer_of_a_transformer_mixes(spec: str, beta: float) -> None:
    model = tiny_vit().eval()
    for block in model.blocks:
        block.attn.fused_attn = False
    layers = ["patch_embed.proj"]
    for k in range(2):
        layers += [f"blocks.{k}.{part}" for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
    wanted = literal(spec, model, [*layers, "head"], 3, 0.6, 0.75, beta)
    found = perturb(make_attack(spec, steps=3), model, BATCH)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_mixing_without_chance_is_the_surrogate() -> None:
    model = residual_cnn().eval()
    for spec in ("cfm:p=0", "cfm:largest=0,p=1", "ftm:beta=0,p=0"):
        same(patched(spec, model), passes(model))


def test_a_layer_that_learnt_works_against_the_attack() -> None:
    """With the same draws and no mixing left, features moved along P lower what is maximised."""
    model = residual_cnn().eval()
    spec = "ftm:p=1,largest=0,beta=0.02"
    (first, _), (second, _) = patched(spec, model), patched(spec, model, times=2)
    same((first, first), (passes(model)[0], first))  # P is 0 at first
    gain: Callable[[Tensor], Tensor] = lambda z: cross_entropy(z, BATCH.labels, reduction="none")  # noqa: E731
    assert (gain(second) < gain(first)).all()


def test_clean_images_are_drawn_from_all_classes_and_once_for_all_units() -> None:
    """The first images of a pool are of one class where files lie in a folder a class."""
    labels = torch.arange(200) // 20
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    attack = make_attack("cfm")
    units = [
        replace(work_unit(attack, random_images(2, 3, 8, seed=seed)), pool=Pool(images, labels))
        for seed in (1, 2)
    ]
    drawn = [unit.clean_images(20, "cfm") for unit in units]
    assert torch.equal(*drawn)
    assert len((drawn[0][:, 0, 0, 0] * 255).unique()) > 5
    assert len(units[0].clean_images(1000, "cfm")) == 200


def test_mixing_needs_a_pool_and_layers() -> None:
    for name in ("cfm", "ftm"):
        with pytest.raises(UsageError, match=f"'{name}' uses other images: expected a pool"):
            engine.craft(
                make_attack(name), residual_cnn(), BATCH.images, BATCH.labels, BATCH.ids, dtype=torch.float64
            )
        with pytest.raises(ModelError, match="no layer whose features could be mixed"):
            craft(make_attack(name), nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU()).double(), BATCH)


def test_mixing_costs_one_gradient_and_excludes_itself() -> None:
    assert make_attack("cfm", steps=7).cost() == make_attack("ftm", steps=7).cost() == 7
    with pytest.raises(UsageError, match="the outputs of late layers: expected one, got cfm and ftm"):
        compose("cfm+ftm")
    with pytest.raises(UsageError, match="option 'p' of 'cfm' is a probability"):
        compose("cfm:p=2")


@pytest.mark.parametrize("spec", ["fpr+cfm:partners=3", "ilpd+ftm:partners=1"])
def test_partners_are_looked_at_without_other_patches(spec: str) -> None:
    model = tiny_vit() if "fpr" in spec else residual_cnn()
    attack = make_attack(spec, steps=2)
    singles = [craft(attack, model, BATCH[i : i + 1]) for i in range(4)]
    assert torch.equal(craft(attack, model, BATCH), torch.cat(singles))
