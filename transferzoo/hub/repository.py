"""What a repository of the Hub holds at a revision, before anything is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import TransferZooError
from transferzoo.hub.retries import patiently
from transferzoo.hub.sentences import Place, translated

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Entry:
    """A file as the Hub describes it.

    Attributes:
        size: bytes.
        digest: its SHA-256 (64 digits), or of what is no LFS file the SHA-1 that is its name in git (40).
    """

    size: int
    digest: str


@dataclass(frozen=True)
class Listing:
    """A repository at a commit.

    Attributes:
        commit: 40 hexadecimal digits.
        files: path → what it is.
    """

    commit: str
    files: Mapping[str, Entry]


def listed(repo: str, revision: str | None = None, repo_type: str = "model") -> Listing:
    """Ask the Hub which files a repository has, in one request.

    Args:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; the default branch if None.
        repo_type: "model" or "dataset".

    Raises:
        TransferZooError: the repository or revision does not exist or may not be seen, or the Hub cannot be
            reached.
    """
    from huggingface_hub import HfApi

    place = Place(repo, "", revision, repo_type)

    def ask() -> Listing:
        found: Any = HfApi().repo_info(repo, revision=revision, repo_type=repo_type, files_metadata=True)
        files = {
            one.rfilename: Entry(one.size or 0, one.lfs.sha256 if one.lfs else one.blob_id or "")
            for one in found.siblings or []
        }
        return Listing(str(found.sha), files)

    try:
        return patiently(ask, when_busy=True)
    except TransferZooError:
        raise
    except Exception as error:
        raise translated(error, place) from error
