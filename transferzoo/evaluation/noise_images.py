"""Random noise beside the attacks of a run: drawn once, saved like their images, shown to all targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.attacks.noise import noise_name, noisy
from transferzoo.base.processes import counting, share
from transferzoo.evaluation.crafting import clean_unit
from transferzoo.evaluation.image_files import is_whole, read_unit, write_unit
from transferzoo.models.load import says_labels_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from transferzoo.attacks.engine import Attack
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

    OnProgress = Callable[[str, int, int], None]
    Item = tuple[str, int]


def budgets(job: Job) -> dict[str, Attack]:
    """Return the names of the noise beside a run's attacks, each with the first attack of its budget."""
    found: dict[str, Attack] = {}
    for attack in job.attacks:
        found.setdefault(noise_name(attack.budget), attack)
    return found


def draw_noise(
    job: Job, selected: SelectedImages, folder: RunFolder, on_progress: OnProgress, jobs: int
) -> None:
    """Draw the work units of noise that are not there, or damaged; the processes share them."""
    known = budgets(job)
    every = [(name, unit) for name in known for unit in range(len(selected.units))]
    missing = [item for item in every if not _is_there(job, selected, folder, item)]

    def work(items: Sequence[Item], advance: Callable[[int], None]) -> None:
        for name, unit in items:
            clean, ids = clean_unit(job, selected, unit)
            budget = known[name].budget
            images = noisy(clean, ids.tolist(), budget, job.config.seed)
            write_unit(folder.noise_path(name, unit), {budget.steps: images}, budget.steps, ids)
            advance(1)

    share(work, missing, jobs, counting(lambda done: on_progress("drawing noise", done, len(missing))))


def _is_there(job: Job, selected: SelectedImages, folder: RunFolder, item: Item) -> bool:
    name, unit = item
    return is_whole(folder.noise_path(name, unit), (), *clean_unit(job, selected, unit), budgets(job)[name])


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
            "as an attack. --noise shows it."
        )
    return frozenset(found)
