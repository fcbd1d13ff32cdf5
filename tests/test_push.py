"""`transferzoo push`: the real client, the real command line, and back again from the Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from hub_server import Hub, User, client_environment, running
from safetensors.torch import load_file, save_file

from transferzoo import checkpoint
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Result

TOKEN = "hf_secretsecretsecret"
MODEL = load_zoo().models["fashion-mnist/resnet50-lsam"].folder
NAMES = ["README.md", "config.json", "model.safetensors", "recipe.json"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as found:
        found.users[TOKEN] = User("someone")
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a finished checkpoint with two collected weights."""
    place = tmp_path / "checkpoints" / "mine"
    shutil.copytree(MODEL, place)
    (place / checkpoint.SAMPLES).mkdir()
    recipe = json.loads((place / checkpoint.RECIPE).read_text())
    recipe["samples"] = {}
    for number, name in enumerate(("sam", "asam"), 1):
        source = load_zoo().models[f"fashion-mnist/resnet50-{name}"].folder / checkpoint.WEIGHTS
        file = place / checkpoint.SAMPLES / f"{number:04d}.safetensors"
        shutil.copyfile(source, file)
        recipe["samples"][f"{checkpoint.SAMPLES}/{file.name}"] = checkpoint.digest(source.parent)
    (place / checkpoint.RECIPE).write_text(json.dumps(recipe))
    return place


def run(hub: Hub, place: Path, *command: object, home: str = "hub", **variables: str) -> str:
    """Return stdout of a command that ends well; the token is printed nowhere."""
    done = started(hub, place, *command, home=home, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def started(
    hub: Hub, place: Path, *command: object, home: str = "hub", **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = client_environment(hub.address, place / home) | {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=place, capture_output=True, text=True, timeout=200,
        check=False, env=os.environ | environment | {"OMP_NUM_THREADS": "1", "HF_TOKEN": TOKEN} | variables,
    )  # fmt: skip
    assert TOKEN not in done.stdout + done.stderr
    return done


PUSH = ("-m", "transferzoo", "push", "--yes", "--licence", "mit", "--json")
ATTACK = (
    "-m",
    "transferzoo",
    "attack",
    "-t",
    "vgg",
    "--steps",
    2,
    "--images",
    6,
    "-a",
    "mi",
    "-a",
    "lgv",
    "--json",
)
TIMM = """
import sys, timm, torch, transferzoo
model = timm.create_model("hf-hub:someone/mine", pretrained=True).eval()
torch.save(model.state_dict(), sys.argv[1])
"""


def test_there_and_back(hub: Hub, folder: Path, few: Path, tmp_path: Path) -> None:
    """The newest checkpoint, under one's own name; the same again changes nothing; others attack from it."""
    local = json.loads(run(hub, tmp_path, *ATTACK, "-s", folder, "--data", few, "--runs", "runs"))["records"]
    sent = json.loads(run(hub, tmp_path, *PUSH))
    assert (sent["repo"], sent["changed"]) == ("someone/mine", True)
    samples = ["samples/0001.safetensors", "samples/0002.safetensors"]
    held = hub.files("someone/mine")
    assert sorted(held) == sorted([*NAMES, *samples])
    assert {name: held[name] for name in held if name != "README.md"} == {
        name: (folder / name).read_bytes() for name in held if name != "README.md"
    }
    card = held["README.md"].decode()
    assert "license: mit" in card and "| fashion-mnist/vgg |" in card and str(tmp_path) not in card
    assert f"{100 * local[0]['rate']:.1f}" in card
    again = json.loads(run(hub, tmp_path, *PUSH))
    assert again == {**sent, "changed": False}
    other = tmp_path / "other"
    other.mkdir()
    found = json.loads(run(hub, other, *ATTACK, "-s", "hf-hub:someone/mine", "--data", few))["records"]
    assert [r["outcomes"] for r in found] == [r["outcomes"] for r in local]
    here, there = (
        [path.read_bytes() for path in sorted(place.glob("runs/*/images/*/*/*.safetensors"))]
        for place in (tmp_path, other)
    )
    assert here == there and len(here) == 2
    run(hub, other, "-c", TIMM, other / "state.pt", home="third")
    state = torch.load(other / "state.pt", weights_only=True)
    stored = load_file(folder / checkpoint.WEIGHTS)
    assert all(torch.equal(state[name], tensor.to(state[name].dtype)) for name, tensor in stored.items())


def test_what_is_refused(cli: Callable[..., Result], folder: Path) -> None:
    def refused(code: int, *flags: str) -> str:
        done = cli("push", "--repo", "a/b", *flags)
        assert (done.code, done.out) == (code, "")
        (line,) = done.err.splitlines()
        return line.removeprefix("Error: ")

    assert refused(2, "--yes").startswith("the model has no licence: expected an identifier of the Hub")
    assert refused(2, "--licence", "mit").startswith("nobody can confirm the push: expected --yes")
    recipe = json.loads((folder / checkpoint.RECIPE).read_text())
    (folder / checkpoint.RECIPE).write_text(json.dumps({**recipe, "accuracy": None}))
    assert refused(2, "--licence", "mit", "--yes").startswith("nothing was measured of checkpoints/mine")
    weights = load_file(folder / checkpoint.WEIGHTS)
    weights["conv1.weight"][0] = float("nan")
    save_file(weights, folder / checkpoint.WEIGHTS)
    assert "weight 'conv1.weight' of" in refused(1, "--licence", "mit", "--yes", "--unmeasured")
    assert refused(1, "nowhere", "--licence", "mit").startswith("nowhere is not a checkpoint folder")


@pytest.mark.usefixtures("folder")
def test_who_is_not_logged_in_is_told(hub: Hub, tmp_path: Path) -> None:
    done = started(hub, tmp_path, *PUSH, HF_TOKEN="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: you are not logged in to the Hub; log in with `hf auth login`.\n"
    assert not hub.repositories


def test_a_plan_sends_nothing(hub: Hub, folder: Path, tmp_path: Path) -> None:
    plan = json.loads(run(hub, tmp_path, *PUSH, "--dry-run", "--repo", "a/b", folder))
    assert plan["repo"] == "a/b" and "hf-hub:a/b" in plan["card"]
    assert plan["bytes"] == sum((folder / name).stat().st_size for name in plan["files"])
    assert not hub.requests
