"""Weight files of others become checkpoint folders: read as tensors only, checked, and written once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import write_bytes, write_json
from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.digests import digest_of
from transferzoo.base.errors import ModelError, UsageError, refusal
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models import checkpoint
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.build import build, read
from transferzoo.models.state_dict import check_finite
from transferzoo.models.weight_contents import own_weights
from transferzoo.zoo.schema import MOST_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from transferzoo.zoo.schema import WeightFile

ORIGIN = "origin.json"
LAYOUT = 1
"""Counts changes of what a conversion writes."""


def convert_weights(
    file: Path,
    weights: WeightFile,
    origin: Mapping[str, str],
    log: Callable[[str], None] = lambda sentence: None,
) -> Path:
    """Return the checkpoint folder made of a weight file; a second call finds it.

    Args:
        file: where it lies on this machine.
        weights: what it does not say of itself.
        origin: where it comes from, for the folder's origin.json.
        log: called when a pickle is read, and with what was found out about the file.

    Raises:
        ModelError: the file is damaged, not the pinned one or would run code, or its weights are not finite
            or do not fit the architecture.
        TransferZooError: the folder cannot be written.
    """
    try:
        sha256 = digest_of(file, 64)
    except OSError as error:
        raise ModelError(
            f"cannot read the weights {file}: {refusal(error)}",
            hint="check its place and the name of the file",
        ) from None
    if weights.sha256 not in (None, sha256):
        raise ModelError(f"{file} is another file", expected=f"the SHA-256 {weights.sha256}", got=sha256)
    known = fingerprint({"layout": LAYOUT, "file": sha256, "weights": weights.key()})
    folder = cache_folder("converted") / known
    if _is_whole(folder):
        _say(folder, file, log)
        return folder
    from safetensors.torch import save as serialise

    arguments, model = _built(weights)
    own, found = own_weights(file, weights, model)
    classes = _classes(own, weights, model)
    if classes is not None:
        arguments, model = _built(weights, classes)
    config = _config(weights, arguments, model)
    content = serialise(_fitting(own, model, file, config), metadata={"format": "pt"})
    write_json(folder / checkpoint.CONFIG, config)
    counted = "" if classes is None else f"its head tells {classes:,} classes apart"
    notes = (str(found), counted, _normalisation(weights, config["pretrained_cfg"]))
    told = [text for text in notes if text]
    written = {
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "config_sha256": digest_of(folder / checkpoint.CONFIG, 64),
    }
    read_as = {"read_as": "; ".join(told)} if told else {}
    write_json(folder / ORIGIN, {**origin, "sha256": sha256, **written, **read_as})
    write_bytes(folder / checkpoint.WEIGHTS, content)  # the last one: where it is, the folder is whole
    if weights.pickle:
        log(
            f"{file.name} is a pickle: it is read as tensors only, once, and kept as safetensors in {folder}."
        )
    _say(folder, file, log)
    return folder


def _say(folder: Path, file: Path, log: Callable[[str], None]) -> None:
    """Tell what was found out about a file when it was converted."""
    if read_as := read_json(folder / ORIGIN).get("read_as"):
        log(f"{file.name}: {read_as}.")


def _normalisation(weights: WeightFile, pretrained: Mapping[str, Any]) -> str:
    """Return in words what pixels are normalised by where the file's entry does not say so."""
    if weights.mean and weights.std:
        return ""
    mean, std = (", ".join(f"{value:g}" for value in pretrained[key]) for key in ("mean", "std"))
    return f"pixels are normalised as its architecture has it, by mean {mean} and std {std}"


