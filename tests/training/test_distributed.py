"""Several processes that train together: what they compute, who speaks, and how they end."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.process_teams import Bench, Outcome
from helpers.processes import Forked, start_launcher

if TYPE_CHECKING:
    from collections.abc import Iterator


EPOCHS = ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
SAID = ["Training ", *EPOCHS, "Attack fr"]
"""How the lines begin that a training says."""
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "transferzoo"]
ACCELERATE = ["accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
ACCELERATE += ["--dynamo_backend", "no", "--multi_gpu", "--num_processes", "2", "-m", "transferzoo"]

SAME: dict[str, dict[str, Any]] = {
    "sgd": {"minimizer": "sgd"},
    "sam": {"minimizer": "sam:rho=0.1"},
    "gsam": {"minimizer": "gsam:rho=0.1"},
    "looksam": {"minimizer": "looksam:rho=0.1,k=2"},
    "wasam": {"minimizer": "wasam:rho=0.1,start=0.5"},
    "adamw": {"minimizer": "adamw", "learning_rate": 0.01, "clip": 0.1},
    "synchronised": {"minimizer": "sam:rho=0.1", "sync_perturbation": True},
    "adversarial": {"minimizer": "sam:rho=0.1", "adversarial": "linf:8/255"},
    "collected": {"minimizer": "sgd", "collect": "lgv:epochs=1,per-epoch=3"},
}
"""Two processes of m = 32 do what one with micro-batches of 32 does."""
ONE = {name: {**changes, "micro_batch": 32} for name, changes in SAME.items()}
ONE |= {"smaller": {"minimizer": "sam:rho=0.1", "micro_batch": 16}, "whole": {"minimizer": "sam:rho=0.1"}}
TWO = {**SAME, "smaller": ONE["smaller"], "bf16": {"minimizer": "sam", "precision": "bf16"}}


@pytest.fixture(scope="module")
def bench(plain_folder: Path) -> Bench:
    return Bench(plain_folder)


def launch(bench: Bench, launcher: list[str], output: str) -> Forked:
    """Start a launcher in a process that has PyTorch already, as have those that it starts."""
    module, *arguments = launcher
    words, place = [*arguments, *bench.arguments(output)], bench.folder / f"by launcher {output}"
    return start_launcher(module, words, place)


def said(bench: Bench, output: str) -> tuple[str, str]:
    """Return what came from a launcher."""
    out, err = ((bench.folder / f"by launcher {output}.{stream}").read_text() for stream in ("out", "err"))
    return out, err


# ---------------------------------------------------------------- what they compute


@pytest.fixture(scope="module")
def states(bench: Bench) -> tuple[Path, Path]:
    """Folders of the cases, by one process and by two."""
    return bench.cases(ONE, 1), bench.cases(TWO, 2)


def state(folder: Path, case: str) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / case / "resume.pt", weights_only=True)
    return loaded


def distance(one: Any, two: Any) -> float:
    """Return the largest difference of the tensors and numbers in two structures of the same form."""
    if isinstance(one, torch.Tensor):
        assert one.shape == two.shape
        assert one.dtype == two.dtype
        return float((one - two).abs().max()) if one.numel() else 0.0
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        return max((distance(one[key], two[key]) for key in one), default=0.0)
    if isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        return max((distance(*pair) for pair in zip(one, two, strict=True)), default=0.0)
    return abs(one - two) if isinstance(one, float) else float(one != two)


@pytest.mark.parametrize("case", [*SAME, "smaller"])
def test_two_processes_do_what_one_does_in_micro_batches(states: tuple[Path, Path], case: str) -> None:
    """Weights, running statistics, momentum, remembered directions and means, after six steps and more."""
    one, two = (state(folder, case) for folder in states)
    for part in ("model", "minimizer"):
        assert distance(one[part], two[part]) < 1e-9
    assert distance(one["curve"], two["curve"]) < 2e-6, "rounded to six digits"
    assert {t.dtype for t in two["model"].values() if t.is_floating_point()} == {torch.float64}


def test_collected_weights_are_the_same_too(states: tuple[Path, Path]) -> None:
    from safetensors.torch import load_file

    for number in (1, 2, 3):
        name = f"collected/samples/{number:04d}.safetensors"
        assert distance(*(load_file(folder / name) for folder in states)) < 1e-6, "stored in float32"


def test_the_perturbation_is_each_process_own(states: tuple[Path, Path]) -> None:
    one, two = states
    own = state(two, "sam")["model"]
    assert distance(own, state(one, "whole")["model"]) > 1e-3
    assert distance(own, state(two, "synchronised")["model"]) > 1e-3
    assert distance(own, state(two, "smaller")["model"]) > 1e-3


def test_m_is_told(states: tuple[Path, Path]) -> None:
    recipes = {
        name: json.loads((states[1] / name / "recipe.json").read_text())
        for name in ("sam", "smaller", "synchronised")
    }
    assert {name: recipe.get("m") for name, recipe in recipes.items()} == {
        "sam": 32,
        "smaller": 16,
        "synchronised": None,
    }


def test_bf16(states: tuple[Path, Path]) -> None:
    kept = state(states[1], "bf16")
    assert {t.dtype for t in kept["model"].values() if t.is_floating_point()} == {torch.float32}
    first, last = (line["loss"] for line in kept["curve"])
    assert last < first


# ---------------------------------------------------------------- the commands a user types


@pytest.fixture(scope="module")
def accelerated(bench: Bench) -> Iterator[Forked]:
    """A run by `accelerate launch`, under way, whose processes torchrun's own agent starts and watches."""
    process = launch(bench, ACCELERATE, "accelerated")
    yield process
    process.kill()  # no effect on what has ended


