"""Several weights of one network: drawn from a Gaussian, or collected by a training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from helpers.attacks import craft, make_attack, pool_for, random_images, small_cnn, work_unit
from helpers.networks import normed_cnn
from helpers.refusals import refused
from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack
from transferzoo.attacks.engine import craft as engine_craft
from transferzoo.attacks.techniques import Draw
from transferzoo.base.atomic import sha256
from transferzoo.base.attack_config import AttackSpec
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.datasets.sources import load_split
from transferzoo.models import checkpoint
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.optimize import optimize
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


BATCH = random_images(4, 3, 8)


def normed(seed: int) -> nn.Module:
    return normed_cnn(seed).double()


def draws(spec: str, *models: nn.Module) -> list[nn.Module]:
    attack = make_attack(spec)
    (technique,) = attack.composition.of(Draw)
    found: list[nn.Module] = technique.draw(models, work_unit(attack, BATCH))
    return found


def weights(models: list[nn.Module], name: str) -> torch.Tensor:
    return torch.stack([dict(model.named_parameters())[name].detach() for model in models])


def test_noise_is_relative_to_the_weights() -> None:
    """Zero mean and a deviation of sigma·rms, tensor by tensor; one-dimensional weights stay."""
    model = normed(0)
    drawn = draws("mba:n=200,sigma=0.3", model)
    for name, weight in model.named_parameters():
        noise = weights(drawn, name) - weight.detach()
        if weight.ndim == 1:
            assert not noise.any()
            continue
        scale = 0.3 * weight.detach().square().mean().sqrt()
        assert noise.std() == pytest.approx(scale.item(), rel=0.03)
        assert abs(noise.mean().item()) < 4 * scale / noise.numel() ** 0.5


def test_several_weights_give_their_own_gaussian() -> None:
    models = [normed(seed) for seed in range(4)]
    drawn = draws("mba:n=400,scale=2", *models)
    for name, _ in models[0].named_parameters():
        given, made = weights(models, name), weights(drawn, name)
        deviation = given.std(0, correction=0)
        torch.testing.assert_close(made.mean(0), given.mean(0), rtol=0, atol=(deviation.max() * 0.6).item())
        ratio = made.std(0)[deviation > 0] / deviation[deviation > 0]
        assert ratio.mean().item() == pytest.approx(2, rel=0.05) if ratio.numel() else not made.std(0).any()


def test_batch_statistics_are_those_of_the_pool() -> None:
    (model,) = draws("mba:n=1,sigma=0.2", normed(0))
    assert isinstance(model, nn.Sequential)
    norm = model[1]
    found = model[0](pool_for(BATCH).images.double() / 255)
    torch.testing.assert_close(norm.running_mean, found.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, found.transpose(0, 1).flatten(1).var(1))
    assert not norm.training


def test_the_surrogate_stays_and_the_draws_are_everyones() -> None:
    model = normed(0)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    attack = make_attack("mba:n=3", steps=3)
    together = craft(attack, model, BATCH)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    singly = torch.cat([craft(attack, model, BATCH[i : i + 1]) for i in range(4)])
    assert torch.equal(together, singly)
    assert not torch.equal(together, craft(make_attack("", steps=3), model, BATCH))


def test_without_noise_it_is_the_surrogate() -> None:
    (model,) = draws("mba:n=1,sigma=0", normed(0))  # so that its statistics are the pool's
    plain = craft(make_attack("mi", steps=3), model, BATCH)
    for spec in ("mba:n=2,sigma=0+mi", "mba:n=5,sigma=0+long+mi"):
        assert torch.equal(craft(make_attack(spec, steps=3), model, BATCH), plain)


def test_what_it_costs() -> None:
    assert [compose(spec).cost(10, 3) for spec in ("mba:n=4", "mba:n=4+long", "mba:n=6+svre:inner=2")] == [
        40,
        10,
        80,
    ]
    compose("mba:n=2+svre").check(1)
    with pytest.raises(UsageError, match="'svre' attacks several surrogates together"):
        compose("mba:n=1+svre").check(1)


def test_what_does_not_go_together() -> None:
    with pytest.raises(ModelError, match="fits a Gaussian to weights: expected those of one network"):
        draws("mba", normed(0), small_cnn())
    with pytest.raises(UsageError, match="'mba' uses other images: expected a pool"):
        engine_craft(
            make_attack("mba"), normed(0), BATCH.images, BATCH.labels, BATCH.ids, dtype=torch.float64
        )
    with pytest.raises(UsageError, match="'n' of 'mba' is out of range"):
        compose("mba:n=0")


# ---------------------------------------------------------------- checkpoints with several weights

ZOO = load_zoo()
SPEC = ZOO.dataset("fashion-mnist")


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """Return a checkpoint of SGD's main weights and three collected ones, its relatives'."""
    folder = tmp_path / "collected"
    for name in (checkpoint.CONFIG, checkpoint.WEIGHTS):
        _copy(ZOO.models["fashion-mnist/resnet50-sgd"].folder / name, folder / name)
    for number, name in enumerate(("sam", "asam", "gsam"), 1):
        source = ZOO.models[f"fashion-mnist/resnet50-{name}"].folder / checkpoint.WEIGHTS
        _copy(source, folder / checkpoint.SAMPLES / f"{number:04d}.safetensors")
    return folder


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(source.read_bytes())


COMMAND = ("attack", "-s", "./collected", "-t", "vgg", "--steps", 2, "--images", 4, "--json")


@pytest.mark.usefixtures("collected")
def test_an_attack_that_joins_takes_all_weights(cli: Run, few: Path) -> None:
    attacks = [flag for spec in ("bim", "ens", "lgv", "mba:n=2") for flag in ("-a", spec)]
    done = cli(*COMMAND, "--data", few, *attacks)
    assert done.code == 0, done.err
    assert [record["gradients"] for record in json.loads(done.out)["records"]] == [2, 6, 2, 4]


def test_lgv_takes_one_of_the_weights_a_step(cli: Run, few: Path, collected: Path, tmp_path: Path) -> None:
    """The saved images are those of the same weights, loaded one by one and attacked in turn."""
    done = cli(*COMMAND, "--data", few, "-a", "long:order=given")
    assert done.code == 0, done.err
    files = checkpoint.samples(collected)
    data = load_split(SPEC, "sample", root=few)
    models = [
        optimize(load_checkpoint(collected, SPEC, file), data.images[:4], precision="fp32") for file in files
    ]
    (run,) = (tmp_path / "runs").iterdir()
    ids = json.loads((run / "selection.json").read_text())["ids"]
    part = data.select(torch.isin(data.ids, torch.tensor(ids)))
    config = json.loads((run / "config.json").read_text())
    attack = Attack.of(AttackSpec(**config["config"]["attacks"][0]), 0)
    wanted = engine_craft(attack, models, part.images, part.labels, part.ids)
    (unit,) = (run / "images").rglob("*.safetensors")
    assert torch.equal(load_file(unit)["images"], wanted)
    assert config["samples"] == {f"fashion-mnist/collected/{file.name}": sha256(file) for file in files}


def test_other_weights_are_another_run(cli: Run, few: Path, collected: Path) -> None:
    def folder(*flags: str) -> str:
        return str(
            json.loads(cli(*COMMAND[:-1], "--data", few, *flags, "--dry-run", "--json").out)["run_folder"]
        )

    joined, plain = folder("-a", "lgv"), folder()
    checkpoint.samples(collected)[2].unlink()
    assert folder("-a", "lgv") != joined and folder() == plain


def test_damaged_weights_are_named(cli: Run, few: Path, collected: Path) -> None:
    checkpoint.samples(collected)[1].write_bytes(b"none")
    done = cli(*COMMAND[:-1], "--data", few, "-a", "lgv")
    refused(done, 1, "cannot read the weights", "0002.safetensors")
