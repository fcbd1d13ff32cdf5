"""Upload of folders to the Hub, each in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from huggingface_hub import constants

from transferzoo.base.digests import digest_of
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.hub.cache import is_commit
from transferzoo.hub.sentences import LOGIN, translating

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Published:
    """A folder that was uploaded.

    Attributes:
        repo: "OWNER/NAME".
        url: URL of the repository, or of the pull request.
        commit: the commit that has the files, 40 hexadecimal digits.
        changed: whether that commit is new.
    """

    repo: str
    url: str
    commit: str
    changed: bool


def whoami() -> str:
    """Return the name of the Hub's user whose token is in use.

    Raises:
        TransferZooError: nobody is logged in, the token is not valid, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with translating("your name on the Hub"):
        _check_login()
        return str(HfApi().whoami()["name"])


def publish(
    folder: Path,
    repo: str | None,
    *,
    files: Sequence[str],
    message: str,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    repo_type: str = "model",
) -> Published:
    """Upload files of a folder to a repository of the Hub in one commit.

    What the Hub has already is not sent again; without a difference no commit is made. A commit whose answer
    got lost is recognised by the files that the Hub has afterwards.

    Args:
        folder: folder of the files.
        repo: "OWNER/NAME", or "NAME" among the user's own; the user's own with the folder's name if None.
            Created if it does not exist.
        files: paths within the folder; nothing else is uploaded.
        message: title of the commit.
        private: create the repository as a private one.
        revision: the branch to commit to, created if it does not exist; the default branch if None.
        tag: a name for the commit.
        create_pr: open a pull request instead of committing to the branch, unless one that has these files
            is open.
        repo_type: "model" or "dataset".

    Raises:
        TransferZooError: a file is missing, nobody is logged in or the user may not write, the repository is
            public though `private` is asked for, the tag is at another commit, or the Hub cannot be reached.
    """
    local = _local_files(folder, files)
    if tag and create_pr:
        raise UsageError("a pull request cannot be tagged before it is merged", hint="leave one of them out")
    if is_commit(revision):
        raise UsageError("nothing can be added to a commit", expected="a branch", got=str(revision))
    name = repo or folder.resolve().name
    if "/" not in name:  # the Hub answers this rarely: it is asked only if it must be
        name = f"{whoami()}/{name}"
    with translating(name, revision):
        _check_login()
        return _upload(_Repository(name, repo_type), local, message, private, revision, tag, create_pr)


def _check_login() -> None:
    from huggingface_hub import get_token

    if not get_token():
        raise TransferZooError("you are not logged in to the Hub", hint=LOGIN)


def _local_files(folder: Path, files: Sequence[str]) -> dict[str, Path]:
    """Return path within the repository → file on this machine.

    Raises:
        TransferZooError: no file is named, or one is missing or outside the folder.
    """
    local = {file: folder / file for file in files}
    if not local:
        raise UsageError("there is nothing to publish", expected="the names of files")
    for file, path in local.items():
        if not path.resolve().is_relative_to(folder.resolve()) or Path(file).is_absolute():
            raise UsageError(f"{file} is not in {folder}", expected="paths within the folder")
        if not path.is_file():
            raise TransferZooError(f"{folder} has no file {file}", hint="nothing was uploaded")
    return local


class _Repository(NamedTuple):
    """Name and type of a repository, as the client takes them."""

    repo_id: str
    repo_type: str

    @property
    def keys(self) -> dict[str, Any]:
        return self._asdict()

    @property
    def url(self) -> str:
        kind = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{constants.ENDPOINT}/{kind}{self.repo_id}"


def _upload(
    repo: _Repository,
    local: Mapping[str, Path],
    message: str,
    private: bool,
    revision: str | None,
    tag: str | None,
    create_pr: bool,
) -> Published:
    from huggingface_hub import HfApi

    api = HfApi()
    made = api.create_repo(**repo.keys, private=private or None, exist_ok=True)
    repo = repo._replace(repo_id=made.repo_id)
    if private and not api.repo_info(**repo.keys).private:
        raise TransferZooError(
            f"{repo.repo_id} exists and is public", hint="make it private first or choose another name"
        )
    head = _head(api, repo, revision, create=not create_pr)
    changed = _changed(api, repo, head, local)
    if tag:
        _check_tag(api, repo, tag, None if changed else head)
    if changed and create_pr and (pull := _open_pull_request(api, repo, local)):
        return Published(repo.repo_id, pull.url, pull.commit, False)
    commit, url = head, ""
    if changed:
        operations = {file: local[file] for file in changed}
        commit, url = _commit(api, repo, operations, message, revision, create_pr)
        if ignored := _changed(api, repo, commit, local):
            raise TransferZooError(
                f"{ignored[0]} is not in the commit that was made in {repo.repo_id}",
                hint="look whether the repository's .gitignore leaves it out",
            )
    if tag:
        _tag(api, repo, tag, commit)
    return Published(repo.repo_id, url or repo.url, commit, bool(changed))


