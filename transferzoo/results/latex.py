r"""Tables → LaTeX, as wide as the text block of an article at 11 points; pure functions, without torch.

Names and headings are folded, and what is still too wide is cut into blocks of columns below each other, as
on a terminal. Lines are folded here, by widths in points that are estimated: only booktabs is needed.
"""

from __future__ import annotations

import re
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from transferzoo.base.printable import printable
from transferzoo.base.table import Mark, typeset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transferzoo.base.table import Table

TEXT_WIDTH = 356.0
r"""Of the 360 points of \textwidth, what estimates may take."""
GAP = 8.0
"""Between columns."""
FIRST, HEADING = 110.0, 36.0
"""Least width that the first column is folded to, and a heading, where there is no room."""
TEXT_HEIGHT = 525.0
LINE, SPACE, CAPTION = 12.0, 6.0, 13.6
"""Height of a line, of the space between rows of several lines, and of a line of the caption."""
LONG = 20
"""Characters of a word that always find a place in a line."""
HIGHEST = "Bold: the highest rate of one surrogate and attack in its column."
SMALLER, BOLDER = 0.85, 1.15
r"""Width of a text in \scriptsize, and in bold, beside that in \small."""
EMS = {
    0.3: ".,:;'|!il",
    0.4: "Ifrstj()[]- `\u00a0",
    0.5: "0123456789–/*?",
    0.56: "abcdeghknopquvxyz_",
    0.8: "ABCDEFGHJKLNOPQRSTUVXYZ",
    0.86: "mw%#&+=<>@",
}
"""Em → characters that are at most as wide in Computer Modern; others have 1.05 at most."""
_WIDTHS = {character: 10 * em for em, characters in EMS.items() for character in characters}
_PIECE = re.compile(rf" *[^ /:,+=@_|-]{{0,{LONG}}}[/:,+=@_|-]*")
"""What is not broken of a text, unless there is no room: up to a space, behind punctuation, or so long."""


class Line(NamedTuple):
    """A line of a cell."""

    text: str
    small: bool = False
    bold: bool = False

    @property
    def width(self) -> float:
        """How wide it is at most."""
        return text_width(self.text) * (SMALLER if self.small else 1) * (BOLDER if self.bold else 1)

    @property
    def tex(self) -> str:
        """How it is written."""
        text = escape(self.text)
        if self.bold and text:
            text = rf"\textbf{{{text}}}"
        return rf"{{\scriptsize {text}}}" if self.small and text else text


Lines = list[Line]


def to_latex(tables: Sequence[Table], name: str) -> str:
    r"""Return tables for LaTeX with the package booktabs.

    Args:
        tables: in order.
        name: what the labels are made of: tab:NAME, and for the second and later ones tab:NAME-2.
    """
    stem = re.sub(r"[^A-Za-z0-9.-]+", "-", name)
    labels = [f"tab:{stem}{f'-{at}' if at > 1 else ''}" for at in range(1, len(tables) + 1)]
    floats = "\n".join(_float(table, label) for table, label in zip(tables, labels, strict=True))
    return printable(f"% \\usepackage{{booktabs}}\n{floats}")


def _float(table: Table, label: str) -> str:
    """Return a table, in several floats of one number where it is too high for a page."""
    title = table.title + ("" if table.title.endswith((".", "?", "!")) else ".")
    bold = HIGHEST if any(Mark.BEST in marks for marks in table.marks.values()) else ""
    caption = " ".join(part for part in (title, *table.caption.split("\n"), bold) if part)
    room = TEXT_HEIGHT - CAPTION * (2 + ceil(1.1 * text_width(caption) / TEXT_WIDTH))
    pages: list[list[str]] = [[]]
    used = 0.0
    for height, block in _blocks(table, room):
        if pages[-1] and used + height > room:
            pages.append([])
            used = 0.0
        pages[-1].append(block)
        used += height
    first = f"\\caption{{{_breakable(caption)}}}\n\\label{{{label}}}\n"
    again = f"\\addtocounter{{table}}{{-1}}\n\\caption{{{_breakable(title)} Continued.}}\n"
    return "\n".join(
        "\\begin{table}\n\\centering\n\\small\n"
        f"\\setlength{{\\tabcolsep}}{{{GAP / 2:g}pt}}\n"
        f"{again if at else first}" + "\n\\medskip\n\n".join(blocks) + "\\end{table}\n"
        for at, blocks in enumerate(pages)
    )


def _blocks(table: Table, room: float) -> Iterator[tuple[float, str]]:
    """Yield blocks of columns and rows, each with its height, at most `room` unless a row is higher."""
    columns = _columns(table)
    for places in _cut([max(line.width for lines in column for line in lines) for column in columns]):
        layout = "".join("r" if table.is_numeric(place) else "l" for place in places)
        cells = list(zip(*(columns[place] for place in places), strict=True))
        head, rows = _padded(cells[0], above=True), [_padded(row) for row in cells[1:]]
        space = "\\addlinespace\n" if any(len(row) > 1 for row in rows) else ""
        heights = [LINE * len(row) + (SPACE if space else 0) for row in rows]
        while True:
            rest = room - LINE * (len(head) + 2)  # rules, and what is between blocks, are less than two lines
            count = max(1, sum(height <= rest for height in accumulate(heights)))
            yield (
                room - rest + sum(heights[:count]),
                f"\\begin{{tabular}}{{@{{}}{layout}@{{}}}}\n\\toprule\n{''.join(head)}\\midrule\n"
                f"{space.join(''.join(row) for row in rows[:count])}\\bottomrule\n\\end{{tabular}}\n",
            )
            rows, heights = rows[count:], heights[count:]
            if not rows:
                break


