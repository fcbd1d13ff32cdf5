"""The files of a zero-shot model as open_clip publishes it. Nothing here imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.models import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
"""Which are there where the tokenizer is not the usual one."""
FILES = (CONFIG, WEIGHTS, *TOKENIZER)


def is_open_clip(folder: Path) -> bool:
    """Return whether a folder holds a model as open_clip publishes it; a classifier beside it goes first."""
    classifies = (folder / checkpoint.CONFIG).is_file() and checkpoint.is_classifier(folder)
    return not classifies and all((folder / name).is_file() for name in (CONFIG, WEIGHTS))
