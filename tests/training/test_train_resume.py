"""Training in real processes: killed at every save, killed at random, interrupted, and simply run."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from helpers.processes import Forked
from helpers.stripes import ZOO, draw, run_command, validators, write_idx
from transferzoo.training.resume import _digest

if TYPE_CHECKING:
    from pathlib import Path

EPOCHS = 3
OPTIONS = ["--minimizer", "sam", "--epochs", str(EPOCHS), "--batch-size", "16", "--seed", "3"]

EPOCH_NAMES = [f"{epoch}/{EPOCHS}" for epoch in range(1, EPOCHS + 1)]


class Bench:
    """A folder with data, a zoo file and commands run on them, in processes that have PyTorch already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_idx(folder / "data", "train", draw(256, 0))
        write_idx(folder / "data", "t10k", draw(64, 1))
        validators(folder)
        models = {name: {"roles": ["validator"], "source": f"local:{name}"} for name in ("one", "two")}
        (folder / "zoo.yaml").write_text(ZOO + json.dumps({"models": {"stripes": models}})[1:-1] + "\n")

    def arguments(self, output: str, data: str = "data") -> list[str]:
        return [*self.command(output, data), *OPTIONS]

    def command(self, output: str, data: str = "data") -> list[str]:
        model = ["--dataset", "stripes", "--architecture", "small_vgg:width=4"]
        places = ["--zoo", self.folder / "zoo.yaml", "--data", self.folder / data]
        return ["train", *model, *map(str, places), "--output", str(self.folder / output)]

    def start(self, output: str, *options: str, data: str = "data", **how: Any) -> Forked:
        return self.launch([*self.arguments(output, data), *options], output, **how)

    def launch(
        self, arguments: list[str], output: str, fate: str = "", *, every_step: bool = False
    ) -> Forked:
        given = (arguments, self.folder / output, fate)
        process = Forked(target=run_command, args=given, every_step=every_step)
        process.start()
        return process

    def small(self, output: str, options: list[str], **how: Any) -> int | None:
        """Run a training of three epochs of four steps and return its exit code."""
        size = ["--batch-size", "48", "--epochs", "3"]
        process = self.launch([*self.command(output), *size, *options], output, **how)
        process.join(120)
        return process.exitcode

    def finish(self, output: str, *options: str, data: str = "data", **how: Any) -> int | None:
        process = self.start(output, *options, data=data, **how)
        process.join(120)
        return process.exitcode

    def said(self, output: str) -> str:
        """Return what a command said, without the line that says what is trained."""
        lines = (self.folder / f"{output}.err").read_text().splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("Training "))

    def weights(self, output: str) -> bytes:
        return (self.folder / output / "model.safetensors").read_bytes()

    def wait_for_save(self, output: str, process: Forked) -> None:
        """Return as soon as the training has kept another state, or ended."""
        kept, before = self.folder / output / "resume.pt", self._changed(output)
        while process.is_alive() and (not kept.exists() or self._changed(output) == before):
            time.sleep(0.001)

    def _changed(self, output: str) -> int:
        try:
            return (self.folder / output / "resume.pt").stat().st_mtime_ns
        except FileNotFoundError:
            return 0


@pytest.fixture(scope="module")
def bench(plain_folder: Path) -> Bench:
    return Bench(plain_folder)


@pytest.fixture(scope="module")
def undisturbed(bench: Bench) -> bytes:
    """The weights of a run that nothing stopped."""
    assert bench.finish("undisturbed", "--json") == 0, bench.said("undisturbed")
    result = json.loads((bench.folder / "undisturbed.out").read_text())
    assert result["accuracy"]["accuracy"] > 0.9
    assert result["folder"] == str(bench.folder / "undisturbed")
    plan, *epochs = (bench.folder / "undisturbed.err").read_text().splitlines()
    assert plan.startswith("Training small_vgg:width=4 with sam:rho=0.05,")
    assert [line.split()[1] for line in epochs] == EPOCH_NAMES
    return bench.weights("undisturbed")


