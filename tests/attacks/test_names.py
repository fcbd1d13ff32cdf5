"""Attacks are understood as papers and other tools write them, and printed by the names people use."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from helpers.records import record
from transferzoo.attacks.composition import compose
from transferzoo.attacks.configure import configure, expand
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.results.comparisons import Findings, attack_name, brief
from transferzoo.results.tables import tables
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

ZOO = load_zoo()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MI", "mi"),
        ("PGD", "rs"),
        ("BIM", ""),
        ("I-FGSM", ""),
        ("MI-FGSM", "mi"),
        ("MIFGSM", "mi"),
        ("mi_fgsm", "mi"),
        ("VMI-FGSM", "vt+mi"),
        ("DIM", "mi+di"),
        ("TI-DIM", "mi+di+ti"),
        ("TIDIM", "mi+di+ti"),
        ("SI-NI-TI-DIM", "si+ni+di+ti"),
        ("MI-FGSM:decay=0.5", "mi:decay=0.5"),
        ("PiPatch:gamma=0.3", "pi-patch:gamma=0.3"),
        ("Admix + MI", "admix+mi"),
    ],
)
def test_names_of_papers(written: str, meant: str) -> None:
    assert expand(written, ZOO)[0] == compose(meant)


@pytest.mark.parametrize("alias", ZOO.aliases)
def test_aliases_stand_for_attacks(alias: str) -> None:
    composition, budget = expand(alias, ZOO)
    assert (composition, budget) == expand(ZOO.aliases[alias], ZOO)


def test_no_two_names_are_written_alike() -> None:
    names = [*ZOO.aliases, *ZOO.presets, *ZOO.suites, *TECHNIQUES]
    plain = Counter(name.lower().replace("-", "").replace("_", "") for name in names)
    assert not [name for name, count in plain.items() if count > 1]


def test_suites_too() -> None:
    written, usual = (
        configure(ZOO, "fashion-mnist", [name], ["a"], ["b"], {}) for name in ("Singles", "singles")
    )
    assert written == usual


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("DIM:p=0.5", "'DIM' in 'DIM:p=0.5' stands for several techniques .* write 'mi\\+di' out"),
        ("TI-DIM:p=0.5", "is a preset and takes no options; write 'mi\\+di\\+ti' out"),
        ("MI-FGSM+mi", "technique 'mi' stands twice"),
    ],
)
def test_what_aliases_do_not_take(wrong: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        expand(wrong, ZOO)


def test_unknown_names_stay_unknown() -> None:
    with pytest.raises(UnknownNameError, match="unknown attack 'xi-fgsm'"):
        expand("XI-FGSM", ZOO)


def test_a_users_own_names(tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text(
        "attacks: {MyAttack: {spec: mi+ti, about: mine}}\naliases: {Old-Name: MyAttack, Mo: 'mi:decay=0.9'}\n"
    )
    zoo = load_zoo(tmp_path / "zoo.yaml")
    for written, meant in {
        "myattack": "mi+ti",
        "My-Attack": "mi+ti",
        "mo": "mi:decay=0.9",
        "mo:normalise=none": "mi:decay=0.9,normalise=none",
    }.items():
        assert expand(written, zoo)[0] == compose(meant)


@pytest.mark.parametrize(
    ("attack", "name", "short"),
    [
        ("rs", "pgd", "pgd"),
        ("ti:kernel=15,sigma=3+mi:decay=1", "ti:kernel=15,sigma=3+mi:decay=1", "ti+mi"),
        (expand("vmi", ZOO)[0].canonical, "vmi", "vmi"),
        (expand("pgd+mi", ZOO)[0].canonical, expand("pgd+mi", ZOO)[0].canonical, "mi+rs"),
        ("bim", "bim", "bim"),
        (expand("strong", ZOO)[0].canonical, expand("strong", ZOO)[0].canonical, "dem+ti+mi"),
    ],
)
def test_printed_names(attack: str, name: str, short: str) -> None:
    canonical = f"{attack}@linf,eps=16/255,step=eps/10,steps=50"
    assert attack_name(canonical) == f"{name}@linf,eps=16/255,step=eps/10,steps=50"
    assert brief(canonical) == short


@pytest.mark.parametrize("size", [28, 224])
def test_a_preset_with_steps_has_its_name_with_these_alone(size: int) -> None:
    techniques, own = expand("strong-10", ZOO, size)
    budget = f"@linf,eps=1/255,step={own['step']},steps={own['steps']}"
    assert attack_name(techniques.canonical + budget) == f"strong-10{budget}"
    assert brief(techniques.canonical + budget) == "strong-10"
    assert brief(f"{techniques.canonical}@linf,eps=1/255,step=eps,steps=10") == "mi-di-ti"


def test_pgd_is_printed_as_pgd() -> None:
    pgd, mi = (f"{spec}@linf,eps=8/255,step=eps/10,steps=5" for spec in ("rs", "mi:decay=1,normalise=mean"))
    (table,) = tables(Findings([record("a", "b", "1100", attack=pgd)]))
    assert table.caption.startswith("pgd@linf,eps=8/255")
    matrix = tables(Findings([record("a", "b", "1100", attack=pgd), record("a", "b", "1110", attack=mi)]))[0]
    assert [row[0] for row in matrix.rows[:2]] == ["a\npgd", "a\nmi"]


def test_show_knows_them(cli: Callable[..., Result]) -> None:
    done = cli("show", "MI-FGSM")
    assert done.code == 0 and re.search(r"^ stands for +mi *$", done.out, re.MULTILINE)
    assert "technique mi\n" in done.out
    assert "attack preset pgd\n" in cli("show", "PGD").out
