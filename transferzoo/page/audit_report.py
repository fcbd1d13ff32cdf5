"""An audit → its part of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.audits import formats, wording
from transferzoo.base.atomic import write_text
from transferzoo.page.html import render_page
from transferzoo.page.parts import Part
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transferzoo.audits.record import AuditRecord


def write_audit(record: AuditRecord, folder: Path) -> None:
    """Write the five files of an audit, `audit.json` last.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    write_text(folder / formats.PAGE, render_page([audit_part(record)]))
    formats.write(record, folder)


def audit_part(record: AuditRecord) -> Part:
    """Return the part of a page about an audit: its verdict, what it was about, tables, how to repeat it."""
    verdict, *others = wording.sentences(record)
    facts = {
        "Model": (short(record.model.name),),
        "Weights": (f"{record.model.place}, SHA-256 {record.model.sha256[:12]}",),
        "Clean accuracy": (f"{100 * record.model.accuracy:.1f} %",),
        "Images": (f"{record.dataset}, {record.split}: {record.counted:,} of {len(record.images):,} count",),
        "Change": (f"at most {record.epsilon} ({record.norm})",),
        "Limit": ("none" if record.max_rate is None else f"{100 * record.max_rate:g} %",),
        **({"Pack": (f"{pack.name}, SHA-256 {pack.sha256[:12]}",)} if (pack := record.pack) else {}),
        "Cost": tuple(_cost(record)),
        "Written": (record.times.created,),
    }
    return Part(
        name="audit",
        title=f"Audit of {short(record.model.name)}",
        about=verdict,
        facts=facts,
        verdicts=(),
        figures=(),
        tables=tuple(wording.tables(record)),
        examples=(),
        commands=(record.command,),
        configuration={},
        reading=" ".join(others),
    )


def _cost(record: AuditRecord) -> Iterator[str]:
    yield f"{record.gradients:,} gradient evaluations"
    yield f"{record.queries:,} images asked"
    if record.answers:
        yield f"{record.answers:,} of them to train replicas"
