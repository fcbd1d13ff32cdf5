"""How to repeat a run or a study: the command on its page finds the run again, whatever its models are."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from helpers.checkpoints import BUILTIN
from helpers.hub_server import connect, running
from helpers.hub_zoo import model_files
from helpers.pages import results
from transferzoo.page.study_report import study_part
from transferzoo.studies.schema import read_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = ("--images", "6", "--steps", "2", "--jobs", "1")


def _repeat(cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Attack, read the command on the page, and run it: nothing is made anew."""
    command = ["attack", *words, *OPTIONS]
    monkeypatch.setattr(sys, "argv", ["transferzoo", *command])
    first = cli(*command)
    assert first.code == 0, first.err
    (run,) = (folder / "runs").iterdir()
    assert cli("report", str(run), "--html", "page.html").code == 0
    page = html.unescape((folder / "page.html").read_text(encoding="utf-8"))
    (line,) = set(re.findall(r"transferzoo attack [^<\n]*", page))
    assert shlex.split(line) == ["transferzoo", *command], "as it was written"
    records = (run / "records.jsonl").read_bytes()
    again = cli(*shlex.split(line)[1:])
    assert again.code == 0, again.err
    assert [path.name for path in (folder / "runs").iterdir()] == [run.name]
    assert (run / "records.jsonl").read_bytes() == records
    assert again.out == first.out


@pytest.mark.parametrize("kind", ["zoo", "folder", "zoo file", "function", "hub"])
def test_the_command_of_a_page_finds_its_run(
    cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = ["--data", str(few)]
    if kind == "zoo":
        _repeat(
            cli, tmp_path, monkeypatch, "-s", "resnet50-sgd", "-t", "vgg|bits:depth=4", "-t", "vit", *data
        )
    elif kind == "folder":
        shutil.copytree(BUILTIN / "resnet18", tmp_path / "x y" / "vgg")
        _repeat(cli, tmp_path, monkeypatch, "-s", "resnet50-sgd", "-t", "./x y/vgg", "-t", "vgg", *data)
        (run,) = (tmp_path / "runs").iterdir()
        records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
        assert [r["target"] for r in records] == ["fashion-mnist/vgg (x y)", "fashion-mnist/vgg"]
    elif kind == "zoo file":
        (tmp_path / "my zoo.yaml").write_text(
            f"models:\n  fashion-mnist:\n    mine: {{roles: [target], source: 'local:{BUILTIN / 'vgg'}'}}\n"
        )
        _repeat(cli, tmp_path, monkeypatch, "-s", "resnet50-sgd", "-t", "mine", "--zoo", "my zoo.yaml", *data)
    elif kind == "function":
        code = "from transferzoo import load_model\ndef made():\n    return load_model('vgg')\n"
        (tmp_path / "repeat_models.py").write_text(code)
        monkeypatch.setattr(sys, "path", [*sys.path])
        words = ("-s", "resnet50-sgd", "-t", "repeat_models:made", "--allow-code")
        _repeat(cli, tmp_path, monkeypatch, *words, *data)
    else:
        with running(model_files("owner/target", "vgg")) as served:
            connect(monkeypatch, served, tmp_path / "hub")
            _repeat(cli, tmp_path, monkeypatch, "-s", "resnet50-sgd", "-t", "hf-hub:owner/target", *data)


def test_a_study_is_written_out_so_that_it_can_be_read_again(tmp_path: Path) -> None:
    found = results()
    part = study_part(found)
    ((name, text),) = part.configuration.items()
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_study(tmp_path / name) == found.study
    assert part.commands == ("transferzoo study by-hand.yaml --data PATH",)
