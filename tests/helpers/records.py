"""Records written by hand."""

from __future__ import annotations

from transferzoo.results.records import Record
from transferzoo.results.statistics import wilson


def record(surrogate: str, target: str, outcomes: str, /, **changes: object) -> Record:
    """Return a record by its outcomes; `changes` replace its other fields."""
    n, successes = len(outcomes.replace("-", "")), outcomes.count("1")
    low, high = wilson(successes, n)
    values: dict[str, object] = {
        "surrogate": f"toys/{surrogate}",
        "target": f"toys/{target}",
        "attack": "bim@linf,eps=8/255",
        "steps": 10,
        "targeted": "",
        "dataset": "toys",
        "split": "test",
        "seed": 0,
        "selection": "s",
        "n": n,
        "successes": successes,
        "rate": successes / n,
        "low": low,
        "high": high,
        "white_box": surrogate == target,
        "surrogate_accuracy": 0.95,
        "target_accuracy": 0.9,
        "gradients": 10,
        "precision": "fp32",
        "surrogate_sha256": surrogate,
        "target_sha256": target,
        "outcomes": outcomes,
        "versions": {"torch": "2"},
    }
    return Record(**(values | changes))  # type: ignore[arg-type]
