"""Packs on the Hub: pushed with the real client, pulled elsewhere, checked, listed, and scored offline."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData

from helpers.hub_server import Hub, User, connect, running
from helpers.refusals import refused
from transferzoo.evaluation.pack_manifest import find_pack
from transferzoo.zoo.schema import assets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Result

    Run = Callable[..., Result]

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),  # the client's own
]
TOKEN = "hf_secretsecretsecret"
NAME = "fashion-mnist-three"
PACK = assets() / "packs" / f"{NAME}.zip"
REPO = f"datasets/someone/{NAME}"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as found:
        found.users[TOKEN] = User("someone")
        yield found


@pytest.fixture
def run(hub: Hub, cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command whose client asks the Hub with a token, which is printed nowhere."""

    def command(*arguments: object, home: str = "hub", offline: str = "0") -> Result:
        connect(monkeypatch, hub, tmp_path / home, HF_TOKEN=TOKEN, HF_HUB_OFFLINE=offline)
        done = cli(*arguments)
        assert TOKEN not in done.out + done.err
        return done

    return command


def printed(done: Result) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


def outcomes(done: Result) -> list[str]:
    return [one["outcomes"] for one in printed(done)["records"]]


def test_there_and_back(hub: Hub, run: Run) -> None:
    """Pushed once, its card read by the Hub's library; pulled elsewhere, and scored offline as here."""
    sent = printed(run("push", NAME, "--yes", "--json"))
    assert (sent["repo"], sent["changed"]) == (f"someone/{NAME}", True)
    assert sent["url"] == f"{hub.address}/{REPO}"
    assert printed(run("push", PACK, "--yes", "--json")) == {**sent, "changed": False}
    held = hub.files(REPO)
    assert sorted(held) == ["README.md", f"{NAME}.zip"]
    assert held[f"{NAME}.zip"] == PACK.read_bytes()
    place = f"hf-pack:someone/{NAME}"
    elsewhere = {"home": "other"}
    assert place not in {one["name"] for one in printed(run("list", "packs", "--json", **elsewhere))}
    absent = f"HF_HUB_OFFLINE is set; unset it once and run `transferzoo pull {place}`."
    refused(run("score", place, "-t", "vgg", home="other", offline="1"), 1, absent)
    plan = printed(run("pull", place, "--dry-run", "--json", **elsewhere))
    (item,) = plan["items"]
    assert (item["kind"], item["state"], item["missing"]) == ("pack", "hub", PACK.stat().st_size)
    got = printed(run("pull", place, "--json", **elsewhere))
    assert (got["fetched"], got["failed"]) == ([place], {})
    listed = {one["name"]: one for one in printed(run("list", "packs", "--json", **elsewhere))}
    assert listed[place] == {**listed[NAME], "name": place, "state": "cached"}
    assert (listed[NAME]["images"], listed[NAME]["licence"]) == (300, "MIT")
    assert place in run("list", "packs", **elsewhere).out.replace("\n", "")
    (shown,) = printed(run("show", place, "--json", home="other", offline="1"))
    assert shown["sha256"] == hashlib.sha256(PACK.read_bytes()).hexdigest()
    there = outcomes(run("score", place, "-t", "vgg", "--json", home="other", offline="1"))
    assert there == outcomes(run("score", NAME, "-t", "vgg", "--json"))
    again = printed(run("pull", place, "--dry-run", "--json", home="other", offline="1"))
    (item,) = again["items"]
    assert (item["state"], item["licence"], item["missing"]) == ("cached", "MIT", 0)


def test_the_card_has_the_facts_and_the_hub_reads_it(run: Run) -> None:
    text = printed(run("push", NAME, "--repo", "a/b", "--dry-run", "--json"))["card"]
    data = DatasetCard(text, ignore_metadata_errors=False).data
    assert isinstance(data, DatasetCardData)
    assert (data.license, data.size_categories, data.pretty_name) == ("mit", ["n<1K"], "b")
    assert data.task_categories == ["image-classification"]
    assert {"transferzoo", "mi", "di", "pgd"} & {*yaml.safe_load(text.split("---")[1])["tags"]} >= {
        "transferzoo",
        "mi",
        "di",
    }
    with zipfile.ZipFile(PACK) as archive:
        manifest = json.loads(archive.read("pack.json"))
    for row in manifest["images"]:
        assert all(digest[:12] in text for digest in row["surrogate_sha256"].split(" & "))
    for fact in (
        hashlib.sha256(PACK.read_bytes()).hexdigest(),
        manifest["licence"],
        manifest["origin"],
        f"seed {manifest['seed']}",
        "transferzoo score hf-pack:a/b --target MODEL",
        *manifest["versions"].values(),
    ):
        assert fact in text


def test_the_licence_is_the_images_own(run: Run) -> None:
    def licence(*flags: str, said: str) -> Any:
        shutil.copyfile(PACK, "own.zip")
        _change("own.zip", licence=said)
        text = printed(run("push", "./own.zip", "--repo", "a/b", "--dry-run", "--json", *flags))["card"]
        data = yaml.safe_load(text.split("---")[1])
        return data["license"], data.get("license_name")

    assert licence(said="CC-BY-4.0") == ("cc-by-4.0", None)
    assert licence(said="My own terms") == ("other", "My own terms")
    assert licence(said="") == ("unknown", None)
    assert licence("--licence", "cc0-1.0", said="") == ("cc0-1.0", None)
    refused(run("push", NAME, "--repo", "a/b", "--dry-run", "--licence", "MIT5"), 2, "MIT5")


def _change(file: str, **changes: object) -> None:
    """Change what the manifest of a pack says."""
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["pack.json"] = json.dumps({**json.loads(content["pack.json"]), **changes}).encode()
    Path(file).write_bytes(_zipped(content))


def _zipped(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def test_what_is_no_true_pack_is_neither_pushed_nor_pulled(hub: Hub, run: Run) -> None:
    with zipfile.ZipFile(PACK) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    image = next(name for name in content if name.startswith("adversarial/"))
    other = next(name for name in content if name.startswith("clean/"))
    changed = _zipped({**content, image: content[other]})
    Path("changed.zip").write_bytes(changed)
    refused(run("push", "./changed.zip", "--repo", "someone/changed", "--yes"), 1, "damaged", "SHA-256")
    assert not hub.repositories
    hub.add("datasets/someone/changed", {"changed.zip": changed})
    hub.add("datasets/someone/empty", {"README.md": b""})
    done = run("pull", "hf-pack:someone/changed")
    assert done.code == 1
    assert "damaged" in done.err
    refused(run("score", "hf-pack:someone/changed", "-t", "vgg"), 1, "damaged")
    refused(run("score", "hf-pack:someone/empty", "-t", "vgg"), 1, "empty.zip")
    refused(run("pull", "hf-pack:nobody", "--dry-run"), 2, "hf-pack:OWNER/NAME[@REVISION]")


def test_a_commit_is_a_pin(hub: Hub, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sent = printed(run("push", NAME, "--yes", "--tag", "v1", "--json"))
    hub.change(REPO, {f"{NAME}.zip": b"another"})
    connect(monkeypatch, hub, tmp_path / "other", HF_TOKEN=TOKEN)
    for revision in (sent["commit"], "v1"):
        assert find_pack(f"hf-pack:someone/{NAME}@{revision}").read_bytes() == PACK.read_bytes()
    assert find_pack(f"hf-pack:someone/{NAME}").read_bytes() == b"another"
