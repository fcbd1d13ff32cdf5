"""Surrogates that were trained on what is attacked are told, where the tool made the splits of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.checkpoints import copied
from transferzoo.datasets.own import SHARES
from transferzoo.evaluation.trained_on import note_trained_on
from transferzoo.models.resolve import resolve_model
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("split", "name", "shared", "told"),
    [
        ("test", "fashion-mnist", True, True),
        ("train", "fashion-mnist", True, True),
        ("unseen", "fashion-mnist", True, False),
        ("test", "another", True, False),
        ("test", "fashion-mnist", False, False),
    ],
)
def test_who_is_told_of(split: str, name: str, shared: bool, told: bool, tmp_path: Path) -> None:
    zoo, said = load_zoo(), list[str]()
    spec = zoo.dataset("fashion-mnist").model_copy(update={"name": name, "shares": SHARES if shared else {}})
    copied("resnet50-sam", tmp_path / "mine")
    models = [resolve_model(zoo, str(tmp_path / "mine"), "fashion-mnist")]
    note_trained_on(spec, split, models, said.append)
    assert [note.partition(";")[0] for note in said] == ["Note: some of these images trained mine"] * told
