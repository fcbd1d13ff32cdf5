"""What a search found is a preset that `attack` takes, in the user's own zoo file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transferzoo.attacks.configure import configure
from transferzoo.base.errors import UsageError
from transferzoo.searches.moves import Candidate
from transferzoo.searches.presets import check_place, preset_lines, save_preset
from transferzoo.zoo.reader import read_zoo

if TYPE_CHECKING:
    from pathlib import Path

BEST = Candidate(("mi", "di:p=0.7"), "2.5 ε/T", 12)
LINES = preset_lines("mine", BEST, {BEST: 0.5}, "Chosen: in a test.")
OTHERS = (
    "schema: 1\n# kept\nattacks:\n  other: {spec: mi, about: another}  # kept too\n"
    "suites:\n  both: [mi, di]\n"
)


@pytest.mark.parametrize(
    "there",
    [
        None,
        "",
        "schema: 1\n",
        OTHERS,
        OTHERS.replace("  other", "    other"),
        OTHERS.replace("attacks:\n", "attacks:   # mine\n\n # so far\n"),
        "schema: 1\nattacks:\n",
        "attacks:",
        "schema: 1\nattacks:   # mine\n# none\nsuites:\n  both: [mi, di]\n",
    ],
)
def test_the_preset_is_the_attack_that_was_found(there: str | None, tmp_path: Path) -> None:
    file = tmp_path / "zoo.yaml"
    if there is not None:
        file.write_text(there)
    check_place(file, "mine", 12)
    assert save_preset(file, "mine", LINES)
    (spec,) = configure(read_zoo(file), "fashion-mnist", ["mine"], ["s"], ["t"], {}).attacks
    wanted = BEST.composition.spec
    assert (spec.techniques, spec.steps, spec.exact.step) == (wanted, 12, spec.exact.epsilon * 5 / 24)
    text = file.read_text()
    assert all(line in text.splitlines() for line in (there or "").splitlines())
    assert "12: 50.0 %" in text

    check_place(file, "mine", 12)
    assert not save_preset(file, "mine", LINES)
    assert file.read_text() == text, "the same search again"
    with pytest.raises(UsageError, match="has another attack 'mine' already"):
        check_place(file, "mine", 13)
    other = preset_lines("mine", Candidate(("mi",), "ε", 12), {}, "Chosen: in a test.")
    with pytest.raises(UsageError, match="has another attack 'mine' already"):
        save_preset(file, "mine", other)
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (None, "Mine+di", "cannot have this name"),
        (None, "2nd", "a letter first"),
        (None, "null", "cannot have this name"),
        (OTHERS, "other", "has another attack 'other' already"),
        ("schema: 1\nattacks: {other: {spec: mi, about: another}}\n", "mine", "not in braces"),
        ("schema: 1\nattacks: {}\n", "mine", "no attack can be added"),
        ("{schema: 1}\n", "mine", "no attack can be added"),
        ("schema: 1\nattacks:\n  {other: {spec: mi, about: another}}\n", "mine", "no attack can be added"),
        ("schema: 1\nattacks: [mi]\n", "mine", "no attack can be added"),
        ("schema: 1\n...\n", "mine", "no attack can be added"),
    ],
)
def test_what_cannot_be_written_is_said_before(
    text: str | None, name: str, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "zoo.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        check_place(file, name, 12)
    assert text is None or file.read_text() == text