def test_killed_at_every_save(bench: Bench, undisturbed: bytes) -> None:
    """Every file, killed just before and just after it takes its place; whatever stands there is whole."""
    finished = ["config.json", "model.safetensors", "recipe.json"]
    folder = bench.folder / "every"
    for name in [*EPOCH_NAMES, *finished]:
        for fate in ("before", "after"):
            assert bench.finish("every", fate=fate) == -signal.SIGKILL, f"{fate} {name}"
            for file in folder.glob("*.json"):
                json.loads(file.read_text())
            for file in folder.glob("*.safetensors"):
                load_file(file)
            leftovers = list(folder.glob(".*.tmp"))
            assert leftovers, "a kill leaves the file that was being written"
    assert bench.finish("every") == 0
    assert "epoch" not in bench.said("every"), "all epochs were done"
    assert bench.weights("every") == undisturbed
    assert sorted(file.name for file in folder.iterdir()) == finished


def test_killed_at_random(bench: Bench, undisturbed: bytes) -> None:
    """Anywhere, of a training that keeps the state after every step: while it computes, or writes."""
    epoch = json.loads((bench.folder / "undisturbed" / "recipe.json").read_text())["seconds"] / EPOCHS
    generator, output, ends, begins = random.Random(0), "random", [], []
    for _ in range(3):
        process = bench.start(output, every_step=True)
        bench.wait_for_save(output, process)
        time.sleep(generator.uniform(0, epoch))
        process.kill()
        process.join(60)
        ends.append(process.exitcode)
        begins += re.findall(r"\AGoing on after step (\d+) of 48\.", bench.said(output))
    assert bench.finish(output) == 0
    assert ends[0] == -signal.SIGKILL
    assert re.match(r"Going on after step \d+ of 48\.", bench.said(output)) or ends[-1] == 0
    steps = [int(step) for step in begins]
    assert len(steps) >= 1
    assert steps == sorted(set(steps)), "every process went on where the last one was"
    assert bench.weights(output) == undisturbed
    recipe = json.loads((bench.folder / output / "recipe.json").read_text())
    assert [line["epoch"] for line in recipe["curve"]] == list(range(1, EPOCHS + 1))


def _survives(bench: Bench, name: str, options: list[str], fates: list[str]) -> None:
    """Check that a training that is killed again and again leaves the files of one that is not.

    The one that is killed keeps its state after every step.
    """
    assert bench.small(f"{name} whole", options) == 0, bench.said(f"{name} whole")
    for fate in fates:
        killed = bench.small(f"{name} cut", options, fate=fate, every_step=True)
        assert killed == -signal.SIGKILL, bench.said(f"{name} cut")
    assert bench.small(f"{name} cut", options) == 0, bench.said(f"{name} cut")
    whole, cut = (_files(bench.folder / f"{name} {end}") for end in ("whole", "cut"))
    recipes = [json.loads(files.pop("recipe.json")) for files in (whole, cut)]
    assert whole == cut
    for recipe in recipes:
        _untime(recipe)
    assert recipes[0] == recipes[1]


def _files(folder: Path) -> dict[str, bytes]:
    """Return a folder's files; a trial's recipe holds the seconds it took."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.parent.parent.name != "tune")
    found = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    trials = (file for file in folder.glob("tune/*/*") if file.name != "recipe.json")
    return found | {str(file.relative_to(folder)): file.read_bytes() for file in trials}


def _untime(recipe: dict[str, Any]) -> None:
    for part in (recipe, *recipe.get("tuning", {}).get("curve", ())):
        assert part.pop("seconds") >= 0


METHODS = {
    "select": ["--select", "transfer", "--validation", "64", "--save-every", "epoch", "--epochs", "4"],
    "collect": ["--collect", "lgv:epochs=2,per-epoch=2", "--epochs", "2"],
    "tune": ["--tune", "rho=0.05,0.2", "--minimizer", "sam", "--validation", "64", "--epochs", "1"],
}
FATES = {
    "select": ["step 3", "after 6", "before"],
    "collect": ["step 4", "after 5", "step 3"],
    "tune": ["step 3", "after 3", "after 6"],
}
"""When a process is killed: in its third step, for example, or after the sixth file it wrote."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_survives_kills(bench: Bench, method: str) -> None:
    _survives(bench, method, METHODS[method], FATES[method])


