"""LaTeX tables: what is in them, and that they fit the text block of an article where TeX sets them."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest

from helpers.pages import results
from helpers.records import record
from transferzoo.base.table import Mark, Marked, Table
from transferzoo.page.descriptions import numbers_table
from transferzoo.page.study_report import study_part
from transferzoo.results.comparisons import Findings
from transferzoo.results.latex import HIGHEST, escape, text_width, to_latex
from transferzoo.results.tables import tables
from transferzoo.studies.claims import judge
from transferzoo.studies.tables import tables as study_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.studies.result_file import Results

TEX = shutil.which("pdflatex")
needs_tex = pytest.mark.skipif(TEX is None, reason="there is no pdflatex on this machine")
SIGNS = "%_&#${}^~\\|<>–—…−±×·°²₂∞≤≥≈≠√†‖→←▲▼αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"
LONG = "dem:copies=5,smallest=1.14,largest=1.66+mi:decay=1,normalise=mean@linf,eps=8/255,step=eps/10,steps=50"
NAMES = [f"hf-hub:timm/vit_base_patch16_224.augreg_in21k-{at}" for at in range(3)]


def grid(surrogates: list[str], targets: list[str], **changes: object) -> Findings:
    """Return findings with a rate for each pair: the more ones the later the surrogate."""
    marks = ["1" * (5 + at) + "0" * (15 - at) for at in range(len(surrogates))]
    records = [
        record(name, target, outcomes, **changes)
        for name, outcomes in zip(surrogates, marks, strict=True)
        for target in targets
    ]
    return Findings(records, [replace(r, steps=step) for r in records for step in (1, 5, 7)])


def two_attacks() -> Findings:
    found = grid(["a", "b"], ["c", "d", "a"])
    return replace(found, records=[*found.records, *grid(["a", "b"], ["c", "d"], attack=LONG).records])


@cache
def study() -> Results:
    return results()


CASES: dict[str, Callable[[], list[Table]]] = {
    "one surrogate": lambda: tables(Findings([record("a", "a", "1111"), record("a", "b", "1100")])),
    "a matrix": lambda: tables(grid(["a", "b"], ["c", "d"])),
    "twelve targets": lambda: tables(grid(["sgd", "sam"], [f"wide-resnet{at}" for at in range(12)])),
    "long names": lambda: tables(grid(NAMES, [f"{name}|jpeg:quality=75" for name in NAMES])),
    "two attacks": lambda: tables(two_attacks()),
    "forty surrogates": lambda: tables(grid([*(f"resnet-{at}" for at in range(37)), *NAMES], ["c", "d"])),
    "a study": lambda: study_tables(study(), judge(study())),
    "figures": lambda: [numbers_table(figure) for figure in study_part(study()).figures],
    "200 rows": lambda: [
        Table("t", ("name", "value"), tuple((f"n{at}", f"{at}\n[0–9]") for at in range(200)))
    ],
    "60 columns": lambda: [Table("t", tuple(f"c{at}" for at in range(60)), (("1.25",) * 60,))],
    "brackets first": lambda: [
        Table("t", ("[a]", "b"), (("[9–2]", "1"), ("*x", "[2]\n[3]"), ("c\n*d", "4")))
    ],
    "no rows": lambda: [Table("t", ("name", "value"), ())],
    "words without an end": lambda: [
        Table("t", ("x" * 90, "y" * 90), (("W" * 90, "m" * 90),), "z: " + "w=" * 90)
    ],
    "all signs": lambda: [
        Table(" ".join(SIGNS), (SIGNS,), ((SIGNS,), (" ".join(SIGNS),)), f"{SIGNS} {string.printable[:95]}")
    ],
}


@cache
def tables_of(case: str) -> list[Table]:
    return CASES[case]()


def tabulars(text: str) -> list[list[list[str]]]:
    """Return the cells of the rows of each tabular, the headings among them."""
    found = re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    every = []
    for layout, body in found:
        rows = [
            re.split(r"(?<!\\) ?& ?", line.removesuffix(r" \\"))
            for line in body.splitlines()
            if "\\\\" in line
        ]
        assert {len(row) for row in rows} == {len(layout)}
        assert [body.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 1, 1]
        every.append(rows)
    return every


def test_a_table_for_a_paper() -> None:
    odd = Marked.where("a_b & $c$ # ~^{}\\", {Mark.BEST: True})
    table = Table.of_cells(
        "50 % of a_b", ("na_me", "x|y"), [(odd, "1\n[0–2]"), ("<0.1", "-2▲")], "ε ∞\n--json"
    )
    assert to_latex([table], "my table") == (
        r"""% \usepackage{booktabs}
