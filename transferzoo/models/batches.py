"""Batches that fit in memory: bounded by what a model reads, and halved where memory runs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from transferzoo.base.errors import TransferZooError
from transferzoo.base.main_memory import main_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

T = TypeVar("T")

MOST_IMAGES = 500
"""Images of a batch at most; more make nothing faster."""
MOST_VALUES = 2**21
"""Values of a batch at most, where a model reads it: 13 images of 224 pixels, with `BEHIND` behind."""
BEHIND = 5 * 10**8
"""Bytes that a forward pass of so many values takes, of a large network."""


def prediction_batch(classifier: nn.Module, images: Tensor) -> int:
    """Return how many images a forward pass takes at once.

    Args:
        classifier: a `Classifier` may scale images up; what it reads counts.
        images: (N, C, H, W).
    """
    height, width = getattr(classifier, "size", None) or images.shape[-2:]
    channels = max(images.shape[1], int(getattr(classifier, "channels", 1)))
    device = next((parameter.device for parameter in classifier.parameters()), images.device)
    return max(1, min(MOST_IMAGES, _most_values(device) // (channels * height * width)))


def _most_values(device: torch.device) -> int:
    """Return how many values a batch has at most; what lies behind them may fill an eighth of a GPU."""
    if device.type != "cuda":
        return MOST_VALUES
    return max(MOST_VALUES, MOST_VALUES * device_memory(device) // 8 // BEHIND)


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory of a device, or those this process's control group may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return main_memory()


def halving(work: Callable[[Tensor], T], places: Tensor, size: int) -> Iterator[T]:
    """Yield what work gives on consecutive parts of places, in halves where the memory is full.

    Args:
        work: takes int64 (n,); what it gives must not depend on how the places are cut.
        places: int64 (N,).
        size: places of a part.

    Raises:
        TransferZooError: a single place does not fit in memory.
    """
    for part in places.split(size):
        try:
            done = work(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            done = None
        if done is None:  # outside of the handler, whose traceback holds the tensors of the failed pass
            if len(part) == 1:
                raise TransferZooError(
                    "memory runs out at a single image",
                    hint="with --jobs 1 no other process takes any; else use a smaller model, or more memory",
                )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            yield from halving(work, part, -(-len(part) // 2))
        else:
            yield done


def in_batches_of(count: int | None, images: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a model answers to images, (N, …), that takes a fixed number of them at once.

    Args:
        count: that number, which the last batch is filled up to with zeros; None for any.
        images: (N, …).
        answer: of a batch, one an image.
    """
    answers = []
    for part in images.split(count or max(1, len(images))):
        missing = (count or len(part)) - len(part)
        whole = torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) if missing else part
        answers.append(answer(whole)[: len(part)])
    return torch.cat(answers)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether PyTorch has found no memory, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
