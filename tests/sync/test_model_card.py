"""Model cards of real checkpoints, read back by the Hub's own library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from helpers.checkpoints import BUILTIN
from transferzoo.base.errors import UsageError
from transferzoo.models import checkpoint
from transferzoo.models.recipe_file import read_recipe
from transferzoo.results.records import Record
from transferzoo.sync.model_card import model_card

REPO, IMAGES = "someone/resnet50-lsam", "zalando-datasets/fashion_mnist"
NAMES = sorted(path.parent.name for path in BUILTIN.glob("*/config.json"))


def parts(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config and recipe of a built-in checkpoint."""
    return checkpoint.read_config(BUILTIN / name), read_recipe(BUILTIN / name) or {}


def text_of(name: str = "resnet50-lsam", **options: Any) -> str:
    config, recipe = parts(name)
    return model_card(REPO, config, recipe, **{"licence": "mit", "dataset_repo": IMAGES, **options})


def data_of(text: str) -> ModelCardData:
    read = ModelCard(text, ignore_metadata_errors=False)
    assert isinstance(read.data, ModelCardData)
    return read.data


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "surrogate": "fashion-mnist/resnet50-lsam",
        "target": "fashion-mnist/vgg",
        "attack": "mi@linf,eps=16/255,step=eps/10,steps=50",
        "steps": 50,
        "targeted": "",
        "dataset": "fashion-mnist",
        "split": "test",
        "seed": 0,
        "selection": "",
        "white_box": False,
        "surrogate_accuracy": 0.9,
        "target_accuracy": 0.9,
        "gradients": 50,
        "precision": "fp32",
        "surrogate_sha256": "",
        "target_sha256": "",
        "versions": {},
    }
    return Record.of("1101-", **fields | changes)


def rows(text: str) -> dict[str, str]:
    """Return the first two cells of every row of every table."""
    lines = (line.removeprefix("| ").split(" | ") for line in text.splitlines() if line.startswith("| "))
    return {cells[0]: cells[1].removesuffix(" |") for cells in lines}


@pytest.mark.parametrize("name", NAMES)
def test_every_builtin_checkpoint_has_a_card_that_the_hub_reads(name: str) -> None:
    text, (config, recipe) = text_of(name), parts(name)
    data = data_of(text)
    assert (data.license, data.pipeline_tag) == ("mit", "image-classification")
    assert "\nlibrary_name: timm\n" in text
    assert data.tags is not None and data.eval_results is not None
    assert data.tags[:4] == ["image-classification", "timm", "transferzoo", "adversarial-transferability"]
    assert data.tags[4:] == [recipe["config"]["minimizer"].partition(":")[0]]
    assert (data.datasets, data.base_model) == ([IMAGES], None)
    (result,) = data.eval_results
    assert (result.task_type, result.metric_type) == ("image-classification", "accuracy")
    assert (result.dataset_type, result.dataset_name) == (IMAGES, "fashion-mnist")
    assert result.metric_value == recipe["accuracy"]["accuracy"]
    assert f"`{config['architecture']}`" in text
    assert str(Path.home()) not in text and "/root" not in text and "/work" not in text
    assert text.startswith("---\n") and text.endswith("\n") and "None" not in text


def test_the_table_says_how_it_was_trained() -> None:
    _, recipe = parts("resnet50-lsam")
    table = rows(text_of())
    assert table["minimizer"] == "sam:rho=0.2,base=sgd"
    assert (table["rho"], table["epochs"], table["learning rate"], table["seed"]) == (
        "0.2",
        "12",
        "0.1",
        "14",
    )
    assert table["schedule"] == "cosine" and "decay at" not in table
    by_steps = rows(text_of("densenet"))
    assert (by_steps["schedule"], by_steps["decay at"]) == ("step", "0.333333, 0.666667")
    assert table["SHA-256 of the training data"] == recipe["data"]["sha256"]
    assert table["SHA-256 of the weights"] == recipe["weights_sha256"]
    assert (table["training images"], table["validation images"]) == ("60000", "2000")
    assert table["versions"] == "transferzoo 0.2.0, torch 2.14.1, timm 1.0.31"
    assert table["seconds"] == "984.5"
    unsaid = {"clip", "compile", "warmup", "augment", "tune", "rho schedule", "start", "adversarial"}
    assert not unsaid & table.keys()


def test_success_rates_are_in_the_metadata_that_the_hub_reads() -> None:
    found = [record(), record(target="fashion-mnist/vit", split="train", white_box=True, targeted="next")]
    every = data_of(text_of(records=found)).eval_results
    assert every is not None
    accuracy, *rates = sorted(every, key=lambda one: one.metric_type != "accuracy")
    assert accuracy.metric_type == "accuracy"
    for one, made in zip(rates, found, strict=True):
        assert one.metric_type == "adversarial_success_rate"
        assert (one.dataset_type, one.dataset_name, one.dataset_split) == (
            IMAGES,
            "fashion-mnist",
            made.split,
        )
        assert one.metric_value == made.rate == 0.75
        wanted = ("target", "attack", "targeted", "n", "low", "high", "white_box")
        assert one.metric_args is not None
        assert {name: one.metric_args[name] for name in wanted} == {
            name: getattr(made, name) for name in wanted
        }


