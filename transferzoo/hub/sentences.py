"""One sentence for each error of the Hub, and the names of files and requests in it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants

from transferzoo.base.errors import TransferZooError
from transferzoo.zoo.schema import NAMED_ON_HUB

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN = "log in with `hf auth login`"


class MissingFileError(TransferZooError):
    """A repository has no such file."""


class NotCachedError(TransferZooError):
    """The Hub cannot be reached, and the file is not cached."""


@dataclass(frozen=True)
class HubPath:
    """A file of a repository at a revision.

    Attributes:
        repo: "OWNER/NAME".
        file: path within the repository; empty for all of it.
        revision: a commit, tag or branch; None for the default branch.
        repo_type: "model" or "dataset".
        pulled_as: what `transferzoo pull` knows it by, where its repository does not say so; else empty.
    """

    repo: str
    file: str
    revision: str | None
    repo_type: str
    pulled_as: str = ""

    def __str__(self) -> str:
        repository = f"the {self.repo_type} {self.repo}"
        return f"{self.file} of {repository}" if self.file else repository

    @property
    def pull_command(self) -> str:
        """The command that downloads it."""
        if self.pulled_as:
            return f"`transferzoo pull {self.pulled_as}`"
        if self.repo_type != "model":
            return "`transferzoo pull` with the name of the data set"
        return f"`transferzoo pull {NAMED_ON_HUB}{self.repo}{f'@{self.revision}' if self.revision else ''}`"


def status_of(error: BaseException) -> int:
    """Return the HTTP status behind an error, 0 without one."""
    response = response_of(error)
    return int(response.status_code) if response is not None else 0


def response_of(error: BaseException | None) -> Any:
    """Return the HTTP response behind an error or one of its causes, None without one."""
    while error is not None:
        if getattr(getattr(error, "response", None), "status_code", None):
            return error.response  # type: ignore[attr-defined]
        error = error.__cause__
    return None


def retry_after(headers: Any) -> int | None:
    """Return the seconds after which the Hub wants to be asked again, None where it does not say."""
    limit = re.search(r"\br=0\b.*\bt=(\d+)", headers.get("RateLimit", ""))
    after = headers.get("Retry-After", "")
    return int(limit[1]) if limit else int(after) if after.isdecimal() else None


@contextmanager
def translating(asked: HubPath | str, revision: str | None = None) -> Iterator[None]:
    """Raise errors of the client, of HTTP and of the system as one sentence.

    Args:
        asked: what was to be downloaded, or what the sentence is about.
        revision: the revision of the latter.

    Raises:
        TransferZooError: the block raised an error.
    """
    try:
        yield
    except TransferZooError:
        raise
    except Exception as error:
        raise _translated(error, asked, revision) from error


def _translated(error: Exception, asked: HubPath | str, revision: str | None) -> TransferZooError:
    """Return an error as one sentence; its own text may quote addresses and headers, so it is left out."""
    from huggingface_hub import errors

    path = asked if isinstance(asked, HubPath) else HubPath(asked, "", revision, "model")
    name = f"the {path.repo_type} {path.repo}" if isinstance(asked, HubPath) else asked
    version = f"'{path.revision}'" if path.revision else "the default branch"
    response, status = response_of(error), status_of(error)
    if isinstance(error, errors.HFValidationError):
        return TransferZooError(f"'{path.repo}' is no repository of the Hub", expected="OWNER/NAME")
    if isinstance(error, errors.GatedRepoError):
        return TransferZooError(
            f"{name} is gated", hint=f"ask for access at {constants.ENDPOINT} and log in with `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return TransferZooError(
            f"{name} does not exist on {constants.ENDPOINT} or is private",
            hint="check the name, or log in with `hf auth login`",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return TransferZooError(f"{name} has no revision {version}", hint="check the revision")
    if status == 401:
        return TransferZooError(
            f"{constants.ENDPOINT} does not accept your token", hint=f"check HF_TOKEN, or {LOGIN}"
        )
    if status == 403:
        return TransferZooError(f"your token does not allow this for {name}", hint="use one that does")
    if status == 429:
        seconds = retry_after(response.headers)
        wait = "in some minutes" if seconds is None else f"in {seconds} seconds"
        return TransferZooError(
            f"{constants.ENDPOINT} asks to wait before it answers for {asked} (status 429)",
            hint=f"try again {wait}",
        )
    if status >= 500:
        return TransferZooError(
            f"{constants.ENDPOINT} failed when asked for {asked} (status {status})", hint="try again later"
        )
    if path.file:
        return _download_error(error, path)
    said = _said(error)
    if isinstance(error, ValueError) and str(error).startswith("Invalid metadata in README.md"):
        return TransferZooError(
            "the Hub refuses the metadata of README.md", got=said, hint="correct its YAML header"
        )
    if status == 404:
        return TransferZooError(
            f"{constants.ENDPOINT} knows nothing of {name} (status 404)",
            hint="check the name and HF_ENDPOINT",
        )
    if status >= 400 and said:
        return TransferZooError(
            f"{constants.ENDPOINT} refuses this for {name} (status {status}): {said}",
            hint="mend that and run it again; what has arrived is not sent again",
        )
    if constants.HF_HUB_OFFLINE:
        return TransferZooError("HF_HUB_OFFLINE is set", expected="a way to the Hub", hint="unset it")
    return TransferZooError(
        f"the Hub could not be asked for {name} ({f'status {status}' if status else type(error).__name__})",
        hint="check the network and HF_ENDPOINT and run it again"
        + ("" if isinstance(asked, HubPath) else "; what has arrived is not sent again"),
    )


def _said(error: BaseException | None) -> str:
    """Return the reason that the Hub gives for a refusal, in one line; empty without one."""
    while error is not None:
        if said := getattr(error, "server_message", None):
            plain = "".join(sign if sign.isprintable() else " " for sign in str(said))
            return shorten(plain, 300, placeholder=" …").rstrip(".")
        error = error.__cause__
    return ""


def missing_file_error(path: HubPath) -> MissingFileError:
    """Return the sentence for a file that a repository does not have."""
    version = f"'{path.revision}'" if path.revision else "the default branch"
    return MissingFileError(
        f"the {path.repo_type} {path.repo} has no file {path.file} in {version}",
        hint="check the file name",
    )


def _download_error(error: Exception, path: HubPath) -> TransferZooError:
    """Return why a file was not downloaded."""
    from huggingface_hub import errors

    status = status_of(error)
    if status == 404 and isinstance(error, errors.LocalEntryNotFoundError):
        return TransferZooError(
            f"{constants.ENDPOINT} knows nothing of {path} (status 404)",
            hint="check the name and HF_ENDPOINT",
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if constants.HF_HUB_OFFLINE:
            return NotCachedError(
                f"{path} is not cached and HF_HUB_OFFLINE is set",
                hint=f"unset it once and run {path.pull_command}",
            )
        return NotCachedError(
            f"{constants.ENDPOINT} cannot be reached and {path} is not cached",
            hint=f"check the network, HF_ENDPOINT and the proxy settings, then run {path.pull_command}",
        )
    if isinstance(error, errors.EntryNotFoundError):
        return missing_file_error(path)
    return TransferZooError(
        f"{path} could not be downloaded ({f'status {status}' if status else type(error).__name__})",
        hint="try again, or check the network and the space on the disk",
    )