def test_a_full_disk_keeps_the_last_epoch(bench: Bench, undisturbed: bytes) -> None:
    """The second epoch cannot be kept, nor the finished weights; then there is room again."""
    assert bench.finish("full", fate="after") == -signal.SIGKILL
    state = bench.folder / "full" / "resume.pt"
    kept = state.read_bytes()
    for limit in (len(kept) // 2, 2000):
        process = bench.start("full", fate=f"limit {limit}")
        process.join(120)
        assert process.exitcode == 1
        assert bench.said("full").splitlines()[-1].startswith(f"Error: cannot write to {state.parent}: ")
        assert "Traceback" not in bench.said("full")
        assert state.read_bytes() == kept
        assert [file.name for file in state.parent.iterdir()] == ["resume.pt"]
    assert bench.finish("full") == 0
    assert bench.weights("full") == undisturbed


def test_interrupted(bench: Bench, undisturbed: bytes) -> None:
    """The last sentence says what is kept, and there the same command goes on."""
    process = bench.start("interrupted", every_step=True)
    for _ in range(3):
        bench.wait_for_save("interrupted", process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    *epochs, last = bench.said("interrupted").splitlines()
    place = re.escape(str(bench.folder / "interrupted"))
    told = re.fullmatch(
        rf"Interrupted; step (\d+) of 48 \(epoch 1 of {EPOCHS}\) is kept in {place}, "
        r"and the same command goes on from there\.",
        last,
    )
    assert told, last
    assert int(told[1]) >= 3
    assert epochs == []
    assert (bench.folder / "interrupted.out").read_text() == ""
    assert bench.finish("interrupted") == 0
    assert bench.said("interrupted").startswith(f"Going on after step {told[1]} of 48.\nepoch 1/{EPOCHS} ")
    assert bench.weights("interrupted") == undisturbed


def test_a_state_from_before_an_option_existed_goes_on(bench: Bench, undisturbed: bytes) -> None:
    process = bench.start("older", every_step=True)
    bench.wait_for_save("older", process)
    process.kill()
    process.join()
    path = bench.folder / "older" / "resume.pt"
    state = torch.load(path, weights_only=True)
    del state["sha256"], state["work"]["config"]["mixup"]
    torch.save(state | {"sha256": _digest(state)}, path)
    assert bench.finish("older") == 0, bench.said("older")
    assert bench.said("older").startswith("Going on after step ")
    assert bench.weights("older") == undisturbed


def test_training_images_are_no_test_images(bench: Bench) -> None:
    """A folder a class holds one split; it may not be trained on and then measured on."""
    images = draw(32, 0)
    for index, (image, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
        folder = bench.folder / "classes" / ["lying", "standing", "chequered"][label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{index}.png")
    assert bench.finish("no test", "--epochs", "1", data="classes") == 0, bench.said("no test")
    note, _, hint = bench.said("no test").splitlines()
    assert note.startswith("Note: the accuracy will not be measured: ")
    assert note.endswith("/classes holds the same images for train and test.")
    assert hint.startswith("Attack from it with: transferzoo attack --dataset stripes --surrogate '/")
    shown = (bench.folder / "no test.out").read_text()
    assert shown.startswith(f"{bench.folder / 'no test'}: no test images, ")


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--rho", "-1"], 2, "option 'rho' of 'sam' is out of range: expected at least 0, got -1.0."),
        (["--rho", "nan"], 2, "cannot read option 'rho' of minimizer 'sam': expected a number, got 'nan'."),
        (["--learning-rate", "inf"], 2, "option 'learning_rate' is wrong: "),
        (["--architecture", "small_vgg:width=0"], 2, "option 'width' of 'small_vgg' is out of range: "),
        (["--batch-size", "257"], 1, "too few training images: expected at least one batch (257), got 256."),
        (["--learning-rate", "1e30"], 1, "training diverged at step "),
    ],
)
def test_mistakes_are_one_sentence(bench: Bench, options: list[str], code: int, sentence: str) -> None:
    assert bench.finish("mistake", *options) == code
    said = bench.said("mistake").splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"Error: {sentence}")
    assert not (bench.folder / "mistake").exists()