\begin{table}
\centering
\small
\setlength{\tabcolsep}{4pt}
\caption{50~\% of a\_b. $\varepsilon$ $\infty$ -{}-json HIGHEST}
\label{tab:my-table}
\begin{tabular}{@{}lr@{}}
\toprule
na\_me & x\textbar{}y \\
\midrule
\textbf{a\_b \& \$c\$ \# \textasciitilde{}\textasciicircum{}\{\}\textbackslash{}} & 1 \\
 & {\scriptsize [0--2]} \\
\addlinespace
$<$0.1 & $-$2$\uparrow$ \\
\bottomrule
\end{tabular}
\end{table}
""".replace("HIGHEST", HIGHEST)
    )


@pytest.mark.parametrize("case", CASES)
def test_all_is_there(case: str) -> None:
    shown = tables_of(case)
    text = to_latex(shown, "t")
    labels = [f"tab:t{f'-{at}' if at > 1 else ''}" for at in range(1, len(shown) + 1)]
    assert re.findall(r"\\label\{(.*?)\}", text) == labels
    numbered = text.count(r"\begin{table}") - text.count(r"\addtocounter{table}{-1}")
    assert numbered == len(shown)
    assert text.count(r"\usepackage") == 1
    printed = "".join(cell for rows in tabulars(text) for row in rows for cell in row)
    plain = re.sub(r"\\(scriptsize|textbf)|[{}\s~]", "", printed)
    for table in shown:
        for cell in (*table.columns, *(cell for row in table.rows for cell in row)):
            for word in cell.split():
                number = re.fullmatch(r"[\d.,–▲▼*]+", word)
                assert number is None or re.sub(r"[{}]", "", escape(word)) in plain


def test_intervals_are_smaller_and_the_highest_bold() -> None:
    rows = tabulars(to_latex(tables_of("a matrix"), "t"))[0]
    rate, interval = tables_of("a matrix")[0].rows[1][2].split("\n")
    assert [row[2] for row in rows[3:5]] == [
        rf"\textbf{{{escape(rate)}}}",
        rf"{{\scriptsize {escape(interval)}}}",
    ]


def test_no_line_is_an_option_of_the_one_before() -> None:
    text = to_latex(tables_of("brackets first"), "t")
    for line in ("{}[a] & b", "{}[9--2] & 1", r"{}*x & [2]", r"{\scriptsize *d} & "):
        assert f"\n{line} \\\\\n" in text


def test_wide_tables_are_cut_into_blocks() -> None:
    blocks = tabulars(to_latex(tables_of("twelve targets")[:1], "t"))
    assert len(blocks) > 1
    (names,) = {tuple(row[0] for row in rows) for rows in blocks}
    assert names[:6] == ("", "surrogate", "sgd", "", "sam", "")
    headings = [a + b for rows in blocks for a, b in zip(rows[0][1:], rows[1][1:], strict=True)]
    assert headings == ["mean", *(f"wide-resnet{at}" for at in range(12))]


def compiled(folder: Path, content: str) -> str:
    """Return the log of an article at 11 points."""
    (folder / "t.tex").write_text(
        "\\documentclass[11pt]{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{content}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    command = [str(TEX), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = (folder / "t.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    return log


@needs_tex
@pytest.mark.parametrize("case", CASES)
def test_tables_fit_the_text_block(case: str, tmp_path: Path) -> None:
    log = compiled(tmp_path, to_latex(tables_of(case), "t"))
    for trouble in ("Overfull", "too large", "multiply defined", "Missing character", "LaTeX Error"):
        assert trouble not in log


@needs_tex
def test_texts_are_no_wider_than_estimated(tmp_path: Path) -> None:
    """TeX's own widths are the reference, of each character by itself."""
    sizes = {
        r"\small": (1, string.printable[:95] + SIGNS),
        r"\scriptsize": (0.85, string.printable[:95] + SIGNS),
    }
    sizes[r"\small\bfseries"] = (1.15, "0123456789")
    lines = [
        f"\\settowidth{{\\dimen0}}{{{size} {escape(character)}}}\\typeout{{WIDTH \\the\\dimen0}}"
        for size, (_, characters) in sizes.items()
        for character in characters
    ]
    found = re.findall(r"WIDTH ([\d.]+)pt", compiled(tmp_path, "x\n" + "\n".join(lines)))
    estimated = [text_width(c) * factor for factor, characters in sizes.values() for c in characters]
    assert len(found) == len(estimated) > 300
    names = [(size, c) for size, (_, characters) in sizes.items() for c in characters]
    wrong = [
        (name, width, most)
        for name, width, most in zip(names, map(float, found), estimated, strict=True)
        if width > most + 0.05
    ]
    assert not wrong


def test_headings_are_folded_between_words_and_before_a_column_is_cut_off() -> None:
    heading = ("surrogate", "mean difference (points)", "95 % interval", "p", "targets better", "worse")
    row = (
        "resnet50-sgd\nrotated:n=5,angle=8+mi@step=eps/4",
        "+8.0",
        "[-0.8, +16.8]",
        "0.073",
        "0 of 2",
        "1 of 2",
    )
    text = to_latex([Table("t", heading, (row,))], "t")
    assert text.count("tabular}{") == 1
    cells = re.findall(r"[A-Za-z]+", text.partition("toprule")[2].partition("midrule")[0])
    assert {"mean", "difference", "points", "interval", "targets", "better", "worse"} <= {*cells}
