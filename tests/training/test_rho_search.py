"""Choosing a radius: by transfer on validation images, once, and only for the run that asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from helpers.stripes import config, draw, spec, stop_at, validators
from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, TransferZooError, UsageError
from transferzoo.minimizers import Minimizer, show_rule
from transferzoo.models import checkpoint
from transferzoo.training.early_stopping import TransferScorer
from transferzoo.training.rho_search import train_or_tune
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.training.trainer import Progress
    from transferzoo.zoo.schema import DatasetSpec

    Tune = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, TEST = draw(140, 0), draw(97, 1)
FILES = ["config.json", "model.safetensors", "recipe.json", "tune"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def stripes(place: Path) -> DatasetSpec:
    return spec(place)


@pytest.fixture(scope="module")
def judges(place: Path) -> dict[str, Path]:
    return validators(place)


def wanted(**changes: Any) -> TrainConfig:
    values = {"epochs": 2, "minimizer": "sam:rho=0.05", "tune": (0.4, 0.05, 0.1), **changes}
    judges = ("stripes/one", "stripes/two")
    return config(validation=60, validators=judges, **values)


@pytest.fixture
def tune(stripes: DatasetSpec, judges: dict[str, Path]) -> Tune:
    def run(config: TrainConfig, folder: Path, **arguments: Any) -> dict[str, Any]:
        data = arguments.pop("data", TRAIN)
        return train_or_tune(config, stripes, data, TEST, folder, validators=judges, **arguments)

    return run


@pytest.fixture(scope="module")
def tuned(place: Path, stripes: DatasetSpec, judges: dict[str, Path]) -> dict[str, Any]:
    """Return what a tuning found whose folder is `place`/tuned."""
    return train_or_tune(wanted(), stripes, TRAIN, TEST, place / "tuned", validators=judges)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_radius_that_transfers_best_is_kept(
    tmp_path: Path, place: Path, stripes: DatasetSpec, judges: dict[str, Path], tuned: dict[str, Any]
) -> None:
    """Each trial is the training with that radius, and the checkpoint is the best one's."""
    folder = place / "tuned"
    assert sorted(file.name for file in folder.iterdir()) == FILES
    assert tuned == json.loads((folder / "recipe.json").read_text())
    curve = tuned["tuning"]["curve"]
    assert [line["rho"] for line in curve] == [0.05, 0.1, 0.4]
    for line in curve:
        spec = show_rule(f"sam:rho={line['rho']}")
        alone = tmp_path / spec
        recipe = train(wanted(minimizer=spec, tune=()), stripes, TRAIN, TEST, alone, validators=judges)
        trial = json.loads((folder / "tune" / f"rho={line['rho']}" / "recipe.json").read_text())
        assert trial["weights_sha256"] == recipe["weights_sha256"]
        assert "tuning" not in trial
        measured = {**recipe["validation"], "test": recipe["accuracy"], "seconds": trial["seconds"]}
        assert line == {"rho": line["rho"], **measured}
        assert line["transfer"]["targets"].keys() == judges.keys()
    rates = {line["rho"]: line["transfer"]["rate"] for line in curve}
    assert len(set(rates.values())) > 1
    best = max(rates, key=lambda rho: (rates[rho], -rho))
    assert tuned["tuning"]["chosen"] == {"rho": best}
    assert tuned["config"]["minimizer"] == show_rule(f"sam:rho={best}")
    chosen = folder / "tune" / f"rho={best}"
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (chosen / name).read_bytes()
    assert tuned["weights_sha256"] == sha256(folder / "model.safetensors")
    assert {key: value for key, value in tuned.items() if key != "tuning"} == json.loads(
        (chosen / "recipe.json").read_text()
    )


def test_collected_weights_are_those_of_the_radius_that_is_kept(tmp_path: Path, tune: Tune) -> None:
    found = tune(wanted(epochs=1, tune=(0.05, 0.1), collect={"epochs": 1, "per_epoch": 2}), tmp_path)
    files = [file.relative_to(tmp_path) for file in checkpoint.samples(tmp_path)]
    assert [*found["samples"]] == [file.as_posix() for file in files] and len(files) == 2
    trial = tmp_path / "tune" / f"rho={found['tuning']['chosen']['rho']}"
    assert all((tmp_path / file).read_bytes() == (trial / file).read_bytes() for file in files)


@pytest.mark.parametrize(
    ("rates", "best"), [((0.1, 0.3, 0.2), 0.1), ((0.2, 0.1, 0.2), 0.05), ((0, 0, 1), 0.4)]
)
def test_the_rate_alone_decides(
    tmp_path: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...], best: float
) -> None:
    """Equal rates: the smaller radius. Accuracies do not matter."""
    script = list(rates)
    monkeypatch.setattr(
        TransferScorer, "rate", lambda self, model: {"rate": script.pop(0), "n": 1, "targets": {}}
    )
    assert tune(wanted(epochs=1), tmp_path)["tuning"]["chosen"] == {"rho": best}


