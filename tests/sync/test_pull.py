"""`transferzoo pull`: the plan that it prints, and the download."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from helpers.hub_server import COMMIT, Hub, connect
from helpers.hub_zoo import NAMES, planned
from transferzoo.hub import download_file
from transferzoo.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result


def test_a_dry_run_says_what_would_come(
    hub: Hub, pull: Callable[..., Result], served: dict[str, bytes]
) -> None:
    done = pull("all", "--dry-run", "--json")
    assert done.code == 0, done.err
    items = planned(done)
    assert {name: item["state"] for name, item in items.items()} == {
        "twin/sgd": "hub",
        "twin/vgg": "hub",
        "twin/old": "hub",
        "twin/loose": "hub",
        "twin/inside": "built-in",
        "twin test": "hub",
    }
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
    assert {request.method for request in hub.requests} == {"GET", "HEAD"}
    assert not hub.count("GET", "/resolve/"), "nothing is downloaded"


def test_the_plan_is_a_table_on_stderr(pull: Callable[..., Result]) -> None:
    done = pull("all", "--dry-run")
    assert (done.code, done.out) == (0, "")
    lines = {line.split("  ")[0].strip(): line for line in done.err.splitlines() if "twin" in line}
    assert "non-commercial" in lines["twin/sgd"] and "to download" in lines["twin/sgd"]
    assert "pickle" in lines["twin/old"] and "1.2 kB" in lines["twin/old"]
    assert "built-in" in lines["twin/inside"]
    assert "non-commercial" not in lines["twin/vgg"]
    assert re.search(r" MB to download; .* free on the disk of\s", done.err)


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


def test_what_an_interrupted_pull_did_not_ask_is_asked(hub: Hub, pull: Callable[..., Result]) -> None:
    """The weights are here, but not whether there is a recipe, which an attack would miss offline."""
    hub.add("owner/none", {name: hub.files("owner/target")[name] for name in NAMES[:2]})
    for name in NAMES[:2]:
        download_file("owner/none", name)
    assert planned(pull("more", "--json"))["twin/more"]["missing"] == 0
    assert planned(pull("more", "--json"))["twin/more"]["state"] == "cached"


def test_images_that_need_no_hub(
    hub: Hub, pull: Callable[..., Result], served: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "here-00000-of-00001.parquet").write_bytes(served["datasets/owner/images/test.parquet"])
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


def test_what_changed_on_the_hub_is_downloaded_anew(
    hub: Hub, pull: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert pull("sgd,vgg").code == 0
    for repo in ("owner/surrogate", "owner/target"):
        hub.change(repo, {checkpoint.CONFIG: hub.files(repo)[checkpoint.CONFIG] + b"\n"})
    changed = planned(pull("sgd", "--dry-run", "--json"))["twin/sgd"]
    assert changed["missing"] and changed["commit"] != COMMIT
    with monkeypatch.context() as patch:
        connect(patch, hub, tmp_path / "hf", HF_HUB_OFFLINE="1")
        offline = planned(pull("sgd", "--json"))["twin/sgd"]
    assert (offline["state"], offline["commit"]) == ("cached", COMMIT), "a dry run leaves the branch"
    hub.requests.clear()
    items = planned(pull("sgd,vgg", "--json"))
    assert items["twin/vgg"]["missing"] == 0, "it is pinned"
    assert 0 < items["twin/sgd"]["missing"] < 10_000, "the weights are here"
    assert not any("safetensors" in request.path for request in hub.requests if request.method == "GET")
    assert planned(pull("sgd", "--json"))["twin/sgd"]["missing"] == 0
