"""A study of the made-up stripes, small enough to run in seconds, and results made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.stripes import ZOO, draw, write_idx
from transferzoo.studies.result_file import Outcomes, Results, Value
from transferzoo.studies.schema import Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STUDY = """
about: Does SAM help?
dataset: stripes
split: test
seeds: [0, 1]
train: {architecture: "small_vgg:width=4", epochs: 2, batch_size: 16, augment: none}
surrogates:
  sgd: {epoch: all}
  sam: {minimizer: "sam:rho=0.1"}
others:
  judge: {seeds: [9]}
targets: [judge]
robust: {spec: pgd, epsilon: 8/255, steps: 2}
sharpness: {images: 32, probes: 2, draws: 2, only: [sam]}
claims:
  - {say: SAM is better, higher: {surrogate: sam}, lower: {surrogate: sgd}}
"""
TRAININGS, ATTACKS, SHARPNESSES = 5, 12, 2
"""Cells of the study: attacks of two epochs and two seeds of SGD, and of two seeds of SAM; twice."""


def write_study(folder: Path, study: str = STUDY) -> list[str]:
    """Write data, zoo and study into a folder; return the command that runs the study there."""
    write_idx(folder / "data", "train", draw(96, 0))
    write_idx(folder / "data", "t10k", draw(64, 1))
    (folder / "zoo.yaml").write_text(ZOO)
    (folder / "study.yaml").write_text(study)
    options = {"--data": "data", "--zoo": "zoo.yaml", "--store": "store", "--results": "found.jsonl.gz"}
    places = [text for key, name in options.items() for text in (key, str(folder / name))]
    return ["study", str(folder / "study.yaml"), *places]


def results(
    rates: Mapping[str, Sequence[str]],
    claims: Sequence[Mapping[str, object]] = (),
    values: Sequence[Value] = (),
    epochs: Sequence[int | str] = ("last",),
) -> Results:
    """Return results of a study with made-up outcomes.

    Args:
        rates: surrogate → outcomes of every seed on one target "t"; several targets are divided by a space.
        claims: of the study.
        values: measured ones.
        epochs: that the outcomes are given for, all the same.
    """
    study = Study.model_validate(
        {
            "name": "made-up",
            "about": "A question?",
            "dataset": "stripes",
            "claims": list(claims),
            "surrogates": {name: {"epoch": "all"} if epochs != ("last",) else {} for name in rates},
        }
    )
    outcomes = [
        Outcomes(name, seed, epoch, "bim", f"t{number}", False, text)
        for name, seeds in rates.items()
        for seed, every in enumerate(seeds)
        for epoch in epochs
        for number, text in enumerate(every.split())
    ]
    return Results(study, tuple(outcomes), tuple(values), {"transferzoo": "1"})