def test_other_ways_of_training_are_told() -> None:
    assert rows(text_of("resnet50-sat"))["adversarial"] == "norm l2, epsilon 0.1, step eps*2/3, steps 3"
    assert rows(text_of("resnet50-sat"))["minimizer"] == "sgd"
    assert "rho" not in rows(text_of("resnet50-sat"))
    assert rows(text_of("resnet50-early"))["selected epoch"].isdigit()
    config, recipe = parts("vit")
    recipe["config"] |= {"schedule": "cosine", "decay_at": [0.5], "seed": 0, "compile": True}
    table = rows(model_card(REPO, config, recipe, licence="mit", dataset_repo=None))
    assert (table["schedule"], table["seed"], table["compile"]) == ("cosine", "0", "yes")
    assert not {"decay at", "decay"} & table.keys()


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        ("fashion-mnist/resnet50", "fashion-mnist/resnet50"),
        (f"{Path.home()}/my models/old one", "old one"),
        ("~/models/old", "old"),
        ("./old", "old"),
        ("C:\\Users\\me\\old", "old"),
    ],
)
def test_of_a_path_only_the_name_is_said(start: str, shown: str) -> None:
    config, recipe = parts("resnet50-lsam")
    recipe["config"] |= {"start": start, "validators": [start]}
    recipe["start"] = "ab" * 32
    text = model_card(REPO, config, recipe, licence="mit", dataset_repo=None)
    table = rows(text)
    assert (table["starts from"], table["validators"]) == (shown, shown)
    assert table["SHA-256 of the weights it starts from"] == "ab" * 32
    assert str(Path.home()) not in text and "Users" not in text


def test_a_table_of_success_rates() -> None:
    found = [
        record(),
        record(target="fashion-mnist/vgg|jpeg:quality=75", targeted="random"),
        record(target="fashion-mnist/resnet50-lsam", white_box=True),
    ]
    text = text_of(records=found)
    lines = text.splitlines()
    cells = "75.0 | 30.1–95.4 | 4 | `mi@linf,eps=16/255,step=eps/10,steps=50`"
    assert "| target | success rate (%) | 95 % interval | n | attack |" in lines
    assert f"| fashion-mnist/vgg | {cells} |" in lines
    assert f"| fashion-mnist/vgg\\|jpeg:quality=75 | {cells} (random target class) |" in lines
    assert f"| fashion-mnist/resnet50-lsam (white box) | {cells} |" in lines
    assert "92.20 % of 10000 test images" in text
    assert "success rate (%)" not in text_of()
    data_of(text)


def test_the_card_shows_how_to_load_it() -> None:
    ours = text_of()
    code = f'model = timm.create_model("hf-hub:{REPO}", pretrained=True).eval()\n'
    assert code in ours and f"transferzoo attack --surrogate hf-hub:{REPO} --targets all\n" in ours
    assert ours.index("import transferzoo") < ours.index("import timm") < ours.index(code)
    config, recipe = parts("resnet50-lsam")
    timms = model_card(
        REPO, config | {"architecture": "resnet18"}, recipe, licence="mit", dataset_repo=IMAGES
    )
    assert code in timms and "import transferzoo" not in timms
    assert "not a certificate" in ours


def test_what_is_unknown_is_left_out() -> None:
    config, recipe = parts("resnet50-lsam")
    bare = model_card(REPO, config, {}, licence="apache-2.0", dataset_repo=None)
    data = data_of(bare)
    assert (data.license, data.datasets, data.eval_results) == ("apache-2.0", None, None)
    assert data.tags is not None and len(data.tags) == 4
    assert "The checkpoint does not say." in bare and "was not measured" in bare
    unmeasured = model_card(REPO, config, recipe | {"accuracy": None}, licence="mit", dataset_repo=None)
    assert "model-index" not in unmeasured and "was not measured" in unmeasured
    local = data_of(model_card(REPO, config, recipe, licence="mit", dataset_repo=None))
    assert local.eval_results is not None
    assert local.eval_results[0].dataset_type == "fashion-mnist"


def test_the_model_it_was_fine_tuned_from() -> None:
    text = text_of(base_model="timm/resnet50.tv_in1k")
    assert data_of(text).base_model == "timm/resnet50.tv_in1k"
    assert "fine-tuned from [timm/resnet50.tv_in1k](https://huggingface.co/timm/resnet50.tv_in1k)" in text


def test_cards_of_equal_parts_are_equal_and_leave_them_alone() -> None:
    config, recipe = parts("resnet50-lsam")
    before = json.dumps([config, recipe])
    assert text_of() == model_card(REPO, config, recipe, licence=" mit ", dataset_repo=IMAGES)
    assert json.dumps([config, recipe]) == before


@pytest.mark.parametrize("licence", ["", "  ", "\n"])
def test_no_licence_is_a_sentence(licence: str) -> None:
    with pytest.raises(UsageError, match="the model has no licence: expected an identifier of the Hub"):
        text_of(licence=licence)


def test_importing_is_cheap() -> None:
    module = "transferzoo.sync.model_card"
    code = f"import sys, {module}; print([m for m in ('torch', 'huggingface_hub') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
