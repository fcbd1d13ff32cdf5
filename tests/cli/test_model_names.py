"""Every way to name a model, through every command that takes one: the answers agree."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file
from torch import nn

from conftest import Result
from helpers.checkpoints import BUILTIN, copied, negated, swapped, with_weights
from helpers.exported import export
from helpers.hub_server import COMMIT, connect, running
from transferzoo import load_model
from transferzoo.base.errors import TransferZooError
from transferzoo.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "untimed")
OTHER = "validator-resnet18"
"""A further model, for commands that need one."""
OWN = "from transferzoo import load_model\ndef make():\n    return load_model('resnet18')\n"


@dataclass(frozen=True)
class Form:
    """A name, and what it stands for.

    Attributes:
        written: the name.
        network: the weights it stands for: "zoo", those of `vgg` in the zoo; "mine", those in the working
            folder and on the Hub; "twin", those in the folder ./vgg; "" for what is no checkpoint.
        but: command → words of its refusal.
        architecture: of a weight file.
        code: whether it is code.
        note: words of a note.
    """

    written: str
    network: str
    but: dict[str, str] = field(default_factory=dict)
    architecture: str = ""
    code: bool = False
    note: str = ""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working folder with models of many forms; they share an architecture but no weights."""
    folder = tmp_path_factory.mktemp("place")
    mine = with_weights(copied("vgg", folder / "mine"), swapped)
    with_weights(copied("vgg", folder / "vgg"), negated)
    save_file(load_file(mine / "model.safetensors"), folder / "net.safetensors")
    export(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), folder / "net.onnx", 1, 1, 28, 28)
    (folder / "own.py").write_text(OWN)
    (folder / "net.pth").write_bytes(b"\x80")
    (folder / "notes.txt").write_text("no model")
    return folder


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Run, few: Path) -> Iterator[Here]:
    """Work in that folder, with a Hub that has the model `mine` too."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setattr(sys, "path", [*sys.path])
    on_hub = {f"owner/mine/{file.name}": file.read_bytes() for file in (place / "mine").iterdir()}
    with running(on_hub) as hub:
        connect(monkeypatch, hub, tmp_path / "hub")
        yield Here(cli, few, tmp_path, place, Opened(monkeypatch))
    sys.modules.pop("own", None)


class Opened:
    """The checkpoint folders that are opened from now on, whatever does it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders: list[Path] = []
        for name in ("digest", "restore", "load_network"):
            self._watch(monkeypatch, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real: Callable[..., object] = getattr(checkpoint, name)

        def watched(folder: Path, *arguments: object, **options: object) -> object:
            self.folders.append(folder)
            return real(folder, *arguments, **options)

        monkeypatch.setattr(checkpoint, name, watched)


@cache
def _weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a folder that stays as it is."""
    return load_file(folder / "model.safetensors")


@dataclass(frozen=True)
class Here:
    """Runs commands with a model's name, and tells which weights they were about."""

    cli: Run
    few: Path
    scratch: Path
    place: Path
    opened: Opened

    def run(self, command: str, form: Form) -> Result:
        name, architecture = form.written, ["--architecture", form.architecture] if form.architecture else []
        code = ["--allow-code"] if form.code else []
        images = ("--data", self.few)
        if command == "load_model":
            return self._load(form)
        if command == "study":
            entry = {"model": name, **({"architecture": form.architecture} if form.architecture else {})}
            study = {
                "about": "?",
                "dataset": "fashion-mnist",
                "surrogates": {"it": entry},
                "targets": [OTHER],
            }
            (self.scratch / "study.yaml").write_text(json.dumps(study))
            return self.cli("study", self.scratch / "study.yaml", "--dry-run", "--json", *code)
        if "hub:" in name and command != "pull":
            self.cli("pull", name)  # so that there are weights to be asked for
            self.opened.folders.clear()
        plane = ("--images", 2, "--points", 2, "--runs", self.scratch)
        words: dict[str, tuple[object, ...]] = {
            "attack -s": (
                "attack",
                "-s",
                name,
                "-t",
                OTHER,
                *images,
                "--dry-run",
                "--json",
                *architecture,
                *code,
            ),
            "attack -t": (
                "attack",
                "-s",
                OTHER,
                "-t",
                name,
                *images,
                "--dry-run",
                "--json",
                *architecture,
                *code,
            ),
            "train": ("train", "--from", name, "--dry-run", "--json", *architecture, *code),
            "show": ("show", name, "--json"),
            "pull": ("pull", name, "--json"),
            "push": (
                "push",
                name,
                "--repo",
                "a/b",
                "--licence",
                "mit",
                "--unmeasured",
                "--dry-run",
                "--json",
            ),
            "sharpness": ("sharpness", "--slice", name, *images, *plane, "--json", *architecture, *code),
        }
        return self.cli(*words[command])

    def _load(self, form: Form) -> Result:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                load_model(form.written, architecture=form.architecture, allow_code=form.code)
            except TransferZooError as error:
                return Result(error.exit_code, "", f"Error: {error}\n")
        return Result(0, "", "".join(f"{note.message}\n" for note in notes))

    def network(self, command: str, form: Form, result: Result) -> str:
        """Return which weights a command was about."""
        if command in ("show", "pull"):  # they open none: what `show` says of what is here
            shown = result if command == "show" else self.run("show", form)
            return self.name_of(Path(json.loads(shown.out)[0]["folder"]))
        return ", ".join({self.name_of(folder) for folder in self.opened.folders} - {"other"})

    def name_of(self, folder: Path) -> str:
        """Return the name of the weights in a folder."""
        known = {"zoo": BUILTIN / "vgg", "mine": self.place / "mine", "twin": self.place / "vgg"}
        known["other"] = BUILTIN / OTHER
        weights = load_file(folder / "model.safetensors")
        for name, other in known.items():
            those = _weights(other)
            if weights.keys() == those.keys() and all(
                weights[key].float().equal(those[key].float()) for key in those
            ):
                return name
        return "others"


COMMANDS = ("attack -s", "attack -t", "train", "show", "pull", "push", "sharpness", "study", "load_model")
NO_FOLDER = "is no checkpoint folder"
NO_GRADIENT = "no gradient comes back from it"
UNDESCRIBED = "does not say which network its weights fit"
LIES_HERE = "Note: 'vgg' is fashion-mnist/vgg of the zoo; write ./vgg for what lies here."
BARE = dict.fromkeys(("show", "pull", "push"), UNDESCRIBED)
ON_HUB = {"push": "is on the Hub"}
EXPORTED = {
    **dict.fromkeys(("attack -s", "sharpness", "study"), NO_GRADIENT),
    **dict.fromkeys(("train", "push"), NO_FOLDER),
}
CODE = {"train": UNDESCRIBED, "push": NO_FOLDER}
FORMS = [
    Form("vgg", "zoo", note=LIES_HERE),
    Form("fashion-mnist/vgg", "zoo"),
    Form("builtin:fashion-mnist/vgg", "zoo"),
    Form("mine", "mine"),
    Form("./mine", "mine"),
    Form("PLACE/mine", "mine"),
    Form("~/mine", "mine"),
    Form("local:mine", "mine"),
    Form("./vgg", "twin"),
    Form("local:vgg", "twin"),
    Form("net.safetensors", "mine", BARE, architecture="small_vgg"),
    Form("./net.safetensors", "mine", BARE, architecture="small_vgg"),
    Form("hf-hub:owner/mine", "mine", ON_HUB),
    Form(f"hf-hub:owner/mine@{COMMIT}", "mine", ON_HUB),
    Form("hub:owner/mine", "mine", ON_HUB),
    Form("net.onnx", "", EXPORTED),
    Form("onnx:net.onnx", "", EXPORTED),
    Form("own:make", "", CODE, code=True),
    Form("python:own:make", "", CODE, code=True),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.written)
def test_a_name_means_the_same_to_every_command(here: Here, form: Form) -> None:
    form = Form(**{**vars(form), "written": form.written.replace("PLACE", str(here.place))})
    for command in COMMANDS:
        here.opened.folders.clear()
        result = here.run(command, form)
        if words := form.but.get(command):
            assert result.code in (1, 2), (command, result)
            assert words in result.err.splitlines()[-1], (command, result)
            continue
        assert result.code == 0, (command, result)
        if form.network:
            assert here.network(command, form, result) == form.network, command
        if form.note:
            assert form.note in result.err.splitlines(), command


ALL_FORMS = "expected a checkpoint folder, WEIGHTS.safetensors or .pt with --architecture, MODEL.keras, "
WRONG = {
    "vggg": ("'vggg': expected one of ", "; or a checkpoint folder, ", "did you mean vgg"),
    "timm/resnet18.a1_in1k": ("'timm/resnet18.a1_in1k'", "did you mean hf-hub:timm/resnet18.a1_in1k"),
    "torchhub:resnet18": ("'torchhub:' in 'torchhub:resnet18' is neither a form", ALL_FORMS),
    "timm:resnet81": ("unknown model 'resnet81' of timm: expected one of", "did you mean resnet18"),
    "timm:small_vgg": ("timm has no weights of 'small_vgg' on the Hub", "--architecture small_vgg"),
    "timm:": ("unknown model '' of timm",),
    "torchvision:a:b:c": ("'a:b:c' is no model of torchvision: expected torchvision:NAME[:WEIGHTS].",),
    "hf_hub:owner/mine": ("is neither a form", ALL_FORMS, "did you mean hf-hub:owner/mine?"),
    "hf-hub:mine": ("'mine' is no repository of the Hub: expected hf-hub:OWNER/NAME[@REVISION].",),
    "./nowhere": ("there is no './nowhere': expected a checkpoint folder, ", "check its path."),
    "nowhere.onnx": ("there is no 'nowhere.onnx'", "check its path."),
    "onnx:nowhere.onnx": ("there is no 'nowhere.onnx'", "check its path."),
    "notes.txt": ("'notes.txt' is no model: expected a checkpoint folder",),
    "net.pth": ("'net.pth' does not say which network its weights fit",),
    "train:": ("'train:' stands for no model by itself",),
    "python:own": ("'own' is no function: expected MODULE:FUNCTION.",),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_name_is_the_same_sentence_in_every_command(here: Here, name: str) -> None:
    told = set()
    for command in COMMANDS:
        result = here.run(command, Form(name, ""))
        assert (result.code, result.out) == (2, ""), (command, result)
        (line,) = result.err.splitlines()
        for words in WRONG[name]:
            assert words in line, (command, line)
        told.add(line.partition(": expected")[0].partition(" '")[2])
    assert len(told) == 1


def test_code_is_known_for_code_and_not_run(here: Here) -> None:
    for command in ("attack -s", "attack -t", "train", "sharpness", "study", "load_model"):
        result = here.run(command, Form("own:make", ""))
        assert result.code == 2
        assert "'own:make' is code, which is not run unasked" in result.err
    assert "own" not in sys.modules