def _columns(table: Table) -> list[list[Lines]]:
    """Return the cells of each column, the heading first, all folded to what there is room for."""
    cells = [
        [_lines(table, at, column) for at in range(len(table.rows))] for column in range(len(table.columns))
    ]
    columns = []
    for heading, column in zip(table.columns, cells, strict=True):
        name = Line(typeset(heading))
        body = [line.width for lines in column for line in lines]
        words = [text_width(piece.strip(" ")) for piece in _PIECE.findall(name.text)]
        columns.append([_folded([name], max(*body, *words, HEADING)), *column])
    rest = sum(max(line.width for lines in column for line in lines) + GAP for column in columns[1:])
    first = max(FIRST, TEXT_WIDTH - rest)
    limits = [first, *[TEXT_WIDTH - first - GAP] * (len(columns) - 1)]
    return [
        [_folded(lines, limit) for lines in column] for column, limit in zip(columns, limits, strict=True)
    ]


def _lines(table: Table, row: int, column: int) -> Lines:
    first, *others = typeset(table.rows[row][column]).split("\n")
    return [Line(first, bold=table.has(Mark.BEST, row, column)), *(Line(text, small=True) for text in others)]


def _folded(lines: Lines, limit: float) -> Lines:
    """Fold lines at spaces and behind punctuation, or within words that are longer."""
    folded: Lines = []
    for line in lines:
        text = ""
        for piece in _pieces(line, limit):
            if text and line._replace(text=text + piece.rstrip(" ")).width > limit:
                folded.append(line._replace(text=text.rstrip(" ")))
                text = ""
            text = text + piece if text else piece.lstrip(" ")
        folded.append(line._replace(text=text))
    return folded


def _pieces(line: Line, limit: float) -> Iterator[str]:
    if line.width <= limit:
        yield line.text
        return
    for piece in _PIECE.findall(line.text):
        if line._replace(text=piece.strip(" ")).width <= limit:
            yield piece
        else:
            yield from piece


def _cut(widths: Sequence[float]) -> list[list[int]]:
    """Return blocks of columns that fit, the first column in each."""
    blocks: list[list[int]] = [[]]
    used = widths[0]
    for column in range(1, len(widths)):
        if blocks[-1] and used + GAP + widths[column] > TEXT_WIDTH:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(column)
        used += GAP + widths[column]
    return [[0, *block] for block in blocks]


def _padded(row: Sequence[Lines], *, above: bool = False) -> list[str]:
    """Return the lines of a row of cells, as LaTeX has them; headings stand on the rule.

    A line that begins with a bracket or star would be an option of the rule or the line end before it.
    """
    most = max(map(len, row))
    empty = [[Line("")] * (most - len(lines)) for lines in row]
    full = [[*no, *lines] if above else [*lines, *no] for no, lines in zip(empty, row, strict=True)]
    written = (" & ".join(line.tex for line in lines) for lines in zip(*full, strict=True))
    return [f"{'{}' if line[:1] in ('[', '*') else ''}{line} \\\\\n" for line in written]


def text_width(text: str) -> float:
    r"""Return how wide a text in \small is at most."""
    return sum(_WIDTHS.get(character, 10.5) for character in text)


# ---------------------------------------------------------------- text

_GREEK = {
    **dict(
        zip(
            "αβγδεζηθκλ",
            ["alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "kappa", "lambda"],
            strict=True,
        )
    ),
    **dict(
        zip(
            "μνξπρστφχψω",
            ["mu", "nu", "xi", "pi", "rho", "sigma", "tau", "varphi", "chi", "psi", "omega"],
            strict=True,
        )
    ),
    **dict(
        zip(
            "ΓΔΘΛΞΠΣΦΨΩ",
            ["Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"],
            strict=True,
        )
    ),
}
_SIGNS = {
    **{sign: rf"\{name}" for sign, name in _GREEK.items()},
    "▲": r"\uparrow",
    "▼": r"\downarrow",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "∞": r"\infty",
    "±": r"\pm",
    "×": r"\times",
    "·": r"\cdot",
    "≤": r"\leq",
    "≥": r"\geq",
    "≈": r"\approx",
    "≠": r"\neq",
    "√": r"\surd",
    "†": r"\dagger",
    "<": "<",
    ">": ">",
    "−": "-",
    "°": r"^\circ",
    "²": "^2",
    "₂": "_2",
    "‖": r"\|",
}
"""Character → what it is in a formula."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "|": r"\textbar{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: rf"\{character}" for character in "%_&#${}"},
    **{sign: f"${formula}$" for sign, formula in _SIGNS.items()},
    "–": "--",
    "—": "---",
    "…": "...",
    "\u00a0": "~",
    "\0": "{}",
}


def escape(text: str) -> str:
    """Return text as LaTeX prints it, two hyphens as such and not as a dash."""
    return "".join(_LATEX.get(character, character) for character in re.sub("-(?=-)", "-\0", text))


def _breakable(text: str) -> str:
    """Return text whose long words, as of an attack's options, may be broken behind punctuation."""
    words = (_PIECE.findall(word) if len(word) > LONG else [word] for word in typeset(text).split(" "))
    return " ".join(r"\allowbreak{}".join(escape(piece) for piece in pieces if piece) for pieces in words)
