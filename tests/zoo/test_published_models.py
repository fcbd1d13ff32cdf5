"""The models of the zoo that lie on the Hub, or that nobody has published: facts, names, roles."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch

from transferzoo.base.errors import ModelError, UnknownNameError, UsageError
from transferzoo.models import build
from transferzoo.models.resolve import select_models
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.training.recipes import plan
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result
    from transferzoo.zoo.schema import ModelSpec

ZOO = load_zoo()
MODELS = list(ZOO.models.values())
ON_HUB = [model for model in MODELS if isinstance(model.source, HubRepository)]
OF_TIMM = [model for model in ON_HUB if str(model.source).startswith("hub:timm/")]
UNPUBLISHED = [model for model in MODELS if not model.is_published]
PACKS = ["imagenet", "cifar10"]
NO_ACCURACY_STATED = {"cifar10/resnet18-grodino"}


def tag(model: ModelSpec) -> str:
    return str(model.source).removeprefix("hub:timm/")


def network(model: ModelSpec) -> tuple[str, dict[str, Any], int | None]:
    """Return architecture, arguments and classes as far as the zoo says them."""
    assert model.weights is not None
    name, options = build.read(model.weights.architecture)
    arguments = {"in_chans": model.weights.input_size[0], **options, **model.weights.arguments}
    return name, arguments, arguments.pop("num_classes", None)


KNOWN: dict[str, list[ModelSpec]] = defaultdict(list)
for one in ON_HUB:
    if one.weights:
        KNOWN[repr(network(one))].append(one)


@pytest.mark.parametrize("models", KNOWN.values(), ids=lambda models: models[0].full_name)
def test_every_network_is_built(models: list[ModelSpec]) -> None:
    """Of those whose entry says how; a repository of timm's holds what timm builds by that name."""
    name, arguments, classes = network(models[0])
    with torch.device("meta"):
        model: Any = build.build(name, classes, arguments)
    assert {len(ZOO.dataset(entry.dataset).classes) for entry in models} == {model.num_classes}
    sizes = {entry.weights.input_size for entry in models if entry.weights}
    if model.pretrained_cfg["fixed_input_size"]:
        assert sizes <= {tuple(model.pretrained_cfg["input_size"])}


@pytest.mark.parametrize("model", OF_TIMM, ids=lambda model: model.name)
def test_timm_says_the_same_of_its_repositories(model: ModelSpec) -> None:
    known = timm.models.get_pretrained_cfg(tag(model))
    assert known is not None
    assert (known.hf_hub_id, known.license, known.num_classes) == (f"timm/{tag(model)}", model.licence, 1000)
    assert timm.is_model_pretrained(tag(model))


def test_the_entries_are_complete() -> None:
    for model in ON_HUB:
        assert "unknown" not in (model.licence, model.origin), model.name
        assert model.claimed or model.full_name in NO_ACCURACY_STATED, model.name
        if model.weights:
            assert model.weights.pickle == (not model.weights.file.endswith(".safetensors")), model.name
    places = [(m.source, m.weights and m.weights.file) for m in ON_HUB]
    assert len(set(places)) == len(places), "one entry a file"


def test_licences_that_forbid_commercial_use() -> None:
    assert {m.name for m in MODELS if m.non_commercial} == {"resnet50-ssl", "resnet50-swsl"}


# ---------------------------------------------------------------- what names stand for


def names(text: str, dataset: str, role: Any) -> list[str]:
    return [model.name for model in select_models(ZOO, [text], dataset, role)]


@pytest.mark.parametrize("dataset", PACKS)
def test_all_stands_for_a_few_that_are_verified(dataset: str) -> None:
    targets = names("all", dataset, "target")
    assert 5 <= len(targets) <= 15 and "resnet50" in targets[0] + targets[1]
    assert len(names("all", dataset, "surrogate")) <= 10
    validators = names("all", dataset, "validator")
    assert len(validators) == 2 and not set(validators) & set(targets)
    every = {m.name for m in MODELS if m.dataset == dataset}
    assert len(every) > len(targets) + len(validators)


def test_names_and_patterns_reach_the_others() -> None:
    convnexts = names("convnext-*", "imagenet", "target")
    assert len(convnexts) == 5 and not set(convnexts) & set(names("all", "imagenet", "target"))
    assert names("convnext-*", "imagenet", "surrogate") == convnexts
    assert names("resnet50-l2-0.1", "imagenet", "target") == ["resnet50-l2-0.1"]
    assert names("cifar10/densenet121", "cifar10", "surrogate") == ["densenet121"]
    assert "resnet18-grodino" in names("resnet18*", "cifar10", "target")


