"""Publishing to the loopback Hub by the Hub's real client: repositories, tags, branches, and who may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.hub_server import Hub, User, called, client_environment, running

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "hf_secretsecretsecret"


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Return a Hub with the user "owner", who is logged in with TOKEN."""
    with running() as served:
        served.users[TOKEN] = User("owner", ("team",))
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiny"
    (made / "sub").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "sub" / "w.safetensors").write_bytes(b"weights")
    (made / "private.txt").write_text("nobody's business")
    return made


FILES = ["config.json", "sub/w.safetensors"]


def publishing(folder: Path, repo: str | None = "owner/tiny", **options: Any) -> tuple[str, dict[str, Any]]:
    return "publish", {"folder": folder, "repo": repo, "files": FILES, "message": "a model", **options}


def test_what_is_published_can_be_downloaded(hub: Hub, folder: Path, tmp_path: Path) -> None:
    downloading = [("download_file", {"repo": "owner/tiny", "file": file}) for file in FILES]
    first, again, *files = called(
        hub, tmp_path, publishing(folder), publishing(folder), *downloading, HF_TOKEN=TOKEN
    )
    commit = first.value["commit"]
    assert first.value == {
        "repo": "owner/tiny",
        "url": f"{hub.address}/owner/tiny",
        "commit": commit,
        "changed": True,
    }
    assert again.value == {**first.value, "changed": False}
    assert [(file.value["text"], file.value["commit"]) for file in files] == [
        ("{}", commit),
        ("weights", commit),
    ]
    repository = hub.repositories["owner/tiny"]
    assert [made.title for made in repository.commits.values()] == ["initial commit", "a model"]
    assert hub.files("owner/tiny") == {"config.json": b"{}", "sub/w.safetensors": b"weights"}
    assert hub.count("PUT", "") == hub.count("POST", "/commit/") == 1

    (folder / "config.json").write_text("[]")
    (changed,) = called(hub, tmp_path, publishing(folder, message="a config"), HF_TOKEN=TOKEN)
    assert changed.value["changed"]
    assert hub.files("owner/tiny") == {"config.json": b"[]", "sub/w.safetensors": b"weights"}
    assert repository.commits[changed.value["commit"]].parent == commit
    assert hub.count("PUT", "") == 1


def test_the_repository_has_a_name_of_its_own(hub: Hub, folder: Path, tmp_path: Path) -> None:
    calls = [
        publishing(folder, None),
        publishing(folder, "other"),
        publishing(folder, "team/x"),
        ("whoami", {}),
    ]
    got = called(hub, tmp_path, *calls, HF_TOKEN=TOKEN)
    assert [made.value["repo"] for made in got[:3]] == ["owner/tiny", "owner/other", "team/x"]
    assert got[3].value == "owner"


def test_tags(hub: Hub, folder: Path, tmp_path: Path) -> None:
    calls = [publishing(folder, tag="v1"), publishing(folder, tag="v1")]
    first, again = called(hub, tmp_path, *calls, HF_TOKEN=TOKEN)
    assert again.value == {**first.value, "changed": False}
    assert hub.repositories["owner/tiny"].refs["refs/tags/v1"] == first.value["commit"]

    (folder / "config.json").write_text("[]")
    hub.fail("lost", "/tag/", method="POST", times=1)
    downloading = ("download_file", {"repo": "owner/tiny", "file": "config.json", "revision": "v1"})
    moved, other, old = called(
        hub, tmp_path, publishing(folder, tag="v1"), publishing(folder, tag="v2"), downloading, HF_TOKEN=TOKEN
    )
    assert moved.error == (
        "the tag 'v1' of owner/tiny is at another commit: expected a tag that is free, "
        f"got {first.value['commit']}; choose another tag."
    )
    assert other.value["changed"], "nothing was sent before the tag was refused"
    assert old.value["text"] == "{}"


def test_branches_and_pull_requests(hub: Hub, folder: Path, tmp_path: Path) -> None:
    calls = [
        publishing(folder, revision="trial"),
        publishing(folder, create_pr=True),
        publishing(folder, create_pr=True, tag="v1"),
        publishing(folder, revision="a" * 40),
    ]
    hub.add("someone/tiny", {})
    calls += [
        publishing(folder, "someone/tiny", create_pr=True),
        publishing(folder, revision="no", create_pr=True),
    ]
    branch, pull, tagged, added, others, absent = called(hub, tmp_path, *calls, HF_TOKEN=TOKEN)
    refs = hub.repositories["owner/tiny"].refs
    assert refs["refs/heads/trial"] == branch.value["commit"]
    assert refs["refs/pr/1"] == pull.value["commit"]
    assert pull.value["url"] == f"{hub.address}/owner/tiny/discussions/1"
    assert hub.files("owner/tiny") == {}
    assert tagged.error.startswith("a pull request cannot be tagged before it is merged")
    assert others.value["url"] == f"{hub.address}/someone/tiny/discussions/1"
    assert absent.error == "owner/tiny has no revision 'no'; check the revision."
    hub.fail("broken", "/commit/", method="POST")
    (again,) = called(hub, tmp_path, publishing(folder, create_pr=True), HF_TOKEN=TOKEN)
    assert again.value == {**pull.value, "changed": False}, "there is an open one with the same files"
    hub.repositories["owner/tiny"].closed.add(1)
    (failed,) = called(hub, tmp_path, publishing(folder, create_pr=True), HF_TOKEN=TOKEN)
    assert "(status 500)" in failed.error, "the pull request that was there before is not the new one"
    assert added.error == f"nothing can be added to a commit: expected a branch, got {'a' * 40}."


