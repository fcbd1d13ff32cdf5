"""Models behind the Open Inference Protocol: tokens, addresses, metadata and answers that do not do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.linear_model import expected, scores
from helpers.oip_server import Fault, Served, serving
from transferzoo import load_images, load_model
from transferzoo.base.errors import ModelError, TransferZooError, UsageError
from transferzoo.models import kept_answers, served
from transferzoo.models.sources import served_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread", "quick_retries")


@pytest.fixture(scope="module")
def known() -> torch.Tensor:
    return load_images().images[:70] / 255


# ---------------------------------------------------------------- the token


def test_the_token_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch, known: torch.Tensor) -> None:
    service = Served(scores, token="s3cret")
    with serving(service) as url:
        with pytest.raises(TransferZooError, match=rf"refuses access \(401 .*{served.TOKEN}"):
            load_model(f"oip:{url}")
        monkeypatch.setenv(served.TOKEN, "wr0ng")
        with pytest.raises(TransferZooError, match="refuses access") as raised:
            load_model(f"oip:{url}")
        assert "wr0ng" not in str(raised.value)
        monkeypatch.setenv(served.TOKEN, "s3cret")
        torch.testing.assert_close(load_model(f"oip:{url}")(known[:2]), expected(known[:2]))
    assert service.headers["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("s3cret", "is not sent in the clear: expected https://, got http://"),
        ("s3cret\nX-Other: 1", "holds no token: expected letters, digits and signs"),
        ("sécret", "holds no token"),
    ],
)
def test_a_token_goes_to_nobody_else(monkeypatch: pytest.MonkeyPatch, token: str, words: str) -> None:
    monkeypatch.setenv(served.TOKEN, token)
    with pytest.raises(UsageError) as raised:
        load_model("oip:http://models.invalid/v2/models/net")
    assert words in str(raised.value)
    assert "cret" not in str(raised.value)


def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    service, proxy = Served(scores, token="s3cret"), Served(scores, metadata={"name": "proxy"})
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(served.TOKEN, "s3cret")
    with serving(service) as url, serving(proxy) as other:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, other.partition("/v2")[0])
        assert served.Service(url).metadata().name == "net"
    assert not proxy.headers


# ---------------------------------------------------------------- wrong uses


def tensor(datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": "images", "datatype": datatype, "shape": shape}


IMAGES = tensor("FP32", -1, 1, 28, 28)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([], [tensor("FP32", -1, 10)], "cannot read images: expected metadata with one input .* got none"),
        ([IMAGES] * 2, [tensor("FP32", -1, 10)], "cannot read images"),
        ([tensor("BYTES", -1, 1)], [tensor("FP32", -1, 10)], r"got BYTES \[-1, 1\]; let the server declare"),
        ([tensor("FP32", -1, 4, 28, 28)], [tensor("FP32", -1, 10)], "expected 1 or 3 channels"),
        (
            [tensor("FP32", 10**9, 1, 28, 28)],
            [tensor("FP32", -1, 10)],
            "more at once than a request can hold",
        ),
        (
            [tensor("FP32", -1, 3, 10**5, -1)],
            [tensor("FP32", -1, 10)],
            r"got shape \[-1, 3, 100000, -1\]; let",
        ),
        ([IMAGES], [], "gives no classes: expected metadata with an output of scores"),
        ([IMAGES], [tensor("FP32", -1, 10, 3)], r"gives no classes.*got FP32 \[-1, 10, 3\]"),
        ([IMAGES], [tensor("BYTES", -1)], "gives no classes"),
        ([IMAGES], [tensor("FP32", -1, 9)], "has the wrong number of classes: expected the 10 .* got 9"),
    ],
)
def test_metadata_that_do_not_fit_are_a_sentence(inputs: Any, outputs: Any, words: str) -> None:
    metadata = {"name": "net", "inputs": inputs, "outputs": outputs}
    with serving(Served(scores, metadata=metadata)) as url, pytest.raises(ModelError, match=words):
        load_model(f"oip:{url}")(torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize("metadata", [[], {"inputs": 3}, "text", b"<html>", b""])
def test_other_protocols_are_a_sentence(metadata: Any) -> None:
    words = r"does not speak the Open Inference Protocol: expected http\(s\)://HOST"
    with serving(Served(scores, metadata=metadata)) as url, pytest.raises(ModelError, match=words):
        load_model(f"oip:{url}")


def test_an_answer_without_end_is_a_sentence(monkeypatch: pytest.MonkeyPatch, known: torch.Tensor) -> None:
    with serving(Served(scores)) as url:
        model = load_model(f"oip:{url}")
        monkeypatch.setattr(served, "MOST_BYTES", 500)
        with pytest.raises(ModelError, match="answers without end: expected at most 500 bytes"):
            model(known)


def test_what_is_not_there_is_a_sentence(known: torch.Tensor) -> None:
    with serving(Served(scores)) as url:
        with pytest.raises(ModelError, match=r"no model at .*/other \(404 Not Found: no such model\)"):
            load_model(f"oip:{url.removesuffix('net')}other")
        gone = load_model(f"oip:{url}")
    with pytest.raises(TransferZooError, match=r"cannot be reached: ConnectError.*whether the server runs"):
        gone(known[:2])
    served_model._metadata.cache_clear()
    with pytest.raises(TransferZooError, match="cannot be reached"):
        load_model(f"oip:{url}")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500, '{"error": "out of \\u001b[31mmemory"}'),
        Fault(422, "<html>no"),
        Fault(500, "[" * 10**5),
    ],
    ids=["error", "page", "brackets"],
)
def test_reasons_of_the_server_are_said(known: torch.Tensor, fault: Fault) -> None:
    with serving(Served(scores, faults=[fault])) as url, pytest.raises(ModelError) as raised:
        load_model(f"oip:{url}")(known[:1])
    said = str(raised.value)
    assert f"gives no answer ({fault.status}" in said
    assert any(words in said for words in ("out of", "<html>no", "500 Internal Server Error"))
    assert "\x1b" not in said


def test_an_answer_that_cannot_be_unpacked_is_a_sentence(known: torch.Tensor) -> None:
    faults = [Fault(200, "no gzip", (("Content-Encoding", "gzip"),))] * 5
    with (
        serving(Served(scores, faults=faults)) as url,
        pytest.raises(TransferZooError, match="cannot be reached"),
    ):
        load_model(f"oip:{url}")(known[:1])


# ---------------------------------------------------------------- the answers that are kept


@pytest.mark.parametrize(
    ("trouble", "said"), [("full", "disk is full"), ("locked", "is locked"), ("damaged", "is not a database")]
)
def test_answers_that_cannot_be_kept_are_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: str, said: str
) -> None:
    monkeypatch.setattr(kept_answers, "_WAIT", 0.05)
    file = tmp_path / "kept.sqlite"
    kept = kept_answers.KeptAnswers(file)
    kept.add({b"one": b"1"})
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        if trouble == "full":
            kept._base.execute("PRAGMA max_page_count = 1")
        elif trouble == "locked":
            other.execute("BEGIN EXCLUSIVE")
        else:
            file.write_bytes(b"damaged" * 1000)
        words = rf"the answers kept in {file} cannot be used: \w+Error: .*{said}; free some space"
        with pytest.raises(TransferZooError, match=words):
            kept.add({bytes([number]): bytes(5000) for number in range(9)})
        if trouble != "full":
            with pytest.raises(TransferZooError, match="cannot be used"):
                kept.known([b"one"])
            with pytest.raises(TransferZooError, match="cannot be used"):
                kept.wait(1000)
    if trouble != "damaged":
        assert kept.known([b"one"]) == {b"one": b"1"}, "and nothing is lost"
