"""Surrogates that an attack fine-tunes: what `--finetune` asks for, and the checkpoints they become.

Nothing here imports torch before it is seen whether one is finished.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo.base.environment import environment
from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.spec_strings import parse_terms
from transferzoo.base.train_config import TrainConfig
from transferzoo.minimizers import MINIMIZERS, read_rule, show_rule
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.training.finetuning import architecture_of, identity
from transferzoo.training.recipes import plugins_of
from transferzoo.training.unused import refuse_unused
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from transferzoo.zoo.reader import Zoo

DEFAULTS: dict[str, Any] = {"epochs": 1, "learning_rate": 0.01, "schedule": "cosine"}
"""Where fine-tuning differs from training."""
INHERITED = ("augment", "storage")
"""Taken over from the recipe of the source, if it has one."""
NICKNAMES = {"lr": "learning_rate"}
FIXED = {
    "dataset",
    "architecture",
    "start",
    "labels_from",
    "minimizer",
    "decay_at",
    "auto_augment",
    "adversarial",
    "collect",
    "validators",
    "tune",
}
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
        from transferzoo.base.distributed import Team
        from transferzoo.training.resume import finished
        from transferzoo.training.setup import perturbed_together

        work = {
            "config": self.config.model_dump(mode="json"),
            **identity(self.original.folder),
            **plugins_of(self.config),
            **perturbed_together(self.config, Team()),
        }
        return finished(self.folder, work) is not None


def prepare(zoo: Zoo, original: ModelSpec, spec: str, data: Path | None) -> FineTuning:
    """Lay out the fine-tuning of a surrogate.

    Args:
        zoo: what names mean.
        original: the surrogate.
        spec: a minimizer whose options may be fields of `TrainConfig` too: "sam:rho=0.4,epochs=2,lr=0.01".
        data: the user's own training images; another place is another checkpoint.

    Raises:
        UsageError: the spec is wrong, or has settings without effect.
        ModelError: the original is no checkpoint.
    """
    minimizer, changes, written = read_spec(spec)
    source = original.folder
    recipe = (read_recipe(source) or {}).get("config") or {}
    known = zoo.models.get(original.full_name) == original
    values: dict[str, Any] = {
        **DEFAULTS,
        **read_rule(minimizer).schedule,
        **{key: recipe[key] for key in INHERITED if key in recipe},
        **changes,
        "dataset": original.dataset,
        "architecture": architecture_of(source),
        "start": original.full_name if known else str(source),
        "minimizer": minimizer,
    }
    config = TrainConfig.of(**values)
    refuse_unused(config, changes)
    place = str(data.expanduser().resolve()) if data else ""
    key = {
        "config": config.key(),
        "data": place,
        **identity(source),
        **plugins_of(config),
        "environment": environment()._asdict(),
    }
    mark = fingerprint(key)[:8]
    folder = Path("checkpoints") / f"{original.name}+{mark}"
    name = f"{original.name}+{_term(written, minimizer, config)}"
    model = ModelSpec(
        name=name,
        dataset=original.dataset,
        roles=ROLES,
        source=LocalFolder(folder.resolve()),
        licence=original.licence,
        origin=f"{original.full_name}, fine-tuned",
    )
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
            "cannot read --finetune",
            expected="a minimizer and its options, as in sam:rho=0.4,epochs=2",
            got=f"'{spec}'",
        )
    name, options = terms[0].name, terms[0].options
    own = {field.name for field in dataclasses.fields(MINIMIZERS[name])}
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
