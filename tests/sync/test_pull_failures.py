"""`transferzoo pull` where something is in its way: faults, no room, no network, malice, other processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from helpers.hub_server import Hub, User, client_environment, connect
from transferzoo.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

TOKEN = "hf_secretsecretsecret"


def test_one_that_fails_stops_no_other(hub: Hub, pull: Callable[..., Result], tmp_path: Path) -> None:
    hub.fail("corrupt", "owner/old/a.bin")
    done = pull("sgd,more,old", "--json")
    assert done.code == 1
    output = json.loads(done.out)
    assert output["fetched"] == ["twin/sgd"]
    assert sorted(output["failed"]) == ["twin/more", "twin/old"]
    errors = sorted(line for line in done.err.splitlines() if line.startswith("Error: "))
    assert errors[0].startswith("Error: a.bin of the model owner/old does not match its SHA-256: expected ")
    assert errors[1].startswith("Error: the model owner/none does not exist on ")
    assert len(errors) == 2
    assert not list((tmp_path / "hf").rglob("a.bin"))


def test_no_room_and_a_huge_claim_are_told_before_anything_comes(
    hub: Hub, pull: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    done = pull("sgd")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("Error: there is no room for this on the disk of ")
    assert "got 1.0 kB; free some, or set HF_HOME to a folder on another disk." in done.err
    hub.claim("owner/surrogate", checkpoint.WEIGHTS, 100 * 2**30)
    done = pull("sgd", "--dry-run")
    assert done.code == 1
    assert "model.safetensors of the model owner/surrogate is too large: expected at most 20 GiB" in done.err
    assert not hub.count("GET", "/resolve/")


def test_offline_nothing_is_waited_for(
    hub: Hub, pull: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect(monkeypatch, hub, tmp_path / "hf", HF_HUB_OFFLINE="1")
    asked = time.monotonic()
    done = pull("sgd")
    assert (done.code, done.out) == (1, "")
    assert time.monotonic() - asked < 2
    assert done.err.splitlines()[-1] == "Error: HF_HUB_OFFLINE is set: expected a way to the Hub; unset it."
    assert not hub.requests


def test_a_token_is_shown_nowhere(
    hub: Hub, pull: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.users[TOKEN] = User("owner")
    hub.repositories["owner/surrogate"].private = True
    assert "the model owner/surrogate does not exist on " in pull("sgd").err
    connect(monkeypatch, hub, tmp_path / "hf", HF_TOKEN=TOKEN)
    hub.fail("broken", "owner/old/a.bin", method="GET")
    done = pull("sgd,old")
    assert (done.code, "Downloaded 1 of 2" in done.err) == (1, True)
    assert any(request.authorized for request in hub.requests)
    assert TOKEN not in done.out + done.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(TOKEN.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "samples",
    [
        {"../../../../../outside.safetensors": "0" * 64},
        {"/tmp/outside.safetensors": "0" * 64},
        {"samples/../../../outside.safetensors": "0" * 64},
        {"samples/0001.pkl": "0" * 64},
        {"samples/0001.safetensors": 5},
        [5],
    ],
    ids=range(6),
)
def test_a_recipe_that_leads_elsewhere_is_refused(
    hub: Hub, pull: Callable[..., Result], cli: Callable[..., Result], tmp_path: Path, samples: Any
) -> None:
    recipe = json.loads(hub.files("owner/surrogate")[checkpoint.RECIPE]) | {"samples": samples}
    named = {str(name): b"weights" for name in samples}
    hub.change("owner/surrogate", {checkpoint.RECIPE: json.dumps(recipe).encode(), **named})
    done = pull("sgd")
    assert done.code == 1
    (error,) = (line for line in done.err.splitlines() if line.startswith("Error: "))
    assert error.startswith(
        "Error: owner/surrogate names collected weights in a wrong way: expected samples/NNNN"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml", "hf"}
    assert not list((tmp_path / "hf").rglob("*outside*")) and not list((tmp_path / "hf").rglob("0001.*"))
    assert cli("list", "--dataset", "twin").code == 0


def started(hub: Hub, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "transferzoo", "pull", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | client_environment(hub.address, folder / "hf"),
    )


def test_two_processes_pull_the_same_model(hub: Hub, tmp_path: Path) -> None:
    hub.fail("slow", "owner/surrogate/model.safetensors", value=0.5)
    both = [started(hub, tmp_path, "sgd") for _ in range(2)]
    for process in both:
        _, output = process.communicate(timeout=60)
        assert process.returncode == 0, output
    (blob,) = (path for path in tmp_path.glob("hf/hub/*/blobs/*") if path.stat().st_size > 10**5)
    assert blob.read_bytes() == hub.files("owner/surrogate")[checkpoint.WEIGHTS]
    assert hub.count("GET", "owner/surrogate/model.safetensors") == 1, "the second waits for the first"


def test_an_interrupted_pull_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.fail("slow", "owner/surrogate/model.safetensors", times=1, value=8)
    process = started(hub, tmp_path, "sgd,vgg")
    deadline = time.monotonic() + 30
    while not hub.count("GET", "owner/surrogate/model.safetensors"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    out, output = process.communicate(timeout=20)
    assert time.monotonic() - asked < 5
    assert (process.returncode, out) == (130, "")
    assert output.splitlines()[-1] == "Interrupted; the same command goes on from here."
    assert "Traceback" not in output
    assert not list(tmp_path.rglob("*.incomplete"))
    again = started(hub, tmp_path, "sgd,vgg")
    _, output = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert not list(tmp_path.rglob("*.incomplete"))
