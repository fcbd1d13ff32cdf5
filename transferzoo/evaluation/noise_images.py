"""Random noise beside the attacks of a run: drawn once, saved like their images, shown to all targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.attacks.noise import noise_name, noisy
from transferzoo.base.claims import unfinished
from transferzoo.evaluation.crafting import clean_unit
from transferzoo.evaluation.image_files import is_whole, read_unit, write_unit
from transferzoo.models.load import says_labels_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from torch import Tensor

    from transferzoo.attacks.engine import Attack
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

    Item = tuple[str, int]


def budgets(job: Job) -> dict[str, Attack]:
    """Return the names of the noise beside a run's attacks, each with the first attack of its budget."""
    found: dict[str, Attack] = {}
    for attack in job.attacks:
        found.setdefault(noise_name(attack.budget), attack)
    return found


def draw_noise(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    start: float = 0.0,
    on_drawn: Callable[[], None] = lambda: None,
) -> None:
    """Draw the work units of noise that are not there, or damaged; all processes share them.

    Args:
        job: whose attacks there is noise beside.
        selected: the images.
        folder: where the noise lies.
        start: where this process begins, see `claims.unfinished`.
        on_drawn: called after each unit.
    """
    known = budgets(job)
    every = [(name, unit) for name in known for unit in range(len(selected.units))]
    missing = [item for item in every if not _is_there(job, selected, folder, item)]

    def path(item: Item) -> Path:
        return folder.noise_path(*item)

    for name, unit in unfinished(
        missing, lambda item: folder.claim(path(item)), lambda item: path(item).exists(), start
    ):
        clean, ids = clean_unit(job, selected, unit)
        budget = known[name].budget
        images = noisy(clean, ids.tolist(), budget, job.config.seed)
        write_unit(folder.noise_path(name, unit), {budget.steps: images}, budget.steps, ids)
        on_drawn()


def _is_there(job: Job, selected: SelectedImages, folder: RunFolder, item: Item) -> bool:
    (name, unit), attack = item, budgets(job)[item[0]]
    clean, ids = clean_unit(job, selected, unit)
    return folder.is_whole(folder.noise_path(name, unit), lambda path: is_whole(path, (), clean, ids, attack))


def noise_units(job: Job, selected: SelectedImages, folder: RunFolder, name: str) -> Iterator[Tensor]:
    """Yield the noisy images of each work unit.

    Raises:
        DataError: a file is missing or damaged.
    """
    attack = budgets(job)[name]
    for unit in range(len(selected.units)):
        clean, ids = clean_unit(job, selected, unit)
        yield read_unit(folder.noise_path(name, unit), attack.budget.steps, clean, ids, attack)


def of_labels_only(
    targets: Iterable[ModelSpec], dataset: DatasetSpec, notify: Callable[[str], None]
) -> frozenset[str]:
    """Return the full names of the targets that say labels alone, which are shown no noise unless asked.

    Args:
        targets: on this machine.
        dataset: what they classify.
        notify: called with a sentence where there are any.

    Raises:
        ModelError: a target cannot be loaded.
    """
    found = {model.full_name: model.name for model in targets if says_labels_only(model, dataset)}
    if found:
        names, each = ", ".join(found.values()), "say" if len(found) > 1 else "says"
        notify(
            f"Note: {names} {each} labels only: no random noise is shown, which would take as many queries "
            "as an attack. --noise (noise=True in Python) shows it."
        )
    return frozenset(found)
