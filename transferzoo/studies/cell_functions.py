"""Functions of cells: train, attack, measure sharpness; `features` derives data sets."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.atomic import write_json
from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.distributed import Team
from transferzoo.base.errors import DataError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.train_config import TrainConfig
from transferzoo.evaluation.job import Job
from transferzoo.evaluation.run import run as run_job
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.models.classifier import load_checkpoint
from transferzoo.studies.digests import model_digest
from transferzoo.studies.entries import SharpnessEntry
from transferzoo.studies.grid import model_spec
from transferzoo.studies.worker import CELL_FUNCTIONS, training_images
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
    recipe = train_model(
        config,
        context.dataset,
        data,
        _test_images(context),
        folder / "model",
        start=inputs["start"] and context.grid.model_folders[inputs["start"]],
        validators={
            name: context.grid.model_folders[digest] for name, digest in inputs["validators"].items()
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
    """Craft images on a surrogate and evaluate them on targets; the result is the records."""
    dataset = context.dataset
    surrogate = model_spec(inputs["surrogate"], context.folder(inputs["surrogate"]), dataset.name)
    targets = tuple(model_spec(one, context.folder(one), dataset.name) for one in inputs["targets"])
    config = AttackConfig.of(
        dataset=dataset.name,
        split=inputs["split"],
        surrogates=(surrogate.full_name,),
        targets=tuple(target.full_name for target in targets),
        attacks=(AttackSpec(**inputs["attack"]),),
        images=inputs["count"],
        images_correct_for=inputs["images_correct_for"],
        batch_size=inputs["batch_size"],
    )
    trained_here = frozenset(
        model.full_name
        for model, one in zip((surrogate, *targets), (inputs["surrogate"], *inputs["targets"]), strict=True)
        if "cell" in one
    )
    job = Job(config, dataset, (surrogate,), targets, context.images(inputs["split"]), trusted=trained_here)
    run = RunFolder(folder / "run")
    shared = [
        (target.full_name, _predictions_file(context, model_digest(target.folder), inputs["images"]))
        for target in targets
    ]
    run.begin(job.content)
    for name, path in shared:
        if path.is_file() and run.clean(name) is None:
            run.save_clean(name, _read_predictions(path))
    records, _ = run_job(job, run, team=Team())
    for name, path in shared:
        if not path.is_file():
            write_json(path, run.clean(name))
    dropped = ("versions", "split", "dataset", "targeted", "seed")
    return {"records": [{k: v for k, v in asdict(r).items() if k not in dropped} for r in records]}


def _predictions_file(context: WorkerContext, model: str, images: Mapping[str, Any]) -> Path:
    """Return the file of a model's predictions on a split's clean images, which all cells share."""
    return context.store.root / "clean" / f"{fingerprint([model, images])[:16]}.json"


def _read_predictions(path: Path) -> list[int]:
    try:
        return [int(label) for label in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"cannot read {path}: {error}", hint="delete it and run the same command again"
        ) from None


@CELL_FUNCTIONS.register("sharpness")
def sharpness(inputs: Mapping[str, Any], folder: Path, context: WorkerContext) -> dict[str, Any]:
    """Measure the sharpness of a model on training images; the result is `Sharpness.numbers`."""
    from threadpoolctl import threadpool_limits

    from transferzoo.sharpness import measure

    options = SharpnessEntry.of_cell(inputs)
    images = training_images(inputs["images"], context)
    generator = torch.Generator().manual_seed(seed_of(0, "sharpness of a study"))
    images = images.select(torch.randperm(len(images), generator=generator)[: inputs["count"]].sort().values)
    model = load_checkpoint(context.folder(inputs["model"]), context.dataset)
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
