"""The packaged zoo holds together, and users' files go over it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import timm

from transferzoo.attacks.configure import configure, expand
from transferzoo.attacks.engine import Attack
from transferzoo.base.atomic import sha256
from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.spec_strings import parse_terms
from transferzoo.base.train_config import TrainConfig
from transferzoo.minimizers import read_rule
from transferzoo.models import checkpoint
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.resolve import select_models
from transferzoo.zoo.reader import load_zoo, read_zoo
from transferzoo.zoo.schema import assets

if TYPE_CHECKING:
    from pathlib import Path

ZOO = load_zoo()
BUILTIN = sorted(name for name, model in ZOO.models.items() if model.source.state == "built-in")


def test_default_data_set_is_built_in() -> None:
    assert ZOO.default_dataset == "fashion-mnist"
    spec = ZOO.dataset("fashion-mnist")
    assert any(place.startswith("builtin:") for place in spec.splits[spec.attack.split])
    assert len(spec.classes) == 10


@pytest.mark.parametrize("name", ZOO.presets)
def test_presets_compose_and_configure(name: str) -> None:
    for dataset, about in ZOO.datasets.items():
        composition, _ = expand(name, ZOO, about.size)
        assert composition.cost(1) >= 1
        config = configure(ZOO, dataset, [name], ["a"], ["b"], {}, weights={"a": 2})
        attack = Attack.of(config.attacks[0], config.seed)
        assert (config.attacks[0].techniques, attack.composition) == (composition.spec, composition)
        assert attack.budget.epsilon <= 1


@pytest.mark.parametrize("name", ZOO.recipes)
def test_recipes_name_what_exists(name: str) -> None:
    recipe = ZOO.recipe(name)
    (term,) = parse_terms(recipe.architecture)
    if term.name in ARCHITECTURES:
        assert term.options.keys() <= ARCHITECTURES[term.name].defaults.keys()
    else:
        assert timm.is_model(term.name) and not term.options
    assert read_rule(recipe.minimizer).base in ("sgd", "adamw")
    assert recipe.dataset in ZOO.datasets


def test_surrogates_and_targets() -> None:
    surrogates = select_models(ZOO, ["all"], "fashion-mnist", "surrogate")
    targets = select_models(ZOO, ["all"], "fashion-mnist", "target")
    kinds = "sgd early swa sam asam gsam agsam wasam looksam lsam lgsam sat ir ir-sam"
    assert [m.name for m in surrogates] == [f"resnet50-{kind}" for kind in kinds.split()]
    families = {
        ARCHITECTURES[parse_terms(ZOO.recipe(str(m.recipe)).architecture)[0].name].family for m in targets
    }
    assert len(families) >= 8
    seeds = [ZOO.recipe(str(m.recipe)).seed for m in (*targets, surrogates[0])]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_model_is_what_the_manifest_says(name: str) -> None:
    model = ZOO.models[name]
    entry = json.loads((assets() / "manifest.json").read_text())["models"][name]
    recipe = read_recipe(model.folder)
    assert recipe is not None
    weights = model.folder / checkpoint.WEIGHTS
    assert entry["sha256"] == sha256(weights) == checkpoint.digest(model.folder) == recipe["weights_sha256"]
    assert entry["bytes"] == weights.stat().st_size
    assert (entry["licence"], entry["recipe"]) == ("MIT", model.recipe)
    assert entry["n"] == 10_000
    assert entry["accuracy"] == recipe["accuracy"]["accuracy"] == entry["correct"] / entry["n"]
    assert entry["accuracy"] >= (0.86 if "early" in name else 0.90)
    written, wanted = TrainConfig(**recipe["config"]), ZOO.recipe(str(model.recipe))
    assert written.model_copy(update={"minimizer": ""}) == wanted.model_copy(update={"minimizer": ""})
    assert read_rule(written.minimizer) == read_rule(wanted.minimizer)
    assert checkpoint.read_config(model.folder)["num_classes"] == 10


def test_manifest_names_the_built_in_models_only() -> None:
    assert sorted(json.loads((assets() / "manifest.json").read_text())["models"]) == BUILTIN


def test_built_in_zoo_is_small() -> None:
    assert sum(path.stat().st_size for path in assets().rglob("*") if path.is_file()) <= 25_000_000
    assert "MIT" in (assets() / "fashion-mnist" / "LICENSE").read_text()


MINE = """
models:
  fashion-mnist:
    vgg: {roles: [surrogate], source: "local:/elsewhere/vgg"}
    mine: {roles: [surrogate, target], source: "local:mine"}
attacks:
  fgsm: {spec: "", step: eps, steps: 1, epsilon: 2/255, about: mine}
  strong: {spec: mi+ti, about: mine}
