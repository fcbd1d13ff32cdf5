"""Predictions of a target that is elsewhere: which line is of which image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transferzoo.base.errors import DataError
from transferzoo.evaluation.answers import read_answers
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path


def _answers(folder: Path, lines: list[str], names: list[str]) -> list[int]:
    (folder / "phone.csv").write_text("\n".join(["id,label", *lines]))
    return read_answers(folder / "phone.csv", names, load_zoo().dataset("fashion-mnist"))[0]


@pytest.mark.parametrize("above", ["", "adv/"])
def test_files_of_two_folders_may_have_one_name(tmp_path: Path, above: str) -> None:
    lines = [f"{above}dress/1.png,3", f"{above}coat/1.png,4", f"{above}coat/2.png,5"]
    assert _answers(tmp_path, lines, ["coat/1.png", "coat/2.png", "dress/1.png"]) == [4, 5, 3]
    windows = [line.replace("/", "\\") for line in lines]
    assert _answers(tmp_path, windows, ["coat/1.png", "coat/2.png", "dress/1.png"]) == [4, 5, 3]
    assert _answers(tmp_path, ["1,3", "2.jpg,5"], ["dress/1.png", "coat/2.png"]) == [3, 5]


def test_a_path_may_be_the_end_of_another(tmp_path: Path) -> None:
    lines = ["1.png,3", "coat/1.png,4", "a/coat/1.png,5"]
    assert _answers(tmp_path, lines, ["a/coat/1.png", "1.png", "coat/1.png"]) == [5, 3, 4]


def test_a_name_may_have_dots_and_no_suffix(tmp_path: Path) -> None:
    for lines in (["val.0001,3", "adv/val.0002,5"], ["val.0001.JPG,3", "val.0002.png,5"]):
        assert _answers(tmp_path, lines, ["adv/val.0001.png", "adv/val.0002.png"]) == [3, 5]


@pytest.mark.parametrize(
    ("lines", "names", "sentence"),
    [
        (
            ["1,3", "1.png,4"],
            ["1.png"],
            "has two lines for '1.png', 2 and 3: expected one for each image, under its path",
        ),
        (["coat/1,3", "dress/1,4"], ["1.png"], "has two lines for '1.png'"),
        (["dress/1,3"], ["coat/1.png"], "has no prediction of 1 of 1 images"),
        (
            ["1,3"],
            ["coat/1.png", "dress/1.png"],
            "no prediction of 2 of 2 images: expected a line for each, such as coat/1, with its folder where",
        ),
    ],
)
def test_a_line_that_could_be_of_another_image_is_refused(
    tmp_path: Path, lines: list[str], names: list[str], sentence: str
) -> None:
    with pytest.raises(DataError) as refused:
        _answers(tmp_path, lines, names)
    assert sentence in str(refused.value)
