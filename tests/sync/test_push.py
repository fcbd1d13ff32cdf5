"""`transferzoo push`: the real client, the real command line, and back again from the Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import load_file, save_file

from helpers.hub_server import Hub, User, client_environment, connect, running
from helpers.stripes import config, spec
from transferzoo.datasets import Batch
from transferzoo.models import checkpoint
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.download import download_checkpoint
from transferzoo.models.recipe_file import read_recipe
from transferzoo.sync.push import plan_upload, upload
from transferzoo.training.trainer import train
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Result

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),  # the client's own
]
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


@pytest.fixture
def run(
    hub: Hub, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Result]:
    """Run a command whose client asks the Hub with a token, which is printed nowhere."""

    def command(*arguments: object, home: str = "hub", token: str = TOKEN, offline: str = "0") -> Result:
        connect(monkeypatch, hub, tmp_path / home, HF_TOKEN=token, HF_HUB_OFFLINE=offline)
        done = cli(*arguments)
        assert TOKEN not in done.out + done.err
        return done

    return command


PUSH = ("push", "--yes", "--licence", "mit", "--json")
ATTACK = ("attack", "-t", "vgg", "--steps", 2, "--images", 6, "-a", "mi", "-a", "lgv", "--json")


def printed(done: Result) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_there_and_back(
    hub: Hub,
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    few: Path,
    tmp_path: Path,
) -> None:
    """Pushed under one's own name, once; listed and downloaded elsewhere, and attacked from offline."""
    local = printed(run(*ATTACK, "-s", folder, "--data", few))["records"]
    sent = printed(run(*PUSH))
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
    data = ModelCard(card, ignore_metadata_errors=False).data
    assert isinstance(data, ModelCardData)
    rates = {
        (one.metric_args["target"], one.metric_args["attack"]): one.metric_value
        for one in data.eval_results or ()
        if one.metric_type == "adversarial_success_rate" and one.metric_args
    }
    assert rates == {(one["target"], one["attack"]): one["rate"] for one in local}
    assert printed(run(*PUSH)) == {**sent, "changed": False}
    entry = {"shared": {"roles": ["surrogate"], "source": "hub:someone/mine"}}
    (tmp_path / "zoo.json").write_text(json.dumps({"models": {"fashion-mnist": entry}}))
    listed = ("list", "--match", "shared", "--zoo", tmp_path / "zoo.json", "--json")
    assert [model["state"] for model in printed(run(*listed, home="other"))] == ["hub"]
    assert run("pull", "shared", "--zoo", tmp_path / "zoo.json", home="other").code == 0
    assert [model["state"] for model in printed(run(*listed, home="other"))] == ["cached"]
    theirs = run(
        *ATTACK, "-s", "hf-hub:someone/mine", "--data", few, "--runs", "theirs", home="other", offline="1"
    )
    assert [r["outcomes"] for r in printed(theirs)["records"]] == [r["outcomes"] for r in local]
    here, there = (
        [path.read_bytes() for path in sorted((tmp_path / place).glob("*/images/*/*/*.safetensors"))]
        for place in ("runs", "theirs")
    )
    assert here == there and len(here) == 2
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in written), "records and caches included"
    connect(monkeypatch, hub, tmp_path / "third", HF_TOKEN=TOKEN)
    state = timm.create_model("hf-hub:someone/mine", pretrained=True).eval().state_dict()
    stored = load_file(folder / checkpoint.WEIGHTS)
    assert all(torch.equal(state[name], tensor.to(state[name].dtype)) for name, tensor in stored.items())


CACHED = "/home/someone/.cache/huggingface/hub/models--timm--resnet50.a1--x/snapshots/" + "a" * 40
STARTS = {
    "/home/someone/secret/base": "base",
    "~/secret/base": "base",
    "C:\\Users\\someone\\base": "base",
    CACHED: f"hf-hub:timm/resnet50.a1--x@{'a' * 40}",
    "hf-hub:timm/resnet50.a1@v1": "hf-hub:timm/resnet50.a1@v1",
    "fashion-mnist/vgg": "fashion-mnist/vgg",
}


def test_a_place_on_this_machine_becomes_a_name(folder: Path, tmp_path: Path) -> None:
    own = (folder / checkpoint.RECIPE).read_text()
    for start, shared in STARTS.items():
        recipe = json.loads(own)
        recipe["config"]["start"] = start
        (folder / checkpoint.RECIPE).write_text(json.dumps(recipe))
        plan = plan_upload(load_zoo(), folder, "a/b", licence="mit", runs=tmp_path)
        sent = json.loads(plan.texts.get(checkpoint.RECIPE, json.dumps(recipe)))
        assert sent["config"]["start"] == shared
        assert (checkpoint.RECIPE in plan.texts) == (start != shared)
        assert ("base_model: timm/resnet50.a1" in plan.card) == shared.startswith("hf-hub:")


