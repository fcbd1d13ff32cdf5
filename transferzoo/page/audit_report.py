"""An audit → its part of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.audits import wording
from transferzoo.page.parts import Part
from transferzoo.results.records import short

if TYPE_CHECKING:
    from transferzoo.audits.record import AuditRecord


def audit_part(record: AuditRecord) -> Part:
    """Return the part of a page about an audit: its verdict, what it was about, tables, how to repeat it."""
    verdict, *others = wording.sentences(record)
    tables = [wording.attackers_table(record)]
    tables += [wording.references_table(record)] if record.controls.references else []
    facts = {
        "Model": (short(record.model.name),),
        "Weights": (f"{record.model.place}, SHA-256 {record.model.sha256[:12]}",),
        "Clean accuracy": (f"{100 * record.model.accuracy:.1f} %",),
        "Images": (f"{record.dataset}, {record.split}: {record.counted:,} of {len(record.images):,} count",),
        "Change": (f"at most {record.epsilon} ({record.norm})",),
        "Limit": ("none" if record.max_rate is None else f"{100 * record.max_rate:g} %",),
        "Cost": (f"{record.gradients:,} gradient evaluations", f"{record.queries:,} images asked"),
        "Written": (record.times.created,),
    }
    return Part(
        name="audit",
        title=f"Audit of {short(record.model.name)}",
        about=verdict,
        facts=facts,
        verdicts=(),
        figures=(),
        tables=tuple(tables),
        examples=(),
        commands=(record.command,),
        configuration={},
        reading=" ".join(others),
    )
