"""Checkpoint folders: `model.safetensors`, timm's `config.json`, `recipe.json`, more weights in `samples`.

Any timm user can load one: `timm.create_model("local-dir:PATH", pretrained=True)`, after `import transferzoo`
where the architecture is ours. `recipe.json` holds what is needed to make it again and what was measured.
Weights may be stored in half precision; they are always loaded as float32.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import sha256, write_bytes, write_json
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.base.foreign_files import read_json
from transferzoo.base.plugins import used
from transferzoo.base.spec_strings import parse_terms
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.build import build, filtered
from transferzoo.models.state_dict import check_finite, check_fit, read_weights, serialised
from transferzoo.zoo.schema import MOST_CLASSES, MOST_PIXELS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from torch import Tensor, nn

    from transferzoo.zoo.schema import DatasetSpec

WEIGHTS, CONFIG, RECIPE = "model.safetensors", "config.json", "recipe.json"
SAMPLES = "samples"
SAMPLE = re.compile(SAMPLES + r"/\d{4}\.safetensors")
"""What the files of collected weights are called, within the checkpoint."""

_KEPT = {"input_size", "fixed_input_size", "mean", "std", "pool_size", "first_conv", "classifier"}
"""What fine-tuning keeps of its source's `pretrained_cfg`."""


