"""Trainings stopped within an epoch: the same command goes on after the last step that was kept."""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from timm.models import save_for_hf

from helpers import streams
from helpers.stripes import TINY, config, draw, save_every_step, spec, stop_at, validators, write_idx
from transferzoo.base.errors import TransferZooError
from transferzoo.minimizers import MINIMIZERS, Minimizer
from transferzoo.training import resume
from transferzoo.training.finetuning import architecture_of
from transferzoo.training.trainer import Progress, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

    OnProgress = Callable[[Progress], None]
    Run = Callable[[Path, OnProgress], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("one_thread")

CASES: dict[str, dict[str, Any]] = {name: {"minimizer": name} for name in MINIMIZERS}
CASES["adamw"]["learning_rate"] = 0.01
CASES |= {
    "sam on adamw": {"minimizer": "sam:base=adamw", "learning_rate": 0.01},
    "averages from the first epoch on": {"minimizer": "wasam:start=0.1,per_epoch=3"},
    "a direction kept over the stops": {"minimizer": "looksam:k=4", "micro_batch": 8},
    "micro-batches": {"minimizer": "gsam", "micro_batch": 4},
    "one perturbation of micro-batches": {"minimizer": "sam", "micro_batch": 8, "sync_perturbation": True},
    "schedules": {"minimizer": "sam", "schedule": "cosine", "warmup": 0.3, "rho_schedule": "rate"},
    "clipped, in bf16": {"precision": "bf16", "clip": 0.5},
    "double": {"precision": "fp64"},
    "adversarial": {"adversarial": "linf:8/255", "label_smoothing": 0.1},
    "mixed": {"mixup": 0.2, "cutmix": 1.0},
    "slopes": {"minimizer": "sam", "input_gradient": 0.1},
    "collected": {"collect": "lgv:epochs=1,per-epoch=4", "epochs": 1},
    "selected": {"select": "accuracy", "validation": 32, "save_every": "epoch"},
}
STOPS = ((2, 2), (6, 6), (10, 6), (11, 11))
"""Steps after which a training of twelve in two epochs is stopped, and those that are kept then.

At the second stop all steps of an epoch are kept, but not its end; before the third, epochs alone.
"""
FEW_STOPS = ((4, 4), (8, 8))
"""Those of trainings that differ in the minimizer alone, whose own state is what may be lost."""


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    save_every_step(monkeypatch)


def until(run: Run, folder: Path, stop: int) -> list[int]:
    """Run a training until it is stopped after a step, and return the steps it made."""
    steps: list[int] = []

    def watch(at: Progress) -> None:
        steps.append(at.step)
        stop_at(stop)(at)

    with pytest.raises(KeyboardInterrupt):
        run(folder, watch)
    return steps


def stopped(run: Run, folder: Path, stops: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """Run a training that is stopped again and again, and check where it goes on."""
    before = 0
    for stop, kept in stops:
        with pytest.MonkeyPatch.context() as patch:
            if kept == stop:
                save_every_step(patch)
            assert until(run, folder, stop) == list(range(before + 1, stop + 1))
        at = resume.kept(folder)
        assert at is not None
        assert (at.step, at.folder) == (kept, folder)
        before = kept
    return run(folder, lambda at: None)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two recipes say the same, the time aside."""
    return {**one, "seconds": 0} == {**other, "seconds": 0}


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint, its recipe aside."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path != folder / "recipe.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_an_undisturbed_run(tmp_path: Path, stripes: DatasetSpec, case: str) -> None:
    """Weights, samples and epochs, and the whole curve."""

    def run(folder: Path, on_progress: OnProgress) -> dict[str, Any]:
        wanted = config(**{"epochs": 2, **CASES[case]})
        images = draw(96 + wanted.validation, 0)
        return train(wanted, stripes, images, None, folder, on_progress=on_progress)

    whole = run(tmp_path / "whole", lambda at: None)
    cut = stopped(run, tmp_path / "cut", FEW_STOPS if case in MINIMIZERS and case != "sam" else STOPS)
    assert same(whole, cut)
    assert files(tmp_path / "whole") == files(tmp_path / "cut")


@pytest.mark.parametrize(
    ("workers", "changes"),
    [
        (0, {"mixup": 0.2, "cutmix": 1.0}),
        (2, {"augment": "crop-flip", "auto_augment": "rand-m9-mstd0.5"}),
    ],
    ids=["mixed", "augmented by workers"],
)
def test_streamed(tmp_path: Path, workers: int, changes: dict[str, Any]) -> None:
    """Three batches an epoch."""
    place = streams.write_places(tmp_path)["parquet"]
    wanted = streams.config(**changes)

    def run(folder: Path, on_progress: OnProgress) -> dict[str, Any]:
        feed = streams.opened(place, workers, **changes)
        return train(wanted, streams.tiny(), feed, None, folder, on_progress=on_progress)

    whole = run(tmp_path / "whole", lambda at: None)
    assert same(whole, stopped(run, tmp_path / "cut", ((2, 2), (4, 4))))


def test_dropout_goes_on_with_the_draws_it_would_have_made(tmp_path: Path, stripes: DatasetSpec) -> None:
    options = {**TINY, "drop_rate": 0.5, "in_chans": 1}
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=3, **options)
    reads = {"input_size": (1, 12, 12), "mean": (0.5,), "std": (0.25,)}
    source = tmp_path / "source"
    save_for_hf(
        model,
        str(source),
        model_config={"pretrained_cfg": reads},
        model_args=options,
        safe_serialization=True,
    )
    wanted = config(architecture=architecture_of(source), start=str(source), epochs=2)

    def run(folder: Path, on_progress: OnProgress) -> dict[str, Any]:
        return train(wanted, stripes, draw(96, 0), None, folder, start=source, on_progress=on_progress)

    whole = run(tmp_path / "whole", lambda at: None)
    assert same(whole, stopped(run, tmp_path / "cut", STOPS))


@pytest.mark.usefixtures("every_step")
def test_what_is_kept_within_an_epoch_is_checked_too(tmp_path: Path, stripes: DatasetSpec) -> None:
    def run() -> None:
        train(config(), stripes, draw(160, 0), None, tmp_path, on_progress=stop_at(7))

    with pytest.raises(KeyboardInterrupt):
        run()
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    state["epoch"]["own"][0]["hits"] += 1
    torch.save(state, tmp_path / "resume.pt")
    with pytest.raises(TransferZooError, match=r"cannot read .*resume\.pt"):
        run()


@pytest.mark.usefixtures("every_step")
def test_weights_that_are_not_finite_are_not_kept(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fifth step leaves one; what the fourth left stays."""
    step = Minimizer.step

    def spoil(self: Minimizer, *closures: Any) -> torch.Tensor:
        loss = step(self, *closures)
        if self.steps == 5:
            next(self.model.parameters()).data.view(-1)[0] = float("nan")
        return loss

    monkeypatch.setattr(Minimizer, "step", spoil)
    with pytest.raises(TransferZooError, match="diverged at step 5: a weight is not finite"):
        train(config(), stripes, draw(160, 0), None, tmp_path)
    at = resume.kept(tmp_path)
    assert at is not None
    assert (at.step, at.steps, at.epoch, at.epochs) == (4, 30, 1, 3)


@pytest.mark.parametrize(("takes", "pause"), [(0.0, 60), (2.0, 100)], ids=["at once", "slowly"])
def test_how_often(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch, takes: float, pause: int
) -> None:
    """Every minute; what takes longer to write than a fiftieth of that, less often."""
    now, saves = 0.0, list[float]()
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def write(path: Path, content: bytes) -> None:
        nonlocal now
        saves.append(now)
        now += takes

    def step(at: Progress) -> None:
        nonlocal now
        now += 10

    monkeypatch.setattr(resume, "write_bytes", write)
    train(config(epochs=1, batch_size=4), stripes, draw(160, 0), None, tmp_path, on_progress=step)
    *within, _end = saves
    assert within[0] == 60
    assert {b - a - takes for a, b in itertools.pairwise(within)} == {pause}


# ---------------------------------------------------------------- what is told


def interrupted(
    cli: Callable[..., Any], step: int, *options: object, by: signal.Signals = signal.SIGINT
) -> str:
    """Interrupt a training in one of its steps, as Ctrl-C does, and return the last sentence."""
    made = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:

        def gradients(*arguments: Any) -> Any:
            if next(made) == step:
                os.kill(os.getpid(), by)
            return walk(*arguments)

        walk = Minimizer.gradients
        patch.setattr(Minimizer, "gradients", gradients)
        command = (
            "train",
            "--dataset",
            "stripes",
            "--architecture",
            "small_vgg:width=4",
            "--minimizer",
            "sam",
        )
        places = ("--zoo", "stripes.yaml", "--data", "data", "--output", "run")
        result = cli(*command, "--epochs", 2, "--batch-size", 32, *places, *options)
    assert (result.code, result.out) == (128 + by, "")
    return str(result.err.splitlines()[-1])


@pytest.fixture
def data(tmp_path: Path) -> None:
    spec(tmp_path)
    write_idx(tmp_path / "data", "train", draw(96, 0))


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_kept_yet(cli: Callable[..., Any], tmp_path: Path, by: signal.Signals) -> None:
    said = interrupted(cli, 3, by=by)
    assert said == "Interrupted; nothing was kept yet, and the same command starts anew."
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("data")
def test_a_whole_epoch_is_kept(cli: Callable[..., Any]) -> None:
    kept = "Interrupted; step 3 of 6 (epoch 1 of 2) is kept in run, and the same command goes on from there."
    assert interrupted(cli, 5) == kept
    assert interrupted(cli, 1) == kept


@pytest.mark.usefixtures("data", "every_step")
def test_a_choice_of_radius_tells_which_is_unfinished(cli: Callable[..., Any], tmp_path: Path) -> None:
    judges = validators(tmp_path)
    tune = ["--tune", "rho=0.1,0.2", "--validation", 32]
    tune += [part for folder in judges.values() for part in ("--validator", f"./{folder.name}")]
    end = ", and the same command goes on from there."
    kept = "Interrupted; step 2 of 4 (epoch 1 of 2) is kept in run/tune/rho="
    assert interrupted(cli, 3, *tune) == f"{kept}0.1{end}"
    assert interrupted(cli, 5, *tune) == f"{kept}0.2{end}"
