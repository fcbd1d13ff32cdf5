"""Models of the Hub as surrogates and targets: the real client and the real command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from helpers.hub_server import COMMIT, Hub, connect, running
from transferzoo.models import checkpoint
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Result

pytestmark = pytest.mark.usefixtures("one_thread")
ZOO = load_zoo()
FLAGS = ("--steps", 2, "--images", 6, "--json", "--attack", "mi")


def files(repo: str, model: str) -> dict[str, bytes]:
    """Return what a repository holds that has a model of the built-in zoo."""
    folder = ZOO.models[f"fashion-mnist/{model}"].folder
    names = (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.RECIPE)
    return {f"{repo}/{name}": (folder / name).read_bytes() for name in names}


SERVED = {**files("owner/surrogate", "resnet50-sgd"), **files("owner/target", "vgg")}
PICKLED = {"owner/pickle/config.json": SERVED["owner/target/config.json"], "owner/pickle/model.bin": b"!"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with running({**SERVED, **PICKLED}) as found:
        connect(monkeypatch, found, tmp_path / "hub")
        yield found


def images(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*/images/*/*/*.safetensors"))]


def test_images_are_those_of_the_local_models(
    hub: Hub, cli: Callable[..., Result], few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("-s", f"hf-hub:owner/surrogate@{COMMIT}", "-t", "hf-hub:owner/target,vgg")
    local = cli("attack", "-s", "resnet50-sgd", "-t", "vgg", *FLAGS, "--data", few, "--runs", "a")
    remote = cli("attack", *names, *FLAGS, "--data", few, "--runs", "b")
    connect(monkeypatch, hub, tmp_path / "hub", HF_HUB_OFFLINE="1")
    offline = cli("attack", *names, *FLAGS, "--data", few, "--runs", "c")
    for done in (local, remote, offline):
        assert done.code == 0, done.err
    first, found, again = (json.loads(done.out)["records"] for done in (local, remote, offline))
    assert images(tmp_path / "a") == images(tmp_path / "b") == images(tmp_path / "c") != []
    assert [r["target"] for r in found] == ["fashion-mnist/owner/target", "fashion-mnist/vgg"]
    assert found[0]["outcomes"] == found[1]["outcomes"] == first[0]["outcomes"]
    assert found[0]["surrogate_sha256"] == first[0]["surrogate_sha256"]
    assert [r["outcomes"] for r in again] == [r["outcomes"] for r in found]


REFUSED = {
    "hf-hub:owner/none": (1, "the model owner/none does not exist"),
    "hf-hub:owner/target@v9": (1, "the model owner/target has no revision 'v9'"),
    "hf-hub:owner/pickle": (1, "has no file model.safetensors"),
    "hf-hub:owner": (2, "'owner' is no repository of the Hub: expected hf-hub:OWNER/NAME[@REVISION]"),
    "hf-hub:a/b/c": (2, "'a/b/c' is no repository of the Hub"),
}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hub_does_not_have(cli: Callable[..., Result], tmp_path: Path, name: str) -> None:
    code, sentence = REFUSED[name]
    done = cli("attack", "-s", "resnet50-sgd", "-t", name)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("Error: ") and sentence in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
