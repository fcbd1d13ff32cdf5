"""What cells do: train, attack, measure sharpness; to derive a data set is in `features`."""

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
from transferzoo.studies.grid import named
from transferzoo.studies.origins import model_digest
from transferzoo.studies.worker import WORK, training_images
from transferzoo.training.loop import seed_of
from transferzoo.training.trainer import train as train_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transferzoo.datasets import Batch
    from transferzoo.studies.worker import Bench


@WORK.register("train")
def train(what: Mapping[str, Any], folder: Path, bench: Bench) -> dict[str, Any]:
    """Train a model into `model`; the result is its curve and what was measured."""
    config = TrainConfig(**what["config"])
    data = training_images(what["images"], bench)
    recipe = train_model(
        config,
        bench.dataset,
        data,
        _test_images(bench),
        folder / "model",
        start=what["start"] and bench.grid.places[what["start"]],
        validators={name: bench.grid.places[digest] for name, digest in what["validators"].items()},
    )
    kept = ("curve", "accuracy", "validation", "weights_sha256", "selected_epoch")
    return {key: recipe[key] for key in kept if recipe.get(key) is not None}


def _test_images(bench: Bench) -> Batch | None:
    """Return the images that the accuracy is measured on, None where there are none."""
    try:
        return bench.images("test") if "test" in bench.dataset.splits else None
    except DataError:
        return None


@WORK.register("attack")
def attack(what: Mapping[str, Any], folder: Path, bench: Bench) -> dict[str, Any]:
    """Craft on a model and try the images on targets; the result is the records."""
    dataset = bench.dataset
    surrogate = named(what["surrogate"], bench.folder(what["surrogate"]), dataset.name)
    targets = tuple(named(one, bench.folder(one), dataset.name) for one in what["targets"])
    config = AttackConfig.of(
        dataset=dataset.name,
        split=what["split"],
        surrogates=(surrogate.full_name,),
        targets=tuple(target.full_name for target in targets),
        attacks=(AttackSpec(**what["attack"]),),
        images=what["count"],
        images_correct_for=what["images_correct_for"],
        batch_size=what["batch_size"],
    )
    made = frozenset(
        model.full_name
        for model, one in zip((surrogate, *targets), (what["surrogate"], *what["targets"]), strict=True)
        if "cell" in one
    )
    job = Job(config, dataset, (surrogate,), targets, bench.images(what["split"]), trusted=made)
    run = RunFolder(folder / "run")
    shared = [
        (target.full_name, _said(bench, model_digest(target.folder), what["images"])) for target in targets
    ]
    run.begin(job.content)
    for name, path in shared:
        if path.is_file() and run.clean(name) is None:
            run.save_clean(name, _read_said(path))
    records, _ = run_job(job, run, team=Team())
    for name, path in shared:
        if not path.is_file():
            write_json(path, run.clean(name))
    dropped = ("versions", "split", "dataset", "targeted", "seed")
    return {"records": [{k: v for k, v in asdict(r).items() if k not in dropped} for r in records]}


def _said(bench: Bench, model: str, images: Mapping[str, Any]) -> Path:
    """Return where it is kept what a model says of a split's clean images, for all cells that ask."""
    return bench.store.root / "clean" / f"{fingerprint([model, images])[:16]}.json"


def _read_said(path: Path) -> list[int]:
    try:
        return [int(label) for label in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"cannot read {path}: {error}", hint="delete it and run the same command again"
        ) from None


@WORK.register("sharpness")
def sharpness(what: Mapping[str, Any], folder: Path, bench: Bench) -> dict[str, Any]:
    """Measure the sharpness of a model on training images; the result is `Sharpness.numbers`."""
    from threadpoolctl import threadpool_limits

    from transferzoo.sharpness import measure

    images = training_images(what["images"], bench)
    draw = torch.Generator().manual_seed(seed_of(0, "sharpness of a study"))
    images = images.select(torch.randperm(len(images), generator=draw)[: what["count"]].sort().values)
    model = load_checkpoint(bench.folder(what["model"]), bench.dataset)
    with threadpool_limits(1, user_api="blas"):  # of SciPy, which `measure` has loaded; only then it counts
        found = measure(
            model,
            images.images,
            images.labels,
            rho=what["rho"],
            probes=what["probes"],
            draws=what["draws"],
        )
    return found.numbers()
