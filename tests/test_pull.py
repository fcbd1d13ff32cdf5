"""`transferzoo pull`: what is said, what comes, and that an attack then needs no network."""

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
from hub_server import COMMIT, Hub, User, client_environment, connect, running

from transferzoo import checkpoint
from transferzoo.hub import fetch
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Result

TOKEN = "hf_secretsecretsecret"
ZOO = load_zoo()
NAMES = (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.RECIPE)
MINE = """
datasets:
  twin:
    classes: [T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot]
    channels: 1
    size: 28
    mean: [0.2860]
    std: [0.3530]
    splits:
      test: ["hub:owner/images/test.parquet"]
      train: ["hub:owner/images/train-*-of-00002.parquet"]
      nowhere: ["local:nowhere"]
      here: ["local:.", "hub:owner/images/test.parquet"]
    attack: {split: test, epsilon: 16/255}
    licence: mit
    origin: of these tests
models:
  twin:
    sgd: {roles: [surrogate], source: "hub:owner/surrogate", licence: cc-by-nc-4.0}
    vgg: {roles: [target], source: "hub:owner/target@COMMIT", licence: mit}
    old: {roles: [validator], source: "hub:owner/old", weights: {file: a.bin, pickle: true,
          architecture: resnet18, input_size: [1, 28, 28], mean: [0.2], std: [0.3]}}
    loose: {roles: [target], source: "hub:owner/loose", weights: {file: vgg.safetensors,
            architecture: small_vgg, input_size: [1, 28, 28], mean: [0.2860], std: [0.3530]}}
    more: {roles: [target], source: "hub:owner/none", extra: true}
    inside: {roles: [target], source: "builtin:fashion-mnist/vgg"}
    sam: {roles: [surrogate], source: train, recipe: resnet50-sam}
"""


def held(repo: str, model: str) -> dict[str, bytes]:
    """Return what a repository holds that has a model of the built-in zoo."""
    folder = ZOO.models[f"fashion-mnist/{model}"].folder
    return {f"{repo}/{name}": (folder / name).read_bytes() for name in NAMES}


@pytest.fixture(scope="module")
def served(few: Path) -> dict[str, bytes]:
    images = next(few.rglob("*.parquet")).read_bytes()
    parts = {f"datasets/owner/images/train-{part:05d}-of-00002.parquet": images for part in (0, 1)}
    return {
        **held("owner/surrogate", "resnet50-sgd"), **held("owner/target", "vgg"), **parts,
        "owner/loose/vgg.safetensors": held("x", "vgg")[f"x/{checkpoint.WEIGHTS}"],
        "owner/old/a.bin": bytes(1234), "datasets/owner/images/test.parquet": images,
    }  # fmt: skip


