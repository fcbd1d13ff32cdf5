"""Images turned upright by the orientation alone, whatever else their EXIF block holds."""

from __future__ import annotations

import io
import struct

import pytest
import torch
from PIL import Image, ImageOps

from helpers.data_layouts import spec
from transferzoo.datasets.pixels import decode

SHORT, ASCII, RATIONAL = 3, 2, 5


def block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Return a little-endian EXIF block of entries (tag, type, count, value or its offset)."""
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return b"Exif\0\0" + head + b"".join(struct.pack("<HHI4s", *entry) for entry in entries) + bytes(4)


def turned(orientation: int) -> tuple[int, int, int, bytes]:
    return (0x0112, SHORT, 1, struct.pack("<H", orientation))


def sketch() -> Image.Image:
    """Return a picture that no turn or flip maps onto itself."""
    image = Image.new("L", (8, 8))
    image.paste(255, (0, 0, 3, 6))
    return image


def saved(exif: bytes, form: str = "png") -> bytes:
    buffer = io.BytesIO()
    sketch().save(buffer, form, exif=exif)
    return buffer.getvalue()


def read(content: bytes) -> torch.Tensor:
    return torch.from_numpy(decode(content, spec(), "", "exact").copy())[0]


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    sketch().save(buffer, form, exif=exif)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        upright = ImageOps.exif_transpose(image)
    wanted = torch.frombuffer(bytearray(upright.tobytes()), dtype=torch.uint8).view(8, 8)
    assert torch.equal(read(buffer.getvalue()), wanted)


@pytest.mark.parametrize(
    "odd",
    [
        (0x0128, ASCII, 2, b"2\0\0\0"),  # ResolutionUnit as text
        (0x011A, SHORT, 1, b"\x48\0\0\0"),  # XResolution as an integer
        (0x0132, RATIONAL, 1, struct.pack("<I", 60000)),  # DateTime as a fraction, behind the end
        (0x8769, ASCII, 4, b"exif"),  # the pointer to the other tags as text
        (0xFFFF, 200, 3, b"what"),  # a type that there is not
    ],
)
def test_odd_tags_beside_the_orientation_do_not_matter(odd: tuple[int, int, int, bytes]) -> None:
    assert torch.equal(read(saved(block(turned(6), odd))), read(saved(block(turned(6)))))
    assert not torch.equal(read(saved(block(turned(6), odd))), read(saved(b"")))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0" + b"no tags at all",
        block(turned(6))[:12],
        block((0x0112, ASCII, 2, b"6\0\0\0")),
        b"Exif\0\0" + b"II*\0" + struct.pack("<I", 4_000_000_000),
    ],
    ids=["words", "cut", "text", "far"],
)
def test_an_unreadable_orientation_leaves_the_image_as_it_is(exif: bytes) -> None:
    assert torch.equal(read(saved(exif)), read(saved(b"")))
