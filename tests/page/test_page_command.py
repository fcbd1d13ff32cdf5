"""`transferzoo report`: of runs, studies and files of results, as tables, a page and figures."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from helpers.pages import CLAIMS, Page, few_results, results
from helpers.refusals import refused
from transferzoo import load_model
from transferzoo.base.errors import DataError
from transferzoo.cli.app import app
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.page import study_report
from transferzoo.page.example_images import row_examples
from transferzoo.page.html import render_page
from transferzoo.studies.result_file import write_results
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

    Run = Callable[..., Result]

ATTACK = (
    "attack",
    "-s",
    "resnet50-sgd",
    "-t",
    "vgg,resnet18",
    "-t",
    "resnet50-sgd",
    "--images",
    6,
    "--steps",
    2,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of results."""
    path = tmp_path_factory.mktemp("results") / "by-hand.jsonl.gz"
    write_results(few_results(), path)
    return path


@pytest.fixture(scope="module")
def run(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with images."""
    folder = tmp_path_factory.mktemp("runs")
    command = (*ATTACK, "--data", few, "--curve", "1", "--runs", folder)
    app([str(word) for word in command], standalone_mode=False)
    (made,) = folder.iterdir()
    return made


def test_a_file_of_results_becomes_tables_a_page_and_figures(cli: Run, file: Path, tmp_path: Path) -> None:
    printed = cli("report", file)
    assert printed.code == 0, printed.err
    assert "Study by-hand: Does it transfer?" in printed.out
    assert printed.err == ""
    made = cli("report", file, "--html", "out/page.html", "--figures", "figures", "-o", "t.md")
    assert made.code == 0, made.err
    assert made.out == printed.out
    assert made.err.splitlines() == ["Written: t.md", "Written: out/page.html", "Written: figures"]
    assert (tmp_path / "out" / "page.html").read_text(encoding="utf-8") == render_page(
        [study_report.study_part(few_results())]
    )
    names = [f"by-hand-{figure.name}" for figure in study_report.study_part(few_results()).figures]
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    expected = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert files.keys() == expected | {"by-hand-tables.md", "by-hand-tables.tex"}
    assert all(files[f"{name}.png"].startswith(b"\x89PNG") for name in names)
    assert all(b"<svg" in files[f"{name}.svg"] and b"var(" not in files[f"{name}.svg"] for name in names)
    assert files["by-hand-tables.md"].decode().count("**Numbers: ") == len(names)
    assert files["by-hand-tables.tex"].decode().count(r"\begin{table}") == len(names) + 2


def test_verdicts_can_be_printed_alone(cli: Run, file: Path) -> None:
    every, verdicts = cli("report", file).out, cli("report", file, "--verdicts").out
    assert every.startswith(verdicts)
    assert "verdict" in verdicts
    assert "what was measured" in every.removeprefix(verdicts)
    assert "what was measured" not in verdicts
    alone = json.loads(cli("report", file, "--verdicts", "--json", "--output", "v.json").out)
    assert alone == {"verdicts": json.loads(cli("report", file, "--json").out)["verdicts"]}
    assert alone == json.loads(Path("v.json").read_text())
    assert cli("report", file, "--verdicts", "--output", "v.csv").code == 0
    with Path("v.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["verdict"] for row in rows] == [one["verdict"] for one in alone["verdicts"]]
    assert float(rows[0]["mean"]) == alone["verdicts"][0]["difference"]["mean"]


def test_verdicts_that_are_not_measured_are_lines_too(cli: Run) -> None:
    """The first of them gives a CSV file its columns."""
    write_results(results(claims=[CLAIMS[4], CLAIMS[0]]), Path("unmeasured.jsonl"))
    done = cli("report", "unmeasured.jsonl", "--verdicts", "--output", "v.csv")
    assert done.code == 0, done.err
    with Path("v.csv").open(newline="") as lines:
        first, second = csv.DictReader(lines)
    assert not first["mean"] and float(second["mean"])


def test_a_row_in_several_runs_has_one_perturbation(cli: Run, few: Path) -> None:
    """On other targets, counted by the same images."""
    more = (*ATTACK[:3], "-t", "vit", *ATTACK[7:], "--images-correct-for", "none", "--data", few)
    both = [cli(*more, "--runs", "a"), cli(*more[:4], "densenet", *more[5:], "--runs", "b")]
    assert [done.code for done in both] == [0, 0], both
    done = cli("report", *Path("a").iterdir(), *Path("b").iterdir(), "--visibility", "--json")
    found = json.loads(done.out)
    assert (len(found["records"]), len(found["visibility"])) == (2, 1)


def test_a_page_of_runs_and_studies_shows_images(cli: Run, run: Path, file: Path, tmp_path: Path) -> None:
    """Every cell of the table leads to its images, what its target said of them, and the command."""
    made = cli("report", run, file, "--html", "page.html")
    assert made.code == 0, made.err
    tree = Page.of((tmp_path / "page.html").read_text(encoding="utf-8")).root
    assert [e.text for e in tree.every("h2")] == [f"Attack run {run.name}", "Study by-hand"]
    assert "After fewer steps of the attack" in [e.text for e in tree.every("h4")]
    (block,) = [e for e in tree.every("div") if e.attributes.get("class") == "made"]
    assert block.one("h4").text == "resnet50-sgd, bim, linf, ε = 16/255"
    rows = list(block.one("tbody").every("tr"))
    heads = [row.one("th").text for row in rows]
    assert heads == ["clean", "adversarial", "difference", "vgg", "resnet18", "resnet50-sgd*"]
    for row in rows[:3]:
        pictures = list(row.every("img"))
        assert len(pictures) == 5
        assert all(img.attributes["alt"] for img in pictures)
    shown = [int(head.text.rpartition("image ")[2]) for head in list(block.one("thead").every("th"))[1:]]
    ids = json.loads((run / "selection.json").read_text())["ids"]
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    places = [ids.index(name) for name in shown]
    classes = load_zoo().dataset("fashion-mnist").classes
    (unit,) = run.rglob("images/*/*/0000.safetensors")
    adversarial = load_file(unit)["images"][places] / 255
    links = [e for e in tree.every("a") if e.attributes.get("class") == "cell"]
    for link, row, record in zip(links, rows[3:], records, strict=True):
        assert link.attributes["href"] == f"#{row.attributes['id']}"
        assert link.text == f"{100 * record['rate']:.1f}"
        rate, *notes = [cell.text for cell in row.every("td")]
        assert rate == f"{100 * record['rate']:.1f}\u00a0% of {record['n']}"
        with torch.no_grad():
            said = load_model(record["target"].partition("/")[2])(adversarial).argmax(1).tolist()
        marks = ["fooled" if record["outcomes"][place] == "1" else "not fooled" for place in places]
        assert notes == [f"{classes[one]}{mark}" for one, mark in zip(said, marks, strict=True)]


def test_pictures_are_those_of_the_run(run: Path) -> None:
    import io

    import numpy as np
    from PIL import Image

    def pixels(png: bytes) -> Any:
        return np.asarray(Image.open(io.BytesIO(png))).astype(int)

    (shown,) = row_examples([RunFolder(run)])
    for before, after, change in zip(*shown.pictures.values(), strict=True):
        moved = pixels(after.png) - pixels(before.png)
        assert 0 < abs(moved).max() <= 16, "levels, the budget"
        factor = 127 // 16
        assert (pixels(change.png) == 128 + factor * moved).all()
        assert f"magnified {factor} times" in shown.caption
    image = 3 * 28 * 28
    assert [len(row_examples([RunFolder(run)], bytes_)[0].columns) for bytes_ in (2 * image, image, 1)] == [
        2,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("lines", "damage"),
    [("", None), ('{"surrogate": "a"}\n', "cannot read"), ('{"ids": [1], "classes": []}\n', "cannot read")],
)
def test_a_run_without_predictions_has_examples(
    run: Path, tmp_path: Path, lines: str, damage: str | None
) -> None:
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    (copy / "predictions.jsonl").write_text(lines)
    if damage is not None:
        with pytest.raises(DataError, match=damage):
            row_examples([RunFolder(copy)])
        return
    (shown,) = row_examples([RunFolder(copy)])
    assert {text for cell in shown.cells for text in cell.outcomes} <= {"fooled", "not fooled"}


def test_what_is_damaged_is_left_out(cli: Run, run: Path, tmp_path: Path) -> None:
    """Images or their selection: that is said, and the page is made with tables, outcomes and commands."""
    broken = tmp_path / run.name
    shutil.copytree(run, broken)
    selection, clean = broken / "selection.json", broken / "clean.safetensors"
    for file, content, message in (
        (selection, None, f"{selection} is missing; run the attack command again"),
        (selection, "{", f"cannot read {selection}: JSONDecodeError"),
        (selection, '{"ids": [1]}', f"cannot read {selection}: KeyError"),
        (clean, None, f"{clean} is missing"),
        (clean, "x", f"cannot read {clean}"),
    ):
        kept = file.read_bytes()
        file.unlink()
        if content is not None:
            file.write_text(content)
        made = cli("report", broken, "--html", "page.html")
        assert made.code == 0, made.err
        note, written = made.err.splitlines()
        assert note.startswith(f"Note: no examples of the run {broken}: {message}")
        assert written == "Written: page.html"
        page = (tmp_path / "page.html").read_text()
        assert "<img" not in page
        assert 'href="#runs--cell-1-3"' in page
        file.write_bytes(kept)
    for content in ("{", "{}"):
        (broken / "visibility.jsonl").write_text(content)
        refused(
            cli("report", broken), 1, "visibility.jsonl", "run the attack command again, which makes it anew"
        )


def test_of_many_folders_what_is_there_is_reported(cli: Run, run: Path, tmp_path: Path) -> None:
    other, unfinished, foreign = (tmp_path / name for name in ("other", "unfinished", "sharpness-0"))
    for copy in (other, unfinished):
        shutil.copytree(run, copy)
    for file in ("records.jsonl", "curve.jsonl"):
        (other / file).write_text((run / file).read_text().replace('"seed": 0', '"seed": 5'))
    (unfinished / "records.jsonl").unlink()
    foreign.mkdir()
    alone = cli("report", run).out
    found = cli("report", run, unfinished, foreign, other, run)
    assert found.code == 0, found.err
    assert found.out.startswith(alone.rstrip("\n"))
    assert (found.out.count("seed 0"), found.out.count("seed 5")) == (alone.count("seed 0"),) * 2
    assert [line.partition(":")[0] for line in found.err.splitlines()] == ["Left out"] * 2
    refused(cli("report", run, other, "--json"), 2, "of runs that share a table", "2 of them")
    refused(cli("report", unfinished, foreign), 1, "is not finished", "run its attack command again")
    refused(cli("report", run, "--verdicts"), 2, "--verdicts is of studies")
    made = cli("report", run, other, "--html", "page.html")
    assert made.code == 0, made.err
    assert (tmp_path / "page.html").read_text().count("Attack run") >= 2


def test_examples_of_several_work_units_are_whole(cli: Run, few: Path, tmp_path: Path) -> None:
    assert cli(*ATTACK, "--data", few, "--batch-size", 2).code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    (shown,) = row_examples([RunFolder(folder)])
    assert [len(pictures) for pictures in shown.pictures.values()] == [len(shown.columns)] * 3 == [5] * 3


def test_a_study_of_the_package_is_found_by_name(
    cli: Run, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr("transferzoo.page.inputs.RESULTS", file.parent)
    printed = cli("report", "by-hand")
    assert printed.code == 0, printed.err
    assert printed.out == cli("report", file).out
    refused(
        cli("report", "minimizers"), 1, "no results of the study 'minimizers'", "transferzoo study minimizers"
    )


def test_json_and_files_are_of_one_thing(cli: Run, file: Path, tmp_path: Path) -> None:
    assert json.loads(cli("report", file, "--json").out)["study"]["name"] == "by-hand"
    refused(cli("report", file, file, "--json"), 2, "of one study", "got 2", "--html")
    refused(cli("report", file, file, "-o", "t.csv"), 2, "of one study")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_reported_is_refused(cli: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    refused(cli("report", "notes.txt"), 1, "notes.txt", "transferzoo study --results")
    refused(cli("report", "minimisers"), 2, "unknown run or study 'minimisers'", "transferzoo attack")
    refused(cli("report", file, "--visibility"), 2, "--visibility is of runs")
    refused(cli("report", tmp_path), 1, "is not a run folder")
    refused(cli("report", file, "--html", tmp_path), 1, "a folder")
    refused(cli("report", file, "--html", "notes.txt/page.html"), 1, "notes.txt")
    refused(cli("report", file, "--figures", "notes.txt"), 1, "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("option", ["--html", "--figures"])
def test_without_matplotlib_one_sentence_says_what_to_install(
    cli: Run, file: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(
        cli("report", file, option, "out"), 1, "figures need matplotlib", "pip install 'transferzoo[plots]'"
    )
    assert cli("report", file).code == 0


def test_tables_load_neither_torch_nor_matplotlib(file: Path) -> None:
    program = (
        "import sys\nfrom transferzoo.cli.app import main\n"
        f"sys.argv = ['transferzoo', 'report', {str(file)!r}]\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code\n"
        "print(sorted({'torch', 'matplotlib', 'timm', 'scipy.stats'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
