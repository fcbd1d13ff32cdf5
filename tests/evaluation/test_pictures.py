"""Pictures for people to look at: lossless, named by their images, with a sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from helpers.perturbed import pictures
from helpers.refusals import ATTACK, nothing_written, refused
from transferzoo.evaluation.pictures import save_picture, save_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_lossless(tmp_path: Path, channels: int) -> None:
    images, clean = pictures(channels)
    names = ("", "a/b c.png", "b.jpg", "ü.png")
    for identity, name, image in zip((3, 5, 8, 13), names, images, strict=True):
        save_picture(tmp_path, image, identity, name)
    save_sheet(tmp_path, images, clean)
    for name, image in zip(("3", "5-b-c", "8-b", "13-ü"), images, strict=True):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))
        assert np.array_equal(pixels.reshape(24, 24, channels), image.permute(1, 2, 0).numpy())
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).reshape(3 * 104, 4 * 104, channels)
    assert np.array_equal(sheet[4:100:4, 4:100:4], clean[0].permute(1, 2, 0).numpy())
    assert np.array_equal(sheet[108:204:4, 4:100:4], images[0].permute(1, 2, 0).numpy())
    assert set(sheet[212:308, 212:308].flatten()) == {128}, "an image without perturbation"
    assert {sheet[208:].min(), sheet[208:].max()} == {0, 255}


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