def test_a_finished_folder_is_taken_as_it_is(
    tmp_path: Path, place: Path, tune: Tune, tuned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command again returns the same recipe at once; so it does without the trials."""
    folder = shutil.copytree(place / "tuned", tmp_path / "copy")
    monkeypatch.setattr(Minimizer, "step", None)
    before = content(folder)
    assert tune(wanted(), folder) == tuned
    assert tune(wanted(tune=(0.05, 0.1, 0.4), minimizer="sam:rho=3"), folder) == tuned
    assert content(folder) == before
    (folder / ".model.safetensors.00ff.tmp").write_bytes(b"left by a kill")
    shutil.rmtree(folder / "tune")
    assert tune(wanted(), folder) == tuned
    assert sorted(file.name for file in folder.iterdir()) == FILES[:3]
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"are not those its recipe\.json describes"):
        tune(wanted(), folder)


OTHERS = {"seed": 1, "tune": (0.05, 0.1), "minimizer": "asam", "epochs": 3}


@pytest.mark.parametrize("field", OTHERS)
def test_another_configuration_is_refused(
    tmp_path: Path,
    place: Path,
    tune: Tune,
    tuned: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    field: str,
) -> None:
    """Finished, unfinished or copied only in part: nothing is trained and nothing overwritten."""
    finished, unfinished = (shutil.copytree(place / "tuned", tmp_path / name) for name in ("one", "two"))
    (unfinished / "recipe.json").unlink()
    monkeypatch.setattr(Minimizer, "step", None)
    for folder in (finished, unfinished):
        before = content(folder)
        with pytest.raises(UsageError, match="holds another training run"):
            tune(wanted(**{field: OTHERS[field]}), folder)
        assert content(folder) == before
    assert tune(wanted(), unfinished)["weights_sha256"] == tuned["weights_sha256"]


def test_other_data_are_refused(
    tmp_path: Path, place: Path, tune: Tune, tuned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(place / "tuned", tmp_path / "copy")
    monkeypatch.setattr(Minimizer, "step", None)
    for name in ("", "recipe.json"):
        if name:
            (folder / name).unlink()
        before = content(folder)
        with pytest.raises(UsageError, match="holds another training run"):
            tune(wanted(), folder, data=draw(140, 9))
        assert content(folder) == before


def test_a_plain_training_and_a_choice_stay_apart(
    tmp_path: Path, place: Path, tune: Tune, tuned: dict[str, Any]
) -> None:
    """Neither writes into the other's folder, finished or not."""
    plain = wanted(tune=())
    for name, stop in (("finished", 0), ("unfinished", 7)):
        if stop:
            with pytest.raises(KeyboardInterrupt):
                tune(plain, tmp_path / name, on_progress=stop_at(stop))
        else:
            tune(plain, tmp_path / name)
        before = content(tmp_path / name)
        with pytest.raises(UsageError, match="holds another training run"):
            tune(wanted(), tmp_path / name, on_progress=_no_step)
        assert content(tmp_path / name) == before
    with pytest.raises(KeyboardInterrupt):
        tune(wanted(), tmp_path / "choice", on_progress=stop_at(7))
    for folder in (tmp_path / "choice", shutil.copytree(place / "tuned", tmp_path / "chosen")):
        before = content(folder)
        with pytest.raises(UsageError, match="holds another training run"):
            tune(wanted(tune=(), seed=3), folder, on_progress=_no_step)
        assert content(folder) == before


def test_an_interrupted_choice_goes_on(tmp_path: Path, tune: Tune, tuned: dict[str, Any]) -> None:
    """Finished trials are not trained again, and the result is the one without interruption."""
    steps: list[int] = []

    def in_the_second(at: Progress) -> None:
        steps.append(at.step)
        if len(steps) == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(wanted(), tmp_path, on_progress=in_the_second)
    assert steps == [*range(1, 11), *range(1, 8)]
    (tmp_path / "tune" / "rho=0.05" / "mine").write_text("a stranger's file is no reason to train again")
    del steps[:]
    recipe = tune(wanted(), tmp_path, on_progress=lambda at: steps.append(at.step))
    assert steps == [*range(6, 11), *range(1, 11)]
    assert recipe["weights_sha256"] == tuned["weights_sha256"]
    assert _timeless(recipe) == _timeless(tuned)


def test_a_choice_cut_while_it_is_copied_goes_on(
    tmp_path: Path, tune: Tune, tuned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfileobj

    def full(source: BinaryIO, target: BinaryIO) -> None:
        if Path(source.name).name == "model.safetensors":
            raise OSError(28, "No space left on device")
        copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(TransferZooError, match="the disk is full"):
            tune(wanted(), tmp_path)
    monkeypatch.setattr(Minimizer, "step", None)
    assert _timeless(tune(wanted(), tmp_path)) == _timeless(tuned)


def test_radii_that_look_alike_have_their_own_trials(tmp_path: Path, tune: Tune) -> None:
    radii = (0.1, 0.10000001)
    recipe = tune(wanted(tune=radii, epochs=1), tmp_path)
    assert [line["rho"] for line in recipe["tuning"]["curve"]] == list(radii)
    names = sorted(path.name for path in (tmp_path / "tune").iterdir() if path.is_dir())
    assert names == ["rho=0.1", "rho=0.10000001"]


def _timeless(recipe: dict[str, Any]) -> dict[str, Any]:
    lines = [{**line, "seconds": 0} for line in recipe["tuning"]["curve"]]
    return {**recipe, "seconds": 0, "tuning": {**recipe["tuning"], "curve": lines}}


def _no_step(at: Progress) -> None:
    raise AssertionError(f"trained at {at}")
