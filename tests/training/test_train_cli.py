"""`transferzoo train` through the real entry point: every flag arrives, every mistake is one sentence."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest

from helpers.refusals import nothing_written, refused
from transferzoo.base.train_config import TrainConfig
from transferzoo.cli.train import train as command

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "untimed")

BASE = (
    "train",
    "--dataset",
    "fashion-mnist",
    "--architecture",
    "small_vgg",
    "--minimizer",
    "sam",
    "--validation",
    100,
    "--validator",
    "resnet18",
)
FLIPS: dict[str, tuple[object, ...]] = {
    "dataset": ("--dataset", "cifar10", "--validator", "./mine"),
    "architecture": ("--architecture", "small_vgg:width=8"),
    "start": ("--from", "vgg"),
    "labels_from": ("--labels-from", "vgg"),
    "minimizer": ("--minimizer", "sgd"),
    "epochs": ("--epochs", 3),
    "batch_size": ("--batch-size", 64),
    "micro_batch": ("--micro-batch", 32),
    "sync_perturbation": ("--sync-perturbation",),
    "learning_rate": ("--learning-rate", 0.2),
    "momentum": ("--momentum", 0.5),
    "weight_decay": ("--weight-decay", 0),
    "clip": ("--clip", 1),
    "schedule": ("--schedule", "cosine"),
    "warmup": ("--warmup", 0.1),
    "decay_at": ("--decay-at", "0.5,0.75"),
    "decay": ("--decay", 0.5),
    "rho_schedule": ("--rho-schedule", "rate"),
    "rho_warmup": ("--rho-warmup", 0.2),
    "rho_floor": ("--rho-floor", 0.5),
    "augment": ("--augment", "none"),
    "auto_augment": ("--auto-augment", "rand-m9-mstd0.5"),
    "mixup": ("--mixup", 0.2),
    "cutmix": ("--cutmix", 1),
    "label_smoothing": ("--label-smoothing", 0.1),
    "input_gradient": ("--input-gradient", 0.1),
    "adversarial": ("--adversarial", "l2:0.1"),
    "collect": ("--collect", "lgv"),
    "validation": ("--validation", 50),
    "save_every": ("--save-every", "epoch"),
    "select": ("--select", "accuracy"),
    "validators": ("--validator", "vgg"),
    "tune": ("--tune", "rho=0.1,0.2"),
    "precision": ("--precision", "fp64"),
    "compile": ("--compile",),
    "storage": ("--storage", "fp16"),
    "seed": ("--seed", 1),
}
BESIDE: dict[str, tuple[object, ...]] = {"rho_floor": ("--rho-warmup", 0.2)}
"""What a field has no effect without."""
OTHERS = {"recipe", "data", "image_size", "output", "dry_run", "json", "zoo", "log_with", "workers"} | {
    "plugin",
    "allow_code",
    "image_column",
    "label_column",
}
"""Options that are no part of the configuration."""


def test_no_flag_is_forgotten() -> None:
    """The table below has every field of the configuration and every option of the command, rho aside."""
    options = set(inspect.signature(command).parameters)
    assert FLIPS.keys() == TrainConfig.model_fields.keys()
    assert options == FLIPS.keys() | OTHERS | {"rho"}


@pytest.mark.parametrize("field", FLIPS)
def test_every_flag_arrives(cli: Run, tmp_path: Path, field: str) -> None:
    """A flag changes its own field, and so the folder; a plan trains and writes nothing."""
    (tmp_path / "mine").mkdir()

    def plan(*flags: object) -> dict[str, Any]:
        base = [*BASE[:-2], *flags] if "./mine" in flags else [*BASE, *flags]
        result = cli(*base, "--dry-run", "--json")
        assert result.code == 0, result.err
        return dict(json.loads(result.out))

    beside = BESIDE.get(field, ())
    plain, flipped = plan(*beside), plan(*beside, *FLIPS[field])
    assert flipped["output"] != plain["output"]
    changed = {key for key, value in flipped["config"].items() if value != plain["config"][key]}
    assert changed == ({"dataset", "validators"} if field == "dataset" else {field})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_radius_is_the_minimizers(cli: Run) -> None:
    for flags, minimizer in (
        ((), "sam:rho=0.05,base=sgd"),
        (("--rho", 0.2), "sam:rho=0.2,base=sgd"),
        (("--minimizer", "gsam:alpha=0.1", "--rho", "0.2"), "gsam:rho=0.2,alpha=0.1,base=sgd"),
        (("--minimizer", "sam:base=adamw,rho=0.3"), "sam:rho=0.3,base=adamw"),
    ):
        assert json.loads(cli(*BASE, *flags, "--dry-run", "--json").out)["config"]["minimizer"] == minimizer


def test_the_radius_goes_as_its_authors_let_it(cli: Run) -> None:
    """Where neither a flag nor the recipe says otherwise; what is not theirs is constant."""
    fields = ("rho_schedule", "rho_warmup", "rho_floor")
    for flags, found in (
        (("--minimizer", "gsam"), ("rate", 0.0, 0.5)),
        (("--minimizer", "gsam", "--rho-floor", 0.25), ("rate", 0.0, 0.25)),
        (("--minimizer", "gsam", "--rho-schedule", "constant"), ("constant", 0.0, 0.5)),
        (("--recipe", "resnet50-sgd", "--minimizer", "gsam"), ("rate", 0.0, 0.5)),
        (("--recipe", "resnet50-gsam"), ("rate", 0.0, 0.5)),
        (("--minimizer", "agsam"), ("constant", 0.0, 0.0)),
        (("--minimizer", "le-sam"), ("late", 0.05, 0.0)),
        (("--minimizer", "sam"), ("constant", 0.0, 0.0)),
    ):
        base = () if "--recipe" in flags else BASE[1:]
        config = json.loads(cli("train", *base, *flags, "--dry-run", "--json").out)["config"]
        assert tuple(config[field] for field in fields) == found, flags


def test_what_a_plan_fills_in(cli: Run) -> None:
    """Selecting needs images and models: 2,000 images and the data set's validators."""
    plain = ("train", "--recipe", "resnet50-sam", "--validation", 0, "--dry-run", "--json")
    ours = ["fashion-mnist/validator-resnet18", "fashion-mnist/validator-vgg"]
    for flags, validation, validators in (
        ((), 0, []),
        (("--select", "accuracy"), 2000, []),
        (("--select", "transfer"), 2000, ours),
        (("--tune", "rho=0.2,0.1,0.1"), 2000, ours),
        (("--validator", "vgg"), 2000, ["fashion-mnist/vgg"]),
        (
            ("--select", "transfer", "--validator", "vgg,densenet", "--validation", 9),
            9,
            ["fashion-mnist/vgg", "fashion-mnist/densenet"],
        ),
    ):
        found = json.loads(cli(*plain, *flags).out)["config"]
        assert (found["validation"], found["validators"]) == (validation, validators)
    assert json.loads(cli(*plain, "--tune", "rho=0.2,0.1,0.1").out)["config"]["tune"] == [0.1, 0.2]


