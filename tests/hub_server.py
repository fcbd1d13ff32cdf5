"""A small Hub on the loopback address, for tests that run the real `huggingface_hub` client against it.

It answers what the client asks to find, download and publish files: who the user is, repositories, listings,
files with their redirects to the storage of LFS files, uploads, commits, branches, tags and pull requests.
What it holds, and what goes wrong on demand, is a `Hub` of hub_state.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub_state import BIG, COMMIT, GATED, Blob, Commit, Fault, Hub, Repository, Request, User

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["COMMIT", "GATED", "Hub", "User", "client_environment", "running", "serving"]


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve `files` ("datasets/OWNER/NAME/FILE" or "OWNER/NAME/FILE" → content); yield the address."""
    with running(files) as hub:
        yield hub.address


@contextmanager
def running(files: Mapping[str, bytes] | None = None) -> Iterator[Hub]:
    """Serve a Hub with `files`; yield it, to be changed and asked while it runs."""
    hub = Hub()
    hub.add_all(files or {})
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub, "stores": stores}))
        for stores in (False, True)
    ]
    hub.address, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        for server in servers
    ]
    for server, thread in zip(servers, threads, strict=True):
        server.daemon_threads = True
        server.block_on_close = False
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join(5)


def client_environment(endpoint: str, home: Path) -> dict[str, str]:
    """Return the variables that turn the real client to `endpoint`, with its cache in `home`."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


class _Answer(NamedTuple):
    status: int
    content: bytes = b""
    headers: Mapping[str, str] = {}  # noqa: RUF012 - never changed


class _Refusal(Exception):
    """A request is not granted: a status and the Hub's word for why."""

    def __init__(
        self, status: int, code: str, headers: Mapping[str, str] | None = None, **content: object
    ) -> None:
        super().__init__(code)
        body = json.dumps({"error": code, **content}).encode()
        named = {"X-Error-Code": code, "X-Error-Message": code, "Content-Type": "application/json"}
        self.answer = _Answer(status, body, {**named, **(headers or {})})


def _json(content: object, status: int = 200, **headers: str) -> _Answer:
    return _Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})


