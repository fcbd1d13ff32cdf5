"""What the Hub's errors mean: one sentence for each, and what a file or a request is called in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from transferzoo.base.errors import TransferZooError
from transferzoo.zoo.schema import NAMED_ON_HUB

LOGIN = "log in with `hf auth login`"


class MissingFileError(TransferZooError):
    """A repository has no such file."""


class NotCachedError(TransferZooError):
    """The Hub cannot be asked, and the file is not on this machine."""


@dataclass(frozen=True)
class Place:
    """A file of a repository, or with an empty name all of it, at a revision or on the default branch."""

    repo: str
    file: str
    revision: str | None
    repo_type: str

    def __str__(self) -> str:
        whole = f"the {self.repo_type} {self.repo}"
        return f"{self.file} of {whole}" if self.file else whole

    @property
    def pull(self) -> str:
        """The command that downloads it."""
        if self.repo_type != "model":
            return "`transferzoo pull` with the name of the data set"
        return f"`transferzoo pull {NAMED_ON_HUB}{self.repo}{f'@{self.revision}' if self.revision else ''}`"


def status_of(error: BaseException) -> int:
    """Return the HTTP status behind an error, 0 without one."""
    response = _response(error)
    return int(response.status_code) if response is not None else 0


def _response(error: BaseException | None) -> Any:
    while error is not None:
        if getattr(getattr(error, "response", None), "status_code", None):
            return error.response  # type: ignore[attr-defined]
        error = error.__cause__
    return None


def asked_to_wait(headers: Any) -> int | None:
    """Return the seconds after which the Hub wants to be asked again, None where it does not say."""
    limit = re.search(r"\br=0\b.*\bt=(\d+)", headers.get("RateLimit", ""))
    after = headers.get("Retry-After", "")
    return int(limit[1]) if limit else int(after) if after.isdecimal() else None


def translated(error: Exception, asked: Place | str, revision: str | None = None) -> TransferZooError:
    """Return `error` as one sentence; its own text may quote addresses and headers, so it stays out.

    Args:
        error: what the client raised.
        asked: what was to be fetched, or what the sentence is about.
        revision: the revision of the latter.
    """
    from huggingface_hub import constants, errors

    place = asked if isinstance(asked, Place) else Place(asked, "", revision, "model")
    name = f"the {place.repo_type} {place.repo}" if isinstance(asked, Place) else asked
    version = f"'{place.revision}'" if place.revision else "the default branch"
    response, status = _response(error), status_of(error)
    if isinstance(error, errors.HFValidationError):
        return TransferZooError(f"'{place.repo}' is no repository of the Hub", expected="OWNER/NAME")
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
        seconds = asked_to_wait(response.headers)
        wait = "in some minutes" if seconds is None else f"in {seconds} seconds"
        return TransferZooError(
            f"{constants.ENDPOINT} asks to wait before it answers for {asked} (status 429)",
            hint=f"try again {wait}",
        )
    if status >= 500:
        return TransferZooError(
            f"{constants.ENDPOINT} failed when asked for {asked} (status {status})", hint="try again later"
        )
    if place.file:
        return _untransferred(error, place)
    if constants.HF_HUB_OFFLINE:
        return TransferZooError("HF_HUB_OFFLINE is set", expected="a way to the Hub", hint="unset it")
    if isinstance(error, ValueError) and str(error).startswith("Invalid metadata in README.md"):
        return TransferZooError("the Hub refuses the metadata of README.md", hint="correct its YAML header")
    return TransferZooError(
        f"the Hub could not be asked for {name} ({f'status {status}' if status else type(error).__name__})",
        hint="check the network and HF_ENDPOINT and run it again"
        + ("" if isinstance(asked, Place) else "; what has arrived is not sent again"),
    )


def missing(place: Place) -> MissingFileError:
    """Return the sentence for a file that a repository does not have."""
    version = f"'{place.revision}'" if place.revision else "the default branch"
    return MissingFileError(
        f"the {place.repo_type} {place.repo} has no file {place.file} in {version}",
        hint="check the file name",
    )


def _untransferred(error: Exception, place: Place) -> TransferZooError:
    """Return why a file did not come."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if constants.HF_HUB_OFFLINE:
            return NotCachedError(
                f"{place} is not cached and HF_HUB_OFFLINE is set", hint=f"unset it once and run {place.pull}"
            )
        return NotCachedError(
            f"{constants.ENDPOINT} cannot be reached and {place} is not cached",
            hint=f"check the network, HF_ENDPOINT and the proxy settings, then run {place.pull}",
        )
    if isinstance(error, errors.EntryNotFoundError):
        return missing(place)
    status = status_of(error)
    return TransferZooError(
        f"{place} could not be fetched ({f'status {status}' if status else type(error).__name__})",
        hint="try again, or check the network and the space on the disk",
    )
