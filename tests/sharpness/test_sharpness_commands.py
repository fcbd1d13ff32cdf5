"""`transferzoo sharpness` through the real command line, on built-in models and images."""

from __future__ import annotations

import csv
import inspect
import io
import json
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

import transferzoo
from helpers.checkpoints import copied
from helpers.refusals import nothing_written, refused
from helpers.sharpness_commands import SMALL, flags, result_files
from transferzoo.cli.app import app
from transferzoo.cli.sharpness import sharpness
from transferzoo.sharpness import measure

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_small_networks_are_measured_in_one_thread(
    cli: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def look(*_: object, **__: object) -> None:
        threads.append(torch.get_num_threads())
        raise RuntimeError("seen")

    monkeypatch.setattr("transferzoo.sharpness.job.measure", look)
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="seen"):
            cli("sharpness", "vgg", *SMALL, *flags(few))
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)


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


def test_the_command_is_listed() -> None:
    assert "sharpness" in [command.name for command in app.registered_commands]
