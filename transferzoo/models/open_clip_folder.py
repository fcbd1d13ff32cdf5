"""Folders as `open_clip` publishes models: told apart, and loaded as zero-shot classifiers.

A class is known by its name alone: the text features of a prompt for each class of the data set are computed
once, and an image's logits are its similarities to them, scaled as the model was trained. Underscores in
names are spaces; a WordNet id of ImageNet stands for the first of its words.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, UsageError, reason
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.optional import import_optional
from transferzoo.models.class_map import words_of
from transferzoo.models.classifier import Classifier
from transferzoo.models.open_clip_files import CONFIG, TOKENIZER, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

USUAL_PROMPT = "a photo of a {}."


class ZeroShot(nn.Module):
    """Normalised images (N, C, H, W) → logits (N, K).

    Args:
        network: of open_clip.
        texts: features of a prompt for each class, each of length 1, (K, D).
    """

    texts: Tensor

    def __init__(self, network: nn.Module, texts: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("texts", texts)

    def forward(self, images: Tensor) -> Tensor:
        """Return the cosine of image and text features, times the model's scale, and its bias if any."""
        network: Any = self.network
        features: Tensor = functional.normalize(network.encode_image(images), dim=-1)
        logits: Tensor = network.logit_scale.exp() * features @ self.texts.T
        bias: Tensor | None = getattr(network, "logit_bias", None)
        return logits if bias is None else logits + bias


def package() -> Any:
    """Import open_clip.

    Raises:
        TransferZooError: it is not installed.
    """
    return import_optional("open_clip", "open_clip", "models of open_clip need")


def identity(folder: Path, prompt: str) -> tuple[str, str]:
    """Return the SHA-256 of the weights in a folder, and a fingerprint of its other files and the prompt."""
    others = [name for name in (CONFIG, *TOKENIZER) if (folder / name).is_file()]
    described = {name: sha256(folder / name) for name in others}
    return sha256(folder / WEIGHTS), fingerprint({**described, "prompt": prompt})


def load_open_clip(folder: Path, dataset: DatasetSpec, prompt: str) -> Classifier:
    """Load a zero-shot classifier of a data set's classes: float32, evaluation mode, on the CPU.

    Args:
        folder: holds open_clip_config.json and open_clip_model.safetensors.
        dataset: gives the names of the classes.
        prompt: a sentence with {} for the name of a class.

    Raises:
        TransferZooError: open_clip is not installed.
        UsageError: the prompt has no place for a class, or the classes have no names.
        ModelError: the folder is damaged, or needs files from elsewhere.
    """
    if prompt.count("{}") != 1 or "{" in prompt.replace("{}", ""):
        raise UsageError(
            "--prompt has no place for a class",
            expected=f"one {{}} in it, as in '{USUAL_PROMPT}'",
            got=prompt,
        )
    if all(name.isdecimal() for name in dataset.classes):
        raise UsageError(
            f"'{dataset.name}' has no names of its classes, by which a zero-shot model knows them",
            expected="folders or lists with names",
            got=", ".join(dataset.classes[:3]),
        )
    open_clip, where = package(), f"local-dir:{folder}"
    _check_text_tower(folder)
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            network = open_clip.create_model(
                where, precision="fp32", weights_only=True, require_pretrained=True
            )
            tokenizer = open_clip.get_tokenizer(where, **_without_code(folder))
            texts = _text_features(
                network.eval(), tokenizer, [prompt.format(_spoken(c)) for c in dataset.classes]
            )
    except Exception as error:  # whatever a damaged folder does to it
        raise ModelError(
            f"open_clip cannot load {folder}: {reason(error)}",
            expected=f"{CONFIG} and {WEIGHTS} as open_clip publishes them",
        ) from error
    read = open_clip.get_model_preprocess_cfg(network)
    size = (read["size"],) * 2 if isinstance(read["size"], int) else tuple(read["size"])
    return Classifier(
        ZeroShot(network, texts),
        size=size,
        channels=3,
        mean=read["mean"],
        std=read["std"],
        interpolation=read["interpolation"],
    ).eval()


def _spoken(name: str) -> str:
    return words_of(name).partition(",")[0] or name.replace("_", " ")


@torch.no_grad()
def _text_features(network: Any, tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    parts = [network.encode_text(tokenizer([*part]), normalize=True) for part in _parts(prompts)]
    return torch.cat(parts)


def _parts(prompts: Sequence[str], most: int = 64) -> Iterator[Sequence[str]]:
    for start in range(0, len(prompts), most):
        yield prompts[start : start + most]


def _check_text_tower(folder: Path) -> None:
    """Refuse a model whose text tower would be looked for elsewhere.

    Raises:
        ModelError: it would, or the config cannot be read.
    """
    try:
        text = read_json(folder / CONFIG)["model_cfg"]["text_cfg"]
        elsewhere = text.get("hf_model_name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"cannot read {folder / CONFIG}: {reason(error)}") from None
    if elsewhere:
        raise ModelError(
            f"the text tower of {folder} is another model, {elsewhere}",
            expected="one of open_clip's own",
            hint="choose another model of open_clip",
        )


def _without_code(folder: Path) -> dict[str, bool]:
    """Return what keeps a tokenizer of transformers from running code that its files name."""
    text = read_json(folder / CONFIG)["model_cfg"]["text_cfg"]
    return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what open_clip logs and warns of: what matters comes as an exception."""
    root = logging.getLogger()
    before, root.disabled = root.disabled, True
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        root.disabled = before