_FILE = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_LFS = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)\.git/info/lfs/(objects/batch|verify)")
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/([^/]+)(?:/(.+))?)?)?")


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    stores: ClassVar[bool]  # whether this is the storage of LFS files
    protocol_version = "HTTP/1.1"
    timeout = 10
    body: bytes
    query: dict[str, list[str]]
    fault: Fault | None

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.body = self._read()
        self.query = parse_qs(address.query)
        self.hub.requests.append(Request(self.command, path, "Authorization" in self.headers))
        self.fault = self.hub.fault(self.command, path)
        kind = self.fault and self.fault.kind
        if self.fault and kind == "slow":
            time.sleep(min(self.fault.value, 10))
        if self.fault and kind in ("busy", "broken"):
            return self._send(
                _Answer(429 if kind == "busy" else 500, b"", {"Retry-After": f"{self.fault.value:.0f}"})
            )
        try:
            with self.hub.lock:
                answer = self._stored(path) if self.stores else self._answer(address.path)
        except _Refusal as refusal:
            answer = refusal.answer
        return self._send(answer)

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: _Answer) -> None:
        status, content, headers = answer
        kind, value = (self.fault.kind, self.fault.value) if self.fault else ("", 0)
        if kind == "lost":
            self.close_connection = True
            return
        if kind == "corrupt":
            content = bytes([content[0] ^ 255]) + content[1:]
        if kind == "truncate":
            content = content[: len(content) // 2]
        size = str(len(content))
        if kind == "huge":
            linked = "X-Linked-Size" in headers
            headers = {**headers, **({"X-Linked-Size": f"{value:.0f}"} if linked else {})}
            size = size if linked else f"{value:.0f}"
        self.send_response(status)
        for name, header in {"Content-Length": size, **headers}.items():
            self.send_header(name, header)
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind in ("drop", "reset"):
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)
        if kind == "reset":
            self.wfile.flush()
            time.sleep(0.1)  # the client reads what came so far
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # What may be seen and changed

    def _user(self) -> User | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token or not self.hub.users:
            return None
        if token not in self.hub.users:
            raise _Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.users[token]

    def _repository(self, name: str, *, files: bool = False, writes: bool = False) -> Repository:
        user = self._user()
        repository = self.hub.repositories.get(name)
        gated = name.removeprefix("datasets/") == GATED
        belongs = user is not None and repository is not None and user.belongs(repository.owner)
        if not gated and (not repository or (repository.private and not belongs)):
            raise _Refusal(404 if user else 401, "RepoNotFound")
        if repository is None or (repository.gated and files and not belongs):
            raise _Refusal(403, "GatedRepo")
        if writes and (user is None or not belongs or user.role != "write"):
            raise _Refusal(403 if user else 401, "Forbidden")
        return repository

    @staticmethod
    def _commit(repository: Repository, revision: str) -> Commit:
        commit = repository.find(unquote(revision))
        if not commit:
            raise _Refusal(404, "RevisionNotFound")
        return commit

    # What is asked

    def _answer(self, path: str) -> _Answer:
        if match := _FILE.fullmatch(path):
            return self._file(*match.groups())
        if match := _LFS.fullmatch(path):
            repository = self._repository(match[1], writes=True)
            return self._batch(repository) if match[2] != "verify" else _json({})
        if path == "/api/whoami-v2":
            return self._whoami()
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        match = _API.fullmatch(path)
        if not match:
            raise _Refusal(404, "NotFound")
        name = match[2] if match[1] == "models" else f"datasets/{match[2]}"
        what, revision, rest = match[3] or "revision", match[4] or "main", unquote(match[5] or "")
        repository = self._repository(name, writes=what in ("preupload", "commit", "tag", "branch"))
        if what == "branch":
            return self._branch(repository, unquote(revision))
        if what == "refs":
            return self._refs(repository)
        commit = self._commit(repository, revision)
        if what == "revision":
            return self._info(repository, commit)
        if what == "tree":
            return self._tree(commit, path, rest)
        if what == "paths-info":
            asked = parse_qs(self.body.decode())["paths"]
            return _json([commit.files[name].described(name) for name in asked if name in commit.files])
        if what == "preupload":
            return self._preupload(commit)
        if what == "tag":
            return self._tag(repository, commit)
        if what == "commit":
            return self._change(repository, unquote(revision), commit)
        raise _Refusal(404, "NotFound")

    def _file(self, name: str, revision: str, file: str) -> _Answer:
        commit = self._commit(self._repository(unquote(name), files=True), revision)
        blob = commit.files.get(unquote(file))
        headers = {"X-Repo-Commit": commit.id}
        if blob is None:
            raise _Refusal(404, "EntryNotFound", headers)
        headers["ETag"] = f'"{blob.etag}"'
        if not blob.big:
            return self._part(blob.content, headers)
        place = f"{self.hub.storage}/{name}/{file}?oid={blob.sha256}&signature={_signature(blob.sha256)}"
        linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.content))}
        return _Answer(302, b"", {**headers, **linked, "Location": place})

    def _part(self, content: bytes, headers: Mapping[str, str]) -> _Answer:
        headers = {"Accept-Ranges": "bytes", **headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return _Answer(200, content, headers)
        start, size = int(asked[1]), len(content)
        end = min(int(asked[2] or size), size - 1)
        if start >= size:
            return _Answer(416, b"", {"Content-Range": f"bytes */{size}"})
        return _Answer(
            206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
        )

    def _stored(self, path: str) -> _Answer:
        """Answer for the storage, which knows signed addresses and no users."""
        oid = self.query.get("oid", [""])[0]
        if "Authorization" in self.headers or self.query.get("signature") != [_signature(oid)]:
            return _Answer(403)
        if self.command == "PUT":
            if hashlib.sha256(self.body).hexdigest() != oid:
                return _Answer(400)
            self.hub.objects[oid] = self.body
            return _Answer(200, b"", {"ETag": f'"{oid}"'})
        return (
            self._part(self.hub.objects[oid], {"ETag": f'"{oid}"'})
            if oid in self.hub.objects
            else _Answer(404)
        )

    def _whoami(self) -> _Answer:
        user = self._user()
        if not user:
            raise _Refusal(401, "Invalid username or password.")
        token = {"displayName": "a token", "role": user.role}
        organisations = [{"name": name, "type": "org"} for name in user.organisations]
        return _json(
            {"type": "user", "name": user.name, "orgs": organisations, "auth": {"accessToken": token}}
        )

    def _create(self, asked: dict[str, Any]) -> _Answer:
        user = self._user()
        if not user:
            raise _Refusal(401, "Unauthorized")
        name = f"{asked.get('organization') or user.name}/{asked['name']}"
        name = f"datasets/{name}" if asked.get("type") == "dataset" else name
        url = f"{self.hub.address}/{name}"
        known = self.hub.repositories.get(name)
        if user.role != "write" or not user.belongs(known.owner if known else name.split("/")[-2]):
            raise _Refusal(403, "Forbidden")
        if known:
            raise _Refusal(409, "You already created this repo", url=url)
        self.hub.add(
            name, {".gitattributes": b"*.bin filter=lfs"}, private=asked.get("visibility") == "private"
        )
        return _json({"url": url, "id": name, "name": name})

    def _info(self, repository: Repository, commit: Commit) -> _Answer:
        name = repository.name.removeprefix("datasets/")
        siblings = [{"rfilename": path} for path in commit.files]
        held = {
            "sha": commit.id,
            "private": repository.private,
            "gated": repository.gated,
            "siblings": siblings,
        }
        return _json({"id": name, "modelId": name, "author": repository.owner, "tags": [], **held})

    def _refs(self, repository: Repository) -> _Answer:
        def named(start: str) -> list[dict[str, str]]:
            return [
                {"name": ref.removeprefix(start), "ref": ref, "targetCommit": commit}
                for ref, commit in repository.refs.items()
                if ref.startswith(start)
            ]

        pulls = [{**pull, "name": pull["ref"]} for pull in named("refs/pr/")]
        known = {"branches": named("refs/heads/"), "tags": named("refs/tags/"), "converts": []}
        return _json({**known, "pullRequests": pulls} if "include_prs" in self.query else known)

    def _tree(self, commit: Commit, path: str, folder: str) -> _Answer:
        entries = {name: blob.described(name) for name, blob in commit.files.items()}
        for name in commit.files:
            for at in [at for at, letter in enumerate(name) if letter == "/"]:
                oid = hashlib.sha1(name[:at].encode()).hexdigest()
                entries[name[:at]] = {"type": "directory", "path": name[:at], "size": 0, "oid": oid}
        start = f"{folder}/" if folder else ""
        names = sorted(name for name in entries if name.startswith(start))
        if self.query.get("recursive", [""])[0].lower() not in ("true", "1"):
            names = [name for name in names if "/" not in name.removeprefix(start)]
        if folder and not names:
            raise _Refusal(404, "EntryNotFound")
        first = int(self.query.get("cursor", ["0"])[0])
        last = first + self.hub.page
        recursive = self.query.get("recursive", ["false"])[0]
        following = f'<{self.hub.address}{path}?recursive={recursive}&cursor={last}>; rel="next"'
        more = {"Link": following} if last < len(names) else {}
        return _json([entries[name] for name in names[first:last]], **more)

    # What is changed

    def _preupload(self, commit: Commit) -> _Answer:
        files = []
        for file in json.loads(self.body)["files"]:
            path, known = file["path"], commit.files.get(file["path"])
            mode = "lfs" if path.endswith(BIG) else "regular"
            says = {"path": path, "uploadMode": mode, "shouldIgnore": path in self.hub.ignored}
            files.append(says | ({"oid": known.etag} if known else {}))
        return _json({"files": files})

    def _batch(self, repository: Repository) -> _Answer:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            oid, wanted = asked["oid"], {"oid": asked["oid"], "size": asked["size"]}
            if oid not in self.hub.objects:
                href = f"{self.hub.storage}/{repository.name}/{oid}?oid={oid}&signature={_signature(oid)}"
                verify = f"{self.hub.address}/{repository.name}.git/info/lfs/verify"
                wanted["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
            objects.append(wanted)
        return _json({"transfer": "basic", "objects": objects})

    def _change(self, repository: Repository, revision: str, base: Commit) -> _Answer:
        title, files = "", dict(base.files)
        for line in self.body.splitlines():
            key, value = (json.loads(line)[name] for name in ("key", "value"))
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit", base.id) != base.id:
                    raise _Refusal(412, "The branch has moved")
            elif key == "file":
                files[value["path"]] = self.hub.blob("", base64.b64decode(value["content"]))
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise _Refusal(400, "LFS object is missing")
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], big=True)
            else:  # deletedFile, deletedFolder
                gone = value["path"].rstrip("/")
                files = {
                    path: blob
                    for path, blob in files.items()
                    if path != gone and not path.startswith(f"{gone}/")
                }
        pull = "create_pr" in self.query
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
        ref = f"refs/pr/{number}" if pull else f"refs/heads/{revision}"
        if not pull and ref not in repository.refs:
            ref = revision
        if ref not in repository.refs and not pull or ref.startswith("refs/tags/"):
            raise _Refusal(400, "No branch to commit to")
        commit = repository.add(ref, base, title, files)
        url = f"{self.hub.address}/{repository.name}"
        made = {"success": True, "commitOid": commit.id, "commitUrl": f"{url}/commit/{commit.id}"}
        return _json({**made, "pullRequestUrl": f"{url}/discussions/{number}" if pull else None})

    def _tag(self, repository: Repository, commit: Commit) -> _Answer:
        ref = f"refs/tags/{json.loads(self.body)['tag']}"
        if ref in repository.refs:
            raise _Refusal(409, "Tag reference exists already")
        repository.refs[ref] = commit.id
        return _json({})

    def _branch(self, repository: Repository, branch: str) -> _Answer:
        ref = f"refs/heads/{branch}"
        if ref in repository.refs:
            raise _Refusal(409, "Reference already exists")
        asked = json.loads(self.body or b"{}")
        repository.refs[ref] = self._commit(repository, quote(asked.get("startingPoint", "main"), safe="")).id
        return _json({})


def _signature(oid: str) -> str:
    """Return what a signed address of the storage ends with."""
    return hashlib.sha256(f"signed {oid}".encode()).hexdigest()[:16]
