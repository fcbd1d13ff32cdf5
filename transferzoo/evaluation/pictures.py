"""Pictures of adversarial images, for people to look at."""

from __future__ import annotations

import io
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import torch

from transferzoo.base.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image, ImageFont
    from torch import Tensor

SHEET = "sheet.png"
"""Where `attack --save-images` writes a sheet beside its pictures."""
SCALE, GAP = 4, 4
LINE, FONT, NARROWEST = 16, 12, 400
"""Height of a line of text, size of its font, and least width of a sheet, in pixels."""
DIFFERENCE = "difference"
LONGEST = 80
"""Bytes that are kept of the name of an image's file: with what is put around them file systems take them."""


def save_picture(folder: Path, image: Tensor, identity: int, name: str) -> None:
    """Write an image, uint8 (C, H, W), as a PNG; see `picture_name`.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    write_bytes(folder / picture_name(identity, name), png(image))


def png(image: Tensor) -> bytes:
    """Return an image, uint8 (C, H, W), as a PNG file."""
    return _encoded(_image(image))


def picture_name(identity: int, name: str) -> str:
    """Return what an image is saved as: named by its id and, where it has one, by its file's name."""
    stem = re.sub(r"[^\w.-]+", "-", PurePosixPath(name).stem)
    file = stem.encode()[:LONGEST].decode(errors="ignore")
    return f"{identity}-{file}.png" if file else f"{identity}.png"


class Captions(NamedTuple):
    """The texts of a sheet.

    Attributes:
        heading: lines above all.
        labels: above each clean image.
        predicted: above each adversarial image.
    """

    heading: Sequence[str]
    labels: Sequence[str]
    predicted: Sequence[str]


def save_sheet(folder: Path, images: Tensor, clean: Tensor, captions: Captions) -> None:
    """Write a sheet of some images, uint8 (N, C, H, W), a column an image.

    Its rows are clean, adversarial, and their difference, magnified so that the largest one of the sheet
    spans black to white, with grey for none.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    change = images.float() - clean.float()
    magnified = (127.5 + change * (127.5 / change.abs().max().clamp_min(1))).round().to(torch.uint8)
    rows = [torch.cat(list(_framed(part)), 2) for part in (clean, images, magnified)]
    _, high, wide = rows[0].shape
    texts = (captions.labels, captions.predicted, [DIFFERENCE])
    top = LINE * len(captions.heading)
    mode = "L" if images.shape[1] == 1 else "RGB"
    sheet = Image.new(mode, (max(wide, NARROWEST), top + 3 * (LINE + high)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    for at, line in enumerate(captions.heading):
        draw.text((GAP, at * LINE), _fitted(line, font, sheet.width - 2 * GAP), "black", font)
    for at, (row, words) in enumerate(zip(rows, texts, strict=True)):
        y = top + at * (LINE + high)
        sheet.paste(_image(row), (0, y + LINE))
        for column, word in enumerate(words):
            left = column * wide // len(images) + GAP
            draw.text((left, y), _fitted(word, font, wide // len(images) - 2 * GAP), "black", font)
    write_bytes(folder / SHEET, _encoded(sheet))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return a text, shortened where it is wider than there is room, in pixels."""
    shorter = (text, *(f"{text[:end]}…" for end in range(len(text) - 1, 0, -1)))
    return next((each for each in shorter if font.getlength(each) <= width), "")


def _framed(images: Tensor) -> Tensor:
    """Return small images enlarged, with a white frame."""
    times = SCALE if max(images.shape[2:]) <= 64 else 1
    larger = images.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return torch.nn.functional.pad(larger, (GAP,) * 4, value=255)


def _image(pixels: Tensor) -> Image.Image:
    """Return an image, uint8 (1 or 3, H, W), as Pillow has it."""
    from PIL import Image

    values = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def _encoded(image: Image.Image) -> bytes:
    """Return what a PNG file of an image holds."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
