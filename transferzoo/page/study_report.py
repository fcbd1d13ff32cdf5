"""Results of a study → its part of a page."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import yaml

from transferzoo.page.cost_curves import cost_curves
from transferzoo.page.parts import Part, format_range, names_or_count, slug, unique_texts
from transferzoo.page.study_charts import claim_differences, mean_rates, sharpness_scatter, success_matrices
from transferzoo.page.study_curves import epoch_curves, rho_curves
from transferzoo.studies.claims import judge
from transferzoo.studies.schema import built_in, read_study
from transferzoo.studies.tables import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.page.charts import Figure
    from transferzoo.studies.claims import Verdict
    from transferzoo.studies.entries import AttackEntry
    from transferzoo.studies.result_file import Results
    from transferzoo.studies.schema import Study

READING = (
    "Images that are changed a little to mislead a surrogate are shown to the targets, models that had no "
    "part in making them. The success rate is the share of the images that a target then gets wrong"
    "{counted}. A mean is taken over targets, white-box ones (*) aside{seeds}. A claim is "
    "supported where the 95 % interval of its difference lies above zero, not supported where it lies below; "
    "where it has zero in it there is no difference of a size if it ends within that size either way, else "
    "the records cannot tell. Both sides of a claim are of the images that count for both."
)
COUNTED = {
    "all": "; all targets classified all of them correctly before",
    "target": "; those that it got wrong before do not count",
    "none": "",
}


def study_part(results: Results) -> Part:
    """Return the part of a page about a study."""
    study, verdicts = results.study, judge(results)
    content = study.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return Part(
        name=slug(study.name),
        title=f"Study {study.name}",
        about=study.about,
        facts=_facts(results),
        verdicts=verdicts,
        figures=study_figures(results, verdicts),
        tables=tuple(tables(results, verdicts)),
        examples=(),
        commands=(_command(study),),
        configuration={f"{study.name}.yaml": text},
        reading=READING.format(
            counted=COUNTED[study.images_correct_for],
            seeds=", and over training seeds" if study.trains else "",
        ),
    )


def _command(study: Study) -> str:
    """Return the command that repeats a study: by its name if it is the package's own, else by its file."""
    known = built_in()
    own = study.name in known and study == read_study(known[study.name])
    return f"transferzoo study {shlex.quote(study.name if own else f'{study.name}.yaml')} --data PATH"


def study_figures(results: Results, verdicts: Sequence[Verdict]) -> tuple[Figure, ...]:
    """Return the figures that the results have the numbers for."""
    found = [
        claim_differences(verdicts),
        *success_matrices(results),
        cost_curves(results),
        mean_rates(results),
        *epoch_curves(results),
        rho_curves(results),
        *sharpness_scatter(results),
    ]
    return tuple(figure for figure in found if figure is not None)


def _facts(results: Results) -> dict[str, tuple[str, ...]]:
    study, outcomes = results.study, results.outcomes
    facts = {
        "Data set": (study.dataset,),
        "Attacked images": format_range(one.n for one in outcomes),
        "Training seeds": unique_texts(
            sorted({one.seed for one in outcomes} | {one.seed for one in results.values})
        ),
        "Surrogates": tuple(study.surrogates),
        "Targets": unique_texts(one.target for one in outcomes),
        "Attacks": names_or_count(
            unique_texts(_describe_attack(entry) for entry in study.attacks), "attacks"
        ),
        "Made with": unique_texts(f"{name} {version}" for name, version in results.versions.items()),
    }
    return {name: values for name, values in facts.items() if values}


def _describe_attack(entry: AttackEntry) -> str:
    budget = ", ".join(f"{key} {value}" for key, value in entry.said.items())
    spec = f"{entry.name}: {entry.spec}" if entry.name else entry.spec
    return f"{spec} ({budget})" if budget else spec
