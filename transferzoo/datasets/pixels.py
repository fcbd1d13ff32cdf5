"""One encoded image → uint8 pixels of the form a data set asks for."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError
from transferzoo.base.foreign_files import check_regular

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Literal

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.zoo.schema import DatasetSpec

    Fit = Literal["exact", "squash", "crop"]

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}
)
"""Names of files that are images: what torchvision's and datasets' image folders read that Pillow decodes."""

UNREAD = frozenset(
    {".avif", ".dng", ".exr", ".heic", ".heif", ".jp2", ".jxl", ".npy", ".psd", ".svg", ".tga"}
)
"""Names of files that are images of other formats: they are refused, not passed over."""

TURNS: dict[object, int] = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation → number of Pillow's `Image.Transpose` that turns the image upright."""

MOST_SIDES = 50
"""Longer side by shorter one of an image that is cropped: it is scaled as a whole before."""

DEEP = re.compile(r";16[BLN]")
"""What Pillow calls channels of 16 bits as they lie in a PNG or TIFF; it drops the lower 8 of colours."""


def check_suffix(file: Path) -> None:
    """Refuse an image that is not read: without it the numbers would be of other images than its owner's.

    Raises:
        DataError: it is one.
    """
    if file.suffix.lower() in UNREAD:
        raise DataError(
            f"{file} is an image of a format that is not read",
            expected=", ".join(sorted(SUFFIXES)),
            got=file.suffix,
            hint="convert it, or move it out of the folder",
        )


def shape_of(encoded: bytes | Path, where: str) -> tuple[int, int, int]:
    """Return channels (1 or 3), height and width of an image, upright or not.

    Args:
        encoded: a PNG, JPEG, … as bytes, or the file that holds it.
        where: names the image in an error.

    Raises:
        DataError: not a readable image.
    """
    try:
        with opened(encoded) as image:
            return 1 if image.mode in ("1", "L", "LA") else 3, image.height, image.width
    except Exception as error:
        raise undecoded(where, error) from error


def opened(encoded: bytes | Path) -> Any:
    """Return an image that Pillow has opened and not yet decoded.

    Raises:
        OSError: not a file of an image.
    """
    from PIL import Image

    if isinstance(encoded, bytes):
        return Image.open(io.BytesIO(encoded))
    check_regular(encoded)
    return Image.open(encoded)


def undecoded(where: str, error: Exception) -> DataError:
    """Return the error of a broken file; what Pillow raises for one depends on format and version."""
    reason = "no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
    return DataError(f"{where} cannot be decoded ({reason})", expected="a whole image such as a PNG or JPEG")


def decode(encoded: bytes | Path, spec: DatasetSpec, where: str, fit: Fit) -> NDArray[np.uint8]:
    """Decode an image with Pillow, upright as its EXIF data says, grey or RGB as `spec.channels` says.

    Args:
        encoded: a PNG, JPEG, … as bytes, or the file that holds it.
        spec: gives channels (1 or 3) and size (pixels).
        where: names the image in an error.
        fit: what is done with an image of another size: "exact" refuses it; "squash" scales both sides to
            `spec.size`, so that the aspect ratio may change; "crop" scales the shorter side to 8/7 of that
            and cuts out the centre, as ImageNet is usually evaluated. Bilinear with antialiasing, by Pillow.

    Returns:
        Pixels in 0..255, (C, H, W).

    Raises:
        DataError: not a readable image, more than 8 bits a channel, or another size; of those that are
            cropped also one that is too long.
    """
    import numpy as np

    try:
        with opened(encoded) as image:
            picture = _upright(image, spec.channels, where)
    except DataError:
        raise
    except Exception as error:
        raise undecoded(where, error) from error
    if picture.size != (spec.size, spec.size):
        if fit == "exact":
            raise DataError(
                f"{where} has the wrong size",
                expected=f"{spec.size}x{spec.size} pixels for '{spec.name}'",
                got=f"{picture.width}x{picture.height}",
            )
        if fit == "crop":
            check_sides(picture, where)
            picture = _cropped(picture, spec.size)
        else:
            picture = _scaled(picture, spec.size, spec.size)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if spec.channels == 1 else pixels.transpose(2, 0, 1)


def check_sides(picture: Any, where: str) -> None:
    """Refuse an image that a small file makes as long as memory where its shorter side is scaled.

    Raises:
        DataError: its longer side is more than `MOST_SIDES` times the shorter one.
    """
    if max(picture.size) > MOST_SIDES * min(picture.size):
        raise DataError(
            f"{where} is too long to be cropped",
            expected=f"at most {MOST_SIDES} times as long as wide",
            got=f"{picture.width}x{picture.height}",
            hint="cut it, or move it out of the folder",
        )


def _scaled(picture: Any, width: int, height: int) -> Any:  # Pillow's Image, imported only when needed
    from PIL import Image

    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _cropped(picture: Any, size: int) -> Any:
    shorter, room = min(picture.size), size * 8 // 7
    width, height = (room * side // shorter for side in picture.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return _scaled(picture, width, height).crop((left, top, left + size, top + size))


def _upright(image: Any, channels: int, where: str) -> Any:
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{where} has several frames", expected="one image", got=f"{image.n_frames} frames")
    deep = _deep(image)
    image.load()
    if deep or image.mode.startswith(("I", "F")):
        raise DataError(f"{where} is not an 8-bit image", expected="8 bits a channel", got=deep or image.mode)
    turn = TURNS.get(_orientation(image))
    upright = image if turn is None else image.transpose(turn)
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright.convert("L" if channels == 1 else "RGB")


def _deep(image: Any) -> str:
    """Return the form of an image that is not loaded where colours have more than 8 bits, else nothing."""
    for tile in image.tile:
        form, *more = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if DEEP.search(str(form)):
            return str(form)
        if tile[0].startswith("ppm") and more and more[0] > 255:  # the largest value
            return f"{form} up to {more[0]}"
    return ""


def _orientation(image: Any) -> object:
    """Return the EXIF orientation of an image that is loaded, None where nothing readable states one.

    The orientation alone is read: cameras write other tags in forms that Pillow cannot write again, as
    `ImageOps.exif_transpose` does. A TIFF is upright once it is loaded, and states none then.
    """
    from PIL import ExifTags

    try:
        with warnings.catch_warnings(action="ignore"):  # of tags that are cut off
            orientation: object = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged block of tags says nothing of the pixels
        return None
    return orientation
