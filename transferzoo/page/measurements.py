"""What a study measured, by surrogate, epoch and measure, and the axes to plot it on."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from transferzoo.page.charts import Axis, MeanInterval
from transferzoo.studies.entries import ACCURACY, ROBUST, SHARES, SUCCESS
from transferzoo.studies.result_file import SHARPNESS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from transferzoo.studies.result_file import Results

    Epoch = int | str
    Key = tuple[str, Epoch, str, str]
    """Surrogate, epoch, measure, and the attack where the measure is success."""

SHARPNESS_LABELS = {
    "top": "Largest eigenvalue of the Hessian",
    "trace": "Trace of the Hessian",
    "step_rise": "Rise of the loss after SAM's step",
    "worst_rise": "Worst rise of the loss nearby",
    "average_rise": "Average rise of the loss nearby",
}
"""Measures of sharpness that success is drawn against, plain and adaptive."""
LABELS = {
    SUCCESS: "Success rate",
    ACCURACY: "Clean accuracy",
    ROBUST: "Accuracy under attack",
    **{f"{SHARPNESS}.{name}": label for name, label in SHARPNESS_LABELS.items()},
    **{f"{SHARPNESS}.adaptive_{name}": f"{label}, adaptive" for name, label in SHARPNESS_LABELS.items()},
}


def measurements(results: Results) -> dict[Key, dict[int, float]]:
    """Return surrogate, epoch and measure → seed → value; success is the mean over black-box targets."""
    rates: dict[Key, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in results.outcomes:
        if not one.white_box:
            rates[one.surrogate, one.epoch, SUCCESS, one.attack][one.seed].append(one.rate)
    found = {key: {seed: fmean(each) for seed, each in by_seed.items()} for key, by_seed in rates.items()}
    for value in results.values:
        found.setdefault((value.surrogate, value.epoch, value.measure, ""), {})[value.seed] = value.value
    return found


def attack_specs(results: Results) -> list[str]:
    """Return the attacks that were made, as the study writes them."""
    return list(dict.fromkeys(one.attack for one in results.outcomes))


def mean_over_seeds(by_seed: Mapping[int, float]) -> MeanInterval:
    """Return the mean over seeds, give or take a standard deviation."""
    mean = fmean(by_seed.values())
    deviation = stdev(by_seed.values()) if len(by_seed) > 1 else 0.0
    return MeanInterval(mean, mean - deviation, mean + deviation)


def measure_axis(measure: str, values: Collection[float], attack: str = "") -> Axis:
    """Return the axis of a measure; of sharpness a logarithmic one where it spans a factor of ten.

    Args:
        measure: its name.
        values: all that is drawn.
        attack: part of the label.
    """
    label = LABELS.get(measure, measure) + (f", {attack}" if attack else "")
    wide = measure.startswith(SHARPNESS) and min(values) > 0 and max(values) >= 10 * min(values)
    return Axis(label, percent=measure in SHARES, log=wide)
