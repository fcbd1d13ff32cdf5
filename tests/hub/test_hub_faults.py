"""What comes from the Hub late or not at all: it is asked for again, taken from the cache, or refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from helpers.hub_files import FILES, HASHES, TEXT, TOKEN, WEIGHTS, downloading, left
from helpers.hub_server import COMMIT, GATED, Hub, User, called, running
from transferzoo import hub as client
from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLANNING: tuple[str, dict[str, Any]] = ("plan_files", {"repo": "owner/model", "files": list(HASHES)})


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(FILES) as served:
        yield served


# Transport


def test_a_dropped_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.fail("drop", "w.safetensors", times=1)
    (got,) = called(hub, tmp_path, downloading("w.safetensors"))
    assert got.value["text"] == WEIGHTS.decode()


@pytest.mark.parametrize("kind", ["reset", "truncate"])
def test_half_a_file_is_downloaded_again_and_never_kept(hub: Hub, tmp_path: Path, kind: Any) -> None:
    hub.fail(kind, "a.txt", times=1)
    hub.fail(kind, "w.safetensors")
    whole, cut = called(hub, tmp_path, downloading("a.txt"), downloading("w.safetensors"))
    assert whole.value["text"] == TEXT.decode()
    assert cut.error.startswith("w.safetensors of the model owner/model could not be downloaded (")
    assert cut.error.endswith("; try again, or check the network and the space on the disk.")
    assert (hub.count("GET", "a.txt"), hub.count("GET", "w.safetensors")) == (2, 3)
    assert len(left(tmp_path)) == 2


def test_waiting_as_asked(hub: Hub, tmp_path: Path) -> None:
    hub.fail("busy", "w.safetensors", times=1)
    hub.fail("busy", "/api/models/", times=1, value=1)
    asked = time.monotonic()
    file, plan = called(hub, tmp_path, downloading("w.safetensors"), PLANNING)
    assert file.value["text"] == WEIGHTS.decode()
    assert {one["commit_hash"] for one in plan.value} == {COMMIT}
    assert hub.count("GET", "w.safetensors") == hub.count("GET", "/api/models/") == 2
    assert time.monotonic() - asked > 2, "a second more than the client was told, and one for the plan"


def test_no_wait_is_endless(hub: Hub, tmp_path: Path) -> None:
    hub.fail("busy", "a.txt", method="HEAD", value=3600)
    hub.fail("busy", "w.safetensors", value=3600)
    hub.fail("busy", "/api/models/", value=3600)
    got = called(hub, tmp_path, downloading("a.txt"), downloading("w.safetensors"), PLANNING)
    for one, what in zip(got, ("a.txt of ", "w.safetensors of ", ""), strict=True):
        assert one.error == (
            f"{hub.address} asks to wait before it answers for {what}the model owner/model (status 429); "
            "try again in 3600 seconds."
        )
    assert hub.count("GET", "w.safetensors") == hub.count("GET", "/api/models/") == 1


def test_what_fails_once_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.fail("broken", "a.txt", times=1)
    hub.fail("broken", "/api/models/", times=1)
    hub.fail("lost", "w.safetensors", times=1)
    plan, text, weights = called(hub, tmp_path, PLANNING, downloading("a.txt"), downloading("w.safetensors"))
    assert (text.value["text"], weights.value["text"]) == (TEXT.decode(), WEIGHTS.decode())
    sizes = {one["filename"]: one["file_size"] for one in plan.value if one["will_download"]}
    assert sizes == {"a.txt": len(TEXT), "w.safetensors": len(WEIGHTS)}


def test_a_plan_asks_for_its_files_and_writes_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.add("owner/odd", {"[a].txt": TEXT, "a.txt": TEXT, "b.txt": TEXT, "c1.txt": TEXT})
    hub.fail("forbidden", "b.txt", method="HEAD")
    asking = {"repo": "owner/odd", "files": ["[a].txt"], "optional": ["c?.txt", "no"]}
    plan, denied, missing = called(
        hub,
        tmp_path,
        ("plan_files", asking),
        ("plan_files", {**asking, "optional": ["b.txt"]}),
        ("plan_files", {**asking, "files": ["no"]}),
    )
    assert [one["filename"] for one in plan.value] == ["[a].txt", "c1.txt"]
    assert denied.error == "your token does not allow this for the model owner/odd; use one that does."
    assert missing.error.startswith("the model owner/odd has no file no in the default branch")
    assert not (tmp_path / "hub").exists() and not hub.count("GET", "/resolve/")


def test_a_hub_that_fails_forbids_or_has_no_time(hub: Hub, tmp_path: Path) -> None:
    hub.fail("broken", "a.txt")
    hub.fail("forbidden", "w.safetensors", method="HEAD")
    hub.fail("busy", "whoami", value=7)
    hub.fail("forbidden", "/api/models/")
    hub.users[TOKEN] = User("owner")
    calls = [downloading("a.txt"), downloading("w.safetensors"), ("whoami", {}), PLANNING]
    assert [got.error for got in called(hub, tmp_path, *calls, HF_TOKEN=TOKEN)] == [
        f"{hub.address} failed when asked for a.txt of the model owner/model (status 500); try again later.",
        "your token does not allow this for the model owner/model; use one that does.",
        f"{hub.address} asks to wait before it answers for your name on the Hub (status 429); "
        "try again in 7 seconds.",
        "your token does not allow this for the model owner/model; use one that does.",
    ]
    assert hub.count("GET", "a.txt") == 3


def test_a_cached_file_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    (got,) = called(hub, tmp_path, downloading("a.txt"))
    hub.fail("broken", "", method="HEAD")
    branch, commit = called(
        hub, tmp_path, downloading("a.txt"), downloading("a.txt", revision=got.value["commit"])
    )
    assert branch.value == commit.value == got.value
    hub.requests.clear()
    called(hub, tmp_path, downloading("a.txt", revision=got.value["commit"]))
    assert hub.count("HEAD", "") == hub.count("GET", "a.txt") == 0
    (cold,) = called(hub, tmp_path / "cold", downloading("a.txt"), HF_HUB_OFFLINE="1")
    assert cold.error.startswith("a.txt of the model owner/model is not cached and HF_HUB_OFFLINE is set")


def test_the_cached_commit_stays_where_the_hub_is_away(hub: Hub, tmp_path: Path) -> None:
    fresh, absent = called(hub, tmp_path, downloading("a.txt"), downloading("b.txt", revision=COMMIT))
    assert absent.error.startswith("the model owner/model has no file b.txt in ")
    hub.change("owner/model", {"a.txt": b"newer", "b.txt": b"new"})
    away = Hub()
    away.address = "http://127.0.0.1:9"
    calls = [downloading("a.txt"), downloading("b.txt", revision=COMMIT)]
    for place, variables in ((hub, {"HF_HUB_OFFLINE": "1"}), (away, {})):
        asked = time.monotonic()
        text, gone = called(place, tmp_path, *calls, **variables)
        assert text.value == fresh.value
        assert gone.error == absent.error
        assert time.monotonic() - asked < 10, "the client alone would try for half a minute"
    (newer,) = called(hub, tmp_path, downloading("a.txt"))
    assert newer.value["text"] == "newer"


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    absent = Hub()
    absent.address = "http://127.0.0.1:9"
    asked = time.monotonic()
    name, file, plan = called(
        absent, tmp_path, ("whoami", {}), downloading("a.txt"), PLANNING, HF_TOKEN=TOKEN
    )
    assert name.error.startswith("the Hub could not be asked for your name on the Hub (ConnectError); check")
    assert file.error == (
        f"{absent.address} cannot be reached and a.txt of the model owner/model is not cached; check the "
        "network, HF_ENDPOINT and the proxy settings, then run `transferzoo pull hf-hub:owner/model`."
    )
    assert plan.error.startswith("the Hub could not be asked for the model owner/model (ConnectError); ")
    assert time.monotonic() - asked < 10, "the client alone would try for half a minute"


@pytest.mark.parametrize("file", HASHES)
def test_a_huge_file_is_refused_before_it_comes(hub: Hub, tmp_path: Path, file: str) -> None:
    hub.fail("huge", file, method="HEAD", value=21 * 2**30)
    (got,) = called(hub, tmp_path, downloading(file))
    assert got.error == (
        f"{file} of the model owner/model is too large: expected at most 20 GiB, got 21 GiB; "
        "check the file name and the revision."
    )
    assert not hub.count("GET", file)


# Refusals


def test_no_sentence_has_a_token(hub: Hub, tmp_path: Path) -> None:
    hub.users[TOKEN] = User("someone", role="read")
    hub.add("owner/private", {"a.txt": TEXT}, private=True)
    hub.add("owner/locked", {"a.txt": TEXT}, gated=True)
    (tmp_path / "a.txt").write_bytes(TEXT)
    publishing = {"folder": tmp_path, "repo": "owner/model", "files": ["a.txt"], "message": "m"}
    calls = [
        downloading("a.txt", repo=GATED),
        downloading("a.txt", repo="owner/locked"),
        downloading("a.txt", repo="owner/private"),
        downloading("b.txt"),
        downloading("a.txt", revision="v9"),
        downloading("a.txt", repo="a/b/c"),
        ("publish", {**publishing, "files": ["b.txt"]}),
        ("publish", {**publishing, "repo": "owner/new"}),
        ("publish", publishing | {"files": []}),
    ]
    errors = [got.error for got in called(hub, tmp_path / "home", *calls, HF_TOKEN=TOKEN)]
    assert [error.partition(";")[0] for error in errors] == [
        f"the model {GATED} is gated",
        "the model owner/locked is gated",
        f"the model owner/private does not exist on {hub.address} or is private",
        "the model owner/model has no file b.txt in the default branch",
        "the model owner/model has no revision 'v9'",
        "'a/b/c' is no repository of the Hub: expected OWNER/NAME.",
        f"{tmp_path} has no file b.txt",
        "your token does not allow this for owner/new",
        "there is nothing to publish: expected the names of files.",
    ]
    refused = f"{hub.address} does not accept your token; check HF_TOKEN, or log in with `hf auth login`."
    asking = [("whoami", {}), downloading("a.txt"), PLANNING]
    got = called(hub, tmp_path / "other", *asking, HF_TOKEN="hf_unknownunknown")
    assert {one.error for one in got} == {refused}
    for one in called(hub, tmp_path / "other", *asking, HF_TOKEN="hf_wröngwröng"):
        assert one.error


def test_what_is_not_in_the_cache_has_no_commit(tmp_path: Path) -> None:
    with pytest.raises(
        TransferZooError, match="is no file of the Hub's cache: expected …/snapshots/COMMIT/FILE"
    ):
        client.commit_of(tmp_path / "snapshots" / ("a" * 40) / "a.txt")
