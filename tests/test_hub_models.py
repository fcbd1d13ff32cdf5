"""Models of the Hub as surrogates and targets: the real client and the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hub_server import COMMIT, client_environment, serving

from transferzoo import checkpoint
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ZOO = load_zoo()
FLAGS = ("--steps", "2", "--images", "6", "--json", "--attack", "mi")


def files(repo: str, model: str) -> dict[str, bytes]:
    """Return what a repository holds that has a model of the built-in zoo."""
    folder = ZOO.models[f"fashion-mnist/{model}"].folder
    names = (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.RECIPE)
    return {f"{repo}/{name}": (folder / name).read_bytes() for name in names}


SERVED = {**files("owner/surrogate", "resnet50-sgd"), **files("owner/target", "vgg")}


def attack(
    folder: Path, environment: Mapping[str, str], *arguments: object
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "transferzoo", "attack", *map(str, arguments), *FLAGS], cwd=folder,
        check=False,
        capture_output=True, text=True, timeout=200, env=os.environ | environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def images(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("runs/*/images/*/*/*.safetensors"))]


@pytest.fixture
def few_flags(few: Path) -> tuple[object, ...]:
    return ("--data", few)


def test_images_are_those_of_the_local_models(tmp_path: Path, few_flags: tuple[object, ...]) -> None:
    local = attack(tmp_path / "a", {}, "-s", "resnet50-sgd", "-t", "vgg", *few_flags)
    with serving(SERVED) as endpoint:
        environment = client_environment(endpoint, tmp_path / "hub")
        names = ("-s", f"hf-hub:owner/surrogate@{COMMIT}", "-t", "hf-hub:owner/target,vgg")
        remote = attack(tmp_path / "b", environment, *names, *few_flags)
    offline = attack(tmp_path / "c", environment | {"HF_HUB_OFFLINE": "1"}, *names, *few_flags)
    for done in (local, remote, offline):
        assert done.returncode == 0, done.stderr
    first, found, again = (json.loads(done.stdout)["records"] for done in (local, remote, offline))
    assert images(tmp_path / "a") == images(tmp_path / "b") == images(tmp_path / "c")
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
EACH = """
import sys
from transferzoo.cli.app import main
for name in sys.argv[1:]:
    sys.argv = ["transferzoo", "attack", "-s", "resnet50-sgd", "-t", name]
    try:
        main()
    except SystemExit as stop:
        print(stop.code)
"""


def test_what_the_hub_does_not_have(tmp_path: Path) -> None:
    pickled = {"owner/pickle/config.json": SERVED["owner/target/config.json"], "owner/pickle/model.bin": b"!"}
    with serving({**SERVED, **pickled}) as endpoint:
        environment = client_environment(endpoint, tmp_path / "hub")
        done = subprocess.run(
            [sys.executable, "-c", EACH, *REFUSED], cwd=tmp_path, env=os.environ | environment, check=True,
            capture_output=True, text=True, timeout=200,
        )  # fmt: skip
    assert [int(code) for code in done.stdout.split()] == [code for code, _ in REFUSED.values()]
    for line, (_, sentence) in zip(done.stderr.splitlines(), REFUSED.values(), strict=True):
        assert line.startswith("Error: ") and sentence in line
    assert not (tmp_path / "runs").exists()