@pytest.fixture(scope="module")
def launched(bench: Bench, accelerated: Forked) -> Outcome:
    """What an undisturbed run says, by processes that have PyTorch already."""
    done = bench.command("launched", "--log-with", "tensorboard")
    assert done.codes == [0, 0], done.err
    return done


def test_only_the_first_process_speaks_and_writes(bench: Bench, launched: Outcome) -> None:
    (out, silence), (err, nothing) = launched.out, launched.err
    lines = [line for line in err.splitlines() if line]
    assert [line[:9] for line in lines] == SAID, err
    assert len(out.splitlines()) == 1
    assert "of 64 test images" in out
    assert (silence, nothing) == ("", "")
    files = sorted(path.name for path in (bench.folder / "launched").iterdir())
    assert files == ["config.json", "logs", "model.safetensors", "recipe.json"]


def test_tensorboard_has_the_curve(bench: Bench, launched: Outcome) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = bench.folder / "launched"
    (events,) = (folder / "logs").iterdir()
    read = EventAccumulator(str(events))
    read.Reload()
    curve = json.loads((folder / "recipe.json").read_text())["curve"]
    assert set(read.Tags()["scalars"]) == set(curve[0])
    for key in ("loss", "train_accuracy"):
        logged = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in read.Scalars(key)]
        assert [(line["epoch"], line[key]) for line in curve] == logged


def test_accelerate_launch_does_the_same(bench: Bench, launched: Outcome, accelerated: Forked) -> None:
    accelerated.join(150)
    out, err = said(bench, "accelerated")
    assert accelerated.exitcode == 0, err
    assert out.count("test images") == 1
    assert [line[:9] for line in err.splitlines() if line[:9] in SAID] == SAID, err
    assert bench.weights("accelerated") == bench.weights("launched")


