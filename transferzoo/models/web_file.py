"""Files of weights on the web: downloaded once, and checked on every use by the digest in their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from transferzoo.base.digests import digest_of
from transferzoo.base.errors import ModelError, TransferZooError, reason

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.source_facts import WebFile

_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")
"""The start of the SHA-256 in the name of a weight file, as torch.hub reads it."""


def fetched(file: WebFile) -> str:
    """Return the SHA-256 of a file, downloaded unless it is on this machine.

    Raises:
        TransferZooError: it cannot be downloaded.
        ModelError: it is not the one that its name says.
    """
    from torch import hub

    start = _DIGEST.search(file.path.name)
    try:
        if not file.path.exists():
            file.path.parent.mkdir(parents=True, exist_ok=True)
            hub.download_url_to_file(file.url, str(file.path), start and start[1], progress=False)
        sha256 = digest_of(file.path, 64)
    except OSError as error:
        raise TransferZooError(
            f"cannot download the weights {file.url}: {reason(error)}",
            hint=f"check the network, or put the file into {file.path.parent}",
        ) from None
    except RuntimeError as error:  # what came is another file
        raise TransferZooError(
            f"the download of {file.url} is damaged: {reason(error)}", hint="try again"
        ) from None
    if start and not sha256.startswith(start[1]):
        raise damaged(file.path, f"its SHA-256 is {sha256}, not the {start[1]}… of its name")
    return sha256


def damaged(path: Path, why: str) -> ModelError:
    """Return the error of a file that is not what its publisher wrote."""
    return ModelError(
        f"the weights {path} are not read: {why}",
        expected="the file of torchvision, with tensors only",
        hint="delete it; it is downloaded again",
    )
