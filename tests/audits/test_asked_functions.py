"""Functions that say labels alone under audit: how often they are asked, and where each is filed."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from transferzoo.audits.record import read_audit
from transferzoo.models.sources import python_function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Result
    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = ("-s", "resnet50-sgd", "-a", "fgsm", "--images", 50, "--max-rate", "100%", "--jobs", 1)
COUNTING = """
import torch
from transferzoo import load_model

model, asked = load_model("{name}"), []

def net(images):
    asked.append(len(images))
    with torch.no_grad():
        return model(images).argmax(1)
"""


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Write two modules with a function of one name; return how often that of the first is asked."""
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    for module, name in (("first_net", "vgg"), ("second_net", "densenet")):
        (tmp_path / f"{module}.py").write_text(COUNTING.format(name=name))
    yield importlib.import_module("first_net").asked
    for module in ("first_net", "second_net"):
        sys.modules.pop(module, None)
    python_function.facts.cache_clear()


def folder(done: Result) -> Path:
    (found,) = re.findall(r"^Written: (.+)$", done.err, re.MULTILINE)
    return Path(found)


def test_functions_are_asked_as_often_as_is_said_and_filed_apart(
    cli: Run, few: Path, counted: list[int]
) -> None:
    words = ("--allow-code", "--dataset", "fashion-mnist", "--data", few, *SHORT)
    first = cli("audit", "first_net:net", *words)
    assert first.code == 0, first.err
    (said,) = re.findall(r"([\d,]+) images that net classifies", first.err)
    assert sum(counted) == int(said.replace(",", "")) == read_audit(folder(first) / "audit.json").queries

    counted.clear()
    again = cli("audit", "first_net:net", *words)
    assert (again.code, again.out, folder(again)) == (0, first.out, folder(first))
    assert counted == [], "what it has answered is kept"
    assert "Cost: " not in again.err
    assert re.search(r"^This audit of net is finished; it is read from runs/audit-\S+\.$", again.err, re.M)

    second = cli("audit", "second_net:net", *words)
    assert second.code == 0, second.err
    places = [read_audit(folder(one) / "audit.json").model.place for one in (first, second)]
    assert places == ["python:first_net:net", "python:second_net:net"]
    assert folder(first).parent == folder(second).parent == Path("audits")


def test_each_view_of_a_defence_counts(cli: Run, few: Path, counted: list[int]) -> None:
    words = ("--allow-code", "--dataset", "fashion-mnist", "--data", few, *SHORT)
    done = cli("audit", "first_net:net|smooth:n=3", *words)
    assert done.code == 0, done.err
    (said,) = re.findall(r"([\d,]+) images that \S+ classifies", done.err)
    assert sum(counted) == int(said.replace(",", "")) == read_audit(folder(done) / "audit.json").queries
