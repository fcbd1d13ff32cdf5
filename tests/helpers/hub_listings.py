"""What the loopback Hub of hub_server.py tells of a repository: its state, refs and files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from helpers.hub_state import Answer, Refusal, json_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from helpers.hub_state import Commit, Repository


def info(repository: Repository, commit: Commit) -> Answer:
    name = repository.name.removeprefix("datasets/")
    held = {
        "sha": commit.id,
        "private": repository.private,
        "gated": repository.gated,
        "siblings": [{"rfilename": path} for path in commit.files],
    }
    return json_answer({"id": name, "modelId": name, "author": repository.owner, "tags": [], **held})


def refs(repository: Repository, *, pulls: bool) -> Answer:
    def named(start: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(start), "ref": ref, "targetCommit": commit}
            for ref, commit in repository.refs.items()
            if ref.startswith(start)
        ]

    requests = [{**pull, "name": pull["ref"]} for pull in named("refs/pr/")]
    known = {"branches": named("refs/heads/"), "tags": named("refs/tags/"), "converts": []}
    return json_answer({**known, "pullRequests": requests} if pulls else known)


def pull_requests(repository: Repository, status: str) -> Answer:
    """Return the pull requests of a status; there is nothing else to discuss."""
    numbers = [int(ref[8:]) for ref in repository.refs if ref.startswith("refs/pr/")]
    states = {number: "closed" if number in repository.closed else "open" for number in numbers}
    found = [
        {
            "num": number,
            "title": "A pull request",
            "author": {"name": repository.owner},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "status": state,
            "isPullRequest": True,
            "repo": {"name": repository.name, "type": "model"},
        }
        for number, state in states.items()
        if status in ("all", state)
    ]
    return json_answer({"count": len(found), "start": 0, "discussions": found})


def tree(commit: Commit, folder: str, query: Mapping[str, list[str]], address: str, page: int) -> Answer:
    """Return files and folders in a folder, a page of them and the address of the next one."""
    entries = {name: blob.described(name) for name, blob in commit.files.items()}
    for name in commit.files:
        for at in [at for at, letter in enumerate(name) if letter == "/"]:
            oid = hashlib.sha1(name[:at].encode()).hexdigest()
            entries[name[:at]] = {"type": "directory", "path": name[:at], "size": 0, "oid": oid}
    start = f"{folder}/" if folder else ""
    names = sorted(name for name in entries if name.startswith(start))
    recursive = query.get("recursive", ["false"])[0]
    if recursive.lower() not in ("true", "1"):
        names = [name for name in names if "/" not in name.removeprefix(start)]
    if folder and not names:
        raise Refusal(404, "EntryNotFound")
    first = int(query.get("cursor", ["0"])[0])
    last = first + page
    following = f'<{address}?recursive={recursive}&cursor={last}>; rel="next"'
    more = {"Link": following} if last < len(names) else {}
    return json_answer([entries[name] for name in names[first:last]], more)
