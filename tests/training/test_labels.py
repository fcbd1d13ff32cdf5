"""Training on the answers of another model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from helpers.refusals import refused
from helpers.stripes import ZOO, config, draw, write_idx
from transferzoo.base.atomic import sha256
from transferzoo.base.distributed import Team
from transferzoo.base.errors import UsageError
from transferzoo.models import load
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.training.labels import labelled_by
from transferzoo.training.trainer import train
from transferzoo.zoo.schema import ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run
    from transferzoo.training.feeds import Feed
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, TEST = draw(160, 0), draw(97, 1)


@pytest.fixture
def teacher(tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A model that has learnt a little: some of its answers are wrong."""
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    train(config(epochs=3, learning_rate=0.05), stripes, draw(64, 5), None, tmp_path / "teacher")
    return ModelSpec(
        name="teacher",
        dataset="stripes",
        roles=("target",),
        source=LocalFolder(tmp_path / "teacher"),
        licence="MIT",
        origin="here",
    )


def answers(teacher: ModelSpec, stripes: DatasetSpec) -> Tensor:
    model = load_checkpoint(teacher.folder, stripes)
    with torch.no_grad():
        found: Tensor = model(TRAIN.images.float() / 255).argmax(1)
    return found


def test_labels_are_the_models_answers(
    stripes: DatasetSpec, teacher: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is asked once: the second time nothing is loaded."""
    expected = answers(teacher, stripes)
    wrong = float((expected != TRAIN.labels).float().mean())
    assert 0 < wrong < 0.9
    labelled, same = labelled_by(teacher, TRAIN, stripes, Team())
    assert torch.equal(labelled.labels, expected)
    assert torch.equal(labelled.images, TRAIN.images)
    assert same == pytest.approx(1 - wrong)
    monkeypatch.setattr(load, "load_classifier", lambda *_: pytest.fail("asked again"))
    assert torch.equal(labelled_by(teacher, TRAIN, stripes, Team())[0].labels, expected)


def test_other_weights_or_images_are_asked_anew(
    tmp_path: Path, stripes: DatasetSpec, teacher: ModelSpec
) -> None:
    first = labelled_by(teacher, TRAIN, stripes, Team())[0].labels
    others, same = labelled_by(teacher, draw(160, 9), stripes, Team())
    assert not torch.equal(others.labels, first)
    assert same < 1
    train(config(epochs=4), stripes, draw(160, 5), None, tmp_path / "better")
    better = teacher.model_copy(update={"source": LocalFolder(tmp_path / "better")})
    assert labelled_by(better, TRAIN, stripes, Team())[1] > 0.9


def test_a_defended_model_answers_behind_its_defence(stripes: DatasetSpec, teacher: ModelSpec) -> None:
    from transferzoo.defences import read_defence

    coarse = teacher.model_copy(update={"defence": "bits:depth=1"})
    (view,) = read_defence("bits:depth=1").views(TRAIN.images, TRAIN.ids)
    with torch.no_grad():
        expected = load_checkpoint(teacher.folder, stripes)(view).argmax(1)
    assert torch.equal(labelled_by(coarse, TRAIN, stripes, Team())[0].labels, expected)
    assert not torch.equal(expected, answers(teacher, stripes))


def test_streamed_images_keep_their_labels(stripes: DatasetSpec, teacher: ModelSpec) -> None:
    feed: Any = object()
    stream: Feed = feed
    with pytest.raises(UsageError, match=r"streamed and keep their labels: expected .*--labels-from"):
        labelled_by(teacher, stream, stripes, Team())


@pytest.fixture
def bench(tmp_path: Path, teacher: ModelSpec) -> tuple[object, ...]:
    """A command that trains on the stripes, without an output."""
    write_idx(tmp_path / "data", "train", TRAIN)
    write_idx(tmp_path / "data", "t10k", TEST)
    (tmp_path / "zoo.yaml").write_text(ZOO)
    where = ("--zoo", tmp_path / "zoo.yaml", "--dataset", "stripes", "--data", tmp_path / "data")
    how = ("--architecture", "small_vgg:width=4", "--epochs", 3, "--batch-size", 16)
    return ("train", *where, *how, "--json", "--output")


def test_the_command(
    cli: Run, tmp_path: Path, stripes: DatasetSpec, teacher: ModelSpec, bench: tuple[object, ...]
) -> None:
    """It trains what a training on these labels would, to the bit; the accuracy is on the true ones."""
    result = cli(*bench, tmp_path / "run", "--labels-from", tmp_path / "teacher", "--validation", 20)
    assert result.code == 0, result.err
    assert "Labels by stripes/teacher: 160 answers, " in result.err
    found = json.loads(result.out)
    assert found["config"]["labels_from"] == "stripes/teacher"
    labels = answers(teacher, stripes)
    by_hand = train(config(validation=20), stripes, replace(TRAIN, labels=labels), TEST, tmp_path / "by-hand")
    assert found["weights_sha256"] == by_hand["weights_sha256"]
    assert found["data"] == by_hand["data"]
    assert found["accuracy"] == by_hand["accuracy"]
    assert cli(*bench, tmp_path / "plain").code == 0
    assert sha256(tmp_path / "plain" / "model.safetensors") != found["weights_sha256"]


def test_a_model_that_is_not_there(cli: Run, tmp_path: Path, bench: tuple[object, ...]) -> None:
    refused(cli(*bench, tmp_path / "run", "--labels-from", "nobody"), 2, "unknown target 'nobody'")
