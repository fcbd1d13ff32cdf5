"""The main job for programs: models and images in memory, through the code that `transferzoo attack` runs.

`evaluate` crafts and measures; `measure` takes adversarial images that somebody else crafted. What a run
keeps on the way lies in a temporary folder.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from transferzoo.attacks.configure import check_attacks
from transferzoo.attacks.engine import Attack
from transferzoo.attacks.noise import noise_name
from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.distributed import Team
from transferzoo.base.errors import UsageError
from transferzoo.base.processes import check_jobs
from transferzoo.base.spec_strings import parse_terms
from transferzoo.datasets import Batch
from transferzoo.evaluation.given_images import GivenImages, observed_budget
from transferzoo.evaluation.held_models import Held, InMemory, check_classes, held_still
from transferzoo.evaluation.job import Job
from transferzoo.evaluation.noise_images import of_labels_only
from transferzoo.evaluation.run import measure_given, run
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.results.records import SurrogateAttack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transferzoo.base.budget import Ball
    from transferzoo.models.wrap import Model
    from transferzoo.results.comparisons import Findings
    from transferzoo.zoo.schema import ModelSpec

CorrectFor = Literal["all", "target", "none"]
TargetClasses = Literal["random", "next", "least-likely"]


class NoNoiseWarning(UserWarning):
    """Warns that targets that say labels alone are shown no noise, see `evaluate`."""


def evaluate(
    attacks: Attack | Sequence[Attack],
    surrogates: Model | Mapping[str, Model],
    targets: Mapping[str, Model],
    images: Tensor,
    labels: Tensor,
    *,
    ids: Tensor | None = None,
    ensemble: bool = False,
    target_classes: Tensor | TargetClasses | None = None,
    curve: Sequence[int] = (),
    images_correct_for: CorrectFor = "all",
    most_images: int | None = None,
    batch_size: int = 100,
    jobs: int | None = 1,
    noise: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Findings:
    """Craft on surrogates and try the 8-bit images on targets, as `transferzoo attack` does.

    `tables` makes tables of the result, with random noise of the same budget beside it, but for targets that
    say labels alone, see `noise`.

        evaluate(read_attack("mi"), load_model("resnet50-lsam"), {
            "torch": network,                                  # an nn.Module: [0, 1] pixels → logits
            "keras": keras.saving.load_model("net.keras"),     # KERAS_BACKEND=torch
            "onnx": onnxruntime.InferenceSession("net.onnx"),
            "vit": wrap(vit, processor=image_processor),       # of transformers
            "service": lambda images: ask(images.numpy()),     # scores (N, K), or labels: integers (N,)
        }, images, labels)

    Args:
        attacks: one, or several of the same seed.
        surrogates: [0, 1] pixels (N, C, H, W) → logits (N, K): one, or several by name; an `nn.Module`, a
            model of Keras, or one that `wrap` made. They are attacked as they are; batch norm is not folded
            as it is for models of the zoo.
        targets: name → model, likewise, or an ONNX session or a function of images, see
            `transferzoo.models.wrap.as_network`; one at least. A defence stands behind a name as on the
            command line, "vgg|jpeg:quality=75". All are held in evaluation mode and handed back as they came.
        images: clean images, uint8 (N, C, H, W); techniques that mix draw from all of them.
        labels: true classes, int64 (N,).
        ids: what seeds an image's draws, int64 (N,), each once; 0..N−1 where none is given.
        ensemble: attack all surrogates together, not one after the other.
        target_classes: classes to be predicted, int64 (N,), or how they are chosen; None for any wrong one.
        curve: steps after which success is measured too.
        images_correct_for: attack only images that all targets classify correctly, count only those that each
            target does, or none of this.
        most_images: attack at most so many, drawn by the seed; all where none is given.
        batch_size: images at a time.
        jobs: processes, in one thread each, but one alone where a function or a session is among the models,
            as a warning says; None for one a processor.
        noise: show random noise to targets that say labels alone too; it takes as many queries as an attack.
            Without, a `NoNoiseWarning` names them.
        on_progress: called with what is being done, how much is done and how much there is.

    Raises:
        UsageError: there is no target or no image, an attack needs more surrogates, or an option is wrong.
        DataError: no image is left to attack, or an id repeats.
        ModelError: a model gives no logits, NaN, or other classes than the others; no gradient reaches the
            images, or it is not finite.
    """
    several = [attacks] if isinstance(attacks, Attack) else [*attacks]
    if not several or not all(isinstance(attack, Attack) for attack in several):
        raise UsageError(
            "these are no attacks", expected="what read_attack('mi', steps=10) returns", got=repr(attacks)
        )
    seeds = {attack.seed for attack in several}
    if len(seeds) != 1:
        raise UsageError("the attacks of one call share a seed", expected="one", got=f"{len(seeds)} seeds")
    check_jobs(jobs)
    named = dict(surrogates) if isinstance(surrogates, Mapping) else {"surrogate": surrogates}
    with held_still(named, targets, Batch(images, labels, _ids(images, ids))) as held:
        config = AttackConfig.of(
            **held.names,
            attacks=tuple(
                AttackSpec(techniques=attack.composition.spec, **attack.budget.written) for attack in several
            ),
            ensemble=ensemble,
            targeted=_rule(target_classes),
            curve=tuple(sorted({*curve})),
            images=len(images) if most_images is None else most_images,
            images_correct_for=images_correct_for,
            seed=seeds.pop(),
            batch_size=batch_size,
        )
        check_attacks(config)
        precision = " & ".join(sorted(map(_precision, held.surrogates)))
        config = config.model_copy(update={"precision": precision})
        with _working(held, config, target_classes, noise=noise) as (job, folder):
            team = Team(device=held.device)
            return run(job, folder, team=team, jobs=jobs, on_progress=on_progress, warn=_warn)


def measure(
    adversarial: Tensor,
    targets: Mapping[str, Model],
    images: Tensor,
    labels: Tensor,
    *,
    ids: Tensor | None = None,
    norm: Ball = "linf",
    target_classes: Tensor | TargetClasses | None = None,
    images_correct_for: CorrectFor = "all",
    attack: str = "given",
    surrogate: str = "unknown",
    gradients: int = 0,
    seed: int = 0,
    noise: bool = False,
) -> Findings:
    """Try adversarial images on targets, however they were crafted.

    Beside them is random noise as strong as the strongest of their perturbations, but for targets that say
    labels alone, see `noise`.

        measure(adversarial, {"onnx": onnxruntime.InferenceSession("net.onnx")}, images, labels)

    Args:
        adversarial: uint8 (N, C, H, W).
        targets: as for `evaluate`.
        images: the clean images, uint8 (N, C, H, W).
        labels: true classes, int64 (N,).
        ids: what seeds the draws of noise and defences, as for `evaluate`.
        norm: the one in which the perturbations are bounded.
        target_classes: as for `evaluate`; "least-likely", which asks a surrogate, excepted.
        images_correct_for: as for `evaluate`.
        attack: what the results call it.
        surrogate: what the results call the model, or models, it came from.
        gradients: evaluations an image took, for the results; 0 where nobody knows.
        seed: of noise.
        noise: as for `evaluate`.

    Raises:
        UsageError: there is no target or no image, the images are of another shape or kind, or as they were.
        DataError: no image is left to try, or an id repeats.
        ModelError: a model gives no logits, NaN, or other classes than the others.
    """
    if adversarial.shape != images.shape or adversarial.dtype != torch.uint8:
        raise UsageError(
            "the adversarial images are not like the clean ones",
            expected=f"uint8 {tuple(images.shape)}",
            got=f"{adversarial.dtype} {tuple(adversarial.shape)}".removeprefix("torch."),
        )
    if isinstance(target_classes, str) and target_classes == "least-likely":
        raise UsageError(
            "a surrogate says which class is least likely", expected="the classes, or another rule"
        )
    parse_terms(attack)
    with held_still({}, targets, Batch(images, labels, _ids(images, ids))) as held:
        budget = observed_budget(adversarial, images, norm)
        config = AttackConfig.of(
            **{**held.names, "surrogates": (surrogate,)},
            attacks=(AttackSpec(techniques="", **budget.written),),
            targeted=_rule(target_classes),
            images=len(images),
            images_correct_for=images_correct_for,
            seed=seed,
        )
        with _working(held, config, target_classes, noise=noise) as (job, folder):
            name = SurrogateAttack(surrogate, noise_name(budget).replace("noise", attack, 1))
            given = GivenImages(name, adversarial, {"gradients": gradients})
            return measure_given(job, folder, [given], held.device)


def _warn(note: str, stacklevel: int = 5, category: type[Warning] = UserWarning) -> None:
    warnings.warn(note, category, stacklevel=stacklevel)  # where `evaluate` is called


def _ids(images: Tensor, ids: Tensor | None) -> Tensor:
    return torch.arange(len(images)) if ids is None else ids


def _rule(target_classes: Tensor | TargetClasses | None) -> str:
    """Return how a configuration says that target classes are chosen.

    Raises:
        UsageError: they are neither a tensor nor the name of a rule.
    """
    if target_classes is None or isinstance(target_classes, str):
        return target_classes or ""
    if not isinstance(target_classes, Tensor):
        raise UsageError(
            "target classes are a tensor, or a rule's name",
            expected="int64 (N,)",
            got=type(target_classes).__name__,
        )
    return "file"


def _precision(model: ModelSpec) -> str:
    """Return the precision of a held model's weights, "fp32" for `torch.float32`."""
    assert isinstance(model.source, InMemory)
    weights = (weight for weight in model.source.model.parameters() if weight.is_floating_point())
    kind = next(weights, torch.empty(0)).dtype
    return {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16"}.get(kind, str(kind))


@contextmanager
def _working(
    held: Held, config: AttackConfig, target_classes: Tensor | TargetClasses | None, *, noise: bool
) -> Iterator[tuple[Job, RunFolder]]:
    """Give the job, and a folder for as long as it takes.

    Raises:
        UsageError: target classes are not one a image, or no classes.
    """
    listed = target_classes if isinstance(target_classes, Tensor) else None
    if listed is not None:
        check_classes("target classes", listed, len(held.data), len(held.dataset.classes))
    asked = () if noise else [one for one in held.targets if one not in held.surrogates]
    names = frozenset(model.name for model in (*held.surrogates, *held.targets))
    with TemporaryDirectory(prefix="transferzoo-") as place:
        job = Job(
            config,
            held.dataset,
            held.surrogates,
            held.targets,
            held.data,
            listed,
            trusted=names,
            cache=Path(place) / "predictions",
            noiseless=of_labels_only(
                asked, held.dataset, partial(_warn, stacklevel=6, category=NoNoiseWarning)
            ),
        )
        yield job, RunFolder(Path(place) / "run")
