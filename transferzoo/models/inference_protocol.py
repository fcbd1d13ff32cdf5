"""What is said to a served model and by it: messages of the Open Inference Protocol, version 2, as JSON.

`GET URL` gives names, shapes and types; `POST URL/infer` takes images. An answer is scores (N, K), or labels
alone: integers (N,) or (N, 1).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel

from transferzoo.base.errors import ModelError
from transferzoo.base.printable import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUTS = {"FP32": "float32", "FP16": "float16", "UINT8": "uint8"}
"""Numbers that an input may hold, as the protocol calls them → their name in NumPy."""
SCORES = ("FP64", "FP32", "FP16", "BF16")
DECLARE = "let the server answer as its metadata say, or declare what it answers"
"""What is to be done where an answer is none."""
MOST_NUMBERS, USUAL_SIDE = 2**25, 224
"""Numbers of a request at most, where an image has so many a side if the metadata do not say: a gigabyte."""
LABELS = ("INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")


class _Tensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]


class _Filled(_Tensor):
    data: list[Any]


class Answer(BaseModel):
    """What a server answers for images."""

    outputs: list[_Filled]


class Metadata(BaseModel):
    """What a server says about a model."""

    name: str
    versions: list[str] | None = None
    platform: str = ""
    inputs: list[_Tensor] | None = None
    outputs: list[_Tensor] | None = None


class Interface(NamedTuple):
    """What a served model reads and answers.

    Attributes:
        input: name of its input.
        dtype: of the pixels, "uint8" for 0, …, 255.
        batch: how many images it takes at once; None for any number.
        channels: 1, 3, or None where it does not say.
        sides: height and width, likewise.
        channels_last: whether it takes images as (N, H, W, C).
        output: name of its output.
        labels: whether that is labels alone.
        classes: how many scores it has; None where it does not say.
    """

    input: str
    dtype: str
    batch: int | None
    channels: int | None
    sides: tuple[int | None, int | None]
    channels_last: bool
    output: str
    labels: bool
    classes: int | None


def interface(metadata: Metadata, url: str) -> Interface:
    """Return how a model is asked.

    Raises:
        ModelError: it does not read images alone, or too many at once, or answers neither scores nor labels.
    """
    inputs, outputs = metadata.inputs or [], metadata.outputs or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].datatype not in INPUTS:
        raise ModelError(
            f"{url} cannot read images",
            expected=f"metadata with one input of 4 dimensions, {', '.join(INPUTS)}",
            got=_described(inputs),
            hint="let the server declare it",
        )
    batch, *rest = (size if size > 0 else None for size in inputs[0].shape)
    last = rest[0] not in (1, 3) and rest[2] in (1, 3)
    channels, height, width = (rest[2], *rest[:2]) if last else rest
    if channels not in (None, 1, 3):
        raise ModelError(
            f"{url} cannot read images",
            expected="1 or 3 channels, (N, C, H, W) or (N, H, W, C)",
            got=f"shape {inputs[0].shape}",
        )
    if (batch or 1) * (channels or 3) * prod(side or USUAL_SIDE for side in (height, width)) > MOST_NUMBERS:
        raise ModelError(
            f"{url} takes more at once than a request can hold",
            expected=f"at most {MOST_NUMBERS:,} numbers",
            got=f"shape {inputs[0].shape}",
            hint="let the server declare fewer images a request, or any number (-1)",
        )
    scores = [one for one in outputs if one.datatype in SCORES and len(one.shape) == 2]
    labels = [one for one in outputs if one.datatype in LABELS and one.shape[1:] in ([], [1])]
    if not scores and not labels:
        raise ModelError(
            f"{url} gives no classes",
            expected="metadata with an output of scores (N, K), or of labels, integers (N,)",
            got=_described(outputs),
            hint="let the server declare it",
        )
    output = (scores or labels)[0]
    count = output.shape[1] if scores and output.shape[1] > 0 else None
    dtype = INPUTS[inputs[0].datatype]
    sides = (height, width)
    return Interface(inputs[0].name, dtype, batch, channels, sides, last, output.name, not scores, count)


def request(images: NDArray[Any], reads: Interface) -> dict[str, Any]:
    """Return the request for images as the model takes them, black ones after them up to its batch."""
    missing = (reads.batch or len(images)) - len(images)
    filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    datatype = next(name for name, dtype in INPUTS.items() if dtype == reads.dtype)
    tensor = {"name": reads.input, "datatype": datatype, "shape": list(filled.shape)}
    return {
        "inputs": [{**tensor, "data": filled.ravel().tolist()}],
        "outputs": [{"name": reads.output}],
    }


def numbers(url: str, answer: Answer, reads: Interface, count: int) -> NDArray[Any]:
    """Return what an answer holds, scores float32 (N, K) or labels int64 (N,).

    Args:
        url: of the model, for the error.
        answer: the answer.
        reads: what the model answers.
        count: N, how many images it was given.

    Raises:
        ModelError: something else.
    """
    wanted = f"{count} labels" if reads.labels else f"scores ({count}, {reads.classes or 'K'})"
    found = next((one for one in answer.outputs if one.name == reads.output), None)
    try:
        if found is None:
            raise ValueError
        values = np.array(found.data, np.int64 if reads.labels else np.float32).reshape(found.shape)
    except (ValueError, TypeError, OverflowError):
        raise ModelError(
            f"{url} answers something else than its metadata say",
            expected=wanted,
            got=_described(list(answer.outputs)),
            hint=DECLARE,
        ) from None
    values = values.reshape(-1) if reads.labels else values
    fits = values.shape[:1] == (count,) and values.ndim == (1 if reads.labels else 2)
    if not fits or not np.isfinite(values).all():
        got = f"shape {list(values.shape)}" if not fits else "NaN or infinity"
        raise ModelError(f"{url} gives no classes of the images", expected=wanted, got=got, hint=DECLARE)
    return values


def _described(tensors: list[_Tensor]) -> str:
    return printable(", ".join(f"{one.datatype} {one.shape}" for one in tensors)) or "none"
