"""What a download would bring, by the client's own dry run."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from transferzoo.hub.download import check_size
from transferzoo.hub.retries import with_retries
from transferzoo.hub.sentences import HubPath, missing_file_error, translating

if TYPE_CHECKING:
    from collections.abc import Collection

    from huggingface_hub import DryRunFileInfo


def plan_files(
    repo: str,
    files: Collection[str],
    *,
    optional: Collection[str] = (),
    instead: Collection[str] = (),
    revision: str | None = None,
    repo_type: str = "model",
) -> list[DryRunFileInfo]:
    """Ask the Hub for files of a repository, and the client which of them it would download.

    The revision is resolved first: a dry run of a branch may note in the cache that the branch is at a newer
    commit, and offline the files of the older one would not be found any more. The client's
    `snapshot_download(dry_run=True)` starts threads that an interrupted process would have to wait for.

    Args:
        repo: "OWNER/NAME".
        files: paths within the repository.
        optional: patterns, as in `fnmatch`, of further paths that it may have.
        instead: paths that are taken in place of `files`, with what else `optional` says, where the first two
            of them are in the repository.
        revision: a commit, tag or branch; the default branch if None.
        repo_type: "model" or "dataset".

    Returns:
        For each file its commit, its size in bytes, and whether it would be downloaded.

    Raises:
        MissingFileError: one of `files` is not in the repository.
        TransferZooError: the repository, the revision or a file is not accessible, a file is too large, or
            the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, hf_hub_download

    repository = HubPath(repo, "", revision, repo_type)
    with translating(repository):
        info: Any = with_retries(
            lambda: HfApi().repo_info(repo, revision=revision, repo_type=repo_type), when_busy=True
        )
    available = [sibling.rfilename for sibling in info.siblings or []]
    if instead and {*tuple(instead)[:2]} <= {*available}:
        files, optional = tuple(instead)[:2], tuple(instead)[2:]
    for file in files:
        if file not in available:
            raise missing_file_error(replace(repository, file=file))

    def ask(file: str) -> DryRunFileInfo:
        path = replace(repository, file=file)
        with translating(path):
            found = with_retries(
                lambda: hf_hub_download(repo, file, revision=info.sha, repo_type=repo_type, dry_run=True)
            )
        check_size(path, found.file_size or 0)
        return found

    return [ask(f) for f in available if f in files or any(fnmatchcase(f, pattern) for pattern in optional)]
