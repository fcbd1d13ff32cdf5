"""Standard streams that are closed, are no terminal, or whose encoding lacks what is written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from transferzoo.cli import output
from transferzoo.cli.output import PLAIN, ready_streams

COMMAND = (sys.executable, "-P", "-m", "transferzoo")


def run(shell: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line by a shell, which closes what `shell` says."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", *COMMAND, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-", "2>&-"])
def test_closed_streams_do_not_matter(closed: str) -> None:
    done = run(closed, "list", "defences")
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (closed == "2>&-")


def test_a_refusal_has_its_exit_code_with_all_streams_closed() -> None:
    assert run("<&- >&- 2>&-", "list", "nothing").returncode == 2


@pytest.mark.parametrize(
    ("encoding", "arguments"),
    [("latin-1", ("list",)), ("cp1252", ("show", "di")), ("ascii", ("show", "vt")), ("koi8-r", ("list",))],
)
def test_encodings_that_lack_a_sign_get_another(encoding: str, arguments: tuple[str, ...]) -> None:
    done = run("", *arguments, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    title = done.stdout.decode(encoding).splitlines()[0]
    assert title in ("models of fashion-mnist", f"technique {arguments[-1]}")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "koi8-r"])
def test_marks_of_a_table_stay_apart_and_in_line(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    ready_streams()
    row = "46.4▲ 12.0▼ 36.0–44.6 p ≥ 0.05 name… 日"
    print(row, flush=True)
    plain = written.getvalue().decode(encoding).rstrip("\n")
    assert len(plain) == len(row)
    assert plain.encode("ascii", "replace").startswith(b"46.4^ 12.0v 36.0")
    assert plain.endswith("?")


def test_json_is_the_same_in_every_encoding() -> None:
    plain, usual = (
        run("", "show", "di", "--json", PYTHONIOENCODING=encoding) for encoding in ("ascii", "utf-8")
    )
    assert json.loads(plain.stdout.decode("ascii")) == json.loads(usual.stdout.decode())


def test_what_stands_for_a_sign_is_one_sign_of_ascii() -> None:
    assert all(len(sign) == len(other) == 1 and other.isascii() for sign, other in PLAIN.items())
    assert PLAIN["▲"] != PLAIN["▼"]


def test_a_log_hears_of_progress_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("transferzoo.cli.output.time.monotonic", lambda: now[0])
    with output.progress("crafting") as advance:
        for done in range(10):
            now[0] += 11
            advance("crafting", done, 1000)
    assert capsys.readouterr() == ("", "".join(f"crafting: {done} of 1,000\n" for done in (2, 5, 8)))
