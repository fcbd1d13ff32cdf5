"""The files of an audit: audit.json, junit.xml, summary.md and repeat.sh. The page is made by `page`."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from transferzoo.audits import wording
from transferzoo.audits.record import Verdict, read_audit
from transferzoo.base.atomic import write_bytes, write_text, writing
from transferzoo.base.errors import DataError, UsageError
from transferzoo.base.printable import printable
from transferzoo.base.version import __version__
from transferzoo.results.comparisons import percent
from transferzoo.results.writers import to_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transferzoo.audits.record import Attacker, AuditRecord

AUDIT, PAGE, JUNIT, SUMMARY, REPEAT = "audit.json", "report.html", "junit.xml", "summary.md", "repeat.sh"
AUDITS = Path("audits")
"""Where the folders of audits lie that a user names none for."""
COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
"""What a suite counts, and the element of a case that it counts."""


def check_place(folder: Path, baseline: Path | None) -> None:
    """Check that the files of an audit do not overwrite the baseline that it is compared with.

    Raises:
        UsageError: they would.
    """
    if _holds(folder, baseline):
        raise UsageError(
            "the baseline lies where this audit is written", expected="another --folder", got=str(folder)
        )


def _holds(folder: Path, baseline: Path | None) -> bool:
    return baseline is not None and baseline.resolve().parent == folder.resolve()


def other_images(folder: Path, dataset: str) -> str | None:
    """Return the data set of the audit in a folder, if there is one and it is not of this data set."""
    try:
        found = read_audit(folder / AUDIT).dataset
    except DataError:
        return None
    return found if found != dataset else None


def begin(folder: Path) -> None:
    """Make the folder, and remove the files of an earlier audit, so that none is taken for this one's.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove(folder)


@contextmanager
def none_left(folder: Path | None, baseline: Path | None) -> Iterator[Callable[[Path], None]]:
    """Remove the files of an earlier audit where this one cannot be measured, whatever fails inside.

    What is wrong about the request leaves them as they are, and so does a baseline among them.

    Args:
        folder: that the user names; None for none.
        baseline: `audit.json` that it is compared with.

    Yields:
        What takes the folder, once it is known.
    """
    places = [] if folder is None else [folder]
    try:
        yield places.append
    except UsageError:
        raise
    except Exception:
        for place in places:
            if not _holds(place, baseline) and (place / AUDIT).is_file():  # else they may be the user's
                _remove(place)
        raise


def _remove(folder: Path) -> None:
    for name in (AUDIT, PAGE, JUNIT, SUMMARY, REPEAT):
        (folder / name).unlink(missing_ok=True)


def write(record: AuditRecord, folder: Path) -> None:
    """Write all files but the page; `audit.json` last.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    write_bytes(folder / JUNIT, junit(record))
    write_text(folder / SUMMARY, summary(record))
    write_text(folder / REPEAT, repeat(record))
    record.write(folder / AUDIT)


def junit(record: AuditRecord) -> bytes:
    """Return JUnit's XML: a case an attacker, one for a comparison, and one for the verdict.

    An attacker that is neither shown to be within the limit nor above it is skipped; a verdict that cannot be
    told is an error, so that no reader takes it for a pass.
    """
    cases = [_case(record, one) for one in record.attackers] if record.limit_verdict else []
    if record.comparison:
        cases.append(_judged("comparison with the baseline", record.comparison.verdict, record))
    cases.append(_judged("verdict", record.verdict, record))
    tags = [child.tag for case in cases for child in case]
    attributes = {
        "name": printable(f"transferzoo audit {record.model.name}"),
        "tests": str(len(cases)),
        **{name: str(tags.count(tag)) for name, tag in COUNTED.items()},
        "time": f"{60 * record.times.minutes:.0f}",
        "timestamp": record.times.created.partition("+")[0],
    }
    suite = ElementTree.Element("testsuite", attributes)
    suite.extend(cases)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))


def _case(record: AuditRecord, attacker: Attacker) -> ElementTree.Element:
    name = f"{wording.attacker_name(attacker)} ({attacker.kind})"
    case = ElementTree.Element("testcase", classname="attackers", name=printable(name), time="0")
    within = f"shown to be within {percent(attacker.upper)} % by Holm"
    said = f"fools {wording.share_text(attacker.share)}; {within}"
    if attacker.standing == "above":
        ElementTree.SubElement(case, "failure", message=f"{said}: above {100 * (record.max_rate or 0):g} %")
    elif attacker.standing == "cannot tell":
        ElementTree.SubElement(case, "skipped", message=f"{said}: not shown to be within the limit")
    return case


def _judged(name: str, verdict: Verdict, record: AuditRecord) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname="audit", name=name, time="0")
    tag = {Verdict.FAIL: "failure", Verdict.CANNOT_TELL: "error"}.get(verdict)
    if tag:
        ElementTree.SubElement(case, tag, message=printable(wording.verdict(record)))
    return case


def summary(record: AuditRecord) -> str:
    """Return the audit in Markdown, for a comment or a file of evidence."""
    said = "\n\n".join(printable(one) for one in wording.sentences(record))
    return f"# Audit of {printable(record.model.name)}\n\n{said}\n\n{to_markdown(wording.tables(record))}"


def repeat(record: AuditRecord) -> str:
    """Return a shell script that does the same again."""
    needs = " ".join(
        f"{record.model.place}, weights {record.model.sha256[:12]}".split()
    )  # a comment: one line
    lines = [
        "#!/bin/sh",
        f"# Needs transferzoo {__version__}, started where the audit was, with the same images and",
        f"# {printable(needs)}. Its exit code is the audit's: 0 pass, 3 fail, 4 cannot tell.",
        f"exec {record.command}",
    ]
    return "\n".join(lines) + "\n"
