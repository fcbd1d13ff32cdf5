"""`transferzoo search`: the strongest attack at a given cost, chosen on validation targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transferzoo.base.table import Table
from transferzoo.cli.candidates import Trials, check_yaml, technique_names
from transferzoo.cli.output import log, show_json, show_line
from transferzoo.cli.parameters import command
from transferzoo.cli.search_request import SearchRequest
from transferzoo.cli.tables import print_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.searches.moves import Candidate
    from transferzoo.searches.search import Round


@command(SearchRequest)
def search(request: SearchRequest) -> None:
    """Search the strongest attack at a cost, on validation targets, and print it as a preset."""
    from transferzoo.searches.measured import curve_of
    from transferzoo.searches.presets import check_place, preset_lines, save_preset
    from transferzoo.searches.search import search as run_search

    names = technique_names(request.technique, request.zoo)
    check_yaml(request.save, "the preset")
    check_place(request.save, request.name, request.max_gradients)
    trials = Trials.of(request, request.images, request.surrogate)
    rounds = _Rounds(trials)
    try:
        size = trials.zoo.dataset(trials.asked["dataset"]).size
        best, rate = run_search(names, request.max_gradients, trials.measure, rounds.on_round, size)
        curve = trials.measure(curve_of(best))
    finally:
        trials.executor.close()
    lines = preset_lines(request.name, best, curve, rounds.how)
    if request.json:
        show_json(_as_json(request.name, best, rate, curve, rounds))
    else:
        print_tables(*_tables(rounds, curve))
        for line in ("attacks:", *lines):
            show_line(line)  # whole, as a zoo file needs it
    log(
        f"{best.name} fools {' and '.join(trials.asked['validators'])} with {100 * rate:.1f} % of the images "
        "that it was chosen on; expect less of others."
    )
    if request.save is not None:
        done = "Written" if save_preset(request.save, request.name, lines) else "Written before"
        log(
            f"{done}: {request.save}. Next: `transferzoo attack --zoo {request.save} -a {request.name}`, on "
            "the targets."
        )


@dataclass
class _Rounds:
    """The rounds of a search.

    Attributes:
        trials: they measure candidates.
        done: the rounds so far.
    """

    trials: Trials
    done: list[Round] = field(default_factory=list)

    @property
    def how(self) -> str:
        """What the preset was chosen by, in a sentence."""
        return self.trials.how(candidate for one in self.done for candidate in one.rates)

    def on_round(self, one: Round) -> None:
        """Keep a round and tell of it."""
        self.done.append(one)
        log(
            f"Round {len(self.done)}, {one.move}: {len(one.rates)} attacks tried; "
            f"{'best' if one.improved else 'no gain; still'} {one.best.name}, {100 * one.rate:.1f} %."
        )


def _tables(rounds: _Rounds, curve: Mapping[Candidate, float]) -> tuple[Table, Table]:
    """Return the rounds, and what the attack reaches at less cost."""
    steps = Table(
        "Search",
        ("round", "move", "tried", "best attack so far", "success"),
        tuple(
            (str(number), one.move, str(len(one.rates)), one.best.name, f"{100 * one.rate:.1f}")
            for number, one in enumerate(rounds.done, 1)
        ),
        rounds.how + " Mean success in %.",
    )
    points = Table(
        "Success by cost",
        ("gradients", "steps", "success"),
        tuple((str(one.gradients), str(one.steps), f"{100 * rate:.1f}") for one, rate in curve.items()),
        "The attack that was found, with fewer steps, on the same images; in %.",
    )
    return steps, points


def _as_json(
    name: str, best: Candidate, rate: float, curve: Mapping[Candidate, float], rounds: _Rounds
) -> dict[str, Any]:
    entry = best.entry
    return {
        "name": name,
        "attack": {"spec": "+".join(best.techniques), "step": entry.step, "steps": entry.steps},
        "gradients": best.gradients,
        "success": rate,
        "curve": [{"gradients": one.gradients, "success": value} for one, value in curve.items()],
        **{key: rounds.trials.asked[key] for key in ("dataset", "surrogates", "validators")},
        "images": rounds.trials.images,
        "rounds": [
            {
                "move": one.move,
                "best": one.best.name,
                "success": one.rate,
                "tried": {candidate.name: value for candidate, value in one.rates.items()},
            }
            for one in rounds.done
        ],
        "failed": rounds.trials.failed,
    }
