"""Fine-tuning: where a training starts from, what of it is kept, and surrogates that an attack fine-tunes.

The architecture, its arguments and the preprocessing are the source's. So are all weights where the source
classifies the same classes; otherwise its head is freshly initialised. Nothing here imports torch before a
model is built.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo import checkpoint
from transferzoo.architectures import ARCHITECTURES
from transferzoo.config import TrainConfig, fingerprint
from transferzoo.errors import ModelError, UnknownNameError, UsageError
from transferzoo.minimizers import MINIMIZERS, show_rule
from transferzoo.notation import parse_terms
from transferzoo.pulling import located, pulled
from transferzoo.specs import NAMED_ON_HUB, ROLES, TO_TRAIN, ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.specs import DatasetSpec
    from transferzoo.zoo import Zoo

# ---------------------------------------------------------------- the source


def find(zoo: Zoo, name: str, dataset: str = "") -> Path:
    """Return the checkpoint folder that a name stands for.

    Args:
        zoo: what names mean.
        name: a model of any data set, short or in full; a folder; or "hf-hub:OWNER/NAME[@REVISION]".
        dataset: where several models share a short name, the one of this data set is meant.

    Raises:
        UsageError: nothing of that name, or several models.
        TransferZooError: the Hub does not have it.
    """
    if name.startswith(NAMED_ON_HUB):
        repo, _, revision = name.removeprefix(NAMED_ON_HUB).partition("@")
        return pulled(repo, revision or None)
    if name.startswith((".", os.sep, "~")):
        place = Path(name).expanduser()
        if not place.is_dir():
            raise UsageError(f"'{name}' is no folder", expected="a checkpoint folder to start from")
        return place.resolve()
    if name in zoo.models:
        return located(zoo.models[name]).folder
    found = [model for model in zoo.models.values() if model.name == name]
    found = [model for model in found if model.dataset == dataset] or found
    found = [model for model in found if model.source != TO_TRAIN] or found
    if len(found) > 1:
        raise UsageError(
            f"several models are called '{name}'", expected="one of " + ", ".join(m.full_name for m in found)
        )
    if found:
        return located(found[0]).folder
    if Path(name).is_dir():
        return Path(name).resolve()
    raise UnknownNameError("model", name, [model.name for model in zoo.models.values()])


def architecture_of(folder: Path) -> str:
    """Return the architecture spec of a checkpoint folder: what a spec can say that no data set sets.

    Raises:
        ModelError: the folder is no checkpoint.
    """
    config = checkpoint.read_config(folder)
    name = config["architecture"].partition(".")[0]  # without timm's tag of the weights
    fixed = {"in_chans"} | ({"img_size"} if name in ARCHITECTURES else set())
    options = ",".join(
        f"{key}={value}"
        for key, value in config["model_args"].items()
        if key not in fixed and type(value) in (int, float, str)
    )
    return f"{name}:{options}" if options else name


def identity(folder: Path) -> dict[str, str]:
    """Return what tells one source from another: the digests of its weights and of its description.

    Raises:
        ModelError: the folder is no checkpoint.
    """
    config = checkpoint.read_config(folder)
    return {"start": checkpoint.digest(folder), "start_config": fingerprint(config)}


# ---------------------------------------------------------------- what is kept of it


@dataclass(frozen=True)
class Start:
    """A model to fine-tune.

    Attributes:
        model: with the source's weights.
        arguments: what timm's `create_model` needs to build it again.
        reads: the source's `pretrained_cfg`, with `input_size`, `mean` and `std`.
        fresh: names of the weights that are not the source's.
        note: why, as a sentence for the user; empty where all are.
    """

    model: nn.Module
    arguments: dict[str, Any]
    reads: dict[str, Any]
    fresh: tuple[str, ...]
    note: str


def begin(folder: Path, dataset: DatasetSpec, architecture: str) -> Start:
    """Load a checkpoint to be trained on a data set; fresh weights are drawn from torch's generator.

    Args:
        folder: the checkpoint.
        dataset: what it shall classify.
        architecture: what `architecture_of` says of it.

    Raises:
        UsageError: the architecture is another.
        ModelError: the checkpoint is damaged, its head is not found, or it cannot read the data set's images.
    """
    config, classes = checkpoint.read_config(folder), len(dataset.classes)
    if architecture != (known := architecture_of(folder)):
        raise UsageError(
            "fine-tuning keeps the architecture of its source", expected=f"'{known}'",
            got=f"'{architecture}'", hint="leave out --architecture or --from",
        )  # fmt: skip
    reads = config["pretrained_cfg"]
    if dataset.channels not in (1, reads["input_size"][0]):
        raise ModelError(
            f"the model {folder} cannot read the images of '{dataset.name}'",
            expected=f"{dataset.channels} channels", got=str(reads["input_size"][0]),
            hint="fine-tune a model of such images",
        )  # fmt: skip
    reason, fresh = other_classes(folder, dataset), frozenset[str]()
    if reason:
        fresh = _head(folder, config, classes)
        if not fresh:
            raise ModelError(
                f"the head of {config['architecture']} is not found", expected=f"{classes} classes",
                got=str(config["num_classes"]), hint="fine-tune it on a data set with as many",
            )  # fmt: skip
    model = checkpoint.restore(folder, config, classes, fresh)
    note = f"{reason}; its head ({', '.join(sorted(fresh))}) starts afresh." if reason else ""
    return Start(model, config["model_args"], reads, tuple(sorted(fresh)), note)


def other_classes(folder: Path, dataset: DatasetSpec) -> str:
    """Return how the classes of a checkpoint differ from a data set's; empty where they are the same.

    Names are compared where both have names, the data set of a `recipe.json` where they have none. Of a model
    that says neither, their number decides.

    Raises:
        ModelError: the folder is no checkpoint.
    """
    config = checkpoint.read_config(folder)
    count, named = config["num_classes"], f"the model {folder.name}"
    if count != len(dataset.classes):
        return f"{named} has {count} classes and '{dataset.name}' {len(dataset.classes)}"
    theirs = config["pretrained_cfg"].get("label_names") or ()
    if isinstance(theirs, dict):  # class → name, as timm allows; JSON may have put "10" before "2"
        theirs = [theirs[key] for key in sorted(theirs, key=lambda key: (len(key), key))]
    names = [_plain(name) for name in theirs]
    ours = [_plain(name) for name in dataset.classes]
    numbers = [str(number) for number in range(count)]
    if names and names != numbers and ours != numbers:
        return "" if names == ours else f"{named} has other classes than '{dataset.name}'"
    trained = ((checkpoint.read_recipe(folder) or {}).get("config") or {}).get("dataset", dataset.name)
    return "" if trained == dataset.name else f"{named} was trained on '{trained}', not '{dataset.name}'"


def _plain(name: object) -> str:
    """Return a class name without what spellings differ in; one of signs alone as it is."""
    letters = "".join(character for character in str(name).casefold() if character.isalnum())
    return letters or str(name)


def _head(folder: Path, config: dict[str, Any], classes: int) -> frozenset[str]:
    """Return the names of the weights whose shape is one of the classes."""
    import torch

    with torch.random.fork_rng(devices=[]):
        one, other = (checkpoint.rebuild(folder, config, k).state_dict() for k in (classes, classes + 1))
    return frozenset(name for name in one if name not in other or one[name].shape != other[name].shape)


# ---------------------------------------------------------------- surrogates that an attack fine-tunes

DEFAULTS: dict[str, Any] = {"epochs": 1, "learning_rate": 0.01, "schedule": "cosine"}
"""Where fine-tuning differs from training."""
INHERITED = ("augment", "storage")
"""Taken over from the recipe of the source, if it has one."""
NICKNAMES = {"lr": "learning_rate"}
FIXED = {
    "dataset", "architecture", "start", "minimizer", "decay_at", "auto_augment", "adversarial", "collect",
    "validators", "tune",
}  # fmt: skip
"""Fields of `TrainConfig` that a spec cannot set."""


@dataclass(frozen=True)
class FineTuning:
    """A surrogate that is fine-tuned before the attack.

    Attributes:
        original: what it starts from.
        config: how it is trained.
        folder: the checkpoint it becomes.
        model: the surrogate it becomes.
    """

    original: ModelSpec
    config: TrainConfig
    folder: Path
    model: ModelSpec

    def finished(self) -> bool:
        """Return whether an earlier run has done it.

        Raises:
            UsageError: the folder holds another training run.
            ModelError: it is finished, but its weights are damaged.
        """
        from transferzoo.state import finished

        work = {"config": self.config.model_dump(mode="json"), **identity(self.original.folder)}
        return finished(self.folder, work) is not None


def prepare(zoo: Zoo, original: ModelSpec, spec: str, data: Path | None) -> FineTuning:
    """Lay out the fine-tuning of a surrogate.

    Args:
        zoo: what names mean.
        original: the surrogate.
        spec: a minimizer whose options may be fields of `TrainConfig` too: "sam:rho=0.4,epochs=2,lr=0.01".
        data: the user's own training images; another place is another checkpoint.

    Raises:
        UsageError: the spec is wrong.
        ModelError: the original is no checkpoint.
    """
    minimizer, changes, written = read_spec(spec)
    source = original.folder
    recipe = (checkpoint.read_recipe(source) or {}).get("config") or {}
    known = zoo.models.get(original.full_name) == original
    values: dict[str, Any] = {
        **DEFAULTS,
        **{key: recipe[key] for key in INHERITED if key in recipe},
        **changes,
        "dataset": original.dataset,
        "architecture": architecture_of(source),
        "start": original.full_name if known else str(source),
        "minimizer": minimizer,
    }
    config = TrainConfig.of(**values)
    place = str(data.expanduser().resolve()) if data else ""
    mark = fingerprint({"config": config.model_dump(mode="json"), "data": place, **identity(source)})[:8]
    folder = Path("checkpoints") / f"{original.name}+{mark}"
    name = f"{original.name}+{_term(written, minimizer, config)}"
    model = ModelSpec(
        name=name, dataset=original.dataset, roles=ROLES, source=f"local:{folder.resolve()}",
        licence=original.licence, origin=f"{original.full_name}, fine-tuned",
    )  # fmt: skip
    return FineTuning(original, config, folder, model)


def read_spec(spec: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Tell the options of a minimizer from those of the training.

    Returns:
        The minimizer in canonical form, the fields of `TrainConfig`, and all options as they are written.

    Raises:
        UsageError: it cannot be read, or an option is unknown, given twice or out of range.
    """
    terms = parse_terms(spec)
    if len(terms) != 1:
        raise UsageError(
            "cannot read --finetune", expected="a minimizer and its options, as in sam:rho=0.4,epochs=2",
            got=f"'{spec}'",
        )  # fmt: skip
    name, options = terms[0].name, terms[0].options
    own = {field.name for field in dataclasses.fields(MINIMIZERS[name])}  # type: ignore[arg-type]
    others = TrainConfig.model_fields.keys() - FIXED - own
    changes: dict[str, str] = {}
    for key, value in options.items():
        field = NICKNAMES.get(key, key)
        if key in own:
            continue
        if field not in others:
            raise UnknownNameError(
                f"option of minimizer '{name}' and of fine-tuning", key, own | others | NICKNAMES.keys()
            )
        if field in changes:
            raise UsageError(f"option '{field}' is given twice in '{spec}'")
        changes[field] = value
    rule = ",".join(f"{key}={value}" for key, value in options.items() if key in own)
    return show_rule(f"{name}:{rule}" if rule else name), changes, dict(options)


def _term(written: dict[str, str], minimizer: str, config: TrainConfig) -> str:
    """Return the options that were written, in their canonical order and form."""
    (rule,) = parse_terms(minimizer)
    pairs = [f"{key}={value}" for key, value in rule.options.items() if key in written]
    short = {field: name for name, field in NICKNAMES.items()}
    for field in TrainConfig.model_fields:
        name = short.get(field, field)
        if field not in rule.options and {field, name} & written.keys():
            value = getattr(config, field)
            pairs.append(f"{name}={repr(value).removesuffix('.0') if isinstance(value, float) else value}")
    return f"{rule.name}:{','.join(pairs)}".removesuffix(":")
