"""Files of adversarial images: a work unit each, checked whenever they are read.

`images` is uint8 (N, C, H, W), `ids` int64 (N,), `after K` the images after K steps, where a curve has them;
the metadata have the SHA-256 of all. What does not fit is an error; the command that made it crafts it again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from transferzoo.attacks.norms import NORMS
from transferzoo.base.atomic import write_bytes
from transferzoo.base.digests import tensors_digest
from transferzoo.base.errors import DataError, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.attacks.engine import Attack

AGAIN = "run the attack command again, which crafts them anew"
SLACK = 1e-9
"""Relative error of a distance, a float64, beside the budget it keeps exactly."""


def write_unit(path: Path, images: Mapping[int, Tensor], steps: int, ids: Tensor) -> None:
    """Write the adversarial images of a work unit.

    Args:
        path: the file.
        images: by the steps after which they were taken, uint8 (N, C, H, W).
        steps: of the whole attack.
        ids: of the images, int64 (N,).
    """
    tensors = {_name(at, steps): taken.contiguous() for at, taken in images.items()}
    tensors["ids"] = ids.contiguous()
    write_bytes(path, save(tensors, {"sha256": _digest(tensors)}))


def read_unit(path: Path, at: int, clean: Tensor, ids: Tensor, attack: Attack) -> Tensor:
    """Return the adversarial images of a work unit, uint8 (N, C, H, W).

    Args:
        path: the file.
        at: after which step.
        clean: the images they were crafted from, uint8 (N, C, H, W).
        ids: of these, int64 (N,).
        attack: whose budget they keep.

    Raises:
        DataError: the file is missing or damaged, or has other images, or images outside of the budget.
    """
    tensors = _tensors(path, ids)
    images = tensors.get(_name(at, attack.budget.steps), torch.empty(0))
    if images.dtype != torch.uint8 or images.shape != clean.shape:
        got = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        raise DataError(
            f"{path} holds no such images", expected=f"uint8 {tuple(clean.shape)}", got=got, hint=AGAIN
        )
    farthest = float(attack.budget.epsilon) * (1 + SLACK)
    if bool((NORMS[attack.budget.norm].distance(images, clean) > farthest).any()):
        raise DataError(f"images in {path} are outside of the attack's budget", hint=AGAIN)
    return images


def read_places(paths: Iterator[Path], ids: Sequence[int], places: Sequence[int]) -> Tensor:
    """Return the adversarial images at some places of a run, to look at, uint8 (M, C, H, W).

    Args:
        paths: files of the work units, in order.
        ids: of all images of the run.
        places: of those to return, M of them.

    Raises:
        DataError: a file is missing or damaged, or has other images.
    """
    found: dict[int, Tensor] = {}
    start = 0
    while start <= max(places):
        tensors = _tensors(next(paths), None)
        stored = tensors["ids"].tolist()
        if not stored or stored != list(ids[start : start + len(stored)]) or "images" not in tensors:
            raise DataError("the adversarial images are not those of the run", hint=AGAIN)
        found |= {
            place: tensors["images"][place - start]
            for place in places
            if place in range(start, start + len(stored))
        }
        start += len(stored)
    return torch.stack([found[place] for place in places])


def write_clean(path: Path, images: Tensor, ids: Tensor, classes: Sequence[str]) -> None:
    """Write clean images to look at, uint8 (M, C, H, W), with their ids (M,) and the names of all classes.

    The names are a tensor too: safetensors writes several metadata in another order every time.
    """
    names = torch.frombuffer(bytearray(json.dumps([*classes]).encode()), dtype=torch.uint8)
    tensors = {"images": images.contiguous(), "ids": ids.contiguous(), "classes": names}
    content = save(tensors, {"sha256": _digest(tensors)})
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)


def read_clean(path: Path) -> tuple[Tensor, Tensor, list[str]]:
    """Return what `write_clean` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    tensors = _tensors(path, None)
    if not {"images", "classes"} <= tensors.keys():
        raise DataError(f"{path} holds no clean images", hint=AGAIN)
    names = json.loads(tensors["classes"].numpy().tobytes())
    return tensors["images"], tensors["ids"], [str(name) for name in names]


def _tensors(path: Path, ids: Tensor | None) -> dict[str, Tensor]:
    """Return what a file holds.

    Raises:
        DataError: it is missing or damaged, or of other images.
    """
    try:
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            digest = (stored.metadata() or {}).get("sha256")
    except FileNotFoundError:
        raise DataError(f"{path} is missing", hint=AGAIN) from None
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read {path}: {reason(error)}", hint=AGAIN) from None
    if "ids" not in tensors or digest != _digest(tensors):
        raise DataError(f"the images in {path} are not those that were written", hint=AGAIN)
    if ids is not None and not torch.equal(tensors["ids"], ids):
        raise DataError(f"{path} holds other images than this run's", expected=f"{len(ids)} ids", hint=AGAIN)
    return tensors


def is_whole(path: Path, curve: tuple[int, ...], clean: Tensor, ids: Tensor, attack: Attack) -> bool:
    """Return whether a work unit need not be crafted; arguments as of `read_unit`, and steps of a curve."""
    try:
        for at in (*(step for step in curve if step < attack.budget.steps), attack.budget.steps):
            read_unit(path, at, clean, ids, attack)
    except DataError:
        return False
    return True


def _name(step: int, steps: int) -> str:
    return "images" if step == steps else f"after {step}"


def _digest(tensors: Mapping[str, Tensor]) -> str:
    return tensors_digest(*(tensors[name] for name in sorted(tensors)))
