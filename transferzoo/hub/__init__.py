"""The Hub: the only package that talks to it. Files come from it checked, folders go to it in one commit."""

from transferzoo.hub.cache import (
    cache_folder,
    drop_partial,
    held,
    kept_digest,
    known_absent,
    offline,
    snapshot,
)
from transferzoo.hub.download import check_size, commit_of, counting, fetch
from transferzoo.hub.publish import Published, publish, whoami
from transferzoo.hub.repository import Entry, Listing, listed
from transferzoo.hub.sentences import MissingFileError, NotCachedError, Place, missing

__all__ = [
    "Entry",
    "Listing",
    "MissingFileError",
    "NotCachedError",
    "Place",
    "Published",
    "cache_folder",
    "check_size",
    "commit_of",
    "counting",
    "drop_partial",
    "fetch",
    "held",
    "kept_digest",
    "known_absent",
    "listed",
    "missing",
    "offline",
    "publish",
    "snapshot",
    "whoami",
]
