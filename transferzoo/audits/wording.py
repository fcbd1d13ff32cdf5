"""What an audit says, in sentences: no more than was shown. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.audits.record import Verdict
from transferzoo.audits.verdicts import fewest_to_worsen
from transferzoo.base.durations import duration
from transferzoo.base.table import Table
from transferzoo.results.comparisons import brief, percent
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transferzoo.audits.cost import Cost
    from transferzoo.audits.record import Attacker, AuditRecord, Share

TECHNIQUE = "AML.T0043.002"
REPLICATION = "AML.T0005.001"
WEAK = 0.8
"""Below this share of the audited model's accuracy, or of its answers, a surrogate is called weak."""


def cost(model: str, spent: Cost) -> str:
    """Return what an audit of a model takes."""
    told = f", those for {spent.answers:,} answers before" if spent.answers else ""
    return (
        f"Cost: {_count(spent.attackers, 'attacker')}, {spent.images:,} images, {spent.gradients:,} gradient "
        f"evaluations, {spent.queries:,} images that {model} classifies{told}; "
        f"about {duration(spent.seconds)}."
    )


def finished(model: str, folders: Sequence[Path]) -> str:
    """Return that all of an audit of a model is measured, and where that is read from."""
    return f"This audit of {model} is finished; it is read from {' and '.join(map(str, folders))}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def question(record: AuditRecord) -> str:
    """Return what was asked."""
    model = short(record.model.name)
    told = f"was told {model}'s classes of {record.answers:,} other images"
    who = told if record.answers else f"never saw {model}"
    return (
        f"May an attacker who {who} fool it with images that are made on other models and changed by at most "
        f"{record.epsilon} ({record.norm})?"
    )


def sample(record: AuditRecord) -> str:
    """Return of how many images and attackers."""
    most = max(one.gradients for one in record.attackers)
    return (
        f"{len(record.images):,} images of {record.dataset} were drawn; the {record.counted:,} that the "
        "model gets right without an attack count; its clean accuracy is "
        f"{percent(record.model.accuracy)} %. {_count(len(record.attackers), 'attacker')}, each with "
        f"at most {_count(most, 'gradient evaluation')} an image." + _made_before(record)
    )


def _made_before(record: AuditRecord) -> str:
    if record.pack is None:
        return ""
    return f" Their images are those of the pack {record.pack.name}, SHA-256 {record.pack.sha256[:12]}."


def verdict(record: AuditRecord) -> str:
    """Return the verdict in a sentence or two, the word of it first."""
    parts = [_by_limit(record), _by_baseline(record)]
    return f"{record.verdict.upper()}. " + " ".join(part for part in parts if part)


def _by_limit(record: AuditRecord) -> str:
    if record.limit_verdict is None or record.max_rate is None:
        return ""
    limit, best = f"{100 * record.max_rate:g} %", record.held_out
    upper = percent(max(one.upper for one in record.attackers))
    tested = (
        "the best single attacker, chosen on one half of the images and measured on the other, fools "
        f"{percent(best.rate)} % over both (at least {percent(best.low)} % by the half that shows more)"
    )
    if record.limit_verdict is Verdict.PASS:
        return (
            f"Evidence that none of these attackers fools more than {limit} of such images: upper bounds of "
            f"their rates, corrected for their number, reach {upper} %."
        )
    if record.limit_verdict is Verdict.FAIL:
        return f"Evidence that one of these attackers fools more than {limit} of such images: {tested}."
    settle = record.images_to_settle
    enough = (
        f"At these rates about {settle:,} correctly classified images would settle it."
        if settle
        else "The rates lie so near the limit that no number of images up to a million would settle it."
    )
    return (
        f"The limit of {limit} lies within what these images leave open: {tested}, and upper bounds reach "
        f"{upper} %. {enough}"
    )


def _by_baseline(record: AuditRecord) -> str:
    if record.comparison is None:
        return ""
    worst = max(record.comparison.changes, key=lambda one: (-one.adjusted, one.difference))
    attacker = record.attackers[worst.attacker]
    found = (
        f"{attacker_name(attacker)} fools {abs(100 * worst.difference):.1f} points "
        f"{'fewer' if worst.difference < 0 else 'more'} on {worst.n:,} images "
        "that both get right (McNemar, one-sided, corrected for "
        f"{_count(len(record.attackers), 'attacker')}: p = {worst.adjusted:.3g})"
    )
    if record.comparison.verdict is Verdict.FAIL:
        return f"Significantly worse than {short(record.comparison.model)}: {found}."
    if record.comparison.verdict is Verdict.CANNOT_TELL:
        most = max(change.n for change in record.comparison.changes)
        return (
            f"Whether it is worse than {short(record.comparison.model)} cannot be told: {most:,} images that "
            f"both get right are in both audits, and {fewest_to_worsen(len(record.attackers))} are the "
            "fewest; audit both with the same data and --seed, or more --images."
        )
    return (
        f"Not significantly worse than {short(record.comparison.model)}, which does not show that it is as "
        f"good: nearest to a worsening, {found}."
    )


