"""Lines of records, metrics and timings: every field has its type, and numbers go together."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from transferzoo.evaluation.examples import Predictions, read_predictions
from transferzoo.results.records import Record, Timing, Visibility, read_line, read_record

RECORD = Record.of(
    "10-1",
    surrogate="toys/a",
    target="toys/b",
    attack="mi",
    steps=10,
    targeted="",
    dataset="toys",
    split="test",
    seed=0,
    selection="00",
    white_box=False,
    surrogate_accuracy=0.5,
    target_accuracy=1.0,
    gradients=10,
    precision="fp32",
    surrogate_sha256="00",
    target_sha256="00",
    versions={"torch": "2"},
)
LINES: dict[type, Any] = {
    Record: RECORD,
    Visibility: Visibility("a", "mi", 3, 0, 0.5, 0.1, 8.0, None, None),
    Timing: Timing("a", "mi", 0, 10, 1.5),
    Predictions: Predictions("a", "mi", "b", (1, 2), (0, 0)),
}


@pytest.mark.parametrize("kind", LINES)
def test_what_was_written_is_read(kind: type) -> None:
    assert read_line(kind, json.dumps(asdict(LINES[kind]))) == LINES[kind]


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("value", [None, "x", 5, True, [1], {}, {"a": [1]}, 1e999])
def test_no_field_takes_another_type(kind: type, value: object) -> None:
    line = asdict(LINES[kind])
    for name, own in line.items():
        fits = isinstance(value, type(own)) and isinstance(value, bool) == isinstance(own, bool)
        optional = name in ("psnr", "ssim", "mean") and value == 5
        if fits or value is own or optional or (type(own) is float and value == 5):
            continue
        if (isinstance(own, tuple) and value == [1]) or (own == {"torch": "2"} and value == {}):
            continue
        with pytest.raises(ValueError, match=r"."):
            read_line(kind, json.dumps({**line, name: value}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"outcomes": "1x-1"}, "outcomes"),
        ({"outcomes": "----", "n": 0, "successes": 0, "rate": 0.0}, "an image that counts"),
        ({"outcomes": "", "n": 0, "successes": 0, "rate": 0.0}, "an image that counts"),
        ({"rate": 0.5}, "is not that of its outcomes"),
        ({"successes": 1}, "is not that of its outcomes"),
        ({"high": 1.5}, "'high': expected 0 to 1"),
        ({"target_accuracy": -1.0}, "'target_accuracy': expected 0 to 1"),
        ({"further": 1}, "'further' is unknown"),
        ({"images_correct_for": "\x1b]0;own\x07"}, "images_correct_for"),
        ({"images_correct_for": "alles"}, "images_correct_for"),
        ({"images_correct_for": ""}, "images_correct_for"),
    ],
)
def test_a_record_says_what_can_be(change: dict[str, object], reason: str) -> None:
    assert read_record(json.dumps(asdict(RECORD))) == RECORD
    with pytest.raises(ValueError, match=reason):
        read_record(json.dumps({**asdict(RECORD), **change}))


@pytest.mark.parametrize("line", ["[]", "5", "null", "{}", "[" * 10**5, '"a"', "{"])
def test_no_line_at_all(line: str) -> None:
    for kind in LINES:
        with pytest.raises(ValueError, match=r"."):
            read_line(kind, line)


def test_predictions_are_one_an_image() -> None:
    with pytest.raises(ValueError, match="1 predictions of 2 images"):
        read_predictions(json.dumps({**asdict(LINES[Predictions]), "classes": [1]}))
