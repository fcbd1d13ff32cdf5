"""The Hub's real client against the loopback Hub: what arrives, and what a user reads."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from helpers.hub_server import COMMIT, GATED, client_environment, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "hf_secretsecretsecret"
DOWNLOAD = """
import sys
from transferzoo import hub
from transferzoo.base.errors import TransferZooError
for line in sys.argv[1:]:
    repo, file, revision, kind = line.split()
    try:
        path = hub.download_file(repo, file, revision=None if revision == "-" else revision, repo_type=kind)
        print(path.read_text())
    except TransferZooError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    files = {"owner/model/sub/a.txt": b"of a model", "datasets/owner/data/a.txt": b"of a data set"}
    with serving(files) as address:
        yield address


def downloaded(endpoint: str, home: Path, *lines: str, **variables: str) -> list[str]:
    environment = os.environ | client_environment(endpoint, home) | variables
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOAD, *lines],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout.splitlines()


def test_files_arrive_and_stay(endpoint: str, tmp_path: Path) -> None:
    lines = ["owner/model sub/a.txt - model", f"owner/data a.txt {COMMIT} dataset"]
    assert downloaded(endpoint, tmp_path, *lines) == ["of a model", "of a data set"]
    assert downloaded(endpoint, tmp_path, *lines, HF_HUB_OFFLINE="1") == ["of a model", "of a data set"]


def test_what_is_missing_is_one_sentence(endpoint: str, tmp_path: Path) -> None:
    sentences = downloaded(
        endpoint,
        tmp_path,
        "owner/nothing a.txt - model",
        "owner/data b.txt - dataset",
        "owner/data a.txt v9 dataset",
        f"{GATED} a.txt - model",
        "a/b/c a.txt - model",
        HF_TOKEN=TOKEN,
        HF_HUB_DISABLE_IMPLICIT_TOKEN="0",
    )
    login = "log in with `hf auth login`."
    assert sentences == [
        f"the model owner/nothing does not exist on {endpoint} or is private; check the name, or {login}",
        "the dataset owner/data has no file b.txt in the default branch; check the file name.",
        "the dataset owner/data has no revision 'v9'; check the revision.",
        f"the model {GATED} is gated; ask for access at {endpoint} and {login}",
        "'a/b/c' is no repository of the Hub: expected OWNER/NAME.",
    ]


def test_offline_with_a_cold_cache(endpoint: str, tmp_path: Path) -> None:
    lines = [
        "owner/data a.txt - dataset",
        "owner/model sub/a.txt - model",
        f"owner/model b.txt {COMMIT} model",
    ]
    absent = "is not cached and HF_HUB_OFFLINE is set; unset it once and run `transferzoo pull"
    assert downloaded(endpoint, tmp_path, *lines, HF_HUB_OFFLINE="1") == [
        f"a.txt of the dataset owner/data {absent}` with the name of the data set.",
        f"sub/a.txt of the model owner/model {absent} hf-hub:owner/model`.",
        f"b.txt of the model owner/model {absent} hf-hub:owner/model@{COMMIT}`.",
    ]


def test_importing_is_cheap() -> None:
    code = "import sys, transferzoo.hub; print('huggingface_hub.file_download' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
