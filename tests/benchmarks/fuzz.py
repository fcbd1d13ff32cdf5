"""Broken and hostile input through the real command line: `python tests/benchmarks/fuzz.py [SHARE] [SEED]`.

Every answer must be a result (exit code 0) or one sentence (exit code 1 or 2), within 5 seconds of the
processor and without a control character. SHARE of 2,000 specs, 500 zoo files, 500 studies, 300 records and
200 checkpoints is tried, all of them by default. What is wrong is printed; the last line names the folder
that keeps such inputs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from transferzoo.base.printable import printable
from transferzoo.cli.app import main
from transferzoo.studies.schema import built_in
from transferzoo.zoo.schema import assets

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS, PATIENCE = 5, 60
"""Of the processor that an answer may take, and of the clock, on a machine that has other work too."""
COUNTS = {"specs": 2000, "zoo files": 500, "studies": 500, "records": 300, "checkpoints": 200}
SPEC = "mi vt ti di si ni pgd bim bpa logit : , = + | & eps 1e99 -1 nan 0 copies=3 p=0.7"
WORDS: list[Any] = [None, "", "x", "\x1b]0;own\x07", "\u202e", 0, -1, 10**9, 2**70, 1e308]
WORDS += [True, [], {}, [[1]], {"a": 1}]
LINES = [
    "a: &a [*a]",
    "x: !!python/object:os.system {}",
    "? [1]",
    "- 1",
    "\x1b",
    "a: 2001-99-99",
    "<<: 3",
    "{",
]
ZOO = """datasets:
  toys:
    {classes: [a, b], channels: 1, size: 8, splits: {test: ['local:toys']}, attack: {epsilon: 8/255}}
models:
  toys:
    one: {roles: [surrogate, target], source: 'local:one', claimed: 90.5}
    two: {roles: [target], source: 'hub:owner/name@main', licence: mit}
attacks:
  quick: {spec: mi, about: quick, steps: 3}
recipes:
  plain: {dataset: toys, architecture: small_vgg, epochs: 2}
