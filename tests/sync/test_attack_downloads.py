"""Files of the Hub that an attack needs: planned, downloaded before, or missing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from helpers.hub_server import Hub, connect
from helpers.hub_zoo import ZOO, planned
from transferzoo.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

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


@pytest.mark.usefixtures("one_thread")
def test_the_plan_of_an_attack_downloads_nothing(
    hub: Hub, cli: Callable[..., Result], pull: Callable[..., Result], few: Path, tmp_path: Path
) -> None:
    sample = (ZOO.models["fashion-mnist/vgg"].folder / checkpoint.WEIGHTS).read_bytes()
    hub.change("owner/surrogate", {f"samples/{number:04d}.safetensors": sample for number in (1, 2, 3)})
    done = cli(*ATTACK, "-t", "inside", "-a", "bim", "-a", "mi+ens", "--dry-run", "--json")
    assert (done.code, done.err) == (0, ""), done.err
    plan = json.loads(done.out)
    assert (plan["run_folder"], plan["exists"]) == (None, False)
    sizes = {one["name"]: one["bytes"] for one in plan["downloads"]}
    assert sizes["twin/sgd"] == sum(map(len, hub.files("owner/surrogate").values()))
    assert list(sizes) == ["twin/sgd", "twin/vgg", "twin test"]
    tuned = json.loads(cli(*ATTACK, "--finetune", "sam:rho=0.1,epochs=1", "--dry-run").out)["fine_tunes"]
    assert tuned == [{"surrogate": "twin/sgd", "by": "sam:rho=0.1,epochs=1", "done": False}]
    words = [word for word in ATTACK if word != "--json"]
    told = " ".join(cli(*words, "-t", "inside", "--dry-run").out.split())
    assert re.search(r"Downloads twin/sgd \([\d,.]+ \w+\)\. Downloads twin/vgg \(", told)
    assert list(plan["loads"]) == ["twin/inside"]
    assert plan["config"]["surrogates"] == ["twin/sgd"]
    costs = [one["gradients"] for one in plan["gradient_evaluations"]["per_image"]]
    assert (costs, plan["gradient_evaluations"]["in_all"]) == ([2, 6], 48), "three weights were collected"
    assert not hub.count("GET", "/resolve/")
    assert not (tmp_path / "hf/hub").exists()
    hub.fail("broken", "/api/models/owner/target")
    again = json.loads(cli(*ATTACK, "--data", few, "--dry-run", "--json").out)
    assert [(one["name"], one["bytes"] is None) for one in again["downloads"]] == [
        ("twin/sgd", False),
        ("twin/vgg", True),
    ]
    assert "failed when asked for the model owner/target (status 500)" in again["downloads"][1]["error"]
    hub.heal()
    assert pull("sgd,vgg,twin").code == 0
    whole = json.loads(cli(*ATTACK, "--dry-run", "--json").out)
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
