"""How visible perturbations are: norms and similarities, pictures, and what the commands tell of them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from helpers.perturbed import pictures
from helpers.refusals import ATTACK
from transferzoo.datasets.sources import load_split
from transferzoo.evaluation.perturbation_metrics import PerturbationMetrics
from transferzoo.results.records import SurrogateAttack, Visibility
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from helpers.refusals import Run


def measure(surrogate: str, attack: str, images: Tensor, clean: Tensor) -> Visibility:
    """Measure images in two batches."""
    metrics = PerturbationMetrics(ssim=True)
    for part in (slice(0, 1), slice(1, None)):
        if len(images[part]):
            metrics.add(images[part], clean[part])
    return metrics.result(SurrogateAttack(surrogate, attack))


pytestmark = pytest.mark.usefixtures("one_thread")


def test_norms_and_noise_are_the_literal_ones() -> None:
    images, clean = pictures()
    found = measure("s", "a", images, clean)
    change = images.double().numpy() - clean.double().numpy()
    assert (found.n, found.unchanged) == (4, 1)
    assert found.l0 == pytest.approx(np.mean([(c != 0).any(0).mean() for c in change]), abs=1e-6)
    assert found.l2 == pytest.approx(np.mean([np.linalg.norm(c / 255) for c in change]), abs=1e-6)
    assert found.linf == np.mean([abs(c).max() for c in change])
    ratios = [10 * np.log10(255**2 / (c**2).mean()) for c in change if c.any()]
    assert found.psnr == pytest.approx(np.mean(ratios), abs=1e-4)


def test_similarity_is_the_published_formula() -> None:
    images, clean = pictures(channels=1)
    found = measure("s", "a", images[:1], clean[:1])
    x, y = images[0, 0].double().numpy(), clean[0, 0].double().numpy()

    def blurred(values: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter(values, 1.5, truncate=3.5))

    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    both = blurred(x * y) - mean_x * mean_y
    one, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ratio = (2 * mean_x * mean_y + one) * (2 * both + two)
    ratio /= (mean_x**2 + mean_y**2 + one) * (var_x + var_y + two)
    assert found.ssim == pytest.approx(ratio[5:-5, 5:-5].mean(), abs=1e-6)


def test_nothing_changed_has_no_ratio() -> None:
    _, clean = pictures()
    found = measure("s", "a", clean, clean)
    assert (found.unchanged, found.l0, found.l2, found.linf) == (4, 0, 0, 0)
    assert found.psnr is None
    assert found.ssim is None
    small, other = pictures(side=8)
    assert measure("s", "a", small, other).ssim is None


def test_the_commands_tell(cli: Run, few: Path, tmp_path: Path) -> None:
    command = (*ATTACK, "--data", few, "-a", "bim", "-a", "mi")
    shown = cli(*command, "--visibility", "--save-images", "look")
    assert shown.code == 0, shown.err
    assert "How visible the perturbations are" in shown.out
    (run,) = (tmp_path / "runs").iterdir()
    assert cli("report", run, "--visibility").out == shown.out
    assert "How visible" not in cli("report", run).out
    content = json.loads(cli(*command, "--json").out)["visibility"]
    assert [line["n"] for line in content] == [4, 4]
    spec = load_zoo().dataset("fashion-mnist")
    data = load_split(spec, "sample", root=few)
    for unit in run.glob("images/*/*/0000.safetensors"):
        saved = load_file(unit)
        folder = tmp_path / "look" / unit.parent.relative_to(run / "images")
        for name, image in zip(saved["ids"].tolist(), saved["images"], strict=True):
            assert np.array_equal(np.asarray(Image.open(folder / f"{name}.png")), image[0].numpy())
        (line,) = [entry for entry in content if unit.parent.name in _folder(entry)]
        clean = data.images[[data.ids.tolist().index(name) for name in saved["ids"].tolist()]]
        again = measure(line["surrogate"], line["attack"], saved["images"], clean)
        assert (again.l2, again.ssim) == (line["l2"], line["ssim"])


def test_without_the_extra_all_but_ssim_is_measured(
    cli: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*ATTACK, "--data", few)
    with monkeypatch.context() as hidden:
        hidden.setitem(sys.modules, "skimage", None)
        hidden.setitem(sys.modules, "skimage.metrics", None)
        shown = cli(*command, "--visibility")
        assert shown.code == 0
        (note,) = [line for line in shown.err.splitlines() if "SSIM" in line]
        assert "pip install 'transferzoo[visibility]'" in note
        (row,) = [line.split() for line in shown.out.splitlines() if line.split()[-3:] == ["0", "of", "4"]]
        assert "–" not in row[:-4] and row[-4] == "–", "SSIM alone is left out"
        assert "SSIM" not in cli(*command).err, "who does not ask for it is told nothing"
        (bare,) = json.loads(cli(*command, "--json", "--visibility").out)["visibility"]
    (full,) = json.loads(cli(*command, "--json", "--visibility").out)["visibility"]
    assert bare["ssim"] is None and 0 < full["ssim"] < 1, "it is added once it is there and asked for"
    assert bare["psnr"] == full["psnr"]


def _folder(line: dict[str, str]) -> str:

    return SurrogateAttack(line["surrogate"], line["attack"]).folder
