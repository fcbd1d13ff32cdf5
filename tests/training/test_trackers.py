"""Trackers, and what a launcher says that is no use to a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.process_teams import Bench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result


@pytest.fixture(scope="module")
def bench(plain_folder: Path) -> Bench:
    return Bench(plain_folder)


def test_a_tracker_changes_nothing(bench: Bench) -> None:
    tracked = bench.command("tracked", "--log-with", "tensorboard", size=1)
    plain = bench.command("plain", size=1)
    assert tracked.codes == plain.codes == [0]
    assert bench.weights("tracked") == bench.weights("plain")
    assert bench.command("tracked", "--log-with", "tensorboard", size=1).codes == [0]
    assert len(list((bench.folder / "tracked" / "logs").iterdir())) == 1, "a finished run logs nothing"


def test_an_unknown_tracker(cli: Callable[..., Result]) -> None:
    done = cli("train", "--architecture", "small_vgg", "--log-with", "nothing")
    assert done.code == 2
    assert done.err == "Error: unknown tracker 'nothing': expected one of tensorboard, trackio, wandb.\n"


def test_a_tracker_that_is_not_installed(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferzoo.base.trackers.find_spec", lambda name: None)
    done = cli("train", "--architecture", "small_vgg", "--log-with", "wandb")
    assert done.code == 1
    assert done.err == "Error: wandb is not installed; run `pip install wandb`, or leave out --log-with.\n"


def test_half_an_environment_is_refused(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = cli("train", "--architecture", "small_vgg")
    assert done.code == 2
    assert done.err.startswith(
        "Error: WORLD_SIZE speaks of several processes: expected RANK and LOCAL_RANK and"
    )


def test_precision_of_accelerate_is_no_secret(
    cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    done = cli("train", "--architecture", "small_vgg", "--data", "nowhere")
    assert done.err.splitlines()[0] == (
        "Note: Accelerate's mixed precision 'bf16' is not used; --precision is fp32."
    )


def test_numbers_of_a_line_are_flat() -> None:
    from transferzoo.base.trackers import _numbers

    line = {"epoch": 1, "loss": 0.5, "transfer": {"rate": 0.25, "targets": {"zoo/vgg": 1.0}}, "note": "x"}
    assert dict(_numbers(line, "tune/")) == {
        "tune/epoch": 1,
        "tune/loss": 0.5,
        "tune/transfer/rate": 0.25,
        "tune/transfer/targets/zoo/vgg": 1.0,
    }
