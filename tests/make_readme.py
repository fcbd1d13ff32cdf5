"""Fill the README's outputs in: `python tests/make_readme.py [--long]`.

Every block that begins `<!-- output of: COMMAND -->` and ends `<!-- end -->` is replaced by what
COMMAND prints on stdout, run in an empty folder; so no number there is typed by hand. Those that begin
`<!-- long output of: COMMAND -->`, which take up to an hour, only with --long; their commands are run in
the checkout.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"<!-- (?P<kind>|long )output of: (?P<command>[^\n]+?) -->\n.*?<!-- end -->", re.DOTALL)


def printed(block: re.Match[str]) -> str:
    """Return a block with its command's output."""
    command, kind = block["command"], block["kind"]
    if kind and "--long" not in sys.argv:
        return block[0]
    print(f"+ {command}")
    with tempfile.TemporaryDirectory() as folder:
        place = README.parent if kind else folder
        done = subprocess.run(shlex.split(command), cwd=place, check=True, stdout=subprocess.PIPE, text=True)
    lines = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    return f"<!-- {kind}output of: {command} -->\n```text\n{lines}\n```\n<!-- end -->"


def main() -> None:
    os.environ["PYTHONUTF8"] = "1"
    README.write_text(BLOCK.sub(printed, README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
