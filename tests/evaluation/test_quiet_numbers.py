"""Models and budgets that would give numbers of something else: they are mended, or refused in a sentence."""

from __future__ import annotations

import json
import math
import shutil
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from helpers.checkpoints import BUILTIN
from helpers.refusals import ATTACK, nothing_written, refused
from transferzoo import evaluate, load_images, load_model, read_attack
from transferzoo.base.errors import DataError, ModelError, UsageError
from transferzoo.base.spec_strings import parse_epsilon
from transferzoo.models.classifier import load_checkpoint
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = load_zoo().dataset("fashion-mnist")


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 8, 12, 16, 31, 64, 255])
def test_an_epsilon_as_programs_print_it_has_all_its_levels(levels: int) -> None:
    single = torch.tensor(levels / 255, dtype=torch.float32)
    texts: list[Any] = [repr(levels / 255), f"{levels / 255:.10f}", f"{single.item():.9g}", f"{levels}/255"]
    for text in [*texts, levels / 255, Fraction(levels, 255)]:
        assert parse_epsilon(text, "linf") == Fraction(levels, 255), text


def test_other_decimals_stay_what_they_are() -> None:
    assert math.floor(parse_epsilon("0.031", "linf") * 255) == 7, "7.905 levels are no slip"
    assert parse_epsilon("0.5", "l2") == Fraction(1, 2)


def test_the_api_takes_numbers() -> None:
    attack = read_attack("bim", epsilon=8 / 255, step=2 / 255, steps=3)
    assert attack.epsilon * 255 == 8
    assert attack.canonical == "bim@linf,eps=8/255,step=eps/4,steps=3"


@pytest.mark.parametrize("epsilon", ["0.5/255", "0.003", "1/256"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_less_than_a_level_is_refused(cli: Run, few: Path, tmp_path: Path, epsilon: str, norm: str) -> None:
    if "." in epsilon and "/" in epsilon:
        epsilon = str(0.5 / 255)
    done = cli(*ATTACK, "--data", few, "--epsilon", epsilon, "--norm", norm)
    refused(done, 2, "below one level of 8-bit images", "at least 1/255")
    nothing_written(tmp_path)
    with pytest.raises(UsageError, match="below one level"):
        read_attack("bim", norm=norm, epsilon=epsilon)


# ---------------------------------------------------------------- what models give


class Output(nn.Module):
    """A model whose logits are changed before they are returned."""

    def __init__(self, change: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.model, self.change = load_model("resnet18"), change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.model(images), images)


def some_nan(logits: Tensor, images: Tensor) -> Tensor:
    return torch.where(images.mean((1, 2, 3))[:, None] > 0.45, logits * math.nan, logits)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda logits, _: (logits, logits), "'odd' returns no scores"),
        (lambda logits, _: {"logits": logits}, "'odd' returns no scores"),
        (lambda logits, _: logits[0], "'odd' does not classify"),
        (lambda logits, _: torch.cat([logits, logits[:, :1]], 1), "got shape (1, 11)"),
        (lambda logits, _: logits[:, :7], "got shape (1, 7)"),
        (some_nan, "gives NaN instead of logits"),
    ],
)
@pytest.mark.parametrize("role", ["surrogate", "target"])
def test_models_that_give_no_logits(
    change: Callable[[Tensor, Tensor], Any], sentence: str, role: str
) -> None:
    images, attack = load_images().select(range(60)), read_attack("bim", steps=2)
    odd, usual = Output(change), load_model("vgg")
    surrogate, targets = (odd, {"vgg": usual}) if role == "surrogate" else (usual, {"odd": odd})
    with pytest.raises(ModelError) as caught:
        evaluate(
            attack,
            {"odd" if odd is surrogate else "vgg": surrogate},
            targets,
            images.images,
            images.labels,
        )
    if (
        role == "target" or "shape" not in sentence
    ):  # of a surrogate the target is the second, and so the odd one
        assert sentence in str(caught.value)


def test_a_target_that_gives_nan_is_named(cli: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "mods.py").write_text(
        "import math, torch\n"
        "from torch import nn\n"
        "from transferzoo import load_model\n"
        "class Nan(nn.Module):\n"
        "    def __init__(self): super().__init__(); self.m = load_model('resnet18')\n"
        "    def forward(self, x):\n"
        "        y = self.m(x); return torch.where(x.mean((1, 2, 3))[:, None] > 0.45, y * math.nan, y)\n"
    )
    command = ["attack", "-s", "resnet18", "-t", "mods:Nan", "--allow-code", "--data", few, "--steps", 1]
    done = cli(*command)
    assert done.code == 1
    assert "Error: 'Nan': a model gives NaN instead of logits" in done.err


def _all_of_it(model: nn.Module) -> None:
    model.train()


def _one_layer(model: nn.Module) -> None:
    next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d)).train()


