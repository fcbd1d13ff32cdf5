"""Results of a study written by hand, and a page read as a browser reads it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from helpers.records import record
from transferzoo.page.example_images import CellExamples, Picture, RowExamples, cell_anchor
from transferzoo.page.parts import Part
from transferzoo.page.run_report import cell_links
from transferzoo.results.comparisons import Findings, rows_of
from transferzoo.results.ranking import ranking_tables
from transferzoo.results.tables import tables
from transferzoo.studies.result_file import Outcomes, Results, Value
from transferzoo.studies.schema import Study

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

SEEDS, EPOCHS, IMAGES = (0, 1), 4, 20
TARGETS = {"sgd": 2, "wide-resnet": 0, "vision-transformer": -4}
"""Target → how many images more than the second one it is fooled by."""
STRONG = {"sgd": 8, "sam": 10, "l-sam": 14}
"""Surrogate → images that fool the second target after the last epoch, from the first seed."""
SHARP = {"sgd": 500.0, "sam": 100.0, "l-sam": 20.0}
ACCURATE = {"sgd": 0.92, "sam": 0.9, "l-sam": 0.86}
RATES = (0.1, 0.1, 0.01, 0.01)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""
VOID = {"br", "img", "link", "meta"}
CLAIMS: list[dict[str, Any]] = [
    {"say": "A large radius helps", "higher": {"surrogate": "l-sam"}, "lower": {"surrogate": "sgd"}},
    {"say": "By 90 points even", "higher": {"surrogate": "l-sam"}, "lower": {"surrogate": "sgd"}, "by": 0.9},
    {"say": "SGD is as good as itself", "higher": {"surrogate": "sgd"}, "lower": {"surrogate": "sgd"}},
    {
        "say": "SGD is sharper",
        "higher": {"surrogate": "sgd", "measure": "sharpness.top"},
        "lower": {"surrogate": "l-sam", "measure": "sharpness.top"},
    },
    {
        "say": "Nobody knows",
        "higher": {"surrogate": "sgd", "measure": "robust"},
        "lower": {"surrogate": "sam", "measure": "robust"},
    },
]
STUDY: dict[str, Any] = {
    "name": "by-hand",
    "about": "Does it transfer?",
    "dataset": "fashion-mnist",
    "seeds": SEEDS,
    "train": {"architecture": "small_resnet18:width=8", "epochs": EPOCHS},
    "surrogates": {
        "sgd": {"epoch": "all"},
        "sam": {"minimizer": "sam", "epoch": "all"},
        "l-sam": {"minimizer": "sam:rho=0.2", "epoch": "all"},
    },
    "targets": list(TARGETS),
    "attacks": [{"spec": "bim", "steps": 10}],
    "claims": CLAIMS,
}


def results(**changes: Any) -> Results:
    """Return results that have the numbers of every figure; `changes` are of the study.

    With every epoch one more image fools a target; from the second seed one more than from the first.
    """
    study = Study(**{**STUDY, **changes})
    return Results(study, tuple(_outcomes(study)), tuple(_values()), {"transferzoo": "1", "torch": "2"})


def few_results() -> Results:
    """Return results of the last epochs, without sharpness and all claims but one."""
    found = results(claims=CLAIMS[:1])
    outcomes = tuple(one for one in found.outcomes if one.epoch == EPOCHS)
    values = tuple(one for one in found.values if one.epoch == EPOCHS and "." not in one.measure)
    return replace(found, outcomes=outcomes, values=values)


COSTS = {"mi": {10: 4, 50: 9, 200: 12}, "mi+di": {10: 6, 48: 13}, "bim": {50: 7}}
"""Techniques → gradients → images that fool the target of `compared_results`."""


def compared_results() -> Results:
    """Return results of a study that compares attacks at several costs, from two surrogates."""
    attacks = [(spec, cost) for spec, line in COSTS.items() for cost in line]
    named = [{"spec": spec, "name": f"{spec}, {cost} gradients", "step": "eps/10"} for spec, cost in attacks]
    surrogates = {"first": {"model": "resnet50-sgd"}, "second": {"model": "resnet50-lsam"}}
    study = Study.model_validate(
        {
            "name": "by-cost",
            "about": "Which is best?",
            "dataset": "fashion-mnist",
            "surrogates": surrogates,
            "attacks": named,
        }
    )
    outcomes, values = [], []
    for at, name in enumerate(surrogates):
        for spec, cost in attacks:
            cell, label = f"{name} {spec} {cost}", f"{spec}, {cost} gradients"
            for target, fooled in (("vgg", COSTS[spec][cost] + at), (name, IMAGES)):
                shown = ("1" * fooled).ljust(IMAGES, "0")
                outcomes.append(Outcomes(name, 0, "last", label, target, target == name, shown, cell))
            measured = {"gradients": float(cost), "moved": 0.5 + at / 8, "noise": 0.05}
            values += [Value(name, 0, "last", measure, value, cell) for measure, value in measured.items()]
    return Results(study, tuple(outcomes), tuple(values), {"transferzoo": "1"})


def runs_part(*, name: str = "a") -> Part:
    """Return the part of runs by hand: two surrogates, two attacks, two targets; with their examples.

    Args:
        name: of a surrogate.
    """
    found = Findings(
        [
            record(surrogate, target, outcomes[:more].ljust(4, "0") * 10, attack=f"{attack}@linf,eps=8/255")
            for surrogate, more in ((name, 3), ("b", 4))
            for attack in ("bim", "mi:decay=1,normalise=mean")
            for target, outcomes in (("c", "1101"), ("d", "1000"))
        ]
    )
    shown = tables(found)
    pixel = base64.b64decode(PIXEL)
    examples = tuple(
        RowExamples(
            anchor=f"row-{at + 1}",
            title=f"{surrogate}, {attack}",
            caption="By hand.",
            columns=("Shirt\nimage 3", "Bag\nimage 4"),
            pictures={v: (Picture(pixel, f"Shirt, {v}"),) * 2 for v in ("clean", "adversarial")},
            cells=tuple(
                CellExamples(cell_anchor(at, place), target, f"{at}{place} %", ("Coat\nfooled", "not fooled"))
                for place, target in enumerate("cd")
            ),
            commands=(f"transferzoo attack -s {surrogate} -a {attack.partition('@')[0]}",),
        )
        for at, (surrogate, attack) in enumerate(rows_of(found.records))
    )
    return Part(
        name="runs",
        title="Attack runs",
        about="By hand.",
        facts={"Seed": ("0",)},
        verdicts=(),
        figures=(),
        tables=tuple(shown),
        examples=examples,
        commands=("transferzoo attack",),
        configuration={},
        reading="As it stands.",
        rankings=tuple(ranking_tables(found)),
        links=cell_links(found, shown[0]),
    )


def _outcomes(study: Study) -> Iterator[Outcomes]:
    for entry in study.attacks:
        for name, strength in STRONG.items():
            for seed in SEEDS:
                for epoch in range(1, EPOCHS + 1):
                    fooled = strength + seed - (EPOCHS - epoch)
                    for target, more in TARGETS.items():
                        marks = "1" * (fooled + more) + "0" * (IMAGES - fooled - more)
                        yield Outcomes(name, seed, epoch, entry.spec, target, False, marks)


def _values() -> Iterator[Value]:
    for name in STRONG:
        for seed in SEEDS:
            for epoch, rate in enumerate(RATES, 1):
                at = (name, seed, epoch)
                yield Value(*at, "accuracy", ACCURATE[name] + 0.01 * seed - 0.01 * (EPOCHS - epoch))
                yield Value(*at, "sharpness.top", SHARP[name] * (1 + 0.1 * seed) * (EPOCHS + 1 - epoch))
                yield Value(*at, "sharpness.adaptive_trace", SHARP[name] * (2 - seed))
                yield Value(*at, "sharpness.trace_error", 1.0)
                yield Value(*at, "learning_rate", rate)


@dataclass
class Element:
    """An element of a page."""

    name: str
    attributes: Mapping[str, str]
    children: list[Element | str] = field(default_factory=list)

    def every(self, *names: str) -> Iterator[Element]:
        """Yield the elements of some names below this one, in the order of the page."""
        for child in self.children:
            if isinstance(child, Element):
                if child.name in names or not names:
                    yield child
                yield from child.every(*names)

    def one(self, name: str) -> Element:
        """Return the only element of a name."""
        (found,) = self.every(name)
        return found

    @property
    def text(self) -> str:
        """The text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Page(HTMLParser):
    """A page read into a tree; an end tag that closes nothing, or too much, is an error."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a page."""
        page = cls()
        page.feed(text)
        page.close()
        assert page._open == [page.root], f"<{page._open[-1].name}> stays open"
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"</{tag}> ends <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)
