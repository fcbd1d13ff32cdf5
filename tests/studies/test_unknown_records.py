"""Records of a file that are of no cell of a study: why is told where another grid has them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from helpers.studies import STUDY, write_study
from transferzoo.base.environment import ARITHMETIC, Environment
from transferzoo.studies.cells import Grid
from transferzoo.studies.grid import build_grid
from transferzoo.studies.result_file import Outcomes, Results
from transferzoo.studies.schema import Study, read_study
from transferzoo.studies.unknown_records import ANY, why_unknown
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _records(grid: Grid) -> Results:
    """Return a file with an outcome of every attack."""
    keys = [key for key, cell in grid.cells.items() if cell.kind == "attack"]
    outcomes = tuple(Outcomes("sgd", 0, "last", "bim", "judge", False, "01", key) for key in keys)
    return Results(grid.study, outcomes, (), {})


def _why(recorded: Grid, study: Study, build: Callable[..., Grid]) -> str:
    grid, file = build(study), _records(recorded)
    assert not grid.cells.keys() & {line.cell for line in file.lines}
    return why_unknown(file, grid, build)


def test_why(tmp_path: Path) -> None:
    write_study(tmp_path, STUDY.replace("epochs: 2", "epochs: 3"))
    other = read_study(tmp_path / "study.yaml")
    write_study(tmp_path)
    study, data = read_study(tmp_path / "study.yaml"), tmp_path / "data"
    build = partial(build_grid, zoo=load_zoo(tmp_path / "zoo.yaml"), root=data)
    here = build(study)

    assert _why(build(other), study, build).startswith("of another configuration of the study; choose")
    around = partial(build, root=tmp_path)
    assert _why(here, study, around) == f"of the same images, named otherwise; give --data {data}"
    there = build(study, machine=Environment(ARITHMETIC, "cuda", "highest+tf32"))
    assert _why(there, study, build).startswith("of another kind of device, cuda (highest+tf32); ")
    (data / "more").touch()
    assert _why(here, study, build) == ANY


def test_a_study_that_names_what_is_gone_is_no_error(tmp_path: Path) -> None:
    write_study(tmp_path)
    build = partial(build_grid, zoo=load_zoo(tmp_path / "zoo.yaml"), root=tmp_path / "data")
    here = build(read_study(tmp_path / "study.yaml"))
    file = _records(here)
    gone = replace(file, study=file.study.model_copy(update={"dataset": "gone"}))
    assert why_unknown(gone, Grid(here.study, {}, (), {}), build) == ANY