def _dropping(model: nn.Module) -> None:
    model.register_forward_hook(lambda model, _, logits: nn.functional.dropout(logits, 0.5, model.training))
    model.training = True


@pytest.mark.parametrize("wake", [_all_of_it, _one_layer, _dropping])
@pytest.mark.parametrize("role", ["surrogate", "target"])
def test_models_are_evaluated_as_such_and_handed_back(wake: Callable[[nn.Module], None], role: str) -> None:
    images, attack = load_images().select(range(40)), read_attack("bim", steps=2)
    results: list[Any] = []
    for moving in (False, True):
        models = {"surrogate": load_model("resnet50-sgd"), "target": load_model("resnet18")}
        if moving:
            wake(models[role])
        before = {name: tensor.clone() for name, tensor in models[role].state_dict().items()}
        modes = [part.training for part in models[role].modules()]
        targets = {"t": models["target"]}
        results += evaluate(attack, models["surrogate"], targets, images.images, images.labels).records
        assert [part.training for part in models[role].modules()] == modes
        assert any(modes) == moving
        assert all(torch.equal(tensor, before[name]) for name, tensor in models[role].state_dict().items())
    assert results[0] == results[1]


def test_ids_that_repeat_and_nothing_to_do() -> None:
    images, attack, model = load_images().select(range(4)), read_attack("bim", steps=1), load_model("vgg")
    with pytest.raises(DataError, match="several images of the batch have the id 5"):
        evaluate(attack, model, {"t": model}, images.images, images.labels, ids=torch.tensor([5, 5, 6, 7]))
    with pytest.raises(UsageError, match="without a target"):
        evaluate(attack, model, {}, images.images, images.labels)
    with pytest.raises(UsageError, match="without an image"):
        evaluate(attack, model, {"t": model}, images.images[:0], images.labels[:0])


# ---------------------------------------------------------------- class names in another order


@pytest.mark.parametrize("style", ["list", "dict", "spelled"])
def test_classes_in_another_order_are_put_into_ours(cli: Run, few: Path, tmp_path: Path, style: str) -> None:
    order = [*range(5), 7, 6, 5, 8, 9]
    shutil.copytree(BUILTIN / "vgg", tmp_path / "other")
    (tmp_path / "other" / "recipe.json").unlink()
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    names = [config["pretrained_cfg"]["label_names"][i] for i in order]
    if style == "spelled":
        names = [name.upper().replace("/", "-").replace(" ", "_") for name in names]
    config["pretrained_cfg"]["label_names"] = dict(enumerate(names)) if style == "dict" else names
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "other" / "model.safetensors")
    heads = {
        name: tensor[order].contiguous() for name, tensor in weights.items() if name.startswith("head.fc")
    }
    assert heads
    save_file(weights | heads, tmp_path / "other" / "model.safetensors", {"format": "pt"})
    pixels = load_images().images[:8] / 255
    with torch.no_grad():
        ours, theirs = (
            load_checkpoint(place, SPEC)(pixels) for place in (BUILTIN / "vgg", tmp_path / "other")
        )
    assert torch.equal(ours, theirs)
    done = cli("attack", "-s", "vgg", "-t", "./other,resnet18", "--data", few, "--steps", 1, "--json")
    assert [record["white_box"] for record in json.loads(done.out)["records"]] == [True, False]


PAIRS = {
    "objects": "def one(): return Wrapped('resnet18')\ndef two(): return Wrapped('vgg')\n",
    "functions": "def one():\n    m = load_model('resnet18')\n    return lambda x: m(x).detach()\n"
    "def two():\n    m = load_model('vgg')\n    return lambda x: m(x).detach()\n",
    "modules": "def one(): return load_model('resnet18')\ndef two(): return load_model('vgg')\n",
    "classes": "class one(Wrapped):\n    def __init__(self): super().__init__('resnet18')\n"
    "class two(Wrapped):\n    def __init__(self): super().__init__('vgg')\n",
}


@pytest.mark.parametrize("kind", PAIRS)
def test_two_networks_of_one_file_are_two_models(cli: Run, few: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / f"pair_{kind}.py").write_text(
        "from transferzoo import load_model\n"
        "class Wrapped:\n"
        "    def __init__(self, name): self.m = load_model(name)\n"
        "    def __call__(self, x): return self.m(x).detach()\n" + PAIRS[kind]
    )
    command = ["attack", "-s", "resnet18", "--allow-code", "--data", few, "--steps", 1, "--json"]
    done = cli(*command, "-t", f"pair_{kind}:one,pair_{kind}:two")
    assert done.code == 0, done.err
    records = json.loads(done.out)["records"]
    assert len({record["target_sha256"] for record in records}) == 2
    assert [record["white_box"] for record in records] == [kind == "modules", False]
    plain = json.loads(cli(*command, "-t", "resnet18,vgg", "--runs", "plain").out)["records"]
    assert [r["outcomes"] for r in records] == [r["outcomes"] for r in plain], "and each is shown its own"
