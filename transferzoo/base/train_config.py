"""The configuration of a training run. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from transferzoo.base.budget import MOST_STEPS, WrittenBudget
from transferzoo.base.errors import UsageError
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.base.spec_strings import parse_terms

MOST_EPOCHS = 100_000


def unused_settings(schedule: object) -> set[str]:
    """Return the settings of a training that a schedule of the learning rate does not use."""
    return set() if schedule == "step" else {"decay_at", "decay"}


class Adversarial(WrittenBudget):
    """Training on adversarial images (Madry et al. 2018), made by the tool's own BIM on the current weights.

    Each step costs a forward and backward pass.
    """

    step: str = "eps*2/3"
    steps: int = Field(default=3, ge=1, le=MOST_STEPS)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        """Read "l2:0.1" or "l2:0.1,steps=7"."""
        if not isinstance(value, str):
            return value
        norm, colon, rest = value.partition(":")
        first, *others = rest.split(",")
        keys = ["norm", "epsilon", *(pair.partition("=")[0] for pair in others)]
        if not colon or not all("=" in pair for pair in others) or len({*keys}) < len(keys):
            raise ValueError("a ball and its radius, as in l2:0.1 or linf:8/255,steps=7, each part once")
        return {"norm": norm, "epsilon": first, **dict(pair.split("=", 1) for pair in others)}


class Collection(FrozenModel):
    """Weights collected after the training (LGV, Gubri et al. 2022, arXiv 2207.13129).

    The training's minimizer, SGD in the paper, goes on with a constant, high learning rate and its whole
    radius; several times an epoch the weights are kept.

    Attributes:
        epochs: how many.
        per_epoch: weights kept an epoch.
        lr: the learning rate.
    """

    epochs: int = Field(default=10, ge=1, le=MOST_EPOCHS)
    per_epoch: int = Field(default=4, ge=1, le=1000)
    lr: float = Field(default=0.05, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        """Read "lgv" or "lgv:epochs=10,per-epoch=4,lr=0.05"."""
        if not isinstance(value, str):
            return value
        try:
            terms = parse_terms(value)
        except UsageError as error:
            raise ValueError(str(error).removesuffix(".")) from None
        if [term.name for term in terms] != ["lgv"]:
            raise ValueError("lgv[:epochs=…,per-epoch=…,lr=…]")
        return dict(terms[0].options)


class TrainConfig(FrozenModel):
    """Everything a training run depends on, the data and the weights it starts from aside.

    Attributes:
        dataset: name in the zoo.
        architecture: spec of an architecture, "small_resnet50:width=12".
        start: model whose weights are fine-tuned, as it was named; empty for fresh ones.
        labels_from: model whose answers are the labels of the training images; its full name, empty for the
            data set's own labels.
        minimizer: spec of a minimizer, "sam:rho=0.05".
        epochs: passes over the training set.
        batch_size: images a step, over all processes.
        micro_batch: images a forward pass, 0 for a process's whole share of the batch. Gradients are averaged
            over micro-batches (gradient accumulation); a sharpness-aware minimizer perturbs for each of them
            by itself, so this is the m of m-sharpness.
        sync_perturbation: one perturbation for the whole batch, whatever the micro-batches and processes.
        learning_rate: initial rate of the base optimizer.
        momentum: of SGD.
        weight_decay: applied by the base optimizer to every parameter.
        clip: largest norm of a gradient; 0 for any.
        schedule: of the learning rate: "step" multiplies it by `decay` at each of `decay_at`; "cosine" and
            "linear" end at zero; "constant".
        warmup: fraction of the training in which the rate rises linearly.
        decay_at: fractions of the training after which the rate decays.
        decay: factor of one decay.
        rho_schedule: "constant", "rate" for a radius that follows the learning rate, or "late" for one that
            falls to zero in the last fifth of the training.
        rho_warmup: fraction of the training in which the radius rises linearly.
        rho_floor: smallest share of the radius under any.
        augment: "crop-flip" pads by 1/14 of the size, crops at random and flips half of the images; of
            streamed images it crops 8 to 100 % of the area, scaled to the size. "crop" does not flip; "none".
        auto_augment: timm's notation of a policy, "rand-m9-mstd0.5", on top of it; streamed images only.
        mixup: α of the Beta distribution that pairs of images and their labels are mixed by; 0 for none.
        cutmix: likewise of the pasted area; with `mixup`, each batch is mixed by one of the two.
        label_smoothing: probability spread evenly over the classes, in [0, 1).
        input_gradient: λ ≥ 0; λ times the mean length of the loss's gradient at the pixels of an image, in
            [0, 1], is added to the loss (Zhang et al. 2024, arXiv 2307.07873).
        adversarial: training on adversarial images instead of clean ones; None for clean ones.
        collect: weights kept after the training; None for none.
        validation: images held out of the training set, the same for every seed; 0 for none.
        save_every: "epoch" keeps a checkpoint of every epoch in `epochs/`, "never" does not.
        select: which epoch becomes the checkpoint: the last, the one with the best validation accuracy, or
            the one whose adversarial images of the validation set fool the validation targets most often.
        validators: validation targets; full names.
        tune: values of rho to train with; the one that transfers best to the validation targets is kept.
        precision: "bf16" (autocast), "fp32" or "fp64".
        compile: let torch.compile make the model faster.
        storage: of the finished weights, "fp32" or "fp16"; what is measured is what is stored.
        seed: of the initial weights, the order of images and the augmentation.
    """

    dataset: str
    architecture: str
    start: str = ""
    labels_from: str = ""
    minimizer: str = "sgd"
    epochs: int = Field(default=10, ge=1, le=MOST_EPOCHS)
    batch_size: int = Field(default=128, ge=2)
    micro_batch: int = Field(default=0, ge=0)
    sync_perturbation: bool = False
    learning_rate: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    clip: float = Field(default=0.0, ge=0)
    schedule: Literal["step", "cosine", "linear", "constant"] = "step"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    decay_at: tuple[float, ...] = (1 / 3, 2 / 3)
    decay: float = Field(default=0.1, gt=0, le=1)
    rho_schedule: Literal["constant", "rate", "late"] = "constant"
    rho_warmup: float = Field(default=0.0, ge=0, lt=1)
    rho_floor: float = Field(default=0.0, ge=0, le=1)
    augment: Literal["crop-flip", "crop", "none"] = "crop-flip"
    auto_augment: str = ""
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    input_gradient: float = Field(default=0.0, ge=0)
    adversarial: Adversarial | None = None
    collect: Collection | None = None
    validation: int = Field(default=0, ge=0)
    save_every: Literal["never", "epoch"] = "never"
    select: Literal["last", "accuracy", "transfer"] = "last"
    validators: tuple[str, ...] = ()
    tune: tuple[float, ...] = ()
    precision: Literal["bf16", "fp32", "fp64"] = "fp32"
    compile: bool = False
    storage: Literal["fp32", "fp16"] = "fp32"
    seed: int = Field(default=0, ge=0)

    @field_validator("decay_at")
    @classmethod
    def _fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < part < 1 for part in value):
            raise ValueError("fractions of the training, between 0 and 1")
        return value

    @model_validator(mode="after")
    def _selectable(self) -> TrainConfig:
        if (self.select != "last" or self.tune) and not self.validation:
            raise ValueError("images to select by: validation above 0")
        if (self.select == "transfer" or self.tune) and not self.validators:
            raise ValueError("models to select by: validators")
        if self.collect and self.select != "last":
            raise ValueError("either collected weights or the selection of an epoch")
        if self.tune and self.select != "last":
            raise ValueError("either a choice of rho or the selection of an epoch")
        if self.compile and self.input_gradient:
            raise ValueError("either compile or input_gradient: a compiled model has no second derivative")
        return self
