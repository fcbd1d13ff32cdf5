"""Lines and slices of `transferzoo sharpness`, on built-in models and images."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from helpers.checkpoints import copied, with_weights
from helpers.refusals import nothing_written, refused
from helpers.sharpness_commands import SMALL, flags, hesitant, result_files
from transferzoo.base.atomic import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_line_goes_on_where_it_was_stopped(cli: Run, few: Path, tmp_path: Path) -> None:
    with_weights(copied("vgg", tmp_path / "other"), hesitant)
    ask = (
        "sharpness",
        "--between",
        "vgg",
        "./other",
        "--points",
        3,
        "-t",
        "mobilenet,vgg",
        "-a",
        "fgsm",
        *flags(few, 30),
        "--json",
    )
    whole = cli(*ask, "--picture", "line.png", "-o", "line.csv")
    assert whole.code == 0, whole.err
    content = json.loads(whole.out)
    points = content["points"]
    assert [point["position"] for point in points] == [0, 0.5, 1]
    assert points[2]["loss"] > points[1]["loss"] > points[0]["loss"]
    assert [[record["target"] for record in point["records"]] for point in points] == [
        ["fashion-mnist/mobilenet"]
    ] * 3
    assert content["attack"].startswith("bim@linf,eps=16/255,step=eps,steps=1")
    assert (tmp_path / "line.png").read_bytes().startswith(b"\x89PNG")
    rows = [*csv.DictReader(io.StringIO((tmp_path / "line.csv").read_text()))]
    rates = [point["records"][0]["rate"] for point in points]
    assert [float(row["fashion-mnist/mobilenet rate"]) for row in rows] == rates
    assert [float(row["success_rate"]) for row in rows] == pytest.approx(rates)

    files = result_files(tmp_path)
    assert len(files) == 3
    files[1].unlink()
    times = [files[place].stat().st_mtime_ns for place in (0, 2)]
    again = cli(*ask)
    assert again.out == whole.out
    assert [files[place].stat().st_mtime_ns for place in (0, 2)] == times
    assert files[1].exists()
    table = cli(*ask[:-1], "--split", "sample")
    assert "From vgg (0) to other (1)" in table.out
    assert f"{100 * rates[2]:.1f}" in table.out
    assert "batch norm's statistics recomputed at every point" in " ".join(table.out.split())


def test_two_commands_along_a_line_keep_the_model_of_each_point(
    cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one command measures the first point, another one finishes the second."""
    with_weights(copied("vgg", tmp_path / "other"), hesitant)
    ask = ("sharpness", "--between", "vgg", "./other", "--points", 3, *flags(few), "--json")
    alone = cli(*ask)
    assert alone.code == 0, alone.err
    contents = {path: path.read_bytes() for path in result_files(tmp_path)}
    first, second, _ = contents
    for path in contents:
        path.unlink()

    def write(path: Path, content: object) -> None:
        write_json(path, content)
        if path == first.relative_to(tmp_path):
            second.write_bytes(contents[second])

    monkeypatch.setattr("transferzoo.sharpness.job.write_json", write)
    assert cli(*ask).out == alone.out
    assert {path: path.read_bytes() for path in result_files(tmp_path)} == contents


@pytest.mark.parametrize("content", ["{", "[]", '{"records": []}', '{"records": [{}]}', None])
def test_a_damaged_point_is_reported(cli: Run, few: Path, tmp_path: Path, content: str | None) -> None:
    """Whatever is in its file, and also where that is the point of another place."""
    with_weights(copied("vgg", tmp_path / "other"), hesitant)
    ask = (
        "sharpness",
        "--between",
        "vgg",
        "./other",
        "--points",
        2,
        *flags(few, 4),
        "--json",
        "--split",
        "sample",
    )
    cli(*ask)
    first, second = result_files(tmp_path)
    second.write_text(first.read_text() if content is None else content)
    refused(
        cli(*ask),
        1,
        f"cannot read {second.relative_to(tmp_path)}",
        "delete it and run the same command again",
    )


def test_a_slice_has_the_model_in_its_middle(cli: Run, few: Path, tmp_path: Path) -> None:
    ask = ("sharpness", "--slice", "vgg", "--points", 3, "--radius", 0.5, *flags(few))
    done = cli(*ask, "--json", "--picture", "slice.svg", "-o", "slice.csv", "-o", "slice.md")
    assert done.code == 0, done.err
    content = json.loads(done.out)
    assert content["positions"] == [-0.5, 0, 0.5]
    model = json.loads(cli("sharpness", "vgg", *SMALL, *flags(few), "--json").out)["models"][0]
    assert content["losses"][1][1] == pytest.approx(model["loss"], rel=1e-6)
    assert min(min(row) for row in content["losses"]) >= 0
    assert b"<svg" in (tmp_path / "slice.svg").read_bytes()
    rows = [*csv.DictReader(io.StringIO((tmp_path / "slice.csv").read_text()))]
    corner = next(row for row in rows if (float(row["first"]), float(row["second"])) == (0.5, -0.5))
    assert float(corner["loss"]) == content["losses"][0][2]
    assert "| 0.5 |" in (tmp_path / "slice.md").read_text()
    assert f"{content['losses'][2][0]:.3g}" in cli(*ask).out
    assert len(result_files(tmp_path)) == 3 + 1


def test_a_name_is_no_formula_in_a_picture(cli: Run, few: Path, tmp_path: Path) -> None:
    odd = copied("vgg", tmp_path / r"$\frac{$ ^_")
    few_points = ("--points", 3, *flags(few))
    for words in (("--slice", odd, "--radius", 0.5), ("--between", "vgg", odd)):
        done = cli("sharpness", *words, *few_points, "--picture", "odd.svg")
        assert done.code == 0, done.err
        assert r"$\frac{$ ^_" in (tmp_path / "odd.svg").read_text()


# ---------------------------------------------------------------- refusals


def test_models_of_two_architectures_have_no_line(cli: Run, few: Path) -> None:
    done = cli("sharpness", "--between", "vgg", "resnet18", *flags(few), "--split", "sample")
    refused(
        done, 1, "no line between models of different architectures", "two checkpoints of one architecture"
    )


def test_pictures_need_matplotlib(
    cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = cli("sharpness", "--slice", "vgg", "--picture", "found.png", *flags(few), "--split", "sample")
    refused(done, 1, "pictures need matplotlib", "pip install 'transferzoo[plots]'")
    nothing_written(tmp_path)