@pytest.fixture
def hub(served: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Return a Hub that this process asks, with an empty cache, and a zoo file that names what it has."""
    (tmp_path / "mine.yaml").write_text(MINE.replace("COMMIT", COMMIT))
    monkeypatch.setenv("TRANSFERZOO_ZOO", str(tmp_path / "mine.yaml"))
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    with running(served) as found:
        connect(monkeypatch, found, tmp_path / "hf")
        yield found


@pytest.fixture
def pull(cli: Callable[..., Result], hub: Hub) -> Callable[..., Result]:
    """Run `transferzoo pull --dataset twin`."""
    return lambda *arguments: cli("pull", *arguments, "--dataset", "twin")


def planned(done: Result) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in json.loads(done.out)["items"]}


# What is said


def test_a_dry_run_says_what_would_come(
    hub: Hub, pull: Callable[..., Result], served: dict[str, bytes]
) -> None:
    done = pull("all", "--dry-run", "--json")
    assert done.code == 0, done.err
    items = planned(done)
    assert {name: item["state"] for name, item in items.items()} == {
        "twin/sgd": "hub", "twin/vgg": "hub", "twin/old": "hub", "twin/loose": "hub",
        "twin/inside": "built-in",
        "twin test": "hub",
    }  # fmt: skip
    sizes = {name: len(content) for name, content in served.items()}
    wanted = {"twin/vgg": "owner/target", "twin/old": "owner/old", "twin test": "datasets/owner/images/test"}
    for name, start in wanted.items():
        assert items[name]["bytes"] == sum(size for file, size in sizes.items() if file.startswith(start))
    assert items["twin/inside"]["bytes"] == 0 and items["twin/vgg"]["commit"] == COMMIT
    assert {"non_commercial", "pickle"} <= items["twin/sgd"].keys()
    assert json.loads(done.out)["missing"] == sum(item["bytes"] for item in items.values())
    assert (
        "Nobody has published twin/sam: train it with `transferzoo train --recipe resnet50-sam`." in done.err
    )
    assert {request.method for request in hub.requests} == {"GET"}
    assert not hub.count("GET", "/resolve/"), "nothing is downloaded"


def test_the_plan_is_a_table_on_stderr(pull: Callable[..., Result]) -> None:
    done = pull("all", "--dry-run")
    assert (done.code, done.out) == (0, "")
    lines = {line.split("  ")[0].strip(): line for line in done.err.splitlines() if "twin" in line}
    assert "non-commercial" in lines["twin/sgd"] and "to download" in lines["twin/sgd"]
    assert "pickle" in lines["twin/old"] and "1.2 kB" in lines["twin/old"]
    assert "built-in" in lines["twin/inside"]
    assert "non-commercial" not in lines["twin/vgg"]
    assert " MB to download; " in done.err and " free on the disk of " in done.err


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["surrogates"], ["twin/sgd"]),
        (["targets"], ["twin/vgg", "twin/loose", "twin/inside"]),
        (["validators,twin/vgg"], ["twin/old", "twin/vgg"]),
        (["v*", "twin/s*"], ["twin/vgg", "twin/sgd"]),
        (["more", "twin"], ["twin/more", "twin test"]),
        (["hf-hub:owner/target"], ["hf-hub:owner/target"]),
    ],
)
def test_names(pull: Callable[..., Result], names: list[str], found: list[str]) -> None:
    assert list(planned(pull(*names, "--dry-run", "--json"))) == found


def test_names_that_stand_for_nothing(pull: Callable[..., Result], cli: Callable[..., Result]) -> None:
    unknown = pull("vggg")
    assert (unknown.code, unknown.out) == (2, "")
    assert (
        unknown.err.startswith("Error: unknown model or data set 'vggg'")
        and "did you mean vgg" in unknown.err
    )
    trained = pull("sam,vgg")
    assert (trained.code, trained.out) == (1, "")
    assert trained.err.startswith(
        "Error: nobody has published weights of 'twin/sam'; train it with `transfer"
    )
    assert cli("pull", "twin", "--split", "no").err.startswith("Error: unknown split 'no': expected one of")
    assert cli("pull", "hf-hub:a/b/c").code == 2


# What comes


ATTACK = ("attack", "--dataset", "twin", "-s", "sgd", "-t", "vgg", "--steps", 2, "--images", 6, "--json")


@pytest.mark.usefixtures("one_thread")
def test_what_was_pulled_is_what_an_attack_needs_offline(
    hub: Hub,
    pull: Callable[..., Result],
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    done = pull("sgd,vgg,loose")
    assert (done.code, done.out) == (0, "")
    assert "Downloaded 3 of 3" in done.err
    assert "An attack on twin needs its images too: `transferzoo pull twin`." in done.err
    assert pull("twin").code == 0
    hub.requests.clear()
    again = pull("sgd,vgg,loose,twin")
    assert (again.code, "Nothing to download." in again.err) == (0, True)
    assert [request.path for request in hub.requests if "/resolve/" in request.path] == []
    hub.requests.clear()
    connect(monkeypatch, hub, tmp_path / "hf", HF_HUB_OFFLINE="1")
    attacked = cli(*ATTACK, "-t", "loose")
    assert (attacked.code, attacked.err.count("\n")) == (0, 1), attacked.err
    assert attacked.err.startswith("Run folder: ")
    vgg, loose = json.loads(attacked.out)["records"]
    assert vgg["outcomes"] == loose["outcomes"]
    there = pull("sgd,vgg,twin", "--json")
    assert (there.code, json.loads(there.out)["missing"]) == (0, 0)
    assert {item["state"] for item in planned(there).values()} == {"cached"}
    assert not hub.requests


def test_numbered_parts_come_from_one_commit(hub: Hub, pull: Callable[..., Result], tmp_path: Path) -> None:
    done = pull("twin", "--split", "train", "--jobs", 1)
    assert done.code == 0, done.err
    folder = tmp_path / "hf/hub/datasets--owner--images/snapshots" / COMMIT
    assert sorted(path.name for path in folder.iterdir()) == [
        f"train-{part:05d}-of-00002.parquet" for part in (0, 1)
    ]
    assert hub.count("HEAD", f"/resolve/{COMMIT}/train-00001") and not hub.count(
        "HEAD", "/resolve/main/train-00001"
    )


def test_what_an_interrupted_pull_did_not_ask_is_asked(
    hub: Hub, pull: Callable[..., Result], cli: Callable[..., Result]
) -> None:
    """The weights are here, but not whether there is a recipe, which an attack would miss offline."""
    hub.add("owner/none", {name: hub.files("owner/target")[name] for name in NAMES[:2]})
    for name in NAMES[:2]:
        fetch("owner/none", name)
    assert planned(pull("more", "--json"))["twin/more"]["missing"] == 0
    assert planned(pull("more", "--json"))["twin/more"]["state"] == "cached"


def test_images_that_need_no_hub(hub: Hub, pull: Callable[..., Result]) -> None:
    done = pull("twin", "--split", "here", "--json")
    (item,) = planned(done).values()
    assert (done.code, item["state"], item["bytes"]) == (0, "local", 0)
    done = pull("twin", "--split", "nowhere")
    assert (done.code, done.err) == (
        1,
        "Error: the images 'twin nowhere' are not on the Hub; give their folder with --data PATH.\n",
    )
    assert pull("all", "--split", "nowhere", "--dry-run").code == 0
    assert not hub.count("GET", "/resolve/")


def test_one_that_fails_stops_no_other(hub: Hub, pull: Callable[..., Result], tmp_path: Path) -> None:
    hub.fail("corrupt", "owner/old/a.bin")
    done = pull("sgd,more,old", "--json")
    assert done.code == 1
    said = json.loads(done.out)
    assert said["fetched"] == ["twin/sgd"]
    assert sorted(said["failed"]) == ["twin/more", "twin/old"]
    errors = sorted(line for line in done.err.splitlines() if line.startswith("Error: "))
    assert errors[0].startswith("Error: a.bin of the model owner/old does not match its SHA-256: expected ")
    assert errors[1].startswith("Error: the model owner/none does not exist on ")
    assert len(errors) == 2
    assert not list((tmp_path / "hf").rglob("a.bin"))


def test_what_changed_on_the_hub_comes_anew(hub: Hub, pull: Callable[..., Result]) -> None:
    assert pull("sgd,vgg").code == 0
    for repo in ("owner/surrogate", "owner/target"):
        hub.change(repo, {checkpoint.CONFIG: hub.files(repo)[checkpoint.CONFIG] + b"\n"})
    hub.requests.clear()
    items = planned(pull("sgd,vgg", "--json"))
    assert items["twin/vgg"]["missing"] == 0, "it is pinned"
    assert 0 < items["twin/sgd"]["missing"] < 10_000, "the weights are here"
    assert not any("safetensors" in request.path for request in hub.requests if request.method == "GET")
    assert planned(pull("sgd", "--json"))["twin/sgd"]["missing"] == 0


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


# What an attack says of what is missing


@pytest.mark.usefixtures("one_thread")
def test_the_plan_of_an_attack_downloads_nothing(
    hub: Hub, cli: Callable[..., Result], pull: Callable[..., Result], few: Path, tmp_path: Path
) -> None:
    sample = (ZOO.models["fashion-mnist/vgg"].folder / checkpoint.WEIGHTS).read_bytes()
    hub.change("owner/surrogate", {f"samples/{number:04d}.safetensors": sample for number in (1, 2, 3)})
    done = cli(*ATTACK, "-t", "inside", "-a", "bim", "-a", "mi+ens", "--dry-run")
    assert (done.code, done.err) == (0, ""), done.err
    plan = json.loads(done.out)
    assert (plan["run_folder"], plan["exists"]) == (None, False)
    sizes = {one["name"]: one["bytes"] for one in plan["downloads"]}
    assert sizes["twin/sgd"] == sum(map(len, hub.files("owner/surrogate").values()))
    assert list(sizes) == ["twin/sgd", "twin/vgg", "twin test"]
    assert list(plan["loads"]) == ["twin/inside"]
    assert plan["config"]["surrogates"] == ["twin/sgd"]
    costs = [one["gradients"] for one in plan["gradient_evaluations"]["per_image"]]
    assert (costs, plan["gradient_evaluations"]["in_all"]) == ([2, 6], 48), "three weights were collected"
    assert not hub.count("GET", "/resolve/")
    assert not (tmp_path / "hf/hub").exists()
    hub.fail("broken", "/api/models/owner/target")
    again = json.loads(cli(*ATTACK, "--data", few, "--dry-run").out)
    assert [(one["name"], one["bytes"] is None) for one in again["downloads"]] == [
        ("twin/sgd", False),
        ("twin/vgg", True),
    ]
    assert "failed when asked for the model owner/target (status 500)" in again["downloads"][1]["error"]
    hub.heal()
    assert pull("sgd,vgg,twin").code == 0
    whole = json.loads(cli(*ATTACK, "--dry-run").out)
    assert whole["run_folder"] and "downloads" not in whole


def test_offline_all_that_is_missing_is_named_at_once(
    hub: Hub, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect(monkeypatch, hub, tmp_path / "hf", HF_HUB_OFFLINE="1")
    one = cli(*ATTACK[:5], "-t", "inside")
    assert (one.code, one.err) == (
        1,
        "Error: twin/sgd is not on this machine and HF_HUB_OFFLINE is set; "
        "unset it once and run `transferzoo pull twin/sgd`.\n",
    )
    several = cli(*ATTACK[:3], "-s", "hf-hub:owner/surrogate", "-t", "vgg|jpeg", "-t", "vgg")
    assert several.err == (
        "Error: 2 models are not on this machine and HF_HUB_OFFLINE is set; "
        "unset it once and run `transferzoo pull hf-hub:owner/surrogate twin/vgg`.\n"
    )
    assert not hub.requests


# Processes


def started(hub: Hub, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "transferzoo", "pull", *arguments], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | client_environment(hub.address, folder / "hf"),
    )  # fmt: skip


def test_two_processes_pull_the_same_model(hub: Hub, tmp_path: Path) -> None:
    hub.fail("slow", "owner/surrogate/model.safetensors", value=0.5)
    both = [started(hub, tmp_path, "sgd") for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
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
    out, said = process.communicate(timeout=20)
    assert time.monotonic() - asked < 5
    assert (process.returncode, out) == (130, "")
    assert said.splitlines()[-1] == "Interrupted; the same command goes on from here."
    assert "Traceback" not in said
    again = started(hub, tmp_path, "sgd,vgg")
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert not list(tmp_path.rglob("*.incomplete"))