TRAIN = ("train", "--recipe", "resnet50-sam")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--minimizer", "samm"), ("unknown minimizer 'samm'", "sam")),
        (("--minimizer", "sam:radius=1"), ("unknown option 'radius' of minimizer 'sam'", "rho")),
        (("--minimizer", "sam+sgd"), ("cannot read the minimizer", "one name")),
        (("--rho", -1), ("option 'rho' of 'sam' is out of range", "at least 0", "-1")),
        (("--rho", "nan"), ("cannot read option 'rho' of minimizer 'sam'", "'nan'")),
        (("--rho", "inf"), ("cannot read option 'rho'", "'inf'")),
        (("--minimizer", "sgd", "--rho", 1), ("unknown option 'rho' of minimizer 'sgd'", "expected none")),
        (
            ("--minimizer", "swa:start=1"),
            ("option 'start' of 'swa' is a fraction of the training", "below 1", "1"),
        ),
        (
            ("--minimizer", "wasam:start=-0.1"),
            ("option 'start' of 'wasam' is a fraction of the training", "-0.1"),
        ),
        (("--minimizer", "swa:per_epoch=0"), ("option 'per_epoch' of 'swa' is out of range", "at least 1")),
        (("--decay-at", "0.5,1"), ("'decay_at' is wrong", "between 0 and 1")),
        (("--decay-at", "half"), ("'decay_at.0' is wrong", "number", "'half'")),
        (("--warmup", 1), ("'warmup' is wrong", "less than 1")),
        (("--rho-warmup", "nan"), ("'rho_warmup' is wrong", "finite")),
        (("--rho-floor", 1.5), ("'rho_floor' is wrong", "less than or equal to 1")),
        (("--label-smoothing", 1), ("'label_smoothing' is wrong", "less than 1")),
        (("--clip", -1), ("'clip' is wrong", "greater than or equal to 0")),
        (("--input-gradient", -1), ("'input_gradient' is wrong", "greater than or equal to 0")),
        (("--input-gradient", 0.1, "--compile"), ("either compile or input_gradient",)),
        (("--schedule", "exponential"), ("'schedule' is wrong", "'cosine'", "'exponential'")),
        (("--precision", "fp16"), ("'precision' is wrong", "'bf16', 'fp32' or 'fp64'")),
        (("--select", "best"), ("'select' is wrong", "'last', 'accuracy' or 'transfer'")),
        (
            ("--select", "transfer", "--validator", "vggg"),
            ("validation target", "'vggg'", "did you mean vgg"),
        ),
        (("--tune", "rho"), ("cannot read --tune", "rho=0.05,0.1,0.2", "'rho'")),
        (("--tune", "rho="), ("cannot read --tune", "'rho='")),
        (("--tune", "rho=0.1"), ("cannot read --tune", "at least two")),
        (("--tune", "alpha=0.1,0.2"), ("cannot read --tune", "'alpha=0.1,0.2'")),
        (("--tune", "rho=0.1,large"), ("cannot read --tune",)),
        (("--tune", "rho=0.1,nan"), ("'tune.1' is wrong", "finite")),
        (("--tune", "rho=-0.1,0.1"), ("option 'rho' of 'sam' is out of range", "-0.1")),
        (("--tune", "rho=0.1,0.2", "--minimizer", "sgd"), ("unknown option 'rho' of minimizer 'sgd'",)),
        (("--tune", "rho=0.1,0.2", "--rho", 0.3), ("either --rho or --tune",)),
        (("--tune", "rho=0.1,0.2", "--select", "transfer"), ("either a choice of rho or the selection",)),
        (("--collect", "lgv", "--select", "accuracy"), ("either collected weights or the selection",)),
        (("--collect", "swa"), ("'collect' is wrong", "lgv", "'swa'")),
        (("--collect", "lgv:"), ("'collect' is wrong", "'lgv:'")),
        (("--collect", "lgv:epochs=some"), ("'collect.epochs' is wrong", "integer", "'some'")),
        (("--collect", "lgv:lr=0"), ("'collect.lr' is wrong", "greater than 0")),
        (("--collect", "lgv:every=2"), ("'collect.every' is wrong",)),
        (("--adversarial", "l2"), ("'adversarial' is wrong", "as in l2:0.1", "'l2'")),
        (("--adversarial", "l3:0.1"), ("'adversarial.norm' is wrong", "'linf' or 'l2'", "'l3'")),
        (("--adversarial", "linf:8"), ("'adversarial' is wrong", "did you mean 8/255?")),
        (("--adversarial", "linf:-8/255"), ("'adversarial' is wrong", "greater than zero")),
        (("--adversarial", "linf:8/255,step=eps/0"), ("'adversarial' is wrong", "step size")),
        (("--adversarial", "linf:8/255,steps=0"), ("'adversarial.steps' is wrong", "greater than or equal")),
        (("--adversarial", "l2:0.1,norm=linf"), ("'adversarial' is wrong", "each part once")),
        (("--adversarial", "l2:0.1,steps=7,steps=3"), ("'adversarial' is wrong", "each part once")),
        (("--adversarial", "linf:8/255,7"), ("'adversarial' is wrong", "as in l2:0.1")),
        (("--from", "vggg"), ("'vggg'",)),
        (("--labels-from", "vggg"), ("unknown target 'vggg'", "vgg")),
        (("--labels-from", "all"), ("labels come from one model", "one name", "'all', 9")),
    ],
    ids=lambda value: " ".join(map(str, value)) if str(value[0]).startswith("--") else "",
)
def test_usage(cli: Run, tmp_path: Path, arguments: tuple[object, ...], words: tuple[str, ...]) -> None:
    refused(cli(*TRAIN, *arguments), 2, *words)
    nothing_written(tmp_path)
