"""Licences as the Hub writes them, and names of repositories: what is known before the Hub is asked."""

from __future__ import annotations

from transferzoo.base.errors import UnknownNameError, UsageError

LICENCES = frozenset(
    [
        "afl-3.0",
        "agpl-3.0",
        "apache-2.0",
        "apple-amlr",
        "apple-ascl",
        "artistic-2.0",
        "bigcode-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigscience-openrail-m",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "bsl-1.0",
        "c-uda",
        "cc",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "cdla-sharing-1.0",
        "creativeml-openrail-m",
        "deepfloyd-if-license",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "fair-noncommercial-research-license",
        "gemma",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "h-research",
        "intel-research",
        "isc",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "lgpl-lr",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "lppl-1.3c",
        "mit",
        "mpl-2.0",
        "ms-pl",
        "ncsa",
        "odbl",
        "odc-by",
        "ofl-1.1",
        "openmdw-1.0",
        "openrail",
        "openrail++",
        "osl-3.0",
        "other",
        "pddl",
        "postgresql",
        "unknown",
        "unlicense",
        "wtfpl",
        "zlib",
    ]
)
"""Identifiers of the Hub, https://huggingface.co/docs/hub/repositories-licenses; "other" is any other one."""


def check_licence(licence: str) -> str:
    """Return a licence without spaces around it.

    Raises:
        UsageError: there is none, or the Hub does not know it.
    """
    licence = licence.strip()
    if not licence:
        raise UsageError("the model has no licence", expected="an identifier of the Hub such as mit")
    if licence not in LICENCES:
        raise UnknownNameError(
            "licence of the Hub", licence, LICENCES, others="'other' for any that is not listed"
        )
    return licence


def check_repo(repo: str) -> None:
    """See that a repository of that name can exist on the Hub.

    Args:
        repo: "OWNER/NAME".

    Raises:
        UsageError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UsageError(
            f"'{repo}' cannot be the name of a repository",
            expected="OWNER/NAME of at most 96 letters, digits, '-', '_' and '.'; '-' and '.' neither twice "
            "in a row nor at an end, and no '.git' at its end",
            hint="choose another with --repo",
        ) from None
