"""The thousand classes of ImageNet: their WordNet ids, and the words for them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

WORDNET_ID = re.compile(r"n\d{8}")


@cache
def imagenet() -> dict[str, str]:
    """Return id → words of the thousand classes, "n01440764" → "tench", in their order, as timm has them."""
    from timm.data.imagenet_info import ImageNetInfo

    info: Any = ImageNetInfo("imagenet-1k")
    return dict(zip(info.label_names(), info.label_descriptions(), strict=True))