suites: {both: [mi, quick]}
"""


def changed_text(text: str, draw: random.Random) -> str:
    """Return a text with a few of its lines or characters changed."""
    lines = text.splitlines()
    for _ in range(draw.randint(1, 2)):
        at = draw.randrange(len(lines))
        kind = draw.randrange(5)
        if kind == 0:
            del lines[at : at + draw.randint(1, 3)]
        elif kind == 1:
            lines.insert(at, " " * draw.choice((0, 2, 4)) + draw.choice(LINES))
        elif kind == 2:
            lines.insert(at, lines[draw.randrange(len(lines))])
        elif kind == 3:
            lines[at] = re.sub(
                r"[^:,\[\]{} ]+$", lambda _: json.dumps(draw.choice(WORDS)), lines[at], count=1
            )
        else:
            place = draw.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + draw.choice("{}[]:,'\"&*!%@`\x1bé1-") + lines[at][place:]
        lines = lines or [""]
    return "\n".join(lines) + "\n"


def changed_json(content: Any, draw: random.Random) -> Any:
    """Return JSON content with one of its parts changed."""
    if not (isinstance(content, dict | list) and content) or draw.random() < 0.2:
        return draw.choice(WORDS)
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key, new = draw.choice(keys), content.copy()
    if draw.random() < 0.15:
        del new[key]
    else:
        new[key] = changed_json(content[key], draw)
    return new


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """Return a file that is cut, or has a few bytes changed at its beginning or anywhere."""
    if draw.random() < 0.3:
        return content[: draw.randrange(len(content))]
    new, end = bytearray(content), draw.choice((16, 2000, len(content)))
    for _ in range(draw.randint(1, 4)):
        new[draw.randrange(min(end, len(new)))] = draw.randrange(256)
    return bytes(new)


def specs(draw: random.Random, _place: Path) -> list[str]:
    """Return a command with a random spec string."""
    parts = SPEC.split()
    spec = "+".join(draw.sample(parts[:10], draw.randint(1, 3)))
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(len(spec) + 1)
        spec = spec[:at] + draw.choice(parts) + spec[at:]
    return ["attack", "-s", "resnet50-sgd", "-t", "vgg", "-a", spec, "--dry-run"]


def zoo_files(draw: random.Random, place: Path) -> list[str]:
    """Return a command with a changed zoo file."""
    (place / "z.yaml").write_text(changed_text(ZOO, draw))
    listed = draw.choice(("surrogates", "targets", "attacks", "recipes"))
    return ["list", listed, "--zoo", str(place / "z.yaml")]


def studies(draw: random.Random, place: Path) -> list[str]:
    """Return a command with a changed study."""
    text = draw.choice(sorted(built_in().values())).read_text(encoding="utf-8")
    (place / "s.yaml").write_text(changed_text(text, draw))
    return ["study", str(place / "s.yaml"), "--dry-run"]


def records(draw: random.Random, place: Path) -> list[str]:
    """Return a command with a run folder, one file of which is changed."""
    shutil.copytree(place.parent / "run", place / "run")
    path = draw.choice([*sorted((place / "run").glob("*.jsonl")), place / "run" / "config.json"])
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = draw.randrange(len(lines))
    lines[at] = json.dumps(changed_json(json.loads(lines[at]), draw), ensure_ascii=False)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    return ["report", str(place / "run"), *draw.choice(([], ["--json"], ["-o", str(place / "t.md")]))]


def checkpoints(draw: random.Random, place: Path) -> list[str]:
    """Return a command with a checkpoint, one file of which is changed."""
    folder = shutil.copytree(assets() / "fashion-mnist" / "vgg", place / "ck")
    name = draw.choice(("config.json", "recipe.json", "model.safetensors"))
    path = folder / name
    if name == "model.safetensors" or draw.random() < 0.2:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    else:
        path.write_text(json.dumps(changed_json(json.loads(path.read_text()), draw)))
    if draw.random() < 0.3:
        return ["show", str(folder)]
    if draw.random() < 0.3:
        return ["push", str(folder), "--repo", "a/b", "--licence", "mit", "--unmeasured", "--dry-run"]
    attack = ["attack", "-s", str(folder), "-t", "vgg", "--images", "2", "--steps", "1"]
    return [*attack, "--runs", str(place / "runs")]


def answer(command: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what is wrong, nothing if it is right."""
    out, err, code, begun = io.StringIO(), io.StringIO(), 0, time.process_time()

    def hang(_signal: int, _frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(PATIENCE)
    try:
        with (
            mock.patch.object(sys, "argv", ["transferzoo", *command]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        return 1, f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
    said = err.getvalue()
    if time.process_time() - begun > SECONDS:
        return code, f"{time.process_time() - begun:.0f} seconds"
    if code not in (0, 1, 2):
        return code, f"exit code {code}"
    if printable(out.getvalue() + said) != out.getvalue() + said:
        return code, "a control character"
    sentences = [line for line in said.splitlines() if line.startswith("Error: ")]
    if code and "Usage: " not in said and (len(sentences) != 1 or not re.search(r"[.?]$", said.rstrip())):
        return code, f"no sentence: {said[-300:]}"
    return code, ""


MAKERS: dict[str, Callable[[random.Random, Path], list[str]]] = {
    "specs": specs,
    "zoo files": zoo_files,
    "studies": studies,
    "records": records,
    "checkpoints": checkpoints,
}


def fuzz(share: float, seed: int) -> int:
    """Try every kind; print what is wrong and return how much that is."""
    home = Path(tempfile.mkdtemp(prefix="fuzz"))
    os.environ |= {"TRANSFERZOO_CACHE": str(home / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    os.chdir(home)
    attack = ["attack", "-s", "resnet50-sgd", "-t", "vgg", "--images", "4", "--steps", "2", "--curve", "1"]
    for _ in range(2):  # the first imports PyTorch, which may take longer than an answer
        _, problem = answer([*attack, "--runs", str(home / "runs")])
    assert not problem, problem
    (run,) = (home / "runs").iterdir()
    run.rename(home / "run")
    wrong = 0
    for kind, make in MAKERS.items():
        count, codes, before = round(share * COUNTS[kind]), Counter[int](), wrong
        for number in range(count):
            place = home / f"{kind}-{number}"
            place.mkdir()
            command = make(random.Random(f"{seed} {kind} {number}"), place)
            code, found = answer(command)
            codes[code] += 1
            if found:
                wrong += 1
                print(f"{kind} {number}: {printable(found)!r} of {' '.join(map(repr, command))}", flush=True)
            else:
                shutil.rmtree(place)
        print(f"{kind}: {count} tried, {codes[0]} results, {wrong - before} wrong answers", flush=True)
    print(f"inputs of what was wrong: {home}" if wrong else "nothing wrong")
    return wrong


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(bool(fuzz(float(given[0]) if given else 1.0, int(given[1]) if given[1:] else 0)))
