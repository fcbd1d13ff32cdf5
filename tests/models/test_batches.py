"""Batches that fit in memory: as many images as a model's pixels allow, in halves where memory runs out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from transferzoo.base.errors import TransferZooError
from transferzoo.models.batches import MOST_IMAGES, halving, prediction_batch
from transferzoo.models.classifier import Classifier
from transferzoo.models.predict import predict

pytestmark = pytest.mark.usefixtures("one_thread")


def reading(size: tuple[int, int] | None, channels: int = 3) -> Classifier:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    return Classifier(model, size=size, channels=channels, mean=[0.5] * channels, std=[0.5] * channels)


@pytest.mark.parametrize(
    ("size", "side", "channels", "most"),
    [
        (None, 28, 3, MOST_IMAGES),
        (None, 224, 3, 13),
        ((224, 224), 28, 3, 13),
        ((224, 224), 28, 1, 41),
        (None, 512, 3, 2),
        ((2048, 2048), 28, 3, 1),
    ],
)
def test_what_a_model_reads_bounds_a_batch(
    size: tuple[int, int] | None, side: int, channels: int, most: int
) -> None:
    images = torch.zeros(1, 1 if size else channels, side, side, dtype=torch.uint8)
    assert prediction_batch(reading(size, channels), images) == most


@pytest.mark.parametrize(("gigabytes", "most"), [(1, 13), (40, 139), (141, 491), (900, MOST_IMAGES)])
def test_memory_of_a_gpu_bounds_a_batch(gigabytes: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies behind 2²¹ values, 0.5 GB, may fill an eighth: 10 times as much of 40 GB."""
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=gigabytes * 10**9)
    )
    on_gpu: Any = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"))]))
    assert prediction_batch(on_gpu, torch.zeros(1, 3, 224, 224, dtype=torch.uint8)) == most


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("can't allocate memory: 9")])
@pytest.mark.parametrize("fits", [1, 2, 3, 7])
def test_halves_are_tried_where_memory_runs_out(error: RuntimeError, fits: int) -> None:
    tried: list[int] = []

    def work(places: torch.Tensor) -> torch.Tensor:
        tried.append(len(places))
        if len(places) > fits:
            raise error
        return places * 2

    found = torch.cat(list(halving(work, torch.arange(10), 8)))
    assert torch.equal(found, torch.arange(10) * 2)
    assert tried[0] == 8 and max(tried[1:]) <= 4 if fits < 8 else True


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("another"), ValueError("odd")]
)
def test_what_halves_cannot_mend_is_raised(error: Exception) -> None:
    tried: list[int] = []

    def work(places: torch.Tensor) -> None:
        tried.append(len(places))
        raise error

    full = isinstance(error, torch.OutOfMemoryError)
    kind, words = (
        (TransferZooError, "at a single image; with --jobs 1") if full else (type(error), str(error))
    )
    with pytest.raises(kind, match=words):
        list(halving(work, torch.arange(4), 4))
    assert tried == ([4, 2, 1] if full else [4])


def test_predictions_do_not_depend_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(
        0, 256, (9, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    model = reading(None).eval()
    whole = predict(model, images)
    seen: list[int] = []

    def forward(self: Classifier, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("full")
        return original(self, pixels)

    original = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", forward)
    assert torch.equal(predict(model, images), whole)
    assert seen[0] == 9 and {1, 2} >= {count for count in seen if count <= 2}