# ---------------------------------------------------------------- what nobody has published


@pytest.mark.parametrize("model", UNPUBLISHED, ids=lambda model: model.full_name)
def test_what_nobody_has_published_has_a_recipe(model: ModelSpec) -> None:
    recipe = ZOO.recipe(str(model.recipe))
    assert (model.roles, recipe.dataset) == (("surrogate",), model.dataset)
    for validator in recipe.validators:
        assert "validator" in ZOO.models[validator].roles
    command = f"train it with `transferzoo train --recipe {model.recipe}` and name the folder it writes"
    for name in (model.name, model.full_name):
        with pytest.raises(ModelError, match="nobody has published") as caught:
            select_models(ZOO, [name], model.dataset, "surrogate")
        assert str(caught.value) == f"nobody has published weights of '{model.full_name}'; {command}."


def test_fine_tuning_starts_from_what_is_published() -> None:
    found = plan(ZOO, None, {"start": "resnet50-sgd"})
    assert found.start == ZOO.models["fashion-mnist/resnet50-sgd"].folder
    for name in ("imagenet/resnet50-sgd", "resnet18-sgd"):
        with pytest.raises(ModelError, match="nobody has published weights of"):
            plan(ZOO, None, {"start": name})


def test_patterns_leave_out_what_nobody_has_published() -> None:
    assert {model.dataset for model in UNPUBLISHED} == set(PACKS)
    for dataset in PACKS:
        everything = names("*", dataset, "surrogate")
        assert everything and not {m.name for m in UNPUBLISHED if m.dataset == dataset} & set(everything)
    with pytest.raises(UnknownNameError):
        names("resnet18-ls*", "cifar10", "surrogate")


def test_the_command_line_names_the_recipe_first(cli: Callable[..., Result], tmp_path: Path) -> None:
    done = cli("attack", "--dataset", "cifar10", "-s", "resnet18-lsam", "-t", "all")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(
        "Error: nobody has published weights of 'cifar10/resnet18-lsam'; train it with "
    )
    shown = cli("show", "cifar10/resnet18-lsam")
    assert shown.code == 0 and "cifar10-resnet18-lsam" in shown.out
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what a zoo file may say

WRONG = {
    "no recipe": ("{roles: [surrogate], source: train}", "expected a recipe, where the source is 'train'"),
    "unknown recipe": ("{roles: [surrogate], source: train, recipe: nope}", "unknown recipe 'nope'"),
    "built-in": (
        "{roles: [target], source: 'builtin:a', weights: {file: a, architecture: b, input_size: [1, 8, 8],"
        " mean: [0], std: [1]}}",
        "key 'models.fashion-mnist.mine.weights': wrong value: expected none, or a local: or hub: source",
    ),
    "channels": (
        "{roles: [target], source: 'local:a', weights: {file: a, architecture: b, input_size: [3, 8, 8],"
        " mean: [0], std: [1]}}",
        "expected one mean and one std for each of 1 or 3 channels of input_size",
    ),
    "key": (
        "{roles: [target], source: 'local:a', weights: {file: a, architecture: b, crop: 1}}",
        "unknown key 'crop'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_entries_are_sentences(tmp_path: Path, case: str) -> None:
    entry, sentence = WRONG[case]
    file = tmp_path / "mine.yaml"
    file.write_text(f"models:\n  fashion-mnist:\n    mine: {entry}\n")
    with pytest.raises(UsageError) as caught:
        load_zoo(file)
    assert "mine.yaml, line 3" in str(caught.value) and sentence in str(caught.value)


def test_weights_lie_beside_the_zoo_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "models:\n  cifar10:\n    mine: {roles: [target], source: 'local:w', weights: {file: a.safetensors,"
        " architecture: resnet18, input_size: [3, 32, 32], mean: [0, 0, 0], std: [1, 1, 1]}}\n"
    )
    assert load_zoo(file).models["cifar10/mine"].place == str(tmp_path / "w" / "a.safetensors")


def test_notes_are_on_splits(tmp_path: Path) -> None:
    for dataset in ZOO.datasets.values():
        assert dataset.notes.keys() <= dataset.splits.keys()
    assert "among those of 'validation'" in ZOO.dataset("imagenet").notes["transferattack-1000"]
    file = tmp_path / "mine.yaml"
    file.write_text("datasets:\n  mine: {classes: 2, splits: {test: ['local:a']}, notes: {train: Beware.}}\n")
    with pytest.raises(UsageError, match=r"expected notes on splits \(test\), not on 'train'"):
        load_zoo(file)
