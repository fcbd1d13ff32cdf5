"""Plug-ins in a file: what is loaded, what keys say of them, and how they fail."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from helpers.plugins import (
    ATTACK,
    NAMES,
    REGISTERED,
    ROOT,
    SOURCE,
    STUDY_OF_PLUGIN,
    TECHNIQUE,
    TRAIN,
    cell_plugins,
    digest,
    file,
    run_plugins,
)
from helpers.process_teams import Bench
from helpers.stripes import draw
from helpers.studies import STUDY, write_study
from transferzoo.api import load_images
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base import plugins
from transferzoo.base.errors import TransferZooError, UnknownNameError, UsageError
from transferzoo.base.plugins import load_file
from transferzoo.datasets.sources import load_split, reading_plugin
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.load import identity, load_classifier
from transferzoo.models.resolve import resolve_model
from transferzoo.studies.grid import build_grid
from transferzoo.studies.schema import find_study
from transferzoo.studies.worker import Task, run_cell
from transferzoo.zoo.reader import load_zoo, read_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]


# ---------------------------------------------------------------- what lists and commands see


def test_a_file_is_listed_and_shown(cli: Run, tmp_path: Path) -> None:
    mine = file(tmp_path)
    before = {kind: json.loads(cli("list", kind, "--json").out) for kind in NAMES}
    for kind, name in NAMES.items():
        listed = json.loads(cli("list", kind, "--json", "--plugin", mine).out)
        assert [entry for entry in listed if entry["plugin"] is None] == before[kind]
        assert [entry["name"] for entry in listed if entry["plugin"] == "mine.py"] == [name]
        assert re.search(rf" {name} .*", cli("list", kind, "--plugin", mine).out)
        (shown,) = json.loads(cli("show", name, "--json", "--plugin", mine).out)
        assert shown["plugin"] == f"mine.py, sha256 {digest(mine)}"


def test_lists_without_plugins_have_no_column_for_them(cli: Run) -> None:
    for kind in NAMES:
        assert "plugin" not in cli("list", kind).out


def test_a_file_trains_attacks_and_studies_in_several_processes(cli: Run, tmp_path: Path) -> None:
    mine, study = file(tmp_path), write_study(tmp_path, STUDY_OF_PLUGIN)
    known = {"mine.py": {"version": "", "sha256": digest(mine)}}
    assert cli(*TRAIN, "--plugin", "mine.py").code == 0
    assert json.loads((tmp_path / "mine/recipe.json").read_text())["plugins"] == known
    assert "flat-sign" in cli(*ATTACK, "--jobs", 2, "--plugin", "mine.py").out
    assert run_plugins(tmp_path) == known
    assert cli(*study, "--jobs", 2, "--plugin", "mine.py").code == 0
    assert cell_plugins(tmp_path) == [known] * 4


def test_every_process_of_a_team_loads_it(tmp_path: Path) -> None:
    bench, mine = Bench(tmp_path), file(tmp_path)
    outcome = bench.command("made", "--minimizer", "half-sgd", "--epochs", "1", "--plugin", str(mine))
    assert outcome.codes == [0, 0], outcome.err
    assert "mine.py" in json.loads((tmp_path / "made/recipe.json").read_text())["plugins"]


def test_timm_builds_the_architecture_of_a_plugin(tmp_path: Path) -> None:
    import timm

    load_file(file(tmp_path))
    assert timm.create_model("one_conv", num_classes=3).num_classes == 3
    plugins._forget(plugins._owners["mine.py"])
    with pytest.raises(UnknownNameError, match="unknown architecture 'one_conv'"):
        timm.create_model("one_conv", num_classes=3)


def test_the_file_of_the_readme_is_a_plugin(cli: Run, tmp_path: Path) -> None:
    readme = (ROOT / "transferzoo/base/README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (shown,) = json.loads(cli("show", "centre", "--json", "--plugin", file(tmp_path, text, "centre.py")).out)
    assert shown["defaults"] == "centre:share=1"
    attack = ("attack", "-s", "resnet50-sgd", "-t", "vgg", "--images", 4, "--steps", 2, "-a")
    assert cli(*attack, "mi+centre:share=0.5", "--plugin", tmp_path / "centre.py").code == 0


# ---------------------------------------------------------------- keys


def key_of(cli: Run, *options: object) -> tuple[str, str]:
    """Return the run folder of an attack and the checkpoint folder of a training."""
    run = json.loads(cli("attack", "-s", "resnet18", "-t", "vgg", "--dry-run", "--json", "-a", *options).out)[
        "run_folder"
    ]
    train = ["train", "--architecture", "small_vgg", "--dry-run", "--json", "--minimizer"]
    minimizer = "half-sgd" if "flat-sign" in options else "sgd"
    return run, json.loads(cli(*train, minimizer, "--json", *options[1:]).out)["output"]


def test_keys_follow_the_plugins_that_are_used_and_no_others(cli: Run, tmp_path: Path) -> None:
    before = key_of(cli, "bim")
    mine = file(tmp_path)
    used_ones = key_of(cli, "flat-sign", "--plugin", mine)
    assert key_of(cli, "bim", "--plugin", mine) == before
    other = tmp_path / "elsewhere"
    other.mkdir()
    seen = set(used_ones)
    for text in (SOURCE, SOURCE + "# another byte\n"):
        for plugin in set(plugins._owners.values()):
            plugins._forget(plugin)
        plugins._files.clear()
        seen |= set(key_of(cli, "flat-sign", "--plugin", file(other, text)))
    assert len(seen) == 4, "the place of the file does not count, its bytes do"


def test_cells_of_a_study_have_the_plugins_that_they_use(tmp_path: Path) -> None:
    write_study(tmp_path, STUDY.replace('"sam:rho=0.1"', "half-sgd"))
    zoo, study = read_zoo(tmp_path / "zoo.yaml"), tmp_path / "study.yaml"
    load_file(file(tmp_path))
    grid = build_grid(find_study(str(study)), zoo, tmp_path / "data")
    with_plugin = {cell.label for cell in grid.cells.values() if "plugins" in cell.inputs}
    assert with_plugin == {"train sam, seed 0", "train sam, seed 1"}


def test_a_form_of_a_models_source_counts(cli: Run, tmp_path: Path) -> None:
    zoo = load_zoo()
    load_file(file(tmp_path))
    model = resolve_model(zoo, "same:3")
    images = load_images().images[:5]
    assert load_classifier(model, zoo.dataset("fashion-mnist"))(images / 255).argmax(1).tolist() == [3] * 5
    assert "no surrogate: no gradient comes back" in cli("attack", "-s", "same:3", "-t", "vgg").err
    weights, rest = identity(model)
    plugins._forget(plugins._owners["mine.py"])
    plugins._files.clear()
    load_file(file(tmp_path, SOURCE + "# another byte\n"))
    again = identity(resolve_model(zoo, "same:3"))
    assert again[0] == weights
    assert again[1] != rest


def test_a_reader_of_a_study_counts(tmp_path: Path) -> None:
    write_study(tmp_path)
    zoo, study = read_zoo(tmp_path / "zoo.yaml"), find_study(str(tmp_path / "study.yaml"))
    mine = file(tmp_path)
    load_file(mine)
    for split, images in (("train", draw(96, 0)), ("test", draw(64, 1))):
        rows = torch.cat([images.images.flatten(1), images.labels[:, None].to(torch.uint8)], 1)
        (tmp_path / f"{split}.raw").write_bytes(bytes([1, 12, 12]) + rows.numpy().tobytes())
    stripes = zoo.dataset("stripes")
    assert torch.equal(load_split(stripes, "test", root=tmp_path).images, draw(64, 1).images)
    assert str(reading_plugin(stripes, "test", tmp_path)) == "mine.py"
    cells = build_grid(study, zoo, tmp_path).cells.values()
    assert all("plugins" in cell.inputs["images"] for cell in cells)
    for kept in (tmp_path / "data").iterdir():  # what is built in reads what it can, whatever plug-ins would
        kept.rename(tmp_path / kept.name)
    assert reading_plugin(stripes, "test", tmp_path) is None
    assert not any(
        "plugins" in cell.inputs["images"] for cell in build_grid(study, zoo, tmp_path).cells.values()
    )


def test_a_worker_with_another_plugin_says_so(tmp_path: Path) -> None:
    write_study(tmp_path, STUDY_OF_PLUGIN)
    study, mine = find_study(str(tmp_path / "study.yaml")), file(tmp_path)
    task = Task(
        study.model_dump_json(),
        tmp_path / "store",
        tmp_path / "data",
        tmp_path / "zoo.yaml",
        (mine,),
        tmp_path,
    )
    with pytest.raises(TransferZooError, match="this worker finds other images, models or plug-ins"):
        run_cell(task, "0" * 16)


# ---------------------------------------------------------------- how they fail


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero; `python .*mine.py` shows where"),
        ("import nowhere", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        ("def (", "cannot be loaded: SyntaxError"),
        ("\0", "cannot be loaded: "),
        ("raise SystemExit(0)", "cannot be loaded: SystemExit: 0"),
        ("x = 1", "the plug-in mine.py registers nothing: expected a decorator in it"),
        (REGISTERED + "1 / 0", "ZeroDivisionError"),
        (
            REGISTERED + TECHNIQUE.format(name="mi"),
            "technique 'mi' is registered twice, by transferzoo and by mine.py; rename one",
        ),
        (
            REGISTERED.replace("(Filter)", ""),
            "technique 'first' is none: expected a class on Technique, got <class 'mine.py.Same'>",
        ),
        (
            REGISTERED.replace("wrap", "warp"),
            "'first' is not whole, on the base class Filter: expected `wrap` in its class",
        ),
        (REGISTERED.replace("paper =", "share: float\n    paper ="), "option 'share' .* has no default"),
        (
            REGISTERED.replace("paper =", "share = 0.5\n    paper ="),
            "'share' of technique 'first' has no annotation: expected 'share: TYPE = …', or ClassVar",
        ),
        (REGISTERED.replace("@dataclass(frozen=True)", ""), "technique 'first' is no dataclass"),
        (REGISTERED.replace('"first"', '"My First+x"'), r"'My First\+x' cannot name a technique"),
        (
            "from transferzoo.datasets import READERS, Reader\n@READERS.register('x')\nclass X(Reader):\n"
            "    def accepts(self, *_): ...\n    def shape(self, *_): ...\n    def read(self, *_): ...",
            "'x' is not whole, on the base class Reader: expected `layout` and `priority` in its class",
        ),
        (
            "from transferzoo.models.architectures import architecture\n"
            "@architecture(family='x', paper='x')\ndef x(num_classes, in_chans=1): ...",
            "architecture 'x' is not whole: expected num_classes and width with a default",
        ),
        (REGISTERED + REGISTERED, "technique 'first' is registered twice, by mine.py and by mine.py"),
    ],
)
def test_a_file_that_fails_is_a_sentence_and_leaves_nothing(text: str, sentence: str, tmp_path: Path) -> None:
    before = TECHNIQUES.registered
    with pytest.raises(TransferZooError, match=sentence) as caught:
        load_file(file(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert TECHNIQUES.registered == before
    assert "mine.py" not in sys.modules
    load_file(file(tmp_path, REGISTERED))
    assert "first" in TECHNIQUES


def test_a_file_that_is_none_is_a_sentence(cli: Run, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.py"):
        found = cli("list", "--plugin", path)
        assert (found.code, found.out) == (2, "")
        assert found.err.startswith(f"Error: cannot read the plug-in {path}: expected a Python file, got ")


def test_a_file_runs_once_and_its_name_is_its_own(tmp_path: Path) -> None:
    mine = file(tmp_path, REGISTERED)
    load_file(mine)
    load_file(tmp_path / "." / "mine.py")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UsageError, match=r"two plug-ins are called mine\.py: expected names that differ"):
        load_file(file(other, TECHNIQUE.format(name="second")))
    assert plugins.files() == (mine.resolve(),)


def test_what_a_file_prints_is_no_data(cli: Run, tmp_path: Path) -> None:
    found = cli("list", "minimizers", "--json", "--plugin", file(tmp_path, "print('hello')\n" + REGISTERED))
    assert json.loads(found.out)
    assert found.err == "hello\n"


def test_an_architecture_does_not_take_the_name_of_one_of_timms(tmp_path: Path) -> None:
    import timm  # noqa: F401  it is asked only where it is there already

    text = "from transferzoo.models.architectures import architecture\n"
    text += "@architecture(family='x', paper='x')\ndef resnet18(num_classes=1, in_chans=1, width=1): ...\n"
    with pytest.raises(
        TransferZooError, match=r"architecture 'resnet18' of mine\.py is one of timm's; rename it"
    ):
        load_file(file(tmp_path, text))
    assert "resnet18" not in ARCHITECTURES
