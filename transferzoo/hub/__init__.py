"""The Hub: the only package that talks to it. Files come from it checked, folders go to it in one commit."""

from transferzoo.hub.fetching import commit_of, fetch
from transferzoo.hub.publishing import Published, publish, whoami
from transferzoo.hub.sentences import MissingFileError

__all__ = ["MissingFileError", "Published", "commit_of", "fetch", "publish", "whoami"]
