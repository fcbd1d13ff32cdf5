"""The Hub: the only package that talks to it. Downloads are checked, uploads are one commit."""

from transferzoo.hub.cache import (
    cached_digest,
    cached_snapshot,
    commit_of,
    delete_partial_downloads,
    is_commit,
    known_absent,
)
from transferzoo.hub.download import download_file, report_progress
from transferzoo.hub.plan import plan_files
from transferzoo.hub.publish import Published, publish, whoami
from transferzoo.hub.sentences import HubPath, MissingFileError, NotCachedError, missing_file_error

__all__ = [
    "HubPath",
    "MissingFileError",
    "NotCachedError",
    "Published",
    "cached_digest",
    "cached_snapshot",
    "commit_of",
    "delete_partial_downloads",
    "download_file",
    "is_commit",
    "known_absent",
    "missing_file_error",
    "plan_files",
    "publish",
    "report_progress",
    "whoami",
]