recipes:
  tiny: {dataset: fashion-mnist, architecture: small_vgg, epochs: 1}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(MINE)
    return tmp_path / "mine.yaml"


def test_users_file_goes_over_entry_by_entry(mine: Path) -> None:
    zoo = load_zoo(mine)
    assert zoo.models["fashion-mnist/vgg"].place == "/elsewhere/vgg"
    assert zoo.models["fashion-mnist/resnet18"] == ZOO.models["fashion-mnist/resnet18"]
    assert zoo.models.keys() - ZOO.models.keys() == {"fashion-mnist/mine"}
    assert zoo.presets["fgsm"].epsilon == "2/255"
    assert zoo.presets["pgd"] == ZOO.presets["pgd"]
    assert expand("strong", zoo)[0].canonical == expand("mi+ti", zoo)[0].canonical
    assert zoo.recipes.keys() - ZOO.recipes.keys() == {"tiny"}
    assert zoo.default_dataset == "fashion-mnist"


def test_local_models_lie_beside_the_zoo_file(mine: Path) -> None:
    assert load_zoo(mine).models["fashion-mnist/mine"].folder == mine.parent / "mine"


def test_users_file_by_variable(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERZOO_ZOO", str(mine))
    assert "fashion-mnist/mine" in load_zoo().models
    assert "fashion-mnist/mine" not in read_zoo(None).models, "a worker's machine has its own variables"
    monkeypatch.delenv("TRANSFERZOO_ZOO")
    assert "fashion-mnist/mine" not in load_zoo().models


def test_selection() -> None:
    def names(*texts: str) -> list[str]:
        return [m.name for m in select_models(ZOO, texts, "fashion-mnist", "surrogate")]

    assert names("resnet50-sam", "resnet50-sgd,resnet50-sam") == ["resnet50-sam", "resnet50-sgd"]
    assert names("fashion-mnist/resnet50-sam") == ["resnet50-sam"]
    fashion = [m for m in ZOO.models.values() if m.dataset == "fashion-mnist"]
    further = names("resnet50-*@*")
    assert names("resnet50-*") == [
        m.name for m in fashion if "surrogate" in m.roles and m.name not in further
    ]
    assert len(further) == 4 * 3
    assert names("all") == names("*")
    assert names("vgg") == ["vgg"], "a model that is named may serve in any role"
    with pytest.raises(UnknownNameError, match=r"unknown surrogate 'v\?\?\?'"):
        names("v???")


@pytest.mark.parametrize("name", ["a,b", "vgg|bits", "a & b", " a", "a ", "all", "a,", "./x", "/x", "~/x"])
def test_models_that_no_command_could_name_are_refused(tmp_path: Path, name: str) -> None:
    entry = {"roles": ["target"], "source": "local:x"}
    models = {"fashion-mnist": {"fine": entry, name: entry}}
    (tmp_path / "zoo.yaml").write_text(json.dumps({"models": models}))
    with pytest.raises(UsageError, match="no model can be called that: expected a name without ','"):
        load_zoo(tmp_path / "zoo.yaml")


@pytest.mark.parametrize("name", ["a/b", "a--b", "vgg*", "v1.5", "Ü", "a b", "a:b", "a&b", "x/.y", "allez"])
def test_other_names_are_found(tmp_path: Path, name: str) -> None:
    entry = {"roles": ["target"], "source": "local:x"}
    (tmp_path / "zoo.yaml").write_text(json.dumps({"models": {"fashion-mnist": {name: entry}}}))
    zoo = load_zoo(tmp_path / "zoo.yaml")
    for text in (name, f"vgg,{name}"):
        assert select_models(zoo, [text], "fashion-mnist", "target")[-1].name == name


@pytest.mark.parametrize("name", ["a+b", "mi:decay=1", "9", "a b", ""])
def test_attacks_that_no_command_could_name_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "zoo.yaml").write_text(json.dumps({"attacks": {name: {"spec": "mi", "about": "mine"}}}))
    with pytest.raises(UsageError, match="no attack can be called that: expected letters"):
        load_zoo(tmp_path / "zoo.yaml")


def test_preset_over_data_set_and_flags_over_preset() -> None:
    def budget(attack: str, **flags: object) -> tuple[str, str, int]:
        (spec,) = configure(ZOO, "fashion-mnist", [attack], ["a"], ["b"], flags).attacks
        return spec.epsilon, spec.step, spec.steps

    assert budget("bim") == ("16/255", "eps/10", 50)
    assert budget("paper") == ("4/255", "eps/10", 50)
    assert budget("fgsm", epsilon="8/255") == ("8/255", "eps", 1)
    assert budget("fgsm", steps=3, step="1/255") == ("16/255", "eps/16", 3)
    with pytest.raises(UsageError, match="the presets of 'fgsm\\+paper' disagree on the step"):
        budget("fgsm+paper")
