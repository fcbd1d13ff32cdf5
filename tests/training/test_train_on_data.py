"""`transferzoo train` on real data: what the data refuse, and what is selected and tuned."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from helpers.refusals import once_begun, refused
from helpers.stripes import ZOO, config, draw, spec, write_idx
from helpers.stripes import validators as train_validators
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "untimed")


@pytest.mark.parametrize("options", [("--select", "transfer"), ("--tune", "rho=0.1,0.2")], ids=lambda o: o[0])
def test_a_data_set_without_validation_targets(cli: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "zoo.yaml").write_text(ZOO)
    command = ("train", "--zoo", "zoo.yaml", "--dataset", "stripes", "--architecture", "small_vgg:width=8")
    refused(cli(*command, "--minimizer", "sam", *options), 2, "'stripes' has no validation targets")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data, two validators, a model of another data set, and a zoo file."""
    folder = tmp_path_factory.mktemp("cli")
    train_validators(folder)
    write_idx(folder / "data", "train", draw(64, 0))
    write_idx(folder / "data", "t10k", draw(32, 1))
    other = spec(folder).model_copy(update={"name": "two", "classes": ("lying", "standing")})
    data = draw(160, 3)
    pairs = data.select((data.labels < 2).nonzero().flatten())
    train(config(epochs=1, dataset="two"), other, pairs, None, folder / "pair")
    models = {name: {"roles": ["validator"], "source": f"local:{name}"} for name in ("one", "two")}
    models["wrong"] = {"roles": ["target"], "source": "local:pair"}
    (folder / "zoo.yaml").write_text(ZOO + json.dumps({"models": {"stripes": models}})[1:-1] + "\n")
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--batch-size", 65), 1, ("too few training images", "at least one batch (65)", "got 64")),
        (("--data", "nowhere"), 1, ("nowhere",)),
        (("--validation", 64), 2, ("too many validation images", "fewer than the 64", "got 64")),
        (("--validation", 60), 1, ("too few training images", "got 4")),
        (("--select", "transfer"), 2, ("too many validation images", "got 2000", "lower --validation")),
        (("--batch-size", 16, "--micro-batch", 5), 2, ("cannot be shared out evenly", "--micro-batch")),
        (("--validation", 16, "--validator", "wrong"), 1, ("wrong number of classes", "expected 3", "got 2")),
        (("--from", "./nowhere"), 2, ("nowhere",)),
        (("--lr", "1e30"), 1, ("training diverged at step", "lower the learning rate; the state")),
        (("--lr", "1e30", "--minimizer", "sam"), 1, ("lower the learning rate or rho; the state",)),
        (("--lr", "1e30", "--adversarial", "l2:0.1"), 1, ("training diverged at step",)),
        (("--output", "file/run"), 1, ("cannot write to", "file/run", "choose a folder")),
        (("--output", "locked/run"), 1, ("cannot write to", "locked/run", "choose a folder")),
        (("--minimizer", "swa:start=0.99"), 2, ("no weights would be averaged", "0.99")),
        (("--minimizer", "swa", "--collect", "lgv"), 2, ("averaged and collected at once",)),
        (("--collect", "lgv:per-epoch=9"), 2, ("cannot be collected that often", "got 9")),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_the_data_refuse(
    cli: Run, place: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "locked").symlink_to("/proc")
    shutil.copytree(place / "pair", tmp_path / "pair")
    places = ("--zoo", place / "zoo.yaml", "--data", place / "data", "--output", "run")
    model = ("--dataset", "stripes", "--architecture", "small_vgg:width=4")
    size = ("--batch-size", 16, "--epochs", 1)
    refused(once_begun(cli("train", *model, *size, *places, *arguments)), code, *words)
    assert not (tmp_path / "run").exists()


def test_select_and_tune_from_the_command_line(cli: Run, place: Path, tmp_path: Path) -> None:
    """The validators of the zoo, and what is printed is what the recipe holds, the second time too."""
    places = ("--zoo", place / "zoo.yaml", "--data", place / "data", "--json", "--validation", 16)
    model = ("train", "--dataset", "stripes", "--architecture", "small_vgg:width=4", "--minimizer", "sam")
    size = ("--batch-size", 16, "--epochs", 2)
    for name, flags in (("select", ("--select", "transfer")), ("tune", ("--tune", "rho=0.05,0.2"))):
        line = (*model, *size, *places, *flags, "--output", name)
        first, again = cli(*line), cli(*line)
        assert (first.code, again.code) == (0, 0), first.err
        assert "epoch 2/2" in first.err
        assert "epoch" not in again.err
        assert first.out == again.out
        shown = json.loads(first.out)
        assert shown.pop("folder") == name
        assert shown == json.loads((tmp_path / name / "recipe.json").read_text())
        assert shown["validation"]["transfer"]["targets"].keys() == {"stripes/one", "stripes/two"}
    assert shown["tuning"]["chosen"]["rho"] in (0.05, 0.2)
    _check_table(cli(*(part for part in line if part != "--json")).out, shown["tuning"])
    refused(cli(*line, "--seed", 1), 2, "tune holds another training run", "choose another with --output")


def _check_table(text: str, tuning: dict[str, Any]) -> None:
    """Check that people are shown the choice and the curve."""
    assert "fools stripes/one %   fools stripes/two %   mean %" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(" 0.")}
    chosen = f"{tuning['chosen']['rho']:g}"
    assert [rho for rho, cells in lines.items() if "yes" in cells] == [chosen]
    for one in tuning["curve"]:
        cells = [cell for cell in lines[f"{one['rho']:g}"] if cell != "yes"]
        rates = [*one["transfer"]["targets"].values(), one["transfer"]["rate"], one["accuracy"]]
        assert cells[:4] == [f"{100 * rate:.1f}" for rate in rates]
