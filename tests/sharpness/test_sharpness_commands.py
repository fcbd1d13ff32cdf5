"""`transferzoo sharpness` through the real command line, on built-in models and images."""

from __future__ import annotations

import csv
import inspect
import io
import json
import random
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

import transferzoo
from helpers.checkpoints import copied, heads, with_weights
from helpers.refusals import nothing_written, refused
from transferzoo.base.atomic import write_json
from transferzoo.cli.app import app
from transferzoo.cli.sharpness import sharpness
from transferzoo.sharpness import measure

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ("--probes", 2, "--steps", 2, "--draws", 2)


def result_files(folder: Path) -> list[Path]:
    """Return the files of results, in order."""
    kept = ("config.json", "started.json")
    return sorted(path for path in folder.glob("runs/sharpness-*/**/*.json") if path.name not in kept)


def flags(few: Path, images: int = 8) -> tuple[object, ...]:
    return ("--data", few, "--images", images)


def hesitant(weights: dict[str, Tensor]) -> None:
    """Let the model be less sure of everything."""
    for name in heads(weights):
        weights[name] = weights[name] / 4


# ---------------------------------------------------------------- models


def test_the_command_prints_what_the_library_measures(cli: Run, few: Path, tmp_path: Path) -> None:
    ask = ("sharpness", "vgg", *SMALL, *flags(few), "--seed", 3, "--rho", 0.1)
    done = cli(*ask, "--json", "-o", "found.csv", "-o", "found.tex")
    assert done.code == 0, done.err
    batch = transferzoo.load_images(root=few)
    batch = batch.select(sorted(random.Random(3).sample(range(len(batch)), 8)))
    options: dict[str, Any] = {"probes": 2, "steps": 2, "draws": 2, "seed": 3, "rho": 0.1}
    wanted = measure(transferzoo.load_model("vgg"), batch.images, batch.labels, **options)
    content = json.loads(done.out)
    (found,) = content["models"]
    assert found["model"] == "fashion-mnist/vgg"
    assert (content["split"], content["images"], content["seed"]) == ("sample", 8, 3)
    for part in ("plain", "adaptive"):
        assert found[part].pop("eigenvalues") == list(getattr(wanted, part).eigenvalues)
        assert found[part] == {name: getattr(getattr(wanted, part), name) for name in found[part]}
    (row,) = csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text()))
    assert float(row["adaptive_trace"]) == wanted.adaptive.trace
    assert float(row["top"]) == wanted.plain.eigenvalues[0]
    assert r"\begin{tabular}" in (tmp_path / "found.tex").read_text()
    assert "measured on the split 'sample'; the paper measures on training images" in done.err

    table = cli(*ask, "--split", "sample")
    assert "Note" not in table.err
    assert f"{wanted.plain.trace:.3g} ± {wanted.plain.trace_error:.2g}" in table.out
    assert f"{wanted.adaptive.worst_rise:.3g}" in table.out
    for words in ("8 images of fashion-mnist, split sample; seed 3", "rho = 0.1", "2 probes"):
        assert words in " ".join(table.out.split())


def test_results_are_kept_one_by_one(
    cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is stopped has kept its first model; the same command measures the second one only."""
    ask = ("sharpness", "vgg,resnet18", *SMALL, *flags(few, 4), "--json")
    measured = []

    def spy(model: Any, *arguments: Any, **options: Any) -> Any:
        measured.append(sum(p.numel() for p in model.parameters()))
        if len(measured) == 2:
            raise RuntimeError("stopped")
        return measure(model, *arguments, **options)

    monkeypatch.setattr("transferzoo.sharpness.job.measure", spy)
    with pytest.raises(RuntimeError, match="stopped"):
        cli(*ask)
    (file,) = result_files(tmp_path)
    assert file.name.startswith("fashion-mnist-vgg-")
    first = cli(*ask)
    assert first.code == 0, first.err
    assert len(measured) == 3
    assert measured[1] == measured[2] != measured[0]
    assert cli(*ask).out == first.out
    assert len(measured) == 3
    cli("sharpness", "vgg", *SMALL, *flags(few, 4), "--seed", 1)
    assert len(measured) == 4


def test_other_weights_of_the_same_name_are_measured_anew(cli: Run, few: Path, tmp_path: Path) -> None:
    answers = []
    for source in ("vgg", "validator-vgg"):
        shutil.rmtree(tmp_path / "mine", ignore_errors=True)
        copied(source, tmp_path / "mine")
        done = cli("sharpness", "./mine", *SMALL, *flags(few, 4), "--json")
        answers.append(json.loads(done.out)["models"][0]["loss"])
    assert answers[0] != answers[1]
    assert len(result_files(tmp_path)) == 2


def test_a_damaged_result_is_reported(cli: Run, few: Path, tmp_path: Path) -> None:
    ask = ("sharpness", "vgg", *SMALL, *flags(few, 4), "--json", "--split", "sample")
    cli(*ask)
    (file,) = result_files(tmp_path)
    file.write_text("{")
    refused(
        cli(*ask), 1, f"cannot read {file.relative_to(tmp_path)}", "delete it and run the same command again"
    )


def test_the_defaults_are_those_of_the_library() -> None:
    library, command = (inspect.signature(function).parameters for function in (measure, sharpness))
    shared = set(library) & set(command) - {"images", "batch_size"}
    assert len(shared) == 9
    assert {name: library[name].default for name in shared} == {
        name: command[name].default for name in shared
    }


# ---------------------------------------------------------------- lines and slices


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


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, ("nothing to measure", "--between A B or --slice MODEL")),
        (("vgg", "--slice", "vgg"), 2, ("one thing is measured at a time", "MODEL and --slice")),
        (("resnet50-smm",), 2, ("unknown surrogate 'resnet50-smm'", "did you mean resnet50-sam")),
        (("vgg", "--rho", 0), 2, ("rho is out of range", "a number above 0", "got 0")),
        (("vgg", "--adaptive-sigma", "nan"), 2, ("adaptive sigma is out of range",)),
        (("vgg", "--points", 3), 2, ("--points belongs to --between or --slice", "leave it out")),
        (("--slice", "vgg", "--probes", 3), 2, ("--probes belongs to MODEL", "got --slice")),
        (("--slice", "vgg", "-t", "vgg"), 2, ("--target belongs to --between",)),
        (("--slice", "vgg", "--radius", -1), 2, ("the radius is out of range",)),
        (("--slice", "resnet50-*"), 2, ("--slice takes one model", "resnet50-sgd, ")),
        (("--between", "vgg", "vgg"), 2, ("--between takes two different models",)),
        (("--between", "vgg", "resnet18", "-t", "resnet18"), 2, ("no target is left",)),
        (("--between", "vgg", "resnet18", "-t", "mobilenet|jpeg"), 2, ("no defence", "mobilenet|jpeg")),
        (("vgg", "--split", "train"), 1, ("holds no 'train' images", "check --data")),
        (("vgg", "--split", "smaple"), 2, ("unknown split 'smaple'", "did you mean sample")),
        (("vgg", "-o", "found.docx"), 2, ("format of found.docx",)),
        (("--slice", "vgg", "--picture", "found.docx"), 2, (".png, .svg or .pdf",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_bad_requests(
    cli: Run, few: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, words: tuple[str, ...]
) -> None:
    named = () if "--split" in arguments else ("--split", "sample")
    refused(cli("sharpness", *arguments, *named, "--data", few), code, *words)
    nothing_written(tmp_path)


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


def test_the_command_is_listed() -> None:
    assert "sharpness" in [command.name for command in app.registered_commands]
