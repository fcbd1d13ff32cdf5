"""Models that are code in a study: allowed or refused, and the same results as from checkpoint folders."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from helpers.refusals import refused
from helpers.stripes import config, draw, spec
from helpers.studies import write_study
from transferzoo.models.sources import python_function
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
CODE = """
from transferzoo.models.classifier import load_checkpoint
from transferzoo.zoo.reader import load_zoo

def first():
    return load_checkpoint(HOME / "one", load_zoo(HOME / "zoo.yaml").dataset("stripes"))

def second():
    return load_checkpoint(HOME / "two", load_zoo(HOME / "zoo.yaml").dataset("stripes"))

asked = []

def answers():
    def scores(images):
        asked.append(int((images.amax((1, 2, 3)) > 0).sum()))  # the black ones of a trial are not counted
        return second()(images)
    return scores
"""
STUDY = """
about: Is code attacked as a folder is?
dataset: stripes
split: test
surrogates:
  code: {model: "coded:first"}
  folder: {model: ./one}
targets: ["coded:second", "coded:answers", ./two]
attacks: [{spec: bim, steps: 2}]
sharpness: {images: 16, probes: 2, draws: 2}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write two models of the stripes, and a module that returns them, into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for seed, name in enumerate(("one", "two")):
        train(config(seed=seed), spec(tmp_path), draw(160, seed), None, tmp_path / name)
    (tmp_path / "coded.py").write_text(f"import pathlib\nHOME = pathlib.Path({str(tmp_path)!r})\n{CODE}")
    yield tmp_path
    sys.modules.pop("coded", None)
    python_function.facts.cache_clear()


def test_code_is_attacked_as_the_folder_it_loads(cli: Run, place: Path) -> None:
    command = write_study(place, STUDY)
    refused(cli(*command), 2, "'coded:first' is code, which is not run unasked", "add --allow-code")
    assert "coded" not in sys.modules
    done = cli(*command, "--allow-code", "--json")
    assert done.code == 0, done.err
    told = [line for line in done.err.splitlines() if line.startswith("Running code")]
    assert told == [
        f"Running code that --allow-code allows: coded:{name}" for name in ("first", "second", "answers")
    ]
    measured = json.loads(done.out)["measured"]
    found = {
        name: {
            (line["measure"], line.get("attack"), line.get("target")): line["value"]
            for line in measured
            if line["surrogate"] == name
        }
        for name in ("code", "folder")
    }
    assert found["code"] == found["folder"]
    assert found["code"]
    again = cli(*command, "--allow-code", "--json")
    assert json.loads(again.out)["measured"] == measured


def test_what_gives_no_gradients_is_no_surrogate(cli: Run, place: Path) -> None:
    command = write_study(place, STUDY.replace("coded:first", "coded:answers"))
    result = cli(*command, "--allow-code", "--dry-run")
    assert result.code == 2
    assert "no gradient comes back from it" in result.err.splitlines()[-1]


def test_a_dry_run_says_how_often_a_function_is_asked(cli: Run, place: Path) -> None:
    command = write_study(place, f"{STUDY}images_correct_for: none\n")
    (planned,) = json.loads(cli(*command, "--allow-code", "--dry-run", "--json").out)["queries"]
    assert planned["target"] == "stripes/answers"
    assert planned["estimated_seconds"] >= 0
    shown = f"stripes/answers is asked about {planned['in_all']} images."
    assert shown in " ".join(cli(*command, "--allow-code", "--dry-run").out.split())
    asked = sys.modules["coded"].asked
    asked.clear()
    assert cli(*command, "--allow-code").code == 0
    assert sum(asked) == planned["in_all"] == planned["clean"] + planned["adversarial"] + planned["noise"]
