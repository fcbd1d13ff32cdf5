"""A study of a user's own: a folder of images, two of timm's models, one technique, in a few lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from helpers.stripes import TINY
from transferzoo.base.errors import TransferZooError
from transferzoo.studies.worker import Task, run_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conftest import Result
    from transferzoo.studies.cells import Cell

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT = 12
OWN = """\
about: Does momentum help against my model?
dataset: imagenet
split: validation
images: 8
surrogates:
  mine: {model: ./mine}
targets: [./other]
attacks:
  - {spec: bim, steps: 3}
  - {spec: mi, steps: 3}
claims:
  - say: Momentum helps
    higher: {surrogate: mine, attack: mi}
    lower: {surrogate: mine, attack: bim}
"""


@pytest.fixture
def models(tmp_path: Path) -> Any:
    """Save two models of timm's that agree on most images, as timm saves them; return the first."""
    torch.manual_seed(0)
    model: Any = timm.create_model("resnet18", num_classes=1000, **TINY).eval()
    torch.nn.init.normal_(model.fc.weight, std=1)
    reads = {"input_size": (3, 224, 224), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    for name in ("mine", "other"):
        save_for_hf(
            model,
            str(tmp_path / name),
            model_config={"pretrained_cfg": reads},
            model_args=TINY,
            safe_serialization=True,
        )
        with torch.no_grad():
            model.fc.weight += 0.01 * torch.randn(model.fc.weight.shape)
    return model


@pytest.fixture
def images(tmp_path: Path, models: Any) -> Path:
    """Write images with a list of the models' predictions."""
    folder, lines = tmp_path / "images", ["file,label"]
    folder.mkdir()
    for number in range(COUNT):
        pixels = (
            torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(number)) * (number + 1) / COUNT
        )
        pixels = (pixels * 255).round()
        Image.fromarray(pixels.permute(1, 2, 0).byte().numpy()).save(folder / f"{number}.png")
        with torch.no_grad():
            lines.append(f"{number}.png,{int(models((pixels / 255 - 0.5)[None] / 0.5).argmax())}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def test_it_runs_from_end_to_end(tmp_path: Path, images: Path, cli: Callable[..., Result]) -> None:
    assert len(OWN.splitlines()) <= 15
    (tmp_path / "own.yaml").write_text(OWN)
    done = cli("study", "own.yaml", "--data", images, "--json", "-o", "own.csv")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    (verdict,) = found["verdicts"]
    assert verdict["claim"] == "Momentum helps"
    assert (verdict["seeds"], verdict["targets"]) == (0, 1), "nothing is known of their training"
    rates = {line["attack"]: line for line in found["measured"] if line["measure"] == "success"}
    assert rates.keys() == {"bim", "mi"}
    assert all(line["n"] <= 8 for line in rates.values())
    assert rates["bim"]["value"] > 0, "the weights are nearly the target's"
    assert verdict["difference"]["mean"] == pytest.approx(rates["mi"]["value"] - rates["bim"]["value"])
    assert (tmp_path / "own.csv").read_text().startswith("surrogate,seed,epoch,attack,target")


@pytest.mark.parametrize("named", ["by the option", "by the variable"])
def test_a_worker_elsewhere_finds_relative_paths(
    named: str, tmp_path: Path, images: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "zoo.yaml").write_text("suites: {mine: [bim]}")
    tasks: list[tuple[Task, Mapping[str, Cell]]] = []

    def remember(task: Task, cells: Mapping[str, Cell], *_: object) -> list[object]:
        tasks.append((task, cells))
        return []

    monkeypatch.setattr("transferzoo.studies.running.run_grid", remember)
    if named == "by the variable":
        monkeypatch.setenv("TRANSFERZOO_ZOO", "zoo.yaml")
    option = ["--zoo", "zoo.yaml"] if named == "by the option" else []
    assert cli("study", "own.yaml", "--data", "images", *option).code == 0
    monkeypatch.delenv("TRANSFERZOO_ZOO", raising=False)
    monkeypatch.chdir("/")
    ((task, cells),) = tasks
    assert task.zoo == tmp_path / "zoo.yaml"
    run_cell(task, next(iter(cells)))
    assert list((tmp_path / "studies").rglob("cell.json"))


def test_a_worker_without_the_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(TransferZooError, match=r"cannot enter .*nowhere.*that all machines have"):
        run_cell(Task("", tmp_path, base=tmp_path / "nowhere"), "key")
