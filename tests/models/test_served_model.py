"""Models behind the Open Inference Protocol: what is asked, and how often."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.linear_model import expected, labels, scores
from helpers.oip_server import Fault, Served, serving
from helpers.refusals import refused
from helpers.short_attack import TRY, by_pair
from transferzoo import load_images, load_model
from transferzoo.base.errors import TransferZooError
from transferzoo.models.kept_answers import KeptAnswers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "quick_retries")


@pytest.fixture(scope="module")
def known() -> torch.Tensor:
    return load_images().images[:70] / 255


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [
        ("FP32", (-1, 1, 28, 28)),
        ("FP32", (-1, 28, 28, 1)),
        ("UINT8", (-1, 28, 28, 1)),
        ("FP32", (-1, -1, -1, -1)),
        ("UINT8", (3, 1, 28, 28)),
    ],
)
def test_it_is_asked_as_its_metadata_say(known: torch.Tensor, datatype: str, shape: tuple[int, ...]) -> None:
    with serving(Served(scores, datatype, shape)) as url:
        found = load_model(f"oip:{url}")(known[:8])
    torch.testing.assert_close(found, expected(known[:8]))


def test_half_precision_is_rounded(known: torch.Tensor) -> None:
    with serving(Served(scores, "FP16")) as url:
        found = load_model(f"oip:{url}")(known[:8])
    torch.testing.assert_close(found, expected(known[:8].half().float()))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_labels_are_enough(known: torch.Tensor, shape: tuple[int, ...]) -> None:
    answer = labels if len(shape) == 1 else lambda images: labels(images)[:, None]
    with serving(Served(answer, output=("INT64", shape))) as url:
        model = load_model(f"oip:{url}")
        assert model.labels_only
        assert model(known[:8]).argmax(1).tolist() == labels(known[:8].numpy()).tolist()


def test_nothing_is_asked_twice(known: torch.Tensor, tmp_path: Path) -> None:
    service = Served(scores)
    with serving(service) as url:
        first = load_model(f"oip:{url}")
        assert service.requests == [], "loading asks nothing"
        twice = torch.cat([known, known[:5]])
        found = first(twice)
        assert service.requests == [64, 6]
        again = load_model(f"oip:{url}")(twice)
        assert service.requests == [64, 6], "the answers were kept"
        torch.testing.assert_close(found, again, rtol=0, atol=0)
        torch.testing.assert_close(found, expected(twice))
        for file in (tmp_path / "cache" / "served").iterdir():
            file.write_bytes(b"damaged" * 200)
        torch.testing.assert_close(load_model(f"oip:{url}")(known[:2]), found[:2])
        assert service.requests == [64, 6, 2], "damaged answers are asked for again"


def test_large_batches_are_halved_and_that_is_remembered(known: torch.Tensor) -> None:
    service = Served(scores, largest=20)
    with serving(service) as url:
        torch.testing.assert_close(load_model(f"oip:{url}")(known), expected(known))
    assert service.requests == [16, 16, 16, 16, 6]


@pytest.mark.parametrize(
    "fault",
    [Fault(503), Fault(502, "<html>"), Fault(429, "", (("Retry-After", "0"),)), Fault(0)],
    ids=lambda fault: str(fault.status),
)
def test_what_fails_for_a_moment_is_tried_again(known: torch.Tensor, fault: Fault) -> None:
    with serving(Served(scores, faults=[fault] * 4)) as url:
        torch.testing.assert_close(load_model(f"oip:{url}")(known[:2]), expected(known[:2]))
    with serving(Served(scores, faults=[fault] * 5)) as url, pytest.raises(TransferZooError) as raised:
        load_model(f"oip:{url}")(known[:2])
    assert "cannot be reached" in str(raised.value) or f"gives no answer ({fault.status}" in str(raised.value)


def test_the_pace_is_kept_across_connections(tmp_path: Path) -> None:
    kept = [KeptAnswers(tmp_path / "kept.sqlite") for _ in range(2)]
    start = time.monotonic()
    for at in range(5):
        kept[at % 2].wait(20)
    assert time.monotonic() - start >= 4 / 20


def test_a_slow_pace_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, now = KeptAnswers(tmp_path / "kept.sqlite"), 2e9
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "time", lambda: now)
    for _ in range(3):
        kept.wait(0.001)
    assert slept == [0, 1000, 2000]
    now -= 1e8  # a clock that is set right
    kept.wait(10)
    kept.wait(0.001)
    assert slept[3:] == pytest.approx([60.1, 1060.1], abs=1e-3)


def test_the_pace_is_a_flag(cli: Run, few: Path) -> None:
    service = Served(scores)
    with serving(service) as url:
        command = (*TRY, "--data", few, "-t", f"oip:{url}", "--allow-inaccurate", "--requests-per-second")
        before = time.monotonic()
        assert cli(*command, 2, "--images-correct-for", "none").code == 0
        assert len(service.requests) >= 3
        assert time.monotonic() - before >= (len(service.requests) - 1) / 2
        refused(cli(*command, 0), 2, "--requests-per-second is out of range: expected above 0, got 0")
    refused(cli(*TRY, "--requests-per-second", 2), 2, "no served model that --requests-per-second is about")


# ---------------------------------------------------------------- attacks


def test_labels_are_attacked_without_noise_and_a_dry_run_asks_nothing(cli: Run, few: Path) -> None:
    vgg = load_model("vgg")

    def answer(images: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            found: NDArray[Any] = vgg(torch.tensor(images)).argmax(1).numpy()
        return found

    service = Served(answer, output=("INT64", (-1,)))
    with serving(service) as url:
        command = (*TRY, "--data", few, "-t", f"oip:{url}", "--json")
        planned = cli(*command, "--dry-run", "--json")
        assert planned.code == 0, planned.err
        assert service.requests == []
        result = cli(*command)
        found = by_pair(result)
        asked = list(service.requests)
        again = cli(*command)
        assert service.requests == asked
    assert json.loads(again.out)["records"] == json.loads(result.out)["records"]
    outcomes = {target: record["outcomes"] for (_, target), record in found.items()}
    assert outcomes["net"] == outcomes["vgg"]
    assert "1" in outcomes["vgg"]
    assert [record["target"] for record in json.loads(result.out)["noise"]] == ["fashion-mnist/vgg"]
    assert "Note: net says labels only" in result.err


def test_it_is_no_surrogate(cli: Run, few: Path) -> None:
    with serving(Served(scores)) as url:
        words = ("'net' is no surrogate: no gradient comes back from it", "use it as a target")
        refused(cli("attack", "-s", f"oip:{url}", "-t", "vgg", "--data", few), 2, *words)
