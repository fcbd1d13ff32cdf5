"""What the loopback Hub of hub_server.py answers to each request of the `huggingface_hub` client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote

from helpers import hub_listings as listings
from helpers.hub_state import (
    BIG,
    GATED,
    Answer,
    Blob,
    Commit,
    Hub,
    Refusal,
    Repository,
    User,
    json_answer,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message


_FILE = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_LFS = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)\.git/info/lfs/(objects/batch|verify)")
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/([^/]+)(?:/(.+))?)?)?")


@dataclass
class Exchange:
    """A request to `hub`; `path` is quoted as it came, without its query."""

    hub: Hub
    command: str
    path: str
    headers: Message
    query: dict[str, list[str]]
    body: bytes

    def answer(self, *, stores: bool) -> Answer:
        """Return what the Hub, or its storage of LFS files, says."""
        try:
            with self.hub.lock:
                return self._stored() if stores else self._answer(self.path)
        except Refusal as refusal:
            return refusal.answer

    # What may be seen and changed

    def _user(self) -> User | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token or not self.hub.users:
            return None
        if token not in self.hub.users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.users[token]

    def _repository(self, name: str, *, files: bool = False) -> Repository:
        user = self._user()
        repository = self.hub.repositories.get(name)
        gated = name.removeprefix("datasets/") == GATED
        belongs = user is not None and repository is not None and user.belongs(repository.owner)
        if not gated and (not repository or (repository.private and not belongs)):
            raise Refusal(404 if user else 401, "RepoNotFound")
        if repository is None or (repository.gated and files and not belongs):
            raise Refusal(403, "GatedRepo")
        return repository

    def _writer(self, repository: Repository | None = None) -> None:
        """Refuse who may not write: nowhere, or not to this repository."""
        user = self._user()
        if user is None or user.role != "write" or (repository and not user.belongs(repository.owner)):
            raise Refusal(403 if user else 401, "Forbidden")

    @staticmethod
    def _commit(repository: Repository, revision: str) -> Commit:
        commit = repository.find(unquote(revision))
        if not commit:
            raise Refusal(404, "RevisionNotFound")
        return commit

    # What is asked

    def _answer(self, path: str) -> Answer:
        if match := _FILE.fullmatch(path):
            return self._file(*match.groups())
        if match := _LFS.fullmatch(path):
            repository = self._repository(match[1])
            self._writer()
            return self._batch(repository) if match[2] != "verify" else json_answer({})
        if path == "/api/whoami-v2":
            return self._whoami()
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path == "/api/validate-yaml":
            return self._validated()
        match = _API.fullmatch(path)
        if not match:
            raise Refusal(404, "NotFound")
        name = match[2] if match[1] == "models" else f"datasets/{match[2]}"
        what, revision, rest = match[3] or "revision", match[4] or "main", unquote(match[5] or "")
        repository = self._repository(name)
        if what in ("preupload", "commit", "tag", "branch"):
            self._writer(None if "create_pr" in self.query else repository)
        if what == "branch":
            return self._branch(repository, unquote(revision))
        if what == "refs":
            return listings.refs(repository, pulls="include_prs" in self.query)
        if what == "discussions":
            return listings.pull_requests(repository, self.query.get("status", ["all"])[0])
        commit = self._commit(repository, revision)
        if what == "revision":
            return listings.info(repository, commit)
        if what == "tree":
            return listings.tree(commit, rest, self.query, f"{self.hub.address}{path}", self.hub.page)
        if what == "paths-info":
            asked = parse_qs(self.body.decode())["paths"]
            return json_answer([commit.files[name].described(name) for name in asked if name in commit.files])
        if what == "preupload":
            return self._preupload(commit)
        if what == "tag":
            return self._tag(repository, commit)
        if what == "commit":
            return self._change(repository, unquote(revision), commit)
        raise Refusal(404, "NotFound")

    def _file(self, name: str, revision: str, file: str) -> Answer:
        commit = self._commit(self._repository(unquote(name), files=True), revision)
        blob = commit.files.get(unquote(file))
        headers = {"X-Repo-Commit": commit.id}
        if blob is None:
            raise Refusal(404, "EntryNotFound", headers)
        headers["ETag"] = f'"{blob.etag}"'
        if not blob.big:
            return self._part(blob.content, headers)
        place = f"{self.hub.storage}/{name}/{file}?oid={blob.sha256}&signature={signature(blob.sha256)}"
        linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        return Answer(302, b"", {**headers, **linked, "Location": place})

    def _part(self, content: bytes, headers: Mapping[str, str]) -> Answer:
        headers = {"Accept-Ranges": "bytes", **headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return Answer(200, content, headers)
        start, size = int(asked[1]), len(content)
        end = min(int(asked[2] or size), size - 1)
        if start >= size:
            return Answer(416, b"", {"Content-Range": f"bytes */{size}"})
        return Answer(
            206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
        )

    def _stored(self) -> Answer:
        """Answer for the storage, which knows signed addresses and no users."""
        oid = self.query.get("oid", [""])[0]
        if "Authorization" in self.headers or self.query.get("signature") != [signature(oid)]:
            return Answer(403)
        if self.command == "PUT":
            if hashlib.sha256(self.body).hexdigest() != oid:
                return Answer(400)
            self.hub.objects[oid] = self.body
            return Answer(200, b"", {"ETag": f'"{oid}"'})
        return (
            self._part(self.hub.objects[oid], {"ETag": f'"{oid}"'})
            if oid in self.hub.objects
            else Answer(404)
        )

    def _validated(self) -> Answer:
        if "licence: [" in json.loads(self.body)["content"]:
            errors = [{"message": "unexpected end of the flow collection"}]
            raise Refusal(400, "Bad YAML", errors=errors)
        return json_answer({"errors": [], "warnings": []})

    def _whoami(self) -> Answer:
        user = self._user()
        if not user:
            raise Refusal(401, "Invalid username or password.")
        token = {"displayName": "a token", "role": user.role}
        organisations = [{"name": name, "type": "org"} for name in user.organisations]
        return json_answer(
            {"type": "user", "name": user.name, "orgs": organisations, "auth": {"accessToken": token}}
        )

    def _create(self, asked: dict[str, Any]) -> Answer:
        user = self._user()
        if not user:
            raise Refusal(401, "Unauthorized")
        name = f"{asked.get('organization') or user.name}/{asked['name']}"
        name = f"datasets/{name}" if asked.get("type") == "dataset" else name
        url = f"{self.hub.address}/{name}"
        known = self.hub.repositories.get(name)
        if user.role != "write" or not user.belongs(known.owner if known else name.split("/")[-2]):
            raise Refusal(403, "Forbidden")
        if known:
            raise Refusal(409, "You already created this repo", url=url)
        self.hub.add(
            name, {".gitattributes": b"*.bin filter=lfs"}, private=asked.get("visibility") == "private"
        )
        return json_answer({"url": url, "id": name, "name": name})

    # What is changed

    def _preupload(self, commit: Commit) -> Answer:
        files = []
        for file in json.loads(self.body)["files"]:
            path, known = file["path"], commit.files.get(file["path"])
            mode = "lfs" if path.endswith(BIG) else "regular"
            says = {"path": path, "uploadMode": mode, "shouldIgnore": path in self.hub.ignored}
            files.append(says | ({"oid": known.etag} if known else {}))
        return json_answer({"files": files})

    def _batch(self, repository: Repository) -> Answer:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            oid, wanted = asked["oid"], {"oid": asked["oid"], "size": asked["size"]}
            if oid not in self.hub.objects:
                href = f"{self.hub.storage}/{repository.name}/{oid}?oid={oid}&signature={signature(oid)}"
                verify = f"{self.hub.address}/{repository.name}.git/info/lfs/verify"
                wanted["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
            objects.append(wanted)
        return json_answer({"transfer": "basic", "objects": objects})

    def _change(self, repository: Repository, revision: str, base: Commit) -> Answer:
        title, files = "", dict(base.files)
        for line in self.body.splitlines():
            key, value = (json.loads(line)[name] for name in ("key", "value"))
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit", base.id) != base.id:
                    raise Refusal(412, "The branch has moved")
            elif key == "file":
                files[value["path"]] = self.hub.blob("", base64.b64decode(value["content"]))
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refusal(400, "LFS object is missing")
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], big=True)
            else:  # deletedFile, deletedFolder
                gone = value["path"].rstrip("/") + "/"
                files = {path: blob for path, blob in files.items() if not f"{path}/".startswith(gone)}
        pull = "create_pr" in self.query
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
        ref = f"refs/pr/{number}" if pull else f"refs/heads/{revision}"
        if not pull and ref not in repository.refs:
            raise Refusal(400, "No branch to commit to")
        commit = repository.add(ref, base, title, files)
        url = f"{self.hub.address}/{repository.name}"
        made = {"success": True, "commitOid": commit.id, "commitUrl": f"{url}/commit/{commit.id}"}
        return json_answer({**made, "pullRequestUrl": f"{url}/discussions/{number}" if pull else None})

    def _tag(self, repository: Repository, commit: Commit) -> Answer:
        ref = f"refs/tags/{json.loads(self.body)['tag']}"
        if ref in repository.refs:
            raise Refusal(409, "Tag reference exists already")
        repository.refs[ref] = commit.id
        return json_answer({})

    def _branch(self, repository: Repository, branch: str) -> Answer:
        ref = f"refs/heads/{branch}"
        if ref in repository.refs:
            raise Refusal(409, "Reference already exists")
        asked = json.loads(self.body or b"{}")
        repository.refs[ref] = self._commit(repository, quote(asked.get("startingPoint", "main"), safe="")).id
        return json_answer({})
