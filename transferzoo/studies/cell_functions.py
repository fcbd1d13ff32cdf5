"""Functions of cells: train, attack, measure sharpness; `features` derives data sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.distributed import Team
from transferzoo.base.errors import DataError
from transferzoo.base.train_config import TrainConfig
from transferzoo.evaluation.job import Job
from transferzoo.evaluation.run import run as run_job
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.models.load import load_classifier
from transferzoo.studies.entries import MOVED, SharpnessEntry
from transferzoo.studies.worker import CELL_FUNCTIONS, training_images
from transferzoo.training.labels import labelled_by
from transferzoo.training.loop import seed_of
from transferzoo.training.trainer import train as train_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transferzoo.datasets import Batch
    from transferzoo.studies.worker import WorkerContext


@CELL_FUNCTIONS.register("train")
def train(inputs: Mapping[str, Any], folder: Path, context: WorkerContext) -> dict[str, Any]:
    """Train a model into `model`; the result is its curve and measurements."""
    config = TrainConfig(**inputs["config"])
    data = training_images(inputs["images"], context)
    if "labels" in inputs:
        data, _ = labelled_by(context.model(inputs["labels"]), data, context.dataset, Team())
    recipe = train_model(
        config,
        context.dataset,
        data,
        _test_images(context),
        folder / "model",
        start=inputs["start"] and context.grid.models[inputs["start"]].folder,
        validators={
            name: context.grid.models[digest].folder for name, digest in inputs["validators"].items()
        },
    )
    fields = ("curve", "accuracy", "validation", "weights_sha256", "selected_epoch")
    return {key: recipe[key] for key in fields if recipe.get(key) is not None}


def _test_images(context: WorkerContext) -> Batch | None:
    """Return the images that the accuracy is measured on, None if there are none."""
    try:
        return context.images("test") if "test" in context.dataset.splits else None
    except DataError:
        return None


@CELL_FUNCTIONS.register("attack")
def attack(inputs: Mapping[str, Any], folder: Path, context: WorkerContext) -> dict[str, Any]:
    """Craft images on a surrogate and evaluate them on targets.

    The result is the records, those of random noise, and in the L∞ ball mean |δ| / ε.
    """
    dataset = context.dataset
    surrogate = context.model(inputs["surrogate"])
    targets = tuple(context.model(one) for one in inputs["targets"])
    spec = AttackSpec(**inputs["attack"])
    config = AttackConfig.of(
        dataset=dataset.name,
        split=inputs["split"],
        surrogates=(surrogate.full_name,),
        targets=tuple(target.full_name for target in targets),
        attacks=(spec,),
        images=inputs["count"],
        images_correct_for=inputs["images_correct_for"],
        from_end=inputs.get("from_end", False),
        batch_size=inputs["batch_size"],
    )
    trained_here = frozenset(
        model.full_name
        for model, one in zip((surrogate, *targets), (inputs["surrogate"], *inputs["targets"]), strict=True)
        if "cell" in one
    )
    images, cache = context.images(inputs["split"]), context.store.root / "clean"
    job = Job(config, dataset, (surrogate,), targets, images, trusted=trained_here, cache=cache)
    found = run_job(job, RunFolder(folder / "run"), team=Team())
    dropped = ("versions", "split", "dataset", "targeted", "seed")
    result: dict[str, Any] = {
        kind: [{k: v for k, v in asdict(r).items() if k not in dropped} for r in records]
        for kind, records in (("records", found.records), ("noise", found.noise))
    }
    (visible,) = found.visibility
    if spec.norm == "linf" and visible.mean is not None:
        result[MOVED] = visible.mean / 255 / float(spec.exact.epsilon)
    return result


@CELL_FUNCTIONS.register("sharpness")
def sharpness(inputs: Mapping[str, Any], folder: Path, context: WorkerContext) -> dict[str, Any]:
    """Measure the sharpness of a model on training images; the result is `Sharpness.numbers`."""
    from threadpoolctl import threadpool_limits

    from transferzoo.sharpness import measure

    options = SharpnessEntry.of_cell(inputs)
    images = training_images(inputs["images"], context)
    generator = torch.Generator().manual_seed(seed_of(0, "sharpness of a study"))
    images = images.select(torch.randperm(len(images), generator=generator)[: inputs["count"]].sort().values)
    model = load_classifier(context.model(inputs["model"]), context.dataset)
    with threadpool_limits(1, user_api="blas"):  # of SciPy, which `measure` has loaded; only then it counts
        found = measure(
            model,
            images.images,
            images.labels,
            rho=options.rho,
            probes=options.probes,
            draws=options.draws,
        )
    return found.numbers()
