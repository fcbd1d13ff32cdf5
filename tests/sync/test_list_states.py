"""Where models and images are, and what is known of them: `transferzoo list` and `transferzoo show`."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from helpers.checkpoints import SAMPLE
from helpers.hub_server import COMMIT, Hub, connect, running
from transferzoo import hub
from transferzoo.models import checkpoint
from transferzoo.models.download import download_checkpoint
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Result

VGG = load_zoo().models["fashion-mnist/vgg"].folder
HELD = {
    name: (VGG / name).read_bytes() for name in (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.RECIPE)
}
BARE = {name: content for name, content in HELD.items() if name != checkpoint.RECIPE}
MINE = """
datasets:
  twin:
    classes: 10
    channels: 1
    size: 28
    mean: [0.2860]
    std: [0.3530]
    splits:
      sample: ["builtin:fashion-mnist"]
      test: ["local:images", "hub:owner/images/a-*-of-00002.parquet"]
      train: ["local:nowhere"]
    attack: {split: sample, epsilon: 16/255}
    licence: CC-BY-NC-4.0
    origin: of these tests
models:
  twin:
    inside: {roles: [target], source: "builtin:fashion-mnist/vgg", licence: mit}
    here: {roles: [target], source: "local:LOCAL", licence: mit}
    there: {roles: [target], source: "hub:owner/there", licence: cc-by-nc-4.0, claimed: 92.51}
    pinned: {roles: [target], source: "hub:owner/there@COMMIT", licence: mit}
    bare: {roles: [target], source: "hub:owner/bare", claimed: 90}
    file: {roles: [surrogate], source: "hub:owner/file", extra: true, licence: mit,
           weights: {file: w.bin, pickle: true, architecture: resnet18,
                     input_size: [1, 28, 28], mean: [0.0], std: [1.0]}}
    sam: {roles: [surrogate], source: train, recipe: resnet50-sam, licence: mit}
"""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Return a Hub that this process asks, with an empty cache, and a zoo file that names what it has."""
    (tmp_path / "mine.yaml").write_text(MINE.replace("COMMIT", COMMIT).replace("LOCAL", str(VGG)))
    monkeypatch.setenv("TRANSFERZOO_ZOO", str(tmp_path / "mine.yaml"))
    with running({"owner/file/w.bin": b"weights"}) as found:
        found.add("owner/there", HELD)
        found.add("owner/bare", BARE)
        found.add("datasets/owner/images", {f"a-{part:05d}-of-00002.parquet": b"PAR1" for part in (0, 1)})
        connect(monkeypatch, found, tmp_path / "hf")
        yield found


def listed(cli: Callable[..., Result], *arguments: str) -> dict[str, dict[str, Any]]:
    done = cli("list", *arguments, "--json")
    assert (done.code, done.err) == (0, "")
    return {entry["name"]: entry for entry in json.loads(done.out)}


def states(cli: Callable[..., Result]) -> dict[str, str]:
    return {name: entry["state"] for name, entry in listed(cli, "models", "--dataset", "twin").items()}


def shown(cli: Callable[..., Result], name: str) -> dict[str, Any]:
    (entry,) = json.loads(cli("show", name, "--json").out)
    return dict(entry)


COLD = {
    "inside": "built-in",
    "here": "local",
    "there": "hub",
    "pinned": "hub",
    "bare": "hub",
    "file": "hub",
    "sam": "train",
}


def test_states(served: Hub, cli: Callable[..., Result], tmp_path: Path) -> None:
    assert states(cli) == COLD
    download_checkpoint("owner/there")
    assert states(cli) == {**COLD, "there": "cached", "pinned": "cached"}
    download_checkpoint("owner/bare")
    hub.download_file("owner/file", "w.bin")
    warm = {**COLD, "there": "cached", "pinned": "cached", "bare": "cached", "file": "cached"}
    assert states(cli) == warm
    (link,) = (tmp_path / "hf").glob("hub/models--owner--bare/snapshots/*/model.safetensors")
    link.resolve().unlink()
    assert states(cli) == {**warm, "bare": "hub"}
    served.requests.clear()
    states(cli)
    assert not served.requests