def _head(api: HfApi, repo: _Repository, revision: str | None, *, create: bool) -> str:
    """Return the last commit of a branch."""
    from huggingface_hub import errors

    try:
        return str(api.repo_info(**repo.keys, revision=revision).sha)
    except errors.RevisionNotFoundError:
        if not (create and revision):
            raise
    api.create_branch(**repo.keys, branch=revision, exist_ok=True)
    return str(api.repo_info(**repo.keys, revision=revision).sha)


def _changed(api: HfApi, repo: _Repository, revision: str, local: Mapping[str, Path]) -> list[str]:
    """Return the files that are missing on the Hub at a revision, or have another content there."""
    entries = {
        entry.path: entry for entry in api.get_paths_info(**repo.keys, paths=list(local), revision=revision)
    }

    def same(entry: Any, path: Path) -> bool:
        if getattr(entry, "lfs", None):
            return bool(entry.lfs.sha256 == digest_of(path, 64))
        return getattr(entry, "blob_id", "") == digest_of(path, 40)

    return [file for file, path in local.items() if not same(entries.get(file), path)]


def _commit(
    api: HfApi,
    repo: _Repository,
    local: Mapping[str, Path],
    message: str,
    revision: str | None,
    create_pr: bool,
) -> tuple[str, str]:
    """Make a commit; return its hash and the URL of the pull request, empty without one."""
    from huggingface_hub import CommitOperationAdd

    before = _pull_requests(api, repo) if create_pr else {}
    operations = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=path) for file, path in local.items()]
    try:
        made = api.create_commit(
            **repo.keys, operations=operations, commit_message=message, revision=revision, create_pr=create_pr
        )
    except Exception as error:
        try:  # the answer may be lost, not the commit
            if create_pr:
                candidates = [*(_pull_requests(api, repo).items() - before.items())]
            else:
                candidates = [("", _head(api, repo, revision, create=False))]
            for ref, commit in candidates:
                if not _changed(api, repo, commit, local):
                    number = ref.rpartition("/")[2]
                    return commit, f"{repo.url}/discussions/{number}" if ref else ""
        except Exception:
            raise error from None
        raise
    return made.oid, made.pr_url or ""


class _PullRequest(NamedTuple):
    commit: str
    url: str


def _open_pull_request(api: HfApi, repo: _Repository, local: Mapping[str, Path]) -> _PullRequest | None:
    """Return an open pull request that has the files already, None without one."""
    heads = _pull_requests(api, repo)
    open_ones = api.get_repo_discussions(
        **repo.keys, discussion_type="pull_request", discussion_status="open"
    )
    for found in open_ones if heads else ():
        head = heads.get(f"refs/pr/{found.num}")
        if head and not _changed(api, repo, head, local):
            return _PullRequest(head, found.url)
    return None


def _pull_requests(api: HfApi, repo: _Repository) -> dict[str, str]:
    """Return ref → commit of the pull requests of a repository."""
    found = api.list_repo_refs(**repo.keys, include_pull_requests=True).pull_requests
    return {pull.ref: pull.target_commit for pull in found or []}


def _check_tag(api: HfApi, repo: _Repository, tag: str, commit: str | None) -> None:
    """See that a tag is free or at a commit; None for one that is yet to be made.

    Raises:
        TransferZooError: it is at another commit.
    """
    tags = {found.name: found.target_commit for found in api.list_repo_refs(**repo.keys).tags}
    if tag in tags and tags[tag] != commit:
        raise TransferZooError(
            f"the tag '{tag}' of {repo.repo_id} is at another commit",
            expected=commit or "a tag that is free",
            got=tags[tag],
            hint="choose another tag",
        )


def _tag(api: HfApi, repo: _Repository, tag: str, commit: str) -> None:
    """Tag a commit; an equal tag that exists is fine.

    Raises:
        TransferZooError: the tag is at another commit.
    """
    try:
        api.create_tag(**repo.keys, tag=tag, revision=commit)
    except Exception:
        if tag not in {found.name for found in api.list_repo_refs(**repo.keys).tags}:
            raise
        _check_tag(api, repo, tag, commit)
