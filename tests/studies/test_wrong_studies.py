"""Studies that cannot be run: each is refused with a sentence, before anything runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from helpers.refusals import refused
from helpers.studies import STUDY, write_study
from transferzoo.base.errors import UsageError
from transferzoo.studies.schema import read_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

END = "lower: {surrogate: sgd}}\n"
"""The last line of the study ends so."""

WRONG = {
    "an unknown field": ({END: END + "colour: red\n"}, "line 17, key 'colour': unknown key 'colour'"),
    "an unknown field of a part that may be absent": (
        {"images: 32": "image: 3"},
        "unknown key 'image': expected one of draws, epochs, images, only,",
    ),
    "an unknown field in a list": (
        {END: END + "attacks: [{spec: bim, stps: 3}]\n"},
        "key 'attacks.0.stps': unknown key 'stps': expected one of epsilon, name, norm, spec, step, steps",
    ),
    "an unknown field of a part of a list": (
        {"{surrogate: sam}": "{surrogat: sam}"},
        "unknown key 'surrogat': expected one of attack, epoch, measure, surrogate, target; did you mean",
    ),
    "a field of no training": ({"epochs: 2": "epoch: 2"}, "key 'train': wrong value"),
    "the seed of a training": ({"epochs: 2": "seed: 2"}, "not 'seed'"),
    "no surrogate": ({"  sgd: {epoch: all}\n": ""}, "unknown surrogate 'sgd'"),
    "a claim about another attack": (
        {"{surrogate: sam}": "{surrogate: sam, attack: mi}"},
        "unknown attack 'mi'",
    ),
    "derived data that are not there": (
        {"sgd: {epoch: all}": "sgd: {data: robust}"},
        "unknown derived data set 'robust'",
    ),
    "a model that is also trained": ({"sgd: {epoch: all}": "sgd: {model: sgd, epochs: 3}"}, "either a model"),
    "an attack twice": ({END: END + "attacks: [bim, {spec: bim, steps: 3}]\n"}, "attacks of different names"),
    "a name twice": ({"  judge:": "  sgd:"}, "key 'others.sgd'"),
    "no mapping": ({STUDY: "- a\n"}, "expected a mapping"),
    "a seed twice": ({"seeds: [0, 1]": "seeds: [1, 1]"}, "seeds that differ"),
    "an epoch twice": ({"epoch: all": "epoch: [1, 1]"}, "epochs that differ"),
    "no epochs": ({"epoch: all": "epoch: []"}, "epochs that differ"),
    "sharpness at no epochs": ({"only: [sam]": "epochs: []"}, "epochs that differ"),
    "the sharpness of a seed that is not trained": (
        {"only: [sam]": "seeds: [0, 7]"},
        "key 'sharpness.seeds': 7 is no training seed: expected 0, 1",
    ),
    "no epoch": ({"epoch: all": "epoch: 0"}, "key 'surrogates.sgd.epoch"),
    "two measures in a claim": (
        {"{surrogate: sam}": "{surrogate: sam, measure: accuracy}"},
        "the same measure on both",
    ),
    "a log scale of success": ({"SAM is better,": "SAM is better, scale: log,"}, "a log scale for a measure"),
    "a bound of nothing": ({"SAM is better,": "SAM is better, bound: 0,"}, "key 'claims.0.bound'"),
    "a target on one side of a claim": (
        {"{surrogate: sam}": "{surrogate: sam, target: judge}"},
        "a target on both sides or on",
    ),
    "a target's accuracy": (
        {"{surrogate: sam}": "{surrogate: sam, target: judge, measure: accuracy}"},
        "a target for success alone",
    ),
    "the sharpness of a stranger": ({"only: [sam]": "only: [sdg]"}, "unknown surrogate 'sdg'"),
}
"""What is wrong: edits of the study, text → other text, and what is said of it."""

LATER = {
    "an architecture that does not exist": ({"small_vgg": "small_vg"}, "small_vg"),
    "a minimizer that does not exist": ({"sam:rho": "sem:rho"}, "surrogate 'sam'"),
    "a target that does not exist": ({"[judge]": "[nobody]"}, "unknown target 'nobody'"),
    "a technique that does not exist": ({"spec: pgd": "spec: nothing"}, "or one that --plugin FILE brings"),
    "a technique that cannot be used": (
        {"spec: pgd, epsilon: 8/255, steps: 2": "spec: 'mi+rap:after=9', steps: 5"},
        "'rap' never joins the attack",
    ),
    "an epoch after the last": ({"epoch: all": "epoch: 3"}, "expected 1 to 2, got 3"),
    "an epoch of several after the last": ({"epoch: all": "epoch: [1, 3]"}, "expected 1 to 2, got 3"),
    "sharpness at an epoch after the last": (
        {"only: [sam]": "only: [sam], epochs: [3]"},
        "surrogate 'sam': there is no such epoch: expected 1 to 2, got 3",
    ),
    "a selected epoch where none is selected": (
        {"epoch: all": "epoch: selected"},
        "surrogate 'sgd': no epoch is selected",
    ),
    "a claim about an epoch after the last": (
        {"{surrogate: sgd}": "{surrogate: sgd, epoch: 3}"},
        "claim 'SAM is better': epoch 3 of 'sgd' is not measured: expected 1 or 2",
    ),
    "a claim about a measure that is not measured": (
        {
            "{surrogate: sam}": "{surrogate: sam, measure: sharpness.top}",
            "{surrogate: sgd}": "{surrogate: sgd, measure: sharpness.top}",
        },
        "'sharpness.top' of 'sgd' is not measured: expected success or accuracy or robust",
    ),
    "a claim about another target": (
        {
            "{surrogate: sam}": "{surrogate: sam, target: sgd}",
            "{surrogate: sgd}": "{surrogate: sgd, target: sgd}",
        },
        "'sgd' is no target: expected judge",
    ),
    "a claim about a white box": (
        {
            "[judge]": "[judge, itself]",
            "{surrogate: sam}": "{surrogate: sam, target: itself}",
            "{surrogate: sgd}": "{surrogate: sgd, target: itself}",
        },
        "'itself' is a white box, of which no claim is about success: expected measure: robust",
    ),
    "a claim on images that each side chooses": (
        {"[judge]": "[judge, itself]"},
        "its sides are of other images, since 'itself' is a target that has to be right on them: expected "
        "images_correct_for: target",
    ),
    "a claim without a seed in common": (
        {'"sam:rho=0.1"': '"sam:rho=0.1", seeds: [2]'},
        "no training seed in common",
    ),
    "two targets of one name": (
        {
            "[judge]": "[vgg, fashion-mnist/vgg]",
            "judge:": "vgg:",
            "dataset: stripes": "dataset: fashion-mnist",
        },
        "two targets are named 'vgg'",
    ),
    "a data set that does not exist": ({"dataset: stripes": "dataset: dots"}, "data set 'dots'"),
}


def edited(edits: dict[str, str]) -> str:
    text = STUDY
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_reported_by_line_and_key(case: str, tmp_path: Path) -> None:
    edits, reason = WRONG[case]
    (tmp_path / "wrong.yaml").write_text(edited(edits))
    with pytest.raises(UsageError, match=r"wrong\.yaml") as raised:
        read_study(tmp_path / "wrong.yaml")
    assert reason in str(raised.value)


@pytest.mark.parametrize("case", LATER)
def test_what_names_mean_is_checked_before_anything_runs(
    case: str, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    edits, reason = LATER[case]
    done = cli(*write_study(tmp_path, edited(edits)))
    assert done.code == 2
    assert reason in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_an_unknown_study_and_an_absent_folder_are_reported(
    tmp_path: Path, cli: Callable[..., Result]
) -> None:
    done = cli("study", "minimiser")
    assert done.code == 2
    assert "did you mean minimizers" in done.err
    command = write_study(tmp_path)
    done = cli(*command[:2], "--data", str(tmp_path / "nowhere"), *command[4:])
    assert done.code == 1
    assert "nowhere" in done.err
    assert cli(*command, "--jobs", 2, "--ray", "local").code == 2


def test_missing_images_are_reported_once(tmp_path: Path, cli: Callable[..., Result]) -> None:
    command = write_study(tmp_path)
    for file in (tmp_path / "data").glob("train*"):
        file.unlink()
    done = cli(*command)
    assert done.code == 1
    assert done.err.startswith("Error: ")
    assert "train" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_without_ray_one_sentence_says_what_to_install(
    tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cli(*write_study(tmp_path), "--ray", "local")
    refused(done, 1, "--ray needs ray, which is not installed", "pip install 'transferzoo[ray]'")
    assert not (tmp_path / "store").exists()
