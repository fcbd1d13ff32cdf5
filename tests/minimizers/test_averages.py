"""The averaged weights as the trainer holds them, against torch.optim.swa_utils."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from helpers.stripes import config, draw, spec
from transferzoo.base.distributed import Team
from transferzoo.models import build
from transferzoo.models.classifier import Classifier
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import Loop, seed_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("minimizer", ["swa:start=0.5", "wasam:start=0.25,per_epoch=2"])
def test_what_would_be_stored_is_torchs_averaged_model(tmp_path: Path, minimizer: str) -> None:
    """Weights taken at ends of epochs (and between), batch-norm statistics by one pass over the images."""
    dataset, wanted = spec(tmp_path), config(epochs=4, minimizer=minimizer, precision="fp64")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, _ = build.create(wanted.architecture, dataset)
    classifier = Classifier(model, size=None, channels=1, mean=dataset.mean, std=dataset.std)
    feed = Memory(draw(80, 0), dataset, wanted)
    loop = Loop(wanted, classifier, feed, Team(device=torch.device("cpu")))
    averaged, taken = AveragedModel(classifier), []

    def take_it(count: int) -> None:
        averaged.update_parameters(classifier)
        taken.append(loop.minimizer.steps)

    for epoch in range(4):
        loop.epoch(epoch, lambda progress: None, take_it)
    assert taken == ([15, 20] if minimizer.startswith("swa") else [8, 10, 13, 15, 18, 20])
    batches = [images.double() for images, _ in feed.epoch(seed_of(wanted.seed, "statistics"), 0, 1)]
    update_bn(batches, averaged)
    expected = averaged.module.state_dict()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    with loop.usable():
        for name, tensor in classifier.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-11, atol=1e-12)
            if tensor.is_floating_point():
                assert not torch.equal(tensor, before[name]), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