def test_a_killed_process_ends_all_and_the_same_command_goes_on(bench: Bench, launched: Outcome) -> None:
    """One of two is killed under torchrun; one process may not go on, two do, to the same weights."""
    process = launch(bench, TORCHRUN, "killed")
    kept = bench.folder / "killed" / "resume.pt"
    while not kept.exists() and process.is_alive():
        time.sleep(0.005)
    os.kill(second(process.pid or 0), signal.SIGKILL)
    began = time.monotonic()
    process.join(100)
    assert time.monotonic() - began < 60
    assert process.exitcode == 1
    err = said(bench, "killed")[1]
    assert err.count("Error: ") - err.count("ChildFailedError: ") <= 1
    assert kept.exists()
    assert not (bench.folder / "killed" / "recipe.json").exists()

    alone = bench.command("killed", size=1)
    assert alone.codes == [2]
    assert alone.err[0].startswith(
        f"Error: {kept.parent} holds another training run: expected an empty folder"
    )
    together = bench.command("killed")
    assert together.codes == [0, 0], together.err
    assert "\nGoing on after step " in together.err[0]
    assert bench.weights("killed") == bench.weights("launched")


def test_stopped_within_an_epoch_they_go_on_after_the_last_step(bench: Bench, launched: Outcome) -> None:
    """Each with its own running averages and hits."""
    done = bench.command("stopped", fate="kill 1", every_step=True)
    assert done.codes == [1, -signal.SIGKILL], done.err
    again = bench.command("stopped")
    assert again.codes == [0, 0], again.err
    assert "\nGoing on after step 4 of 9.\nepoch 2/3 " in again.err[0]
    assert bench.weights("stopped") == bench.weights("launched")
    recipes = [json.loads((bench.folder / n / "recipe.json").read_text()) for n in ("stopped", "launched")]
    assert recipes[0]["curve"] == recipes[1]["curve"]


def second(launcher: int) -> int:
    """Return the process of rank 1 among the children of a launcher, which starts them in order."""
    _, last = map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split())
    return last


# ---------------------------------------------------------------- how they end


DIVERGED = "Error: training diverged at step 5: the loss is nan; lower the learning rate or rho; the state "
DIVERGED += "kept last, if any, stays.\n"
GONE = "Error: another process of this command has stopped; the same command goes on from what is finished.\n"


@pytest.mark.parametrize(
    ("fate", "sentence", "codes"),
    [
        ("nan 1", DIVERGED, [1, 1]),
        ("error 0", "Error: the disk is gone.\n", [1, 1]),
        ("error 1", "Error: the disk is gone.\n", [1, 1]),
        ("kill 1", GONE, [1, -signal.SIGKILL]),
    ],
)
def test_what_ends_one_ends_all_and_is_told_once(
    bench: Bench, fate: str, sentence: str, codes: list[int]
) -> None:
    """Without a launcher that would end the others."""
    began = time.monotonic()
    done = bench.command(fate, fate=fate)
    assert done.codes == codes, done.err
    assert "".join(done.err).partition(EPOCHS[0])[2].partition("\n")[2] == sentence
    assert done.out == ["", ""]
    assert (bench.folder / fate / "resume.pt").exists()
    assert time.monotonic() - began < 60


def test_a_bug_is_told_wherever_it_is(bench: Bench) -> None:
    done = bench.command("bug", fate="bug 1")
    assert done.codes == [1, 1]
    assert done.err[0].count("\n") == 2, "what is trained, and an epoch"
    assert done.err[1].count("Traceback") == 1
    assert done.err[1].endswith("LookupError: a bug\n")


def test_usage_errors_are_told_once(bench: Bench) -> None:
    for options, part in (
        (["--batch-size", "65"], "the batch cannot be shared out evenly"),
        (["--bogus"], "No such option"),
    ):
        done = bench.command("refused", *options)
        assert done.codes == [2, 2]
        assert "".join(done.err).count(part) == 1
        assert "" in done.err


def test_folders_that_differ_are_refused(bench: Bench) -> None:
    """As on two machines that share no disk: one finds an epoch done, the other none."""
    bench.command("split", fate="error 0")
    done = bench.command("split", fate="elsewhere 1")
    assert done.codes == [2, 2], done.err
    assert "".join(done.err).count("the processes find different states of the training") == 1
