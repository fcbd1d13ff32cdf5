"""Fill the outputs in the READMEs in: `python tests/scripts/make_readme.py [--long] [WORD]`.

The README of the checkout and those of the package's rooms.

Every block that begins `<!-- output of: COMMAND -->` and ends `<!-- end -->` is replaced by what
COMMAND prints on stdout, run in an empty folder; so no number there is typed by hand. Those that begin
`<!-- long output of: COMMAND -->`, which take up to an hour, only with --long; their commands are run in
the checkout. A line `<!-- figure NAME of: COMMAND -->` stands for .github/NAME.svg, as `transferzoo report
--figures` draws it from the run of COMMAND. With a word, those alone whose command holds it.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

README = Path(__file__).parent.parent.parent / "README.md"
READMES = (README, *sorted(README.parent.glob("transferzoo/*/README.md")))
PICTURES = README.parent / ".github"
FIGURE = re.compile(r"<!-- figure (?P<name>\S+) of: (?P<command>[^\n]+?) -->")
BLOCK = re.compile(r"<!-- (?P<kind>|long )output of: (?P<command>[^\n]+?) -->\n.*?<!-- end -->", re.DOTALL)


def printed(block: re.Match[str], word: str, *, long: bool) -> str:
    """Return a block with its command's output."""
    command, kind = block["command"], block["kind"]
    if (kind and not long) or word not in command:
        return block[0]
    print(f"+ {command}")
    with tempfile.TemporaryDirectory() as folder:
        place = README.parent if kind else folder
        done = subprocess.run(shlex.split(command), cwd=place, check=True, stdout=subprocess.PIPE, text=True)
    lines = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    return f"<!-- {kind}output of: {command} -->\n```text\n{lines}\n```\n<!-- end -->"


def draw(name: str, command: str) -> None:
    """Write the figure of a run."""
    print(f"+ {command} → {name}.svg")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(shlex.split(command), cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (run,) = (Path(folder) / "runs").iterdir()
        report = ["transferzoo", "report", str(run), "--figures", folder]
        subprocess.run(report, check=True, stdout=subprocess.DEVNULL)
        (drawn,) = Path(folder).glob(f"*-{name}.svg")
        shutil.copyfile(drawn, PICTURES / f"{name}.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--long", action="store_true")
    asked = parser.parse_args()
    os.environ["PYTHONUTF8"] = "1"
    for file in READMES:
        text = file.read_text(encoding="utf-8")
        filled = BLOCK.sub(partial(printed, word=asked.word, long=asked.long), text)
        file.write_text(filled, encoding="utf-8")
        for figure in FIGURE.finditer(text):
            if asked.word in figure["command"]:
                draw(figure["name"], figure["command"])


if __name__ == "__main__":
    main()
