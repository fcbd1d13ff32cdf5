"""Pictures for people to look at: lossless, named by their images, with a sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.perturbed import pictures
from helpers.refusals import ATTACK, nothing_written, refused
from transferzoo.evaluation.pictures import Captions, save_picture, save_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_lossless(tmp_path: Path, channels: int) -> None:
    images, _ = pictures(channels)
    names = ("", "a/b c.png", "b.jpg", "ü.png")
    for identity, name, image in zip((3, 5, 8, 13), names, images, strict=True):
        save_picture(tmp_path, image, identity, name)
    for name, image in zip(("3", "5-b-c", "8-b", "13-ü"), images, strict=True):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))
        assert np.array_equal(pixels.reshape(24, 24, channels), image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [4, 1])
def test_the_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, count: int) -> None:
    written: dict[str, tuple[float, float]] = {}
    draw = ImageDraw.ImageDraw.text

    def spy(self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *more: Any) -> None:
        written[text] = xy
        draw(self, xy, text, *more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    images, clean = (each[:count] for each in pictures(channels))
    labels = ["boot", "a bag", "shoe", "coat"][:count]
    captions = Captions(
        ("sam, bim, linf, ε = 16/255", "second line"), labels, ["x" * 99, "é", "", "cat"][:count]
    )
    save_sheet(tmp_path, images, clean, captions)
    height, width = 2 * 16 + 3 * (16 + 104), max(400, count * 104)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).reshape(height, width, channels)
    rows = [sheet[32 + at * 120 + 16 :][:104] for at in range(3)]
    for at in range(count):
        for row, shown in zip(rows, (clean, images), strict=False):
            tile = row[:, at * 104 :][4:100:4, 4:100:4]
            assert np.array_equal(tile, shown[at].permute(1, 2, 0).numpy())
    if count == 4:
        assert set(rows[2][4:100, 212:308].flatten()) == {128}, "an image without perturbation"
        assert {rows[2].min(), rows[2].max()} == {0, 255}
    assert written["sam, bim, linf, ε = 16/255"][1] < written["second line"][1] < 32
    for at, label in enumerate(labels):
        assert (at * 104 <= written[label][0] < at * 104 + 104, written[label][1]) == (True, 32)
    (long,) = (text for text in written if text.startswith("xx"))
    assert long.endswith("…") and written[long][1] == 32 + 120
    strip = sheet[32:48, 104:208] if count == 4 else sheet[32:48, :104]
    assert strip.min() < 50, "ink"
    between = sheet[32 + 120 : 32 + 136, 101:104]
    assert between.min() == 255, "a long text ends before the next one begins"


@pytest.mark.parametrize(
    "stem", ["x" * 300, "ü" * 200, "🦊" * 200, "a" + "ß" * 100, "文" * 80 + "/" + "文" * 80]
)
def test_long_names_of_files_fit_the_file_system(tmp_path: Path, stem: str) -> None:
    images, _ = pictures()
    for identity, name in enumerate((f"{stem}.png", f"{stem}2.jpg")):
        save_picture(tmp_path, images[identity], 2**62 + identity, name)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert len(names) == 2, "names that begin alike are told apart by the ids"
    assert all(name.startswith(str(2**62)[:18]) and name.endswith(".png") for name in names)
    assert max(len(name.encode()) for name in names) <= 80 + 24


def test_pictures_that_cannot_be_written(cli: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "look").write_text("a file")
    refused(cli(*ATTACK, "--data", few, "--save-images", "look"), 1, "cannot write", "look")
    nothing_written(tmp_path)