def is_classifier(folder: Path) -> bool:
    """Return whether the config.json of a folder is of timm or transformers and says that there are classes.

    One that cannot be read is taken for one: whoever loads it says what is wrong.
    """
    try:
        config = read_json(folder / CONFIG)
        if "model_type" in config and "architecture" not in config:
            return any(str(name).endswith("ForImageClassification") for name in config["architectures"])
        return bool(config.get("num_classes", True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def save(
    folder: Path,
    model: nn.Module,
    architecture: str,
    dataset: DatasetSpec,
    arguments: Mapping[str, Any],
    *,
    half: bool,
    reads: Mapping[str, Any] | None = None,
) -> None:
    """Write the weights and timm's config; each file atomically, the weights last.

    Args:
        folder: made if absent.
        model: what `building.create` built, trained.
        architecture: its spec.
        dataset: what it classifies.
        arguments: what `building.create` returned beside the model.
        half: store floating-point weights as float16.
        reads: `pretrained_cfg` of the checkpoint it was fine-tuned from, whose preprocessing it keeps; None
            for the data set's own.

    Raises:
        ModelError: a weight is not finite (float16 overflow included).
        TransferZooError: the folder cannot be written.
    """
    content = serialised(model, half=half)
    config = {
        "architecture": parse_terms(architecture)[0].name,
        "num_classes": len(dataset.classes),
        "num_features": int(getattr(model, "num_features", 0)),
        "pretrained_cfg": {
            "tag": dataset.name,
            "custom_load": False,
            "input_size": [dataset.channels, dataset.size, dataset.size],
            "fixed_input_size": bool(getattr(model, "pretrained_cfg", {}).get("fixed_input_size")),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            **{key: value for key, value in (reads or {}).items() if key in _KEPT},
            "num_classes": len(dataset.classes),
            "label_names": list(dataset.classes),
        },
        "model_args": dict(arguments),
    }
    write_json(folder / CONFIG, config)
    write_bytes(folder / WEIGHTS, content)


def samples(folder: Path) -> list[Path]:
    """Return the weights collected after the training, in order; none for most checkpoints."""
    return sorted((folder / SAMPLES).glob("*.safetensors"))


def load_network(folder: Path, classes: int, weights: Path | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Load a checkpoint folder.

    Args:
        folder: holds config.json and model.safetensors.
        classes: how many classes the data set has.
        weights: file of the weights; None for model.safetensors.

    Returns:
        The model in float32 on the CPU, and the `pretrained_cfg` of its config.

    Raises:
        ModelError: a file is missing, truncated or not what it says; a weight is not finite; the architecture
            or the number of classes does not fit.
    """
    import torch

    config = read_config(folder)
    if config["num_classes"] != classes:
        raise ModelError(
            f"the checkpoint {folder} has the wrong number of classes",
            expected=f"{classes} as the data set",
            got=str(config["num_classes"]),
            hint="name its classes (label_names in its config.json), or say with `attack --classes FILE` "
            "which of them are the data's",
        )
    with torch.random.fork_rng(devices=[]):  # the initial weights are drawn, then overwritten
        return restore(folder, config, classes, weights=weights), config["pretrained_cfg"]


def restore(
    folder: Path,
    config: Mapping[str, Any],
    classes: int,
    fresh: AbstractSet[str] = frozenset(),
    weights: Path | None = None,
) -> nn.Module:
    """Build the model of a checkpoint and give it the weights, but those that stay freshly initialised.

    Args:
        folder: the checkpoint.
        config: what `read_config` says of it.
        classes: how many the model shall tell apart.
        fresh: names of the weights that are not taken from the file.
        weights: the file; None for model.safetensors.

    Raises:
        ModelError: see `load`.
    """
    model = rebuild(folder, config, classes)
    own = model.state_dict()
    found = read_weights(weights or folder / WEIGHTS)
    check_finite(found, str(weights or folder))
    hint = f"{CONFIG} and {WEIGHTS} must come from the same model"
    found = repaired(own, found, config, f"the weights in {folder}", hint, fresh)
    kept = {name: tensor.to(own[name].dtype) for name, tensor in found.items() if name not in fresh}
    model.load_state_dict(own | kept)
    return model


def repaired(
    own: Mapping[str, Tensor],
    found: dict[str, Tensor],
    config: Mapping[str, Any],
    what: str,
    hint: str,
    fresh: AbstractSet[str] = frozenset(),
) -> dict[str, Tensor]:
    """Return weights that fit a model: as they are, or what timm makes of those of older versions.

    Args:
        own: the model's.
        found: those that came.
        config: config.json of the model.
        what: what an error calls them, in the plural.
        hint: the next step.
        fresh: names that do not matter.

    Raises:
        ModelError: they do not fit, and timm cannot make them.
    """
    try:
        check_fit(own, found, what, hint, fresh)
    except ModelError:
        known = config["architecture"], config["num_classes"], config["model_args"], config["pretrained_cfg"]
        most = 2**26 + sum(tensor.numel() for tensor in own.values())
        small = sum(tensor.numel() for tensor in found.values()) <= most  # a few bytes can state any shape
        if not small or (weights := filtered(*known, found)) is None:
            raise
        check_fit(own, weights, what, hint, fresh)
        return weights
    return found


def rebuild(folder: Path, config: Mapping[str, Any], classes: int) -> nn.Module:
    """Build the model of a checkpoint, freshly initialised.

    Raises:
        ModelError: its architecture is unknown or does not take the arguments.
    """
    try:
        return build(config["architecture"], classes, config["model_args"])
    except UsageError as error:
        raise ModelError(f"{folder / CONFIG}: {str(error).removesuffix('.')}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the config.json of a checkpoint folder; what it leaves out is filled in as timm does.

    Raises:
        ModelError: absent, not JSON, or without the keys timm writes.
    """
    path = folder / CONFIG
    try:
        config = read_json(path)
        checked: dict[str, Any] = {
            "architecture": str(config["architecture"]),
            "num_classes": int(config["num_classes"]),
            "model_args": dict(config.get("model_args") or {}),
            "pretrained_cfg": dict(config["pretrained_cfg"]),
        }
        if not 0 <= checked["num_classes"] <= MOST_CLASSES:  # 0 of features without a head
            raise ValueError(f"num_classes is {checked['num_classes']}, not 0 to {MOST_CLASSES:,}")
        pretrained = checked["pretrained_cfg"]
        size = pretrained["input_size"] = [int(number) for number in pretrained["input_size"]]
        mean = pretrained["mean"] = [float(number) for number in pretrained["mean"]]
        std = pretrained["std"] = [float(number) for number in pretrained["std"]]
        if len(size) != 3 or min(size) < 1 or len(mean) != size[0] or len(std) != size[0]:
            raise ValueError("input_size, mean and std do not fit together")
        if max(size) > MOST_PIXELS:
            raise ValueError(f"input_size is more than {MOST_PIXELS} pixels")
        checked["model_args"].pop("num_classes", None)  # newer versions of timm repeat it there
        checked["model_args"].setdefault("in_chans", size[0])
        if pretrained.get("fixed_input_size"):
            checked["model_args"].setdefault("img_size", size[1:])
        if "label_names" in config:
            pretrained["label_names"] = config["label_names"]
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a checkpoint folder",
            expected=f"{CONFIG} and {WEIGHTS} in it",
            hint="name a folder that `transferzoo train` wrote",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"cannot read {path}",
            expected="timm's config.json",
            got=f"{type(error).__name__}: {error}",
            hint="copy or train it again",
        ) from None
    return checked


def description(folder: Path) -> dict[str, Any]:
    """Return all beside its weights that tells a checkpoint's model from others, as JSON has it.

    That is its config.json and, where its architecture is no built-in one, the plug-in that has it.

    Raises:
        ModelError: see `read_config`.
    """
    config = read_config(folder)
    return {**config, **used(ARCHITECTURES.origin(config["architecture"]))}


def class_names(pretrained: Mapping[str, Any]) -> list[str]:
    """Return the names of a checkpoint's classes in order, from its `pretrained_cfg`; none if unknown."""
    names = pretrained.get("label_names") or ()
    if isinstance(names, dict):  # class → name, as timm allows; JSON may have put "10" before "2"
        names = [names[key] for key in sorted(names, key=lambda key: (len(key), key))]
    return [str(name) for name in names]


def digest(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weight file.

    Raises:
        ModelError: there is none.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(
            f"{folder} holds no weights", expected=f"a file {WEIGHTS} in it", hint="copy or train it again"
        )
    return sha256(path)
