"""Which images people are shown, and what they are told that a target predicts of them."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file

from helpers.records import record
from helpers.refusals import ATTACK
from transferzoo import load_model
from transferzoo.evaluation.examples import MOST, Predictions, drawn_examples, predicted, shown_target
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SORTED = [0] * 50 + [1] * 5 + [2] * 2 + [3]


@pytest.mark.parametrize(
    ("labels", "most", "counts"),
    [
        (SORTED, 4, {0: 1, 1: 1, 2: 1, 3: 1}),
        (SORTED, 10, {0: 4, 1: 3, 2: 2, 3: 1}),
        ([0, 1, 2], 10, {0: 1, 1: 1, 2: 1}),
        (list(range(1000)), 10, None),
        ([7] * 30, 10, {7: 10}),
        ([], 10, {}),
    ],
)
def test_each_class_has_its_turn(labels: list[int], most: int, counts: dict[int, int] | None) -> None:
    drawn = [drawn_examples(labels, seed, most) for seed in range(20)]
    for places in drawn:
        assert len(set(places)) == len(places) == min(most, len(labels))
        found = Counter(labels[place] for place in places)
        if counts is None:
            assert set(found.values()) == {1}
        elif most == 10 and len(labels) > 50:
            assert all(abs(found[c] - n) <= 1 for c, n in counts.items())
            assert found[2] == 2 and found[3] == 1, "the small classes whole"
        else:
            assert found == counts
    assert len({tuple(places) for places in drawn}) > 1 or not labels, "the seed draws"
    assert drawn == [drawn_examples(labels, seed, most) for seed in range(20)]


def test_fewer_are_the_beginning_of_more() -> None:
    assert [drawn_examples(SORTED, 3, most) for most in (1, 5)] == [
        drawn_examples(SORTED, 3)[:most] for most in (1, 5)
    ]


def test_predictions_are_those_of_a_target_that_is_no_white_box() -> None:
    cells = [record("a", "a", "11"), record("a", "b", "10"), record("a", "c", "01")]
    assert shown_target(cells) == cells[1]
    assert shown_target(cells[:1]) == cells[0]
    lines = [Predictions(r.surrogate, r.attack, r.target, (4, 9), (at, 5)) for at, r in enumerate(cells)]
    assert predicted(lines, cells[1]) == {4: 1, 9: 5}
    assert predicted(lines, record("b", "b", "10")) == {}


def test_the_sheet_says_what_a_target_predicts(
    cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def spy(self: ImageDraw.ImageDraw, xy: Any, text: str, *more: Any) -> None:
        texts.append(text)
        draw(self, xy, text, *more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    command = (*ATTACK, "--data", few, "--images", 12, "--batch-size", 5, "--save-images", "look")
    done = cli(*command)
    assert done.code == 0, done.err
    (run,) = (tmp_path / "runs").iterdir()
    selection = json.loads((run / "selection.json").read_text())
    places = drawn_examples(selection["labels"], 0)
    units = [load_file(unit) for unit in sorted(run.rglob("images/*/*/*.safetensors"))]
    images = torch.cat([unit["images"] for unit in units])[places]
    name = RunFolder(run).records()[0].target_name
    with torch.no_grad():
        classes = load_model(name)(images / 255).argmax(1).tolist()
    names = load_zoo().dataset("fashion-mnist").classes
    assert len(places) == min(MOST, len(selection["ids"]))
    wanted = [*(names[selection["labels"][place]] for place in places), *(names[one] for one in classes)]
    heading, columns = texts[:2], texts[2:]
    assert heading[0].endswith("bim, linf, eps = 16/255") and name in heading[1]
    font = ImageFont.load_default(12)
    missing = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in "".join(texts))
    assert columns[:-1] == wanted
    (sheet,) = (tmp_path / "look").rglob("sheet.png")
    with Image.open(sheet) as picture:
        assert picture.size == (max(400, 120 * len(places)), 2 * 16 + 3 * (16 + 120))
    before = (run / "predictions.jsonl").read_bytes()
    for damage in ("", "{"):  # as of a run of an earlier version, or damaged
        (run / "predictions.jsonl").write_text(damage)
        records = (run / "records.jsonl").read_bytes()
        assert cli(*command).code == 0
        assert (run / "predictions.jsonl").read_bytes() == before
        assert (run / "records.jsonl").read_bytes() == records
    assert {one.ids for one in RunFolder(run).predictions()} == {tuple(selection["ids"][p] for p in places)}