def test_no_folder_of_this_machine_is_shared(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = json.loads((folder / checkpoint.RECIPE).read_text())
    recipe["config"] |= {"start": "/home/secret/base", "validators": ["/home/secret/judge", "a/b"]}
    (folder / checkpoint.RECIPE).write_text(json.dumps(recipe))
    connect(monkeypatch, hub, tmp_path / "hub", HF_TOKEN=TOKEN)
    sent = []
    for name in ("first", "second"):
        place = tmp_path / name
        place.mkdir()
        plan = plan_upload(load_zoo(), folder, "someone/mine", licence="mit", runs=tmp_path)
        sent.append(upload(plan, place).changed)
    assert sent == [True, False]
    held = hub.files("someone/mine")
    assert not any(b"secret" in text or b"/home" in text for text in held.values())
    assert plan.size == sum(len(content) for name, content in held.items() if name != "README.md")
    back = download_checkpoint("someone/mine")
    config = recipe["config"] | {"start": "base", "validators": ["judge", "a/b"]}
    assert read_recipe(back) == recipe | {"config": config}
    assert len(checkpoint.samples(back)) == 2
    assert json.loads((folder / checkpoint.RECIPE).read_text()) == recipe, "one's own stays"


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
    assert refused(2, "--licence", "mit", "--yes").startswith(
        "the accuracy of checkpoints/mine was not measured"
    )
    weights = load_file(folder / checkpoint.WEIGHTS)
    weights["conv1.weight"][0] = float("nan")
    save_file(weights, folder / checkpoint.WEIGHTS)
    assert "weight 'conv1.weight' of" in refused(1, "--licence", "mit", "--yes", "--unmeasured")
    assert refused(2, "./nowhere", "--licence", "mit").startswith("there is no './nowhere'")
    assert refused(2, "hf-hub:a/b", "--licence", "mit").startswith("'hf-hub:a/b' is on the Hub")


@pytest.mark.usefixtures("folder")
def test_who_is_not_logged_in_is_told(hub: Hub, run: Callable[..., Result]) -> None:
    done = run(*PUSH, token="")
    assert (done.code, done.out) == (1, "")
    assert done.err == "Error: you are not logged in to the Hub; log in with `hf auth login`.\n"
    assert not hub.repositories


def test_a_plan_sends_nothing(hub: Hub, run: Callable[..., Result], folder: Path) -> None:
    plan = printed(run(*PUSH, "--dry-run", "--repo", "a/b", folder))
    assert plan["repo"] == "a/b" and "hf-hub:a/b" in plan["card"]
    assert plan["bytes"] == sum((folder / name).stat().st_size for name in plan["files"])
    assert not hub.requests


LOAD = """
import sys, timm, torch
model = timm.create_model("hf-hub:someone/plain", pretrained=True).eval()
assert "transferzoo" not in sys.modules
with torch.no_grad():
    print(model(torch.linspace(0, 1, 1024).view(1, 1, 32, 32)).flatten().tolist())
import transferzoo
print(timm.create_model("small_resnet50", num_classes=10, in_chans=1, width=12).num_features)
"""


def test_an_architecture_of_timm_needs_timm_alone(
    hub: Hub, run: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints" / "plain"
    data = Batch(torch.zeros(32, 1, 12, 12, dtype=torch.uint8), torch.arange(32) % 3, torch.arange(32))
    train(config(architecture="test_resnet", epochs=1), spec(tmp_path), data, data, folder)
    sent = run("push", folder, "--zoo", tmp_path / "stripes.yaml", *PUSH[1:])
    assert printed(sent)["repo"] == "someone/plain"
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOAD],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | client_environment(hub.address, tmp_path / "alone"),
    )
    assert done.returncode == 0, done.stderr
    model = load_checkpoint(folder, spec(tmp_path)).model
    with torch.no_grad():
        expected = model(torch.linspace(0, 1, 1024).view(1, 1, 32, 32)).flatten()
    found, features = done.stdout.splitlines()
    assert json.loads(found) == pytest.approx(expected.tolist(), abs=1e-5)
    assert int(features) == timm.create_model("small_resnet50", width=12).num_features, "imported after timm"
