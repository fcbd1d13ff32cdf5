"""Success over what an attack costs: lines of attacks that a study made with several numbers of gradients."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from transferzoo.page.charts import Axis, CurvePanel, Curves, Figure
from transferzoo.page.study_charts import mean_interval
from transferzoo.studies.attack_tables import attack_measures
from transferzoo.studies.entries import GRADIENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.page.charts import MeanInterval
    from transferzoo.studies.result_file import Results


def cost_curves(results: Results) -> Figure | None:
    """Return success over gradient evaluations an image, a panel a surrogate; None without any line.

    A line is of the attacks of one spec, whatever their steps are; it needs two at least.
    """
    panels = []
    for surrogate in dict.fromkeys(one.surrogate for one in results.outcomes):
        lines = {spec: line for spec, line in _lines(results, surrogate).items() if len(line) > 1}
        if lines:
            panels.append(CurvePanel(Axis(f"Success rate, {surrogate}", percent=True), lines))
    if not panels:
        return None
    return Figure(
        "cost",
        "Success by cost",
        f"Mean over targets, {results.study.drawn}; bands: 95 % intervals over {results.study.drawn}. The "
        "axis of gradients is logarithmic. A line joins attacks of the same techniques.",
        Curves(Axis("Gradient evaluations an image", log=True), tuple(panels)),
    )


def _lines(results: Results, surrogate: str) -> Mapping[str, Mapping[float, MeanInterval]]:
    lines: dict[str, dict[float, MeanInterval]] = defaultdict(dict)
    for entry in results.study.attacks:
        cost = attack_measures(results, surrogate, entry.label).get(GRADIENTS)
        level = mean_interval(results, surrogate, entry.label)
        if cost is not None and level is not None:
            lines[entry.spec][cost] = level
    return lines