@pytest.mark.parametrize("options", [{}, {"create_pr": True}])
def test_a_lost_answer_is_no_lost_commit(
    hub: Hub, folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    hub.fail("lost", "/commit/", method="POST", times=1)
    (got,) = called(hub, tmp_path, publishing(folder, **options), HF_TOKEN=TOKEN)
    pull = "/discussions/1" if options else ""
    ref = "refs/pr/1" if options else "refs/heads/main"
    assert got.value == {
        "repo": "owner/tiny",
        "url": f"{hub.address}/owner/tiny{pull}",
        "commit": hub.repositories["owner/tiny"].refs[ref],
        "changed": True,
    }
    assert len(hub.files("owner/tiny", ref)) == 2


def test_a_commit_that_was_not_made(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.fail("broken", "/commit/", method="POST", times=1)
    hub.fail("corrupt", "whoami", times=1)
    odd, failed, made = called(hub, tmp_path, ("whoami", {}), *[publishing(folder)] * 2, HF_TOKEN=TOKEN)
    assert odd.error.startswith("the Hub could not be asked for your name on the Hub (")
    assert failed.error == f"{hub.address} failed when asked for owner/tiny (status 500); try again later."
    assert made.value["changed"]
    assert hub.count("PUT", "") == 1, "what has arrived is not sent again"


def test_private_repositories(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.users["hf_someoneelse"] = User("someone")
    downloading = ("download_file", {"repo": "owner/tiny", "file": "sub/w.safetensors"})
    calls = [publishing(folder, private=True), downloading, publishing(folder, "owner/open")]
    made, mine, _, public = called(
        hub, tmp_path, *calls, publishing(folder, "owner/open", private=True), HF_TOKEN=TOKEN
    )
    assert made.value["changed"]
    assert hub.repositories["owner/tiny"].private
    assert not hub.repositories["owner/open"].private
    assert mine.value["text"] == "weights"
    assert public.error == ("owner/open exists and is public; make it private first or choose another name.")
    (theirs,) = called(hub, tmp_path / "theirs", downloading, HF_TOKEN="hf_someoneelse")
    assert theirs.error.startswith("the model owner/tiny does not exist on ")
    stored = {request.authorized for request in hub.requests if request.path.startswith("/owner/tiny/sub")}
    assert stored == {False}, "the storage of LFS files is another origin and sees no token"


def test_who_may_not_publish(hub: Hub, folder: Path, tmp_path: Path) -> None:
    login = "log in with `hf auth login`."
    got = called(hub, tmp_path, ("whoami", {}), publishing(folder))
    assert {each.error for each in got} == {f"you are not logged in to the Hub; {login}"}
    assert not hub.requests
    (unknown,) = called(hub, tmp_path, publishing(folder), HF_TOKEN="hf_unknown")
    assert not hub.count("GET", "whoami"), "which the Hub answers rarely"
    assert unknown.error == f"{hub.address} does not accept your token; check HF_TOKEN, or {login}"
    hub.add("someone/tiny", {})
    outside = folder.parent / "outside.txt"
    outside.write_text("outside")
    (folder / "link.txt").symlink_to(outside)
    calls = [
        publishing(folder, "someone/tiny"),
        publishing(folder, files=["../outside.txt"]),
        publishing(folder, files=["link.txt"]),
    ]
    others, above, link = called(hub, tmp_path, *calls, HF_TOKEN=TOKEN)
    assert others.error == "your token does not allow this for someone/tiny; use one that does."
    assert above.error == f"../outside.txt is not in {folder}: expected paths within the folder."
    assert link.error == f"link.txt is not in {folder}: expected paths within the folder."
    (offline,) = called(hub, tmp_path, publishing(folder), HF_TOKEN=TOKEN, HF_HUB_OFFLINE="1")
    assert offline.error == "HF_HUB_OFFLINE is set: expected a way to the Hub; unset it."


def test_what_the_hub_leaves_out_or_refuses(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.ignored.add("config.json")
    (folder / "README.md").write_text("---\nlicence: [\n---\n")
    calls = [publishing(folder), publishing(folder, files=["README.md"])]
    left, refused = called(hub, tmp_path, *calls, HF_TOKEN=TOKEN)
    assert left.error.startswith("config.json is not in the commit that was made in owner/tiny; look whether")
    assert refused.error == (
        "the Hub refuses the metadata of README.md: got Bad YAML unexpected end of the flow collection; "
        "correct its YAML header."
    )


SNAPSHOT = """
import sys
from huggingface_hub import HfApi, snapshot_download
print(snapshot_download("owner/data", repo_type="dataset", token=sys.argv[1]))
print(*HfApi(token=sys.argv[1]).list_repo_refs("owner/data", repo_type="dataset").branches[0].target_commit)
"""


def test_the_loopback_hub_lists_in_pages(hub: Hub, tmp_path: Path) -> None:
    files = {f"sub{at % 3}/{at}.parquet": bytes([at]) for at in range(1, 9)}
    hub.add("datasets/owner/data", files, private=True)
    hub.page = 3
    done = subprocess.run(
        [sys.executable, "-c", SNAPSHOT, TOKEN],
        env=os.environ | client_environment(hub.address, tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.returncode, done.stderr
    root = Path(done.stdout.splitlines()[0])
    assert {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")} == files
    assert hub.count("GET", "/tree/") == 4
