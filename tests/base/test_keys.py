"""Keys of runs and trainings: what they follow, and what must not change them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch

from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base import environment as module
from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.distributed import this_device
from transferzoo.base.environment import ARITHMETIC, environment
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.base.options import _ADDED, Options, added
from transferzoo.base.plugins import used
from transferzoo.base.train_config import Adversarial, Collection, TrainConfig
from transferzoo.defences import DEFENCES
from transferzoo.minimizers import MINIMIZERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.base.registry import Registry

PINNED = Path(__file__).with_name("defaults.json")
CONFIGS: tuple[type[FrozenModel], ...] = (AttackSpec, AttackConfig, Adversarial, Collection, TrainConfig)
TERMS: tuple[Registry[Any], ...] = (TECHNIQUES, MINIMIZERS, DEFENCES)


def defaults() -> dict[str, dict[str, object]]:
    """Return every option of a configuration or term with its default, as `defaults.json` has them."""
    found: dict[str, dict[str, object]] = {"": {"arithmetic": ARITHMETIC}}
    for config in CONFIGS:
        fields = config.model_fields.items()
        given = {name: field.default for name, field in fields if not field.is_required()}
        found[config.__name__] = json.loads(json.dumps(given))
    for registry in TERMS:
        for name in registry.built_in:
            fields_of = dataclasses.fields(registry[name])
            kept = {f.name: f.default for f in fields_of if not f.metadata.get(_ADDED)}
            found[f"{registry.kind} {name}"] = json.loads(json.dumps(kept))
            if (revision := registry[name].revision) > 1:
                found[""][f"{registry.kind} {name}"] = revision
    return found


def test_no_default_changes_in_silence() -> None:
    """A key leaves defaults out, so another default is other arithmetic; a new option of a term is `added`.

    After raising `ARITHMETIC` or a revision, or with a new term or field of a configuration, pin anew:
    `python tests/base/test_keys.py`.
    """
    pinned, now = json.loads(PINNED.read_text(encoding="utf-8")), defaults()
    if pinned[""] != now[""]:
        pytest.fail("ARITHMETIC or a revision was raised: pin the defaults anew")
    for name, options in pinned.items():
        assert now[name].items() >= options.items(), (
            f"{name}: a default changed; raise its revision, or ARITHMETIC"
        )
    for name, options in now.items():
        new = sorted(options.keys() - pinned.get(name, {}).keys())
        assert name in pinned and not new, f"{name} {new}: `added` for an option of a term, then pin anew"


def test_a_revision_is_in_the_keys_of_what_uses_it_alone(
    few: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def folders() -> list[str]:
        attack = ("attack", "-s", "resnet18", "-t", "vgg", "--data", few, "--dry-run", "--json", "-a")
        train = ("train", "--architecture", "small_vgg", "--dry-run", "--json", "--minimizer")
        asked = [(*attack, "ti"), (*attack, "di"), (*train, "asam"), (*train, "sam")]
        plans = [json.loads(cli(*command).out) for command in asked]
        return [plan.get("run_folder") or plan["output"] for plan in plans]

    before = folders()
    monkeypatch.setattr(TECHNIQUES["ti"], "revision", 2)
    monkeypatch.setattr(MINIMIZERS["asam"], "revision", 2)
    changed = [one != other for one, other in zip(before, folders(), strict=True)]
    assert changed == [True, False, True, False]
    assert used(*TECHNIQUES.origins("mi+ti")) == {"revisions": {"technique ti": 2}}
    assert used(*TECHNIQUES.origins("mi+di")) == {}


class Old(FrozenModel):
    a: int = 1


class New(FrozenModel):
    a: int = 1
    b: int = 2


def test_a_new_field_changes_no_key() -> None:
    assert Old(a=3).fingerprint() == New(a=3).fingerprint()
    assert New(a=3, b=4).fingerprint() != New(a=3).fingerprint()


@dataclass(frozen=True)
class Term(Options):
    name: ClassVar[str] = "x"
    p: float = 0.5
    q: int = added(2)


def test_an_added_option_changes_no_spec_string() -> None:
    assert Term().spec == "x:p=0.5"
    assert Term(q=3).spec == "x:p=0.5,q=3"


@pytest.mark.usefixtures("untimed")
def test_the_environment_is_part_of_every_key(
    few: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another arithmetic or math mode is another run folder and another folder of a training."""
    attack = ["attack", "-s", "resnet18", "-t", "vgg", "--data", few, "--dry-run", "--json"]
    train = ["train", "--architecture", "small_vgg", "--dry-run", "--json"]

    def folders() -> tuple[str, str]:
        plans = [json.loads(cli(*command).out) for command in (attack, train)]
        return plans[0]["run_folder"], plans[1]["output"]

    seen = [folders(), folders()]
    assert seen[0] == seen[1]
    monkeypatch.setattr(module, "ARITHMETIC", ARITHMETIC + 1)
    seen[1] = folders()
    monkeypatch.undo()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        seen.append(folders())
    finally:
        torch.set_float32_matmul_precision(before)
    for column in zip(*seen, strict=True):
        assert len(set(column)) == 3, column
    assert environment() == (ARITHMETIC, this_device().type, before)


if __name__ == "__main__":
    PINNED.write_text(json.dumps(defaults(), indent=1) + "\n", encoding="utf-8")
