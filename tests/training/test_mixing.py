"""Mixup and CutMix of images in memory, against the formulas of their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from helpers.stripes import config, draw, stop_at
from transferzoo.base.distributed import Team
from transferzoo.base.errors import UsageError
from transferzoo.models.classifier import Classifier
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import Loop, seed_of
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

    Batches = list[tuple[Tensor, Tensor]]

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = draw(64, 0)
RATE, MOMENTUM, DECAY, ALPHA = 0.05, 0.9, 5e-4, 0.4


def epoch(stripes: DatasetSpec, rank: int = 0, size: int = 1, **options: Any) -> Batches:
    return list(Memory(TRAIN, stripes, config(augment="none", **options)).epoch(7, rank, size))


def neighbours(tensor: Tensor) -> Tensor:
    """Return 1, 0, 3, 2, … in place of 0, 1, 2, 3, …."""
    return tensor[torch.arange(len(tensor)) ^ 1]


def share_of(seed: int, number: int) -> float:
    """Return mixup's λ of a batch, drawn as timm draws it: whether to mix, then Beta(α, α)."""
    state = np.random.RandomState(int(np.random.SeedSequence((seed, number, 1)).generate_state(1)[0]))
    state.rand()
    return float(state.beta(ALPHA, ALPHA))


def test_mixup_mixes_neighbours(stripes: DatasetSpec) -> None:
    """x = λ xᵢ + (1 − λ) xⱼ, and the labels likewise; λ is drawn once a batch."""
    shares = []
    for number, ((images, labels), (mixture, targets)) in enumerate(
        zip(epoch(stripes), epoch(stripes, mixup=ALPHA), strict=True)
    ):
        shares.append(share := share_of(7, number))
        hot = one_hot(labels, 3).double()
        wanted = share * images.double() + (1 - share) * neighbours(images).double()
        assert float((mixture - wanted).abs().max()) < 1e-6
        assert float((targets - (share * hot + (1 - share) * neighbours(hot))).abs().max()) < 1e-6
        assert mixture.is_contiguous(memory_format=torch.channels_last)
    assert len(set(shares)) == 4


def test_cutmix_pastes_a_rectangle_of_the_neighbour(stripes: DatasetSpec) -> None:
    """The share of the label is the share of the area that is left."""
    areas = []
    for (images, labels), (mixture, targets) in zip(epoch(stripes), epoch(stripes, cutmix=1.0), strict=True):
        foreign = ((mixture != images) & (mixture == neighbours(images)))[:, 0].any(0)
        rows, columns = foreign.any(1), foreign.any(0)
        area = int(rows.sum() * columns.sum())
        inside = rows[:, None] & columns[None]
        assert torch.equal(mixture[..., inside], neighbours(images)[..., inside])
        assert torch.equal(mixture[..., ~inside], images[..., ~inside])
        hot = one_hot(labels, 3).double()
        wanted = (1 - area / 144) * hot + area / 144 * neighbours(hot)
        assert float((targets - wanted).abs().max()) < 1e-6
        areas.append(area)
    assert len(set(areas)) > 1


def test_twenty_steps_by_hand(stripes: DatasetSpec) -> None:
    """Mixed, differentiated and stepped without the trainer; the mixtures are float32, the steps float64."""
    wanted = config(
        epochs=5,
        augment="none",
        mixup=ALPHA,
        learning_rate=RATE,
        schedule="constant",
        precision="fp64",
    )

    def model() -> Classifier:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(150, 3))
        return Classifier(net, size=None, channels=1, mean=stripes.mean, std=stripes.std)

    ours, theirs = model(), model().double()
    loop = Loop(wanted, ours, Memory(TRAIN, stripes, wanted), Team(device=torch.device("cpu")))
    plain = Memory(TRAIN, stripes, config(augment="none"))
    velocity = [torch.zeros_like(p) for p in theirs.parameters()]
    for number in range(5):
        loop.epoch(number, lambda at: None, lambda count: None)
        seed = seed_of(0, f"epoch {number}")
        for index, (images, labels) in enumerate(plain.epoch(seed, 0, 1)):
            share, hot = share_of(seed, index), one_hot(labels, 3).double()
            mixture = share * images.double() + (1 - share) * neighbours(images).double()
            targets = share * hot + (1 - share) * neighbours(hot)
            loss = -(targets * theirs(mixture).log_softmax(1)).sum(1).mean()
            slopes = torch.autograd.grad(loss, list(theirs.parameters()))
            with torch.no_grad():
                for place, (p, slope) in enumerate(zip(theirs.parameters(), slopes, strict=True)):
                    velocity[place] = MOMENTUM * velocity[place] + slope + DECAY * p
                    p.sub_(velocity[place], alpha=RATE)
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert float((one - two).detach().abs().max()) < 1e-6


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}])
def test_processes_see_one_batch(stripes: DatasetSpec, options: dict[str, Any]) -> None:
    whole = epoch(stripes, **options)
    parts = [epoch(stripes, rank, 2, **options) for rank in (0, 1)]
    for (images, targets), *halves in zip(whole, *parts, strict=True):
        assert torch.equal(images, torch.cat([half[0] for half in halves]))
        assert torch.equal(targets, torch.cat([half[1] for half in halves]))


def test_a_weight_of_zero_mixes_nothing(stripes: DatasetSpec) -> None:
    for (images, labels), (same, classes) in zip(
        epoch(stripes), epoch(stripes, mixup=0.0, cutmix=0.0), strict=True
    ):
        assert torch.equal(images, same)
        assert torch.equal(labels, classes)
        assert classes.dtype == torch.int64


@pytest.mark.parametrize(
    "changes",
    [{"minimizer": "sam"}, {"minimizer": "swa"}, {"input_gradient": 0.1}, {"adversarial": "l2:0.1"}],
)
def test_goes_on_where_it_was_stopped(tmp_path: Path, stripes: DatasetSpec, changes: dict[str, Any]) -> None:
    """Bit by bit, with what else a training may do."""
    wanted = config(epochs=3, mixup=0.2, cutmix=1.0, **changes)
    whole = train(wanted, stripes, TRAIN, None, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripes, TRAIN, None, tmp_path / "cut", on_progress=stop_at(6))
    again = train(wanted, stripes, TRAIN, None, tmp_path / "cut")
    assert again["weights_sha256"] == whole["weights_sha256"]
    other = train(config(epochs=3, **changes), stripes, TRAIN, None, tmp_path / "other")
    assert other["weights_sha256"] != whole["weights_sha256"]


def test_an_odd_number_of_images(stripes: DatasetSpec) -> None:
    with pytest.raises(UsageError, match="images cannot be mixed in pairs: expected an even number"):
        epoch(stripes, mixup=0.4, batch_size=5)