def weak(record: AuditRecord) -> str:
    """Return what a pass is worth whose surrogates all know the classes badly; empty for others."""
    if record.verdict is not Verdict.PASS:
        return ""
    known = [one.agreement for one in record.attackers if one.agreement is not None]
    accuracy = max(one.surrogate_accuracy for one in record.attackers)
    if known and max(known) < WEAK:
        how = f"answers as the model does on {percent(max(known))} % of images that it was not trained on"
        better = "replicas of more answers (--queries), or other surrogates"
    elif not known and accuracy < WEAK * record.model.accuracy:
        how = f"gets {percent(accuracy)} % of the images right, the model {percent(record.model.accuracy)} %"
        better = "surrogates that know the classes better"
    else:
        return ""
    return f"Caution: these attackers are weak. Their best surrogate {how}; {better} may fool it more often."


def controls(record: AuditRecord) -> str:
    """Return what the rates are to be held against."""
    noise = "It was shown no random noise: it says labels alone, and --noise takes more queries."
    if record.controls.noise is not None:
        noise = f"Random noise of the same size fools {share_text(record.controls.noise)}."
    if record.controls.rank is None:
        return f"{noise} There are no reference models of these classes to rank it among."
    count = len(record.controls.references)
    return (
        f"{noise} The best attacker fools it more often than {record.controls.rank - 1} of {count} reference "
        f"models of the zoo: rank {record.controls.rank} of {count + 1}, 1 being fooled the least."
    )


def many(record: AuditRecord) -> str:
    """Return what several attackers do together, which is not judged; empty for one."""
    if len(record.attackers) == 1:
        return ""
    return (
        f"Any of the {len(record.attackers)} attackers fools {share_text(record.any_of)}; that is not judged."
    )


def left_out(record: AuditRecord) -> str:
    """Return which attackers do not count; empty if all do."""
    names = sorted({one.partition(" with ")[0] for one in record.left_out})
    if not names:
        return ""
    return f"Left out, as they have the weights of the audited model: {', '.join(map(short, names))}."


def not_shown(record: AuditRecord) -> str:
    """Return what the audit does not speak of."""
    queries = f"queries the model otherwise than for {record.answers:,} classes" if record.answers else ""
    return (
        f"Not shown: what an attacker reaches who {queries or 'queries the model'}, knows its weights or its "
        "training images, or changes images by more or in another way; what better surrogates or attacks "
        "reach; what happens on other images than such as these. This is evidence from experiments, no "
        "certificate."
    )


def evidence(record: AuditRecord) -> str:
    """Return what the audit may be filed under."""
    trained = f", its surrogates made as {REPLICATION} describes (Train Proxy via Replication)"
    return (
        f"It is evidence for an assessment of MITRE ATLAS {TECHNIQUE} (Craft Adversarial Data: Black-Box "
        f"Transfer){trained if record.answers else ''}, under the attackers named here."
    )


def sentences(record: AuditRecord) -> list[str]:
    """Return all that an audit says, the verdict first."""
    every = (
        verdict(record),
        weak(record),
        *(f"Caution: {one}" for one in record.cautions),
        question(record),
        sample(record),
        controls(record),
        many(record),
        left_out(record),
        not_shown(record),
        evidence(record),
    )
    return [one for one in every if one]


def share_text(share: Share) -> str:
    """Return a share and its bounds in percent."""
    return f"{percent(share.rate)} % ({percent(share.low)} to {percent(share.high)})"


def attacker_name(attacker: Attacker) -> str:
    """Return an attacker in a few words."""
    return f"{short(attacker.surrogate)} with {brief(attacker.attack)}"


def attackers_table(record: AuditRecord) -> Table:
    """Return the attackers, a row each, and the noise."""
    rows = [
        (
            short(one.surrogate).replace(" & ", " &\n"),
            brief(one.attack),
            one.kind,
            percent(one.surrogate_accuracy),
            str(one.gradients),
            percent(one.share.rate),
            f"{percent(one.share.low)}–{percent(one.share.high)}",
            percent(one.upper),
            *(() if record.limit_verdict is None else (one.standing,)),
        )
        for one in record.attackers
    ]
    if noise := record.controls.noise:
        bounds = f"{percent(noise.low)}–{percent(noise.high)}"
        last = () if record.limit_verdict is None else ("",)
        rows.append(("random noise", "", "control", "", "0", percent(noise.rate), bounds, "", *last))
    columns = ("surrogate", "attack", "kind", "accuracy", "gradients", "fooled", "bounds", "Holm")
    return Table(
        f"Images of {short(record.model.name)} that each attacker fools (%)",
        columns + (() if record.limit_verdict is None else ("limit",)),
        tuple(rows),
        f"Of {record.counted:,} images. Bounds: exact, each wrong in at most 2.5 % of cases. Holm: the "
        "lowest limit that the attacker is shown to be within, corrected for their number; a pass takes "
        "all. accuracy: of the surrogates, without an attack.",
    )


def tables(record: AuditRecord) -> list[Table]:
    """Return the attackers, and the reference models where there are any."""
    return [attackers_table(record), *([references_table(record)] if record.controls.references else [])]


def references_table(record: AuditRecord) -> Table:
    """Return the reference models and the audited one, the least fooled first."""
    rows = [(one.rate, 1, short(one.name)) for one in record.controls.references]
    rows.append((record.held_out.rate, 0, f"{short(record.model.name)} (audited)"))
    return Table(
        "Images that the best attacker fools, held out (%)",
        ("model", "fooled"),
        tuple((name, percent(rate)) for rate, _, name in sorted(rows)),
        "Of the images that each model gets right; the attackers are the same. The difference of neighbours "
        "may be chance.",
    )
