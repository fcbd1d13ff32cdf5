"""What a training tells of itself while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from transferzoo.base.durations import duration
from transferzoo.cli.output import log

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress as Bar

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.training.progress import Progress
    from transferzoo.zoo.schema import DatasetSpec

TIMED, WORTH_TELLING = 3.0, 10.0
"""Seconds of training before its length is told, and how many have to be left then."""


def plan_sentence(config: TrainConfig, recipe: str | None, dataset: DatasetSpec, root: Path | None) -> str:
    """Return what is trained, and where its images come from.

    Args:
        config: the training.
        recipe: its name in the zoo; None where there is none.
        dataset: what is classified.
        root: the user's own images.
    """
    from transferzoo.datasets.sources import place_of_images

    by = f" by the recipe {recipe}" if recipe else ""
    place = root or place_of_images(dataset, "train")
    return (
        f"Training {config.architecture} with {config.minimizer}{by}, on the images of {config.dataset} "
        f"from {place}."
    )


@dataclass
class TrainingLog:
    """Shows the progress of a training, and tells once how long it takes.

    Attributes:
        bar: where the progress is shown; epochs are lines where it is not.
        plan: what is trained, in a sentence.
        radii: how many trainings there are, one after the other; 0 for one without a choice.
    """

    bar: Bar
    plan: str
    radii: int
    _begun: tuple[float, int] | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._task = self.bar.add_task("training", total=None, note="")

    def advance(self, at: Progress) -> None:
        """Show how far a training is; called after every step."""
        if self._begun is None:
            self._begun = time.monotonic(), at.step
            log(self.plan)
            if at.step > 1:
                log(f"Going on after step {at.step - 1:,} of {at.steps:,}.")
        note = f"loss {at.loss:.3f}  accuracy {at.accuracy:.1%}  {at.images_per_second:,.0f} images/s"
        title = f"epoch {at.epoch}/{at.epochs}"
        self.bar.update(self._task, completed=at.step, total=at.steps, description=title, note=note)
        if self.bar.disable and at.step * at.epochs % at.steps == 0:
            log(f"{title}  {note}")
        if not self._told:
            self._tell_time(at, *self._begun)

    def _tell_time(self, at: Progress, begun: float, first: int) -> None:
        passed, done = time.monotonic() - begun, at.step - first
        if passed < TIMED or done < 1:
            return
        self._told = True
        left = passed / done * (at.steps - at.step)
        if left >= WORTH_TELLING:
            each = f" for each of {self.radii} radii" if self.radii else ""
            log(f"About {duration(left)} to go{each} on this machine.")