def test_half_a_model_is_not_cached(
    served: Hub, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What an attack would miss offline: the recipe nobody asked for, or weights the recipe names."""
    for name in BARE:
        hub.download_file("owner/there", name)
    assert states(cli)["there"] == "hub"
    with monkeypatch.context() as patch:
        connect(patch, served, tmp_path / "hf", HF_HUB_OFFLINE="1")
        with pytest.raises(
            hub.NotCachedError, match=r"recipe.json of .* run `transferzoo pull hf-hub:owner/there"
        ):
            download_checkpoint("owner/there")
    recipe = json.loads(HELD[checkpoint.RECIPE]) | {"samples": {"samples/0001.safetensors": "0" * 64}}
    served.change("owner/bare", {checkpoint.RECIPE: json.dumps(recipe).encode()})
    for name in (*BARE, checkpoint.RECIPE):
        hub.download_file("owner/bare", name)
    assert states(cli)["bare"] == "hub"


def test_accuracies_are_measured_or_claimed(served: Hub, cli: Callable[..., Result]) -> None:
    entries = listed(cli, "models", "--dataset", "twin")
    built_in = listed(cli)["vgg"]
    assert built_in["accuracy"] == pytest.approx(0.91, abs=0.01)
    assert entries["inside"]["accuracy"] == entries["here"]["accuracy"] == built_in["accuracy"]
    assert (entries["there"]["accuracy"], entries["there"]["claimed"]) == (None, 0.9251)
    assert entries["file"]["accuracy"] is entries["file"]["claimed"] is None
    lines = {
        line.split()[0]: line for line in cli("list", "--dataset", "twin").out.splitlines() if line.split()
    }
    assert " 92.5*" in lines["there"] and " 91.0 " in lines["inside"]
    assert "cc-by-nc-4.0†" in lines["there"] and "†" not in lines["pinned"]
    assert "* as its source states, not measured here. † not for commercial use." in " ".join(
        lines["*"].split()
    )


@pytest.mark.usefixtures("untimed")
def test_models_to_train_come_with_their_command(served: Hub, cli: Callable[..., Result]) -> None:
    command = "transferzoo train --recipe resnet50-sam"
    entry = listed(cli, "models", "--dataset", "twin")["sam"]
    assert (entry["state"], entry["command"], entry["minimizer"]) == ("train", command, "sam:rho=0.05")
    table = cli("list", "--dataset", "twin").out
    assert f"Nobody has published what is to be trained:\n  {command}\n" in table
    plan = cli(*command.split()[1:], "--dry-run", "--json")
    assert (plan.code, json.loads(plan.out)["config"]["minimizer"]) == (
        0,
        "sam:rho=0.05,base=sgd",
    )
    assert shown(cli, "twin/sam")["command"] == command


def test_other_data_sets_get_a_line(served: Hub, cli: Callable[..., Result]) -> None:
    lines = cli("list").out.splitlines()
    assert lines[0] == "models of fashion-mnist"
    assert "twin: 7 models (1 to train), `transferzoo list --dataset twin`" in lines
    assert not any(line.startswith(" there ") for line in lines)
    targets = cli("list", "targets").out
    assert "twin: 5 targets, `transferzoo list targets --dataset twin`" in targets
    tables = cli("list", "models", "--dataset", "twin").out
    further = "models of twin that `all` leaves out: give a name or a pattern"
    assert (
        tables.index("models of twin\n")
        < tables.index(" there ")
        < tables.index(further)
        < tables.index(" file ")
    )
    found = cli("list", "--match", "inne").out
    assert "models of twin" in found and "models of fashion-mnist" not in found


# What is shown


def test_provenance_of_a_model_of_the_hub(served: Hub, cli: Callable[..., Result], tmp_path: Path) -> None:
    before = shown(cli, "there")
    assert (before["state"], before["folder"], before["bytes"], before["files"]) == ("hub", None, None, [])
    assert (before["commercial use"], before["claimed"]) == ("forbidden by the licence", 0.9251)
    download_checkpoint("owner/there")
    entry = shown(cli, "twin/there")
    assert (entry["state"], entry["commit"]) == ("cached", COMMIT)
    assert entry["folder"] == str(tmp_path / "hf/hub/models--owner--there/snapshots" / COMMIT)
    assert entry["bytes"] == sum(map(len, HELD.values()))
    files = {file["path"]: file for file in entry["files"]}
    assert files.keys() == HELD.keys()
    weights = {"bytes": len(HELD[checkpoint.WEIGHTS]), "path": checkpoint.WEIGHTS}
    sha256 = hashlib.sha256(HELD[checkpoint.WEIGHTS]).hexdigest()
    assert files[checkpoint.WEIGHTS] == {**weights, "sha256": sha256}
    assert len(files[checkpoint.CONFIG]["git_sha1"]) == 40
    assert entry["config"]["architecture"] == "small_vgg"
    text = cli("show", "there").out
    assert re.search(r"^ claimed +92\.51 % *$", text, re.MULTILINE)
    assert re.search(r"^ commercial use +forbidden by the licence *$", text, re.MULTILINE)
    row = next(line.split() for line in text.splitlines() if checkpoint.WEIGHTS in line)
    assert row == [checkpoint.WEIGHTS, f"{weights['bytes']:,}", "sha256", sha256]


def test_provenance_of_other_models(served: Hub, cli: Callable[..., Result]) -> None:
    inside, local, bare = (shown(cli, name) for name in ("inside", "here", "file"))
    assert inside["files"] == local["files"]
    assert [file["path"] for file in inside["files"]] == [
        checkpoint.WEIGHTS,
        checkpoint.CONFIG,
        checkpoint.RECIPE,
    ]
    assert (inside["commercial use"], inside["commit"]) == ("not forbidden by the licence", None)
    assert bare["weights"]["pickle"] is True
    hub.download_file("owner/file", "w.bin")
    (file,) = shown(cli, "file")["files"]
    assert file == {"path": "w.bin", "bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert shown(cli, "bare")["commercial use"] == "unknown"


def test_where_images_are(served: Hub, cli: Callable[..., Result], tmp_path: Path) -> None:
    assert shown(cli, "twin")["state"] == {"sample": "built-in", "test": "hub", "train": "absent"}
    hub.download_file("owner/images", "a-00000-of-00002.parquet", repo_type="dataset")
    assert shown(cli, "twin")["state"]["test"] == "hub", "one of two parts"
    hub.download_file("owner/images", "a-00001-of-00002.parquet", repo_type="dataset")
    assert shown(cli, "twin")["state"]["test"] == "cached"
    (tmp_path / "images").mkdir()
    assert shown(cli, "twin")["state"]["test"] == "cached", "an empty folder has none"
    shutil.copy(SAMPLE, tmp_path / "images" / "test-00000-of-00001.parquet")
    assert shown(cli, "twin")["state"]["test"] == "local", "the first place that has them"
    assert shown(cli, "twin")["commercial use"] == "forbidden by the licence"
