"""Folders as `transformers` saves image classifiers: told apart, and loaded without running their code."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, reason
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.optional import import_optional
from transferzoo.models.checkpoint import CONFIG, WEIGHTS
from transferzoo.zoo.source_facts import InputForm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.foreign_network import ForeignNetwork
    from transferzoo.zoo.schema import DatasetSpec

PROCESSOR = "preprocessor_config.json"
"""Where a folder says how pixels are resized and normalised."""
LEVELS = 2
"""How many of 255 levels pixels may differ from the image processor's, which rounds what it resizes."""


def is_transformers(folder: Path) -> bool:
    """Return whether the config.json of a folder is one of transformers, not one of timm."""
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "architecture" not in config


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a model's classes in the order of its logits; none where nothing names them."""
    try:
        names = read_json(folder / CONFIG)["id2label"]
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def input_form(folder: Path) -> InputForm | None:
    """Return what images a model reads, as its image processor's description says; None where it does not.

    transformers is not imported.
    """
    try:
        said = read_json(folder / PROCESSOR)
        size = said["crop_size" if said.get("do_center_crop") else "size"]
        side = size if isinstance(size, int) else size.get("height") or size["shortest_edge"]
        mean, std = ([float(value) for value in said[key]] for key in ("image_mean", "image_std"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    fits = len(mean) == len(std) in (1, 3) and isinstance(side, int) and side > 0 and min(std) > 0
    return InputForm(len(mean), side, tuple(mean), tuple(std)) if fits else None


def identity(folder: Path) -> tuple[str, str]:
    """Return the SHA-256 of the weights in a folder, and a fingerprint of what else it says of the model.

    Raises:
        ModelError: weights or the description of the image processor are not there.
    """
    _check_files(folder)
    described = {name: sha256(folder / name) for name in (CONFIG, PROCESSOR)}
    return sha256(folder / WEIGHTS), fingerprint(described)


def _check_files(folder: Path) -> None:
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{folder} holds no weights",
            expected=f"one file {WEIGHTS} in it",
            hint="save it again: `model.save_pretrained(FOLDER)`",
        )
    if not (folder / PROCESSOR).is_file():
        raise ModelError(
            f"nothing says how pixels are read by the model in {folder}",
            expected=f"a file {PROCESSOR} in it",
            hint="save its image processor there: `processor.save_pretrained(FOLDER)`",
        )


def load_transformers(folder: Path, dataset: DatasetSpec) -> Classifier:
    """Load an image classifier of transformers: float32, evaluation mode, on the CPU.

    Pixels are resized, cropped and normalised as its image processor does; that is tried on an image.

    Args:
        folder: holds config.json, model.safetensors and preprocessor_config.json.
        dataset: whose images it reads.

    Raises:
        TransferZooError: transformers is not installed.
        ModelError: it is no image classifier, is damaged, lacks weights, needs code of its own, or its image
            processor does something else.
    """
    from transferzoo.datasets.labels import class_order
    from transferzoo.models.foreign_network import ForeignNetwork, Logits

    _check_files(folder)
    transformers = package()
    network = _network(transformers, folder)
    processor = _processor(transformers, folder)
    names = network.config.id2label
    order = class_order([names[key] for key in sorted(names)], dataset.classes)
    return reading_as(processor, ForeignNetwork(Logits(network)), str(folder), dataset.size, order).eval()


def reading_as(
    processor: Any, network: ForeignNetwork, name: str, side: int, order: Sequence[int] | None = None
) -> Classifier:
    """Return a network as a classifier that resizes, crops and normalises pixels as an image processor does.

    That it does is tried on an image of so many pixels a side.

    Raises:
        ModelError: the image processor does something else.
    """
    reading = _reading(processor, name)
    classifier = network.classifier(**reading, order=order)
    _compare(processor, classifier, name, side)
    return classifier


def package() -> Any:
    """Import transformers.

    Raises:
        TransferZooError: it is not installed.
    """
    return import_optional("transformers", "transformers", "models of transformers need")


def _network(transformers: Any, folder: Path) -> Any:
    import torch

    try:
        with _quiet(transformers), torch.random.fork_rng(devices=[]):
            network, found = transformers.AutoModelForImageClassification.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers and safetensors raise all kinds
        raise ModelError(
            f"transformers cannot load the classifier in {folder}: {reason(error)}",
            hint="code of a repository is never run; models that transformers itself has can be used",
        ) from None
    if lacking := sorted(found["missing_keys"]):
        raise ModelError(
            f"{folder} is no trained image classifier: it has no weights '{lacking[0]}'",
            expected=f"all weights of {type(network).__name__}",
            hint="fine-tune it first, or name a model that was",
        )
    return network.float()


def _processor(transformers: Any, folder: Path) -> Any:
    try:
        with _quiet(transformers):
            return transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # likewise
        raise ModelError(f"transformers cannot load {folder / PROCESSOR}: {reason(error)}") from None


def _reading(processor: Any, name: str) -> dict[str, Any]:
    """Return how an image processor resizes, crops and normalises, as arguments of `Classifier`.

    Raises:
        ModelError: in another way than a classifier of square images can.
    """
    mean, std = list(processor.image_mean or [0.0] * 3), list(processor.image_std or [1.0] * 3)
    if not processor.do_normalize:
        mean, std = [0.0] * len(mean), [1.0] * len(std)
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    size, crop = None, None
    if processor.do_resize:
        size, crop = _sides(processor.size, name), None
        part = getattr(processor, "crop_pct", None)
        if part and size[0] < 384:  # ConvNeXt's: below 384 pixels, scale to a larger size and crop
            size, crop = (int(size[0] / part), int(size[1] / part)), size
    if processor.do_center_crop:
        crop = _sides(processor.crop_size, name)
    return {
        "size": size,
        "crop": crop,
        "interpolation": "bicubic" if processor.resample == 3 else "bilinear",
        "channels": len(mean),
        "mean": [value / scale for value in mean],
        "std": [value / scale for value in std],
    }


def _sides(size: Any, name: str) -> tuple[int, int]:
    """Return height and width: those stated, or the shorter side, which of a square is both."""
    sides = dict(size)
    if sides.get("height") and sides.get("width"):
        return sides["height"], sides["width"]
    if sides.get("shortest_edge"):
        return (sides["shortest_edge"],) * 2
    raise ModelError(
        f"the size that the image processor of {name} states cannot be read",
        expected="height and width, or shortest_edge",
        got=str(sides),
    )


def _compare(processor: Any, classifier: Classifier, name: str, side: int) -> None:
    """See that a classifier reads an image as the image processor does.

    Raises:
        ModelError: it does not.
    """
    import torch

    rows = torch.linspace(0, 3, side).view(-1, 1) + torch.linspace(0, 2, side)
    waves = [(rows * (1 + channel / 2)).sin() for channel in range(classifier.channels)]
    image = ((torch.stack(waves) + 1) * 120 + 5).round().to(torch.uint8)
    try:
        theirs = processor(images=[image], return_tensors="pt", input_data_format="channels_first")
        expected = theirs["pixel_values"]
        read = classifier.read(image[None] / 255)
        same = expected.shape == read.shape
        farthest = float(((expected - read) * classifier.std).abs().max()) * 255 if same else float("inf")
    except Exception as error:  # whatever an image processor raises
        raise ModelError(f"the image processor of {name} fails: {reason(error)}") from None
    if not farthest <= LEVELS:
        raise ModelError(
            f"the image processor of {name} does more than resize, crop and normalise",
            expected=f"pixels within {LEVELS} of 255 levels of what that gives",
            got=f"{farthest:.3g}" if same else f"shape {tuple(expected.shape)}, not {tuple(read.shape)}",
            hint="wrap the model in a function of your own, package.module:function with --allow-code",
        )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silence the reports, bars and warnings of transformers; what matters of them is an error here."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
