"""What `transferzoo sharpness` finds of models, of a line and of a slice, in the forms it is shown in."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from transferzoo.cli.output import log, progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from transferzoo.attacks.engine import Attack
    from transferzoo.base.table import Table
    from transferzoo.sharpness.job import Ground
    from transferzoo.zoo.schema import ModelSpec


@dataclass(frozen=True)
class Shown:
    """What was found.

    Attributes:
        content: for JSON.
        lines: for CSV.
        tables: for people.
        folder: where it is kept.
    """

    content: Mapping[str, Any]
    lines: Sequence[Mapping[str, object]]
    tables: Sequence[Table]
    folder: Path


def of_models(ground: Ground, models: Sequence[ModelSpec], options: Mapping[str, Any], runs: Path) -> Shown:
    """Measure the sharpness of models; arguments as `job.measured` has them."""
    from transferzoo.sharpness.job import folder_of, measured
    from transferzoo.sharpness.measurement import check_numbers
    from transferzoo.sharpness.tables import sharpness_lines, sharpness_tables

    check_numbers(**options)
    folder = folder_of(runs, ground, options)
    with _progress() as advance:
        found = measured(ground, models, options, folder, advance)
    content = {
        **ground.content,
        "models": [{"model": name, **asdict(one)} for name, one in found.items()],
    }
    return Shown(content, sharpness_lines(found), sharpness_tables(found, _where(ground)), folder.path)


def of_line(
    ground: Ground,
    ends: tuple[ModelSpec, ModelSpec],
    points: int,
    targets: Sequence[ModelSpec],
    attack: Attack,
    runs: Path,
    picture: Path | None,
) -> Shown:
    """Measure the points between two models, and draw them; arguments as `job.along_line` has them."""
    from transferzoo.models.load import identity
    from transferzoo.sharpness.job import along_line, folder_of
    from transferzoo.sharpness.pictures import draw_line
    from transferzoo.sharpness.tables import line_lines, line_table

    tried = {model.full_name: identity(model)[0] for model in targets}
    options = {"attack": attack.canonical, "targets": tried} if tried else {}
    folder = folder_of(runs, ground, options)
    with _progress() as advance:
        found = along_line(ground, ends, points, targets, attack, folder, advance)
    names = (ends[0].full_name, ends[1].full_name)
    if picture is not None:
        draw_line(found, (ends[0].name, ends[1].name), picture)
        log(f"Drawn: {picture}")
    content = {**ground.content, **options, "ends": names, "points": [asdict(point) for point in found]}
    table = line_table(found, names, _where(ground), attack.canonical)
    return Shown(content, line_lines(found), [table], folder.path)


def of_slice(
    ground: Ground, model: ModelSpec, points: int, radius: float, runs: Path, picture: Path | None
) -> Shown:
    """Measure the loss on a plane through a model, and draw it; arguments as `job.around` has them."""
    from transferzoo.sharpness.job import around, folder_of
    from transferzoo.sharpness.paths import grid
    from transferzoo.sharpness.pictures import draw_slice
    from transferzoo.sharpness.tables import slice_lines, slice_table

    positions = grid(points, radius)
    folder = folder_of(runs, ground, {"positions": positions})
    with _progress() as advance:
        found = around(ground, model, positions, folder, advance)
    if picture is not None:
        draw_slice(found, model.name, picture)
        log(f"Drawn: {picture}")
    content = {**ground.content, "model": model.full_name, **asdict(found)}
    table = slice_table(found, model.full_name, _where(ground))
    return Shown(content, slice_lines(found), [table], folder.path)


def _where(ground: Ground) -> str:
    return f"{len(ground.images)} images of {ground.dataset.name}, split {ground.split}; seed {ground.seed}"


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    with progress_bar() as bar:
        task = bar.add_task("starting", total=1, note="")

        def advance(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield advance
