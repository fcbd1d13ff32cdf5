"""Packs on the Hub: data set repositories, each with one pack, named after the repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from huggingface_hub import constants

from transferzoo import hub
from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "hf-pack:"
WRITTEN = f"{PREFIX}OWNER/NAME[@REVISION]"
_PLACE = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>.+))?")


@dataclass(frozen=True)
class HubPack:
    """A pack on the Hub.

    Attributes:
        repo: "OWNER/NAME" of a data set repository.
        revision: a commit, tag or branch; None for the default branch.
    """

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "hf-pack:OWNER/NAME" or "hf-pack:OWNER/NAME@REVISION".

        Raises:
            UsageError: it is neither.
        """
        match = _PLACE.fullmatch(text.removeprefix(PREFIX))
        if match is None or not text.startswith(PREFIX):
            raise UsageError("a pack on the Hub is named otherwise", expected=WRITTEN, got=text)
        return cls(match["repo"], match["revision"])

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{f'@{self.revision}' if self.revision else ''}"

    @property
    def file(self) -> str:
        """Path of the pack within its repository."""
        return pack_file(self.repo)

    def download(self) -> Path:
        """Return the pack on this machine, downloaded unless it is there; `packs.read_pack` checks it.

        Raises:
            TransferZooError: see `hub.download_file`.
        """
        return hub.download_file(
            self.repo, self.file, revision=self.revision, repo_type="dataset", pulled_as=str(self)
        )


def pack_file(repo: str) -> str:
    """Return what the pack of a repository is called: "NAME.zip" of "OWNER/NAME"."""
    return f"{repo.rpartition('/')[2]}.zip"


def cached_packs() -> Iterator[tuple[HubPack, Path]]:
    """Yield the packs of the default branches of the Hub that are on this machine, and their files."""
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("datasets--*--*")):
        pack = HubPack("/".join(folder.name.split(constants.REPO_ID_SEPARATOR)[1:]))
        snapshot = hub.cached_snapshot(pack.repo, repo_type="dataset")
        if snapshot is not None and (snapshot / pack.file).is_file():
            yield pack, snapshot / pack.file