def _is_whole(folder: Path) -> bool:
    """Return whether a folder has converted weights and their configuration, and those that were written."""
    files = {"weights_sha256": checkpoint.WEIGHTS, "config_sha256": checkpoint.CONFIG}
    try:
        written = read_json(folder / ORIGIN)
        return all(digest_of(folder / file, 64) == written[name] for name, file in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _config(weights: WeightFile, arguments: dict[str, Any], model: Any) -> dict[str, Any]:
    """Return what config.json says.

    Raises:
        ModelError: nobody says how pixels are normalised.
    """
    reads = getattr(model, "pretrained_cfg", None) or {}
    mean, std = weights.mean or reads.get("mean", ()), weights.std or reads.get("std", ())
    channels, *size = weights.input_size
    if len(mean) != channels or len(std) != channels:
        raise ModelError(
            f"nothing says how the pixels for {weights.file} are normalised",
            expected=f"a mean and a std for {channels} channel(s), which '{weights.architecture}' has not",
            hint="state them with --mean and --std, or in a zoo file",
        )
    fixed = bool(reads.get("fixed_input_size"))
    if fixed and not weights.mean:  # the architecture's own size, like its normalisation
        size = [arguments.get("img_size", reads["input_size"][1])] * 2
    return {
        "architecture": read(weights.architecture)[0],
        "num_classes": int(model.num_classes),
        "num_features": int(getattr(model, "num_features", 0)),
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [channels, *size],
            "fixed_input_size": fixed,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": list(mean),
            "std": list(std),
            "num_classes": int(model.num_classes),
        },
        "model_args": arguments,
    }


def _built(weights: WeightFile, classes: int | None = None) -> tuple[dict[str, Any], Any]:
    """Return the arguments of the architecture, and a freshly initialised model.

    Args:
        weights: says what it is.
        classes: how many it tells apart, where that is not as many as `weights` says.

    Raises:
        ModelError: it is unknown or does not take the arguments.
    """
    import torch

    try:
        name, options = read(weights.architecture)
        arguments = {"in_chans": weights.input_size[0], **weights.arguments, **options}
        if name in ARCHITECTURES and ARCHITECTURES[name].fixes_img_size:
            arguments.setdefault("img_size", weights.input_size[1])
        stated = arguments.pop("num_classes", None)
        classes = stated if classes is None else classes
        with torch.random.fork_rng(devices=[]):
            return arguments, build(name, classes, arguments)
    except UsageError as error:
        raise ModelError(f"{weights.file}: {str(error).removesuffix('.')}") from None


def _classes(own: Mapping[str, Tensor], weights: WeightFile, model: Any) -> int | None:
    """Return how many classes weights tell apart where these are others than a model's; None where not.

    The head is what has another shape in a model of one class more.
    """
    expected = model.state_dict()
    odd = {name for name, tensor in expected.items() if name in own and own[name].shape != tensor.shape}
    if not odd:
        return None
    larger = _built(weights, int(model.num_classes) + 1)[1].state_dict()
    head = {
        name for name, tensor in expected.items() if name not in larger or larger[name].shape != tensor.shape
    }
    alike = all(own[name].shape[1:] == expected[name].shape[1:] for name in odd)
    counts = {len(own[name]) for name in odd if own[name].ndim}
    if odd != head or not alike or len(counts) != 1 or not 2 <= min(counts) <= MOST_CLASSES:
        return None
    return counts.pop()


def _fitting(
    own: dict[str, Tensor], model: nn.Module, file: Path, config: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return checked weights in the model's order and number formats.

    Args:
        own: by their names in the file.
        model: freshly initialised.
        file: that they come from.
        config: its config.json.

    Raises:
        ModelError: they do not fit, or one is not finite.
    """
    import torch

    wanted = model.state_dict()
    _check_classes(own, wanted, int(config["num_classes"]), file)
    hint = "check the architecture, or `weights` of the zoo entry"
    own = checkpoint.repaired(wanted, own, config, f"the weights in {file}", hint)
    check_finite(own, str(file))
    dense = torch.contiguous_format
    return {  # copied, since two names may share their numbers
        name: own[name].detach().to(tensor.dtype, copy=True, memory_format=dense)
        for name, tensor in wanted.items()
    }


def _check_classes(own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], classes: int, file: Path) -> None:
    """See that weights are not those of the same network with another number of classes.

    Raises:
        ModelError: they are.
    """
    odd = [name for name in own.keys() & wanted.keys() if own[name].shape != wanted[name].shape]
    heads = [name for name in odd if wanted[name].ndim and wanted[name].shape[0] == classes]
    counts = {own[name].shape[0] for name in heads if own[name].shape[1:] == wanted[name].shape[1:]}
    if heads == odd and len(counts) == 1:
        count = counts.pop()
        raise ModelError(
            f"the weights in {file} are of {count} classes",
            expected=f"{classes}, as the data has",
            hint=f"name the data set of their classes with --dataset or --data, or add num_classes={count} "
            "to --architecture and say with --classes FILE which of them are the data's",
        )
