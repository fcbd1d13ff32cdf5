"""The Hub: the only module that talks to it. So far: fetch one file into the Hub's own cache."""

from __future__ import annotations

from pathlib import Path

from transferzoo.errors import TransferZooError


def fetch(repo: str, file: str, *, revision: str | None = None, repo_type: str = "model") -> Path:
    """Return a local copy of a file of the Hub, downloaded unless it is cached.

    The Hub's own settings hold: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN`.

    Args:
        repo: "OWNER/NAME".
        file: path of the file within the repository.
        revision: a commit, tag or branch; the default branch if None.
        repo_type: "model" or "dataset".

    Raises:
        TransferZooError: the repository, revision or file does not exist or may not be read, or the Hub
            cannot be reached and the file is not cached.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, file, revision=revision, repo_type=repo_type))
    except Exception as error:  # the client raises its own, httpx's, requests' and the system's errors
        raise _translated(error, repo, file, revision, repo_type) from error


def _translated(
    error: Exception, repo: str, file: str, revision: str | None, repo_type: str
) -> TransferZooError:
    """Return `error` as one sentence; its own text may quote addresses and headers, so it stays out."""
    from huggingface_hub import constants, errors

    name = f"the {repo_type} {repo}"
    version = f"'{revision}'" if revision else "the default branch"
    if isinstance(error, errors.HFValidationError):
        return TransferZooError(f"'{repo}' is no repository of the Hub", expected="OWNER/NAME")
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
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if constants.HF_HUB_OFFLINE:
            return TransferZooError(
                f"{file} of {name} is not cached and HF_HUB_OFFLINE is set",
                hint="unset it once to download the file",
            )
        return TransferZooError(
            f"{constants.ENDPOINT} cannot be reached and {file} of {name} is not cached",
            hint="check the network, HF_ENDPOINT and the proxy settings",
        )
    if isinstance(error, errors.EntryNotFoundError):
        return TransferZooError(f"{name} has no file {file} in {version}", hint="check the file name")
    status = getattr(getattr(error, "response", None), "status_code", None)
    return TransferZooError(
        f"{file} of {name} could not be fetched ({f'status {status}' if status else type(error).__name__})",
        hint="try again, or check the network and the space on the disk",
    )
