"""The patch size that the patch families share, and its one condition."""

from __future__ import annotations

from transferzoo.base.errors import UsageError

PATCH = 4


def check_patches(img_size: int) -> None:
    """Raise unless patches of `PATCH` × `PATCH` pixels tile an image of `img_size` × `img_size`.

    Raises:
        UsageError: they do not.
    """
    if img_size % PATCH:
        raise UsageError("bad img_size", expected=f"a multiple of the patch size {PATCH}", got=str(img_size))
