"""Functions of the user's Python modules that return models: when they run, and how they fail."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from helpers.refusals import nothing_written, once_run, refused
from helpers.short_attack import TRY, by_pair
from transferzoo import evaluate, load_images, load_model, measure, read_attack
from transferzoo.base.errors import UsageError
from transferzoo.evaluation.in_memory import NoNoiseWarning
from transferzoo.models.sources import python_function
from transferzoo.models.sources.python_function import PythonFunction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.refusals import Run

    Written = Callable[[str], str]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Write a module of the user's into the working folder; return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def write(text: str) -> str:
        (tmp_path / "own_models.py").write_text(text)
        return "own_models"

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("own_models"):
            del sys.modules[name]
    python_function.facts.cache_clear()


OWN = """
import torch
from torch import nn
from transferzoo import load_model

print("imported")

def surrogate():
    print("called")
    return load_model("resnet50-sgd")

def target():
    return load_model("vgg").train()

def scores():
    model = load_model("vgg")
    def predict(images):
        print("asked")
        assert images.dtype is torch.float32 and 0 <= images.min() <= images.max() <= 1
        return model(images).detach().numpy()
    return predict

def labels(images):
    return scores()(images).argmax(1)

class Models:
    Vgg = staticmethod(target)
"""


def test_functions_are_surrogates_and_targets(cli: Run, few: Path, written: Written) -> None:
    """What they print does not get into the table."""
    own = written(OWN)
    flags = ("-s", f"{own}:surrogate", "-t", f"{own}:target,{own}:scores,{own}:surrogate", "--allow-code")
    result = cli(*TRY, "--data", few, *flags, "-t", f"{own}:Models.Vgg", "--json")
    found = by_pair(result)
    outcomes = {pair: record["outcomes"] for pair, record in found.items()}
    assert "1" in outcomes["resnet50-sgd", "vgg"]
    victims = ("vgg", "target", "scores", "Models.Vgg")
    assert {outcomes[pair] for pair in outcomes if pair[1] in victims} == {outcomes["resnet50-sgd", "vgg"]}
    white = [pair for pair, record in found.items() if record["white_box"]]
    assert white == [("resnet50-sgd", "surrogate"), ("surrogate", "surrogate")], "it has those weights"
    assert found["surrogate", "target"]["target_sha256"] == found["surrogate", "Models.Vgg"]["target_sha256"]
    for word in ("imported", "called", "asked"):
        assert word in result.err


def test_labels_alone_are_enough_and_noise_is_shown_if_asked(cli: Run, few: Path, written: Written) -> None:
    own = written(OWN)
    command = (*TRY, "--data", few, "-t", f"{own}:labels,{own}:scores,vgg", "--allow-code", "--json")
    plain = cli(*command)
    outcomes = {target: record["outcomes"] for (_, target), record in by_pair(plain).items()}
    assert "1" in outcomes["vgg"]
    assert outcomes["labels"] == outcomes["scores"] == outcomes["vgg"]
    shown = {record["target"].partition("/")[2] for record in json.loads(plain.out)["noise"]}
    assert shown == {"scores", "vgg"}
    assert "Note: labels says labels only: no random noise is shown" in plain.err
    asked = cli(*command, "--noise")
    noise = {
        record["target"].partition("/")[2]: record["outcomes"] for record in json.loads(asked.out)["noise"]
    }
    assert noise["labels"] == noise["scores"] == noise["vgg"]
    assert "labels only" not in asked.err
    assert json.loads(asked.out)["records"] == json.loads(plain.out)["records"], "the same run went on"


def test_programs_evaluate_targets_of_labels_only(few: Path, written: Written) -> None:
    own = written(OWN)
    known = load_images(root=few)
    models = {name: load_model(f"{own}:{name}", allow_code=True) for name in ("labels", "target")}
    attack = read_attack("bim", steps=2)
    with pytest.warns(NoNoiseWarning, match=r"labels says labels only: .*noise=True in Python") as warned:
        found = evaluate(attack, load_model("resnet50-sgd"), models, known.images[:20], known.labels[:20])
    assert warned[0].filename == __file__
    first, second = found.records
    assert first.outcomes == second.outcomes
    assert "1" in first.outcomes
    assert [record.target for record in found.noise] == ["target"]


@pytest.mark.filterwarnings("ignore:Note. own says labels only")
@pytest.mark.parametrize("asked", [False, True])
def test_a_function_that_a_program_holds_is_shown_noise_if_asked(few: Path, asked: bool) -> None:
    known, vgg = load_images(root=few), load_model("vgg")
    images, labels, seen = known.images[:20], known.labels[:20], list[int]()

    def answer(shown: torch.Tensor) -> torch.Tensor:
        seen.append(len(shown))
        scores: torch.Tensor = vgg(shown)
        return scores.argmax(1)

    attack = read_attack("bim", steps=1)
    found = evaluate(attack, load_model("resnet50-sgd"), {"own": answer}, images, labels, noise=asked)
    assert (len(found.noise), sum(seen) > 50) == (int(asked), asked), seen
    measured = measure(255 - images, {"own": answer}, images, labels, noise=asked)
    assert len(measured.noise) == int(asked)


def test_labels_alone_are_scored(cli: Run, written: Written, tmp_path: Path) -> None:
    own = written(OWN)
    made = cli(*TRY, "-t", "vgg", "--save-images", "saved", "--json")
    assert made.code == 0, made.err
    (sheet,) = (tmp_path / "saved").rglob("sheet.png")
    sheet.unlink()
    command = ("score", sheet.parent, "--dataset", "fashion-mnist", "--allow-code", "--json")
    for noise in ((), ("--noise",)):
        found = cli(*command, "-t", f"{own}:labels,vgg", *noise)
        assert found.code == 0, found.err
        first, second = json.loads(found.out)["records"]
        assert first["outcomes"] == second["outcomes"]
        assert len(json.loads(found.out)["noise"]) == 1 + len(noise)


def test_a_label_of_none_of_the_mapped_classes_is_a_sentence(
    cli: Run, few: Path, written: Written, tmp_path: Path
) -> None:
    own = written("def classify(images): return [12] * len(images)\n")
    rows = [f"{label},{label + 1}" for label in range(10)] + [",0", ",12"]
    (tmp_path / "map.csv").write_text("data,model\n" + "\n".join(rows))
    found = cli(*TRY, "--data", few, "-t", f"{own}:classify", "--classes", "map.csv", "--allow-code")
    assert found.code == 1
    assert "a model of labels only answers with a class that the data does not have" in found.err


def test_code_runs_only_where_it_is_allowed(cli: Run, few: Path, written: Written, tmp_path: Path) -> None:
    own = written(OWN)
    mine = {"models": {"fashion-mnist": {"theirs": {"roles": ["target"], "source": f"python:{own}:target"}}}}
    (tmp_path / "mine.yaml").write_text(json.dumps(mine))
    zoo = ("--zoo", "mine.yaml", "--data", few)
    words = (f"'{own}:target' is code", "not run unasked", "--allow-code")
    for named in (f"{own}:target", "theirs", "all", "the*"):
        refused(cli(*TRY, *zoo, "-t", named), 2, *words)
    refused(cli("attack", "-s", f"{own}:target", *zoo), 2, *words)
    with pytest.raises(UsageError, match="is code"):
        load_model(f"{own}:target")
    assert cli("list", "--zoo", "mine.yaml").code == cli("show", "theirs", "--zoo", "mine.yaml").code == 0
    assert own not in sys.modules
    nothing_written(tmp_path)
    allowed = cli(*TRY, *zoo, "-t", "theirs", "--allow-code", "--dry-run", "--json")
    assert f"Running code that --allow-code allows: {own}:target" in allowed.err
    assert json.loads(allowed.out)["loads"]["fashion-mnist/theirs"] == f"python:{own}:target"
    assert own in sys.modules


@pytest.mark.parametrize(
    ("function", "gradients"), [("target", True), ("scores", False), ("Models.Vgg", True)]
)
def test_show_runs_code_where_it_is_allowed(
    function: str, gradients: bool, cli: Run, written: Written
) -> None:
    own = written(OWN)
    (unasked,) = json.loads(cli("show", f"{own}:{function}", "--json").out)
    assert "sha256" not in unasked and own not in sys.modules
    allowed = cli("show", f"{own}:{function}", "--allow-code", "--json")
    assert f"Running code that --allow-code allows: {own}:{function}" in allowed.err
    (found,) = json.loads(allowed.out)
    assert (found["sha256"], found["gives gradients"]) == (
        PythonFunction(f"{own}:{function}").identity()[0],
        gradients,
    )


def test_a_run_follows_the_weights_and_the_code(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = PythonFunction("own_models:make")
    text = "import torch\nfrom torch import nn\ndef make():\n    torch.manual_seed({})\n    return {}\n"

    def identity(*parts: object) -> tuple[str, str]:
        written(text.format(*parts))
        sys.modules.pop("own_models", None)
        python_function.facts.cache_clear()
        return source.identity()

    bodies = ["nn.Linear(2, 2)", "nn.Linear(2, 2)  # the same", "lambda images: images"]
    bodies += ["nn.ReLU()", "nn.Tanh()"]
    found = [identity(0, body) for body in bodies] + [identity(1, bodies[0])]
    weights, codes = zip(*found, strict=True)
    assert weights[0] == weights[1]
    assert len(set(weights)) == len(weights) - 1
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("body", "name", "words"),
    [
        ("return {}['x']", "make", ("'own_models:make' fails: KeyError: 'x'", "no arguments")),
        ("raise SystemExit(3)", "make", ("'own_models:make' fails: SystemExit: 3",)),
        ("raise ValueError('two\\nlines.')", "make", ("fails: ValueError: two lines; `python -c",)),
        ("return nn.Linear", "make", ("returns no model", "got Linear")),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(784, 9))", "make", ("(2, 10), got shape (2, 9)",)),
        ("return nn.Sequential(nn.Flatten(), nn.LSTM(784, 10))", "make", ("returns no scores", "got tuple")),
        ("return lambda images: images", "make", ("does not classify like the data set",)),
        ("return lambda images: None", "make", ("returns no scores", "got NoneType")),
        ("return lambda images: torch.zeros(len(images), 10)", "make", ("'make' does not classify these",)),
        ("", "predict", ("does not classify like the data set", "(2, 10), got shape (2, 1, 28, 28)")),
        (
            "",
            "named",
            ("'own_models:named' takes other arguments", "got width", "write a function around it"),
        ),
        ("", "Needy", ("'own_models:Needy' takes other arguments", "none, and it returns a model")),
        ("", "halves", ("does not classify like the data set", "got shape (2,)")),
        ("", "truths", ("does not classify like the data set", "got shape (2,)")),
        ("", "make.deep", ("unknown function 'make.deep' of own_models",)),
    ],
)
def test_what_goes_wrong_in_a_function_is_a_sentence(
    cli: Run, few: Path, tmp_path: Path, written: Written, body: str, name: str, words: tuple[str, ...]
) -> None:
    own = written(
        "import torch\nfrom torch import nn\n"
        f"def make():\n    {body or 'pass'}\ndef predict(images): return images\n"
        "def named(*, width): return images\n"
        "class Needy:\n    def __init__(self, width): pass\n"
        "def halves(images): return [0.5] * len(images)\n"
        "def truths(images): return [True] * len(images)\n"
    )
    result = cli(*TRY, "--data", few, "-t", f"{own}:{name}", "--allow-code")
    code = 2 if words[0].startswith("unknown function") else 1
    refused(once_run(result), code, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def make(:", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_sentence(
    cli: Run, few: Path, written: Written, text: str, words: str
) -> None:
    own = written(text)
    result = cli(*TRY, "--data", few, "-t", f"{own}:make", "--allow-code")
    assert result.code == 1
    assert f"Error: cannot import {own}: {words}" in result.err
    assert "Traceback" not in result.err


def test_a_function_of_images_is_no_surrogate(cli: Run, few: Path, written: Written, tmp_path: Path) -> None:
    own = written(OWN)
    result = cli("attack", "-s", f"{own}:scores", "-t", "vgg", "--data", few, "--allow-code")
    assert result.code == 2
    assert "Error: 'scores' is no surrogate: no gradient comes back from it" in result.err
    assert "or name a function that takes no arguments and returns a network (torch.nn.Module)." in result.err
    fine = cli(
        "attack", "-s", f"{own}:surrogate", "-t", "vgg", "--data", few, "--allow-code", "--finetune", "sam"
    )
    assert fine.code == 2
    assert "'fashion-mnist/surrogate' is no checkpoint folder" in fine.err
    nothing_written(tmp_path)


def test_programs_load_them_where_code_is_allowed(written: Written) -> None:
    own = written(OWN)
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        for name in ("target", "scores"):
            model = load_model(f"{own}:{name}", allow_code=True)
            torch.testing.assert_close(model(images), load_model("vgg")(images))
            assert not model.training
