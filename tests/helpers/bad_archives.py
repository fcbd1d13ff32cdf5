"""Archives that no one should unpack, each with what is said of it."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

from helpers.archives import KINDS, gzipped, packed, patched, special, tarred, zip_link, zipped, zipped_as
from helpers.data_layouts import encoded, pixels
from transferzoo.datasets.members import HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.archives import Entry

    Made = Callable[[], dict[str, bytes]]

PNG = encoded(pixels()[0])
FILES = {f"{label}/{row}.png": encoded(pixels()[row]) for row, label in enumerate("2011")}
"""The images of `layouts.pixels`, by their labels."""
NAMES = (
    "../evil.png",
    "../evil.exe",
    "../.evil.png",
    "a/../../evil.png",
    "/tmp/transferzoo-evil.png",
    "C:/evil.png",
    "a/C:evil.png",
    "a\\..\\evil.png",
)
OUTSIDE = "holds a name that leads out of its folder: expected relative names, got "
LINK, DEVICE = "holds what is a link", "holds what is neither a file nor a folder"
DAMAGED = r"is damaged \(\w+\); fetch it again"
NO_END = "is damaged: expected an empty block at its end"


def in_zip(*entries: Any) -> Made:
    return lambda: {"zip": zipped_as([(zipfile.ZipInfo("good.png"), PNG), *entries])}


def in_tar(*entries: Any) -> Made:
    """Return what gives the same tar plain and gzipped."""
    return lambda: both(tarred(("good.png", PNG), *entries))


def both(tar: bytes) -> dict[str, bytes]:
    return {"tar": tar, "tar.gz": gzipped(tar)}


def file(name: str, content: bytes = PNG) -> tuple[zipfile.ZipInfo, bytes]:
    return zipfile.ZipInfo(name), content


def tar(kind: bytes, target: str = "", size: int = 0) -> Entry:
    return special("a.png", kind, target, size)


TAR = tarred(*FILES.items())
BAD: dict[str, tuple[Made, str]] = {
    **{f"zip with {name}": (in_zip(file(name)), OUTSIDE) for name in NAMES},
    **{f"tar with {name}": (in_tar((name, PNG)), OUTSIDE) for name in NAMES},
    "tar with a name that ends early": (
        lambda: both(tarred(("ä\0.png", PNG), file_format=tarfile.PAX_FORMAT)),
        OUTSIDE,
    ),
    "zip with a link": (in_zip(zip_link("link", "/tmp")), LINK),
    "zip with a link to an image": (in_zip(zip_link("link.png", "/etc/passwd")), LINK),
    "zip with a file through a link": (in_zip(zip_link("link", ".."), file("link/evil.png")), LINK),
    "zip with a device": (in_zip(zip_link("a.png", "", stat.S_IFCHR)), DEVICE),
    "tar with a link": (in_tar(tar(tarfile.SYMTYPE, "good.png")), LINK),
    "tar with a file through a link": (
        in_tar(special("link", tarfile.SYMTYPE, ".."), ("link/evil.png", PNG)),
        LINK,
    ),
    "tar with a hard link": (in_tar(tar(tarfile.LNKTYPE, "good.png")), LINK),
    "tar with a hard link outside": (in_tar(tar(tarfile.LNKTYPE, "/etc/passwd")), LINK),
    "tar with a device": (in_tar(tar(tarfile.CHRTYPE)), DEVICE),
    "tar with a fifo": (in_tar(tar(tarfile.FIFOTYPE)), DEVICE),
    "tar with holes": (in_tar(tar(tarfile.GNUTYPE_SPARSE)), DEVICE),
    "zip with a file twice": (in_zip(file("./good.png")), "holds './good.png' twice"),
    "tar with a file twice": (in_tar(("good.png", PNG)), "holds 'good.png' twice"),
    "zip with a file in a file": (in_zip(file("good.png/a.png")), "holds 'good.png/a.png' twice"),
    "zip that is encrypted": (lambda: {"zip": patched(zipped(FILES), 8, b"\x01\0")}, "is encrypted; unpack"),
    "zip in bzip2": (lambda: {"zip": zipped(FILES, zipfile.ZIP_BZIP2)}, "by another method than deflate"),
    "zip that says more": (
        lambda: {"zip": patched(zipped_as([file("a.png", b"x" * 9)]), 24, b"\x0a\0\0\0")},
        "is damaged or lies: expected 10 bytes of 'a.png', got 9; fetch it again",
    ),
    "zip that says less": (
        lambda: {"zip": patched(zipped({"a.png": b"x" * 9}), 24, b"\x08\0\0\0")},
        DAMAGED,
    ),
    "zip with another image": (
        lambda: {"zip": zipped_as([file("a.png")]).replace(PNG, bytes(len(PNG)))},
        DAMAGED,
    ),
    "zip that is cut": (lambda: {"zip": zipped(FILES)[:-30]}, DAMAGED),
    "tar that is cut": (lambda: {"tar": TAR[:700], "tgz": gzipped(TAR)[:-60]}, DAMAGED),
    "tar that is cut in a header": (lambda: both(TAR[:1200]), NO_END),
    "tar that is cut between files": (lambda: both(TAR[:2048]), NO_END),
    "tar with a damaged header": (lambda: both(TAR.replace(b"0/1.png", b"0/9.png")), NO_END),
    "tar with a wrong checksum": (lambda: {"tgz": gzipped(TAR)[:-8] + bytes(8)}, DAMAGED),
    "tar with an endless name": (in_tar(("a" * 3 * HEADERS + ".png", PNG)), "bytes between two files"),
    "tar with a tail": (lambda: both(TAR + b"x" * 2 * HEADERS), "bytes between two files"),
    "tar that says too much": (
        in_tar(tar(tarfile.REGTYPE, size=2**50)),
        "is too large: expected at most .* bytes unpacked",
    ),
    "tar that says more": (in_tar(tar(tarfile.REGTYPE, size=20000)), DAMAGED),
    "tar that says less than nothing": (in_tar(tar(tarfile.REGTYPE, size=-512)), "is damaged"),
    "no archive": (lambda: dict.fromkeys(KINDS, b"no archive" * 99), DAMAGED),
    "nothing": (lambda: dict.fromkeys(KINDS, b""), DAMAGED),
    "no image": (
        lambda: {kind: packed({"a.py": b"", "b/c.pt": b""}, kind) for kind in KINDS},
        "holds no image and no table: expected files that end in .bmp, .csv",
    ),
}
