"""Small networks are trained, timed and measured in one thread, whatever PyTorch is set to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from helpers.stripes import config, draw
from transferzoo.models import checkpoint
from transferzoo.models.classifier import Classifier
from transferzoo.training.estimate import step_seconds
from transferzoo.training.threads import usual_threads
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

SEVERAL = 2


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    """Set PyTorch to several threads, and see that it is set so afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(SEVERAL)
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == SEVERAL


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the numbers of threads that models compute in from now on."""
    seen, forward = set[int](), Classifier.forward

    def look(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", look)
    return seen


def test_every_pass_of_a_training_is_in_one_thread(
    stripes: DatasetSpec, tmp_path: Path, threads: set[int]
) -> None:
    wanted = config(minimizer="swa:start=0.5", validation=8, epochs=1)
    train(wanted, stripes, draw(72, 0), draw(16, 1), tmp_path / "several")
    assert threads == {1}
    torch.set_num_threads(1)
    train(wanted, stripes, draw(72, 0), draw(16, 1), tmp_path / "one")
    torch.set_num_threads(SEVERAL)
    assert checkpoint.digest(tmp_path / "one") == checkpoint.digest(tmp_path / "several")


def test_a_forecast_is_measured_in_one_thread(stripes: DatasetSpec, threads: set[int]) -> None:
    assert step_seconds(config(), stripes, None) > 0
    assert threads == {1}


@pytest.mark.parametrize(("size", "expected"), [(12, 1), (64, 1), (65, SEVERAL), (224, SEVERAL)])
def test_large_images_are_trained_on_as_pytorch_is_set(
    stripes: DatasetSpec, size: int, expected: int
) -> None:
    with usual_threads(stripes.model_copy(update={"size": size})):
        assert torch.get_num_threads() == expected


def test_a_gpu_changes_no_threads(stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferzoo.training.threads.this_device", lambda: torch.device("cuda"))
    with usual_threads(stripes):
        assert torch.get_num_threads() == SEVERAL
