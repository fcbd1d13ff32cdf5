"""What the loopback Hub of hub_server.py holds: repositories, users, faults to make, requests seen."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED = "owner/gated"
ALWAYS = 10**6
BIG = (".safetensors", ".parquet", ".bin", ".pt", ".npz", ".zip")  # names of files that are stored as LFS

Kind = Literal["drop", "reset", "truncate", "corrupt", "busy", "broken", "forbidden", "slow", "lost", "huge"]


def git_sha1(content: bytes) -> str:
    """Return the name git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def signature(oid: str) -> str:
    """Return what a signed address of the storage ends with."""
    return hashlib.sha256(f"signed {oid}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Blob:
    """A file's content; `big` says that it is stored as LFS, `claimed` a size that it does not have."""

    content: bytes
    big: bool = False
    claimed: int | None = None

    @property
    def size(self) -> int:
        return len(self.content) if self.claimed is None else self.claimed

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.big else git_sha1(self.content)

    def described(self, path: str) -> dict[str, Any]:
        """Return the file's entry in a listing."""
        entry = {"type": "file", "path": path, "size": self.size, "oid": git_sha1(self.content)}
        if not self.big:
            return entry
        pointer = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {entry['size']}\n"
        )
        lfs = {"oid": self.sha256, "size": self.size, "pointerSize": len(pointer)}
        return entry | {"oid": git_sha1(pointer.encode()), "lfs": lfs}


class Commit(NamedTuple):
    """One state of a repository."""

    id: str
    parent: str | None
    title: str
    files: Mapping[str, Blob]


STATUSES: Mapping[Kind, int] = {"busy": 429, "broken": 500, "forbidden": 403}


@dataclass
class Repository:
    """A repository's commits and what points at them; `name` is "OWNER/NAME" or "datasets/OWNER/NAME"."""

    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)  # numbers of pull requests that nobody can merge any more
    refs: dict[str, str] = field(default_factory=dict)  # "refs/heads/main", "refs/tags/v1", "refs/pr/1"

    @property
    def owner(self) -> str:
        return self.name.removeprefix("datasets/").partition("/")[0]

    def find(self, revision: str) -> Commit | None:
        """Return the commit of a branch, a tag, a pull request or a commit's own name."""
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        return self.commits.get(revision)

    def add(self, ref: str, parent: Commit | None, title: str, files: Mapping[str, Blob]) -> Commit:
        """Let `ref` point at a new commit."""
        name = hashlib.sha1(f"{self.name} {len(self.commits)} {title}".encode()).hexdigest()
        commit = Commit(name if parent else COMMIT, parent.id if parent else None, title, dict(files))
        self.commits[commit.id] = commit
        self.refs[ref] = commit.id
        return commit


class User(NamedTuple):
    """Who a token belongs to: reads and writes what is called after the user or the organisations."""

    name: str
    organisations: tuple[str, ...] = ()
    role: Literal["read", "write"] = "write"

    def belongs(self, owner: str) -> bool:
        return owner in (self.name, *self.organisations)


class Answer(NamedTuple):
    status: int
    content: bytes = b""
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """A request is not granted: a status and the Hub's word for why."""

    def __init__(
        self, status: int, code: str, headers: Mapping[str, str] | None = None, **content: object
    ) -> None:
        super().__init__(code)
        body = json.dumps({"error": code, **content}).encode()
        named = {"X-Error-Code": code, "X-Error-Message": code, "Content-Type": "application/json"}
        self.answer = Answer(status, body, {**named, **(headers or {})})


def json_answer(content: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(200, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})


class Request(NamedTuple):
    """A request as it came; `path` is unquoted and without its query."""

    method: str
    path: str
    authorized: bool


@dataclass
class Fault:
    """Something that goes wrong for the next `times` requests of a method whose path contains `path`."""

    kind: Kind
    path: str
    method: str
    times: int
    value: float


class Hub:
    """A Hub's content. Without users, tokens mean nothing; a token of no user is refused otherwise."""

    def __init__(self) -> None:
        self.address = ""  # of the Hub
        self.storage = ""  # where the LFS files lie: another origin
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # SHA-256 → content, as uploaded or served
        self.users: dict[str, User] = {}  # token → user
        self.ignored: set[str] = set()  # files that a .gitignore keeps out of commits
        self.requests: list[Request] = []
        self.page = 1000  # entries in one answer of a listing
        self.lock = threading.RLock()
        self._faults: list[Fault] = []

    def add(
        self, name: str, files: Mapping[str, bytes], *, private: bool = False, gated: bool = False
    ) -> None:
        """Add a repository whose first commit, COMMIT, has these files."""
        repository = Repository(name, private, gated)
        blobs = {path: self.blob(path, content) for path, content in files.items()}
        repository.add("refs/heads/main", None, "initial commit", blobs)
        self.repositories[name] = repository

    def add_all(self, files: Mapping[str, bytes]) -> None:
        """Add what "datasets/OWNER/NAME/FILE" and "OWNER/NAME/FILE" say."""
        repositories: dict[str, dict[str, bytes]] = defaultdict(dict)
        for path, content in files.items():
            parts = path.split("/")
            size = 3 if parts[0] == "datasets" else 2
            repositories["/".join(parts[:size])]["/".join(parts[size:])] = content
        for name, held in repositories.items():
            self.add(name, held)

    def blob(self, path: str, content: bytes) -> Blob:
        blob = Blob(content, path.endswith(BIG))
        if blob.big:
            self.objects[blob.sha256] = content
        return blob

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return a repository's files, without the .gitattributes that a new repository comes with."""
        commit = self.repositories[name].find(revision)
        assert commit
        return {path: blob.content for path, blob in sorted(commit.files.items()) if path != ".gitattributes"}

    def change(self, name: str, files: Mapping[str, bytes]) -> Commit:
        """Add a commit with new or other files to the main branch."""
        repository = self.repositories[name]
        before = repository.find("main")
        assert before
        blobs = {path: self.blob(path, content) for path, content in files.items()}
        return repository.add("refs/heads/main", before, "a change", {**before.files, **blobs})

    def claim(self, name: str, path: str, size: int) -> None:
        """Let a repository say that a file has `size` bytes."""
        repository = self.repositories[name]
        for key, commit in repository.commits.items():
            files = {p: replace(b, claimed=size) if p == path else b for p, b in commit.files.items()}
            repository.commits[key] = commit._replace(files=files)

    def fail(
        self, kind: Kind, path: str, *, method: str = "GET", times: int = ALWAYS, value: float = 0
    ) -> None:
        """Make requests go wrong.

        "drop" and "reset" end the connection after half the body, "truncate" sends half of it as if it were
        all, "corrupt" changes it and keeps its size, "busy" is status 429, "broken" 500 and "forbidden" 403,
        with `value` as Retry-After, "slow" waits `value` seconds, "lost" does what is asked and answers
        nothing, "huge" says that the file has `value` bytes.
        """
        self._faults.append(Fault(kind, path, method, times, value))

    def heal(self) -> None:
        """Let nothing go wrong from now on."""
        self._faults.clear()

    def fault(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with a request."""
        with self.lock:
            for fault in self._faults:
                if fault.times and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def count(self, method: str, path: str) -> int:
        """Return how many requests of a method came whose path contains `path`."""
        return sum(request.method == method and path in request.path for request in self.requests)
