"""Targets behind a defence: each against an independent way to do it, and the whole through the command."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from torch import Tensor, nn

from helpers.refusals import ATTACK, nothing_written, refused
from transferzoo.base.errors import UsageError
from transferzoo.defences import DEFENCES, read_defence, show_defence
from transferzoo.models.predict import predict, predict_defended
from transferzoo.models.resolve import select_models
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def pixels(n: int = 5, channels: int = 3, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(n, channels, 4, 4, generator=generator)
    return (nn.functional.interpolate(smooth, (side, side), mode="bilinear") * 255).to(torch.uint8)


def views(spec: str, images: Tensor) -> list[Tensor]:
    return list(read_defence(spec).views(images, torch.arange(len(images)) + 7))


def test_jpeg_is_quantised_cosines() -> None:
    """Blocks of 8 × 8, their cosine transform rounded to multiples of the standard's table for luminance."""
    images = pixels(channels=1)
    (found,) = views("jpeg:quality=40", images)
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=40)
    table = np.zeros(64)
    table[:] = Image.open(file).quantization[0]  # type: ignore[attr-defined]
    for image, defended in zip(images[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        for row in (0, 8):
            for column in (0, 8):
                block = image[row : row + 8, column : column + 8].astype(float) - 128
                cosines = (dctn(block, norm="ortho") / table.reshape(8, 8)).round() * table.reshape(8, 8)
                wanted = (idctn(cosines, norm="ortho") + 128).round().clip(0, 255)
                taken = defended[row : row + 8, column : column + 8] * 255
                assert abs(wanted - taken).max() <= 2  # the encoder reckons in whole numbers


def test_jpeg_of_colours_loses_more_the_lower_the_quality() -> None:
    images = pixels()
    losses = [(views(f"jpeg:quality={q}", images)[0] - images / 255).abs().mean().item() for q in (90, 40, 5)]
    assert 0 < losses[0] < losses[1] < losses[2] < 0.2


@pytest.mark.parametrize(("spec", "low", "high"), [("fd", 25, 30), ("fd:low=4.3,high=70.7", 4.3, 70.7)])
@pytest.mark.parametrize("sides", [(16, 16), (13, 20)])
def test_feature_distillation_is_quantised_cosines_by_hand(
    spec: str, low: float, high: float, sides: tuple[int, int]
) -> None:
    images = pixels()[..., : sides[0], :]
    images = torch.cat([images, images.flip(3)], 3)[..., : sides[1]].contiguous()
    (found,) = views(spec, images)
    frequency, place = np.arange(8)[:, None], np.arange(8)[None]
    matrix = np.cos((2 * place + 1) * frequency * np.pi / 16) * np.where(frequency, 0.5, 0.125**0.5)
    for image, defended in zip(images.flatten(0, 1).numpy(), found.flatten(0, 1).numpy(), strict=True):
        for top in range(0, sides[0], 8):
            for left in range(0, sides[1], 8):
                rows = np.minimum(np.arange(top, top + 8), sides[0] - 1)
                columns = np.minimum(np.arange(left, left + 8), sides[1] - 1)
                cosines = matrix @ image[np.ix_(rows, columns)].astype(float) @ matrix.T
                for u in range(8):
                    for v in range(8):
                        step = low if u < 4 and v < 4 else high
                        cosines[u, v] = round(cosines[u, v] / step) * step
                wanted = (matrix.T @ cosines @ matrix / 255).clip(0, 1)
                taken = defended[top : top + 8, left : left + 8]
                np.testing.assert_allclose(taken, wanted[: taken.shape[0], : taken.shape[1]], atol=1e-6)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_bits_are_the_nearest_levels(depth: int) -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    (found,) = views(f"bits:depth={depth}", images)
    levels = torch.linspace(0, 1, 2**depth)
    nearest = (images / 255)[..., None].sub(levels).abs().amin(-1)
    torch.testing.assert_close((found - images / 255).abs(), nearest, rtol=0, atol=1e-6)
    assert len(found.unique()) == 2**depth


@pytest.mark.parametrize("side", [1, 3, 5])
def test_median_is_the_literal_one(side: int) -> None:
    images, half = pixels(n=2), side // 2
    (found,) = views(f"median:side={side}", images)
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (half, half), (half, half)), mode="symmetric")
    for row in range(16):
        for column in range(16):
            window = wide[:, :, row : row + side, column : column + side]
            wanted = np.median(window, axis=(2, 3)) / 255
            np.testing.assert_allclose(found[:, :, row, column].numpy(), wanted, atol=1e-6)


def test_resize_pad_keeps_every_pixel_and_moves_it() -> None:
    images = torch.full((40, 1, 20, 20), 255, dtype=torch.uint8)
    found = views("resize-pad:ratio=1.5,n=3", images)
    assert [view.shape for view in found] == [(40, 1, 30, 30)] * 3
    areas, corners = set(), set()
    for view in found:
        for image in view[:, 0]:
            rows, columns = image.amax(1) > 0, image.amax(0) > 0
            side, other = int(rows.sum()), int(columns.sum())
            assert side == other
            assert torch.equal(image > 0, rows[:, None] & columns)
            areas.add(side)
            corners.add((int(rows.nonzero()[0]), int(columns.nonzero()[0])))
    assert min(areas) == 20
    assert max(areas) == 30
    assert len(corners) > 30


def test_smoothing_is_noise_of_that_size() -> None:
    images = torch.full((4, 3, 16, 16), 128, dtype=torch.uint8)
    noise = torch.stack(views("smooth:sigma=0.2,n=30", images)) - 128 / 255
    n = noise.numel()
    assert abs(noise.mean()) < 4 * 0.2 / n**0.5
    assert abs(noise.std() / 0.2 - 1) < 4 / (2 * n) ** 0.5
    assert len({tuple(part.flatten()[:3].tolist()) for part in noise.flatten(0, 1)}) == 120


class Threshold(nn.Module):
    """Tells whether an image is brighter than a half on average."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)


def test_the_class_of_most_views_wins() -> None:
    images = torch.tensor([100, 127, 128, 200], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    ids = torch.arange(4)
    found = predict_defended(Threshold(), read_defence("smooth:sigma=0.3,n=21"), images, ids)
    seen = torch.stack(
        [Threshold()(view).argmax(1) for view in read_defence("smooth:sigma=0.3,n=21").views(images, ids)]
    )
    assert 0 < seen.float().mean() < 1
    assert torch.equal(found, (seen.sum(0) > 10).long())
    identity = read_defence("bits:depth=8")
    assert torch.equal(predict_defended(Threshold(), identity, images, ids), predict(Threshold(), images))


@pytest.mark.parametrize("name", DEFENCES)
def test_draws_belong_to_the_image(name: str) -> None:
    images, ids = pixels(), torch.arange(5)
    together = next(read_defence(name).views(images, ids))
    alone = torch.cat([next(read_defence(name).views(images[i : i + 1], ids[i : i + 1])) for i in range(5)])
    assert torch.equal(together, alone)
    before = torch.get_rng_state()
    next(read_defence(name).views(images, ids))
    assert torch.equal(torch.get_rng_state(), before)
    assert show_defence(show_defence(name)) == show_defence(name)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jpeg:quality=0", "option 'quality' of 'jpeg' is out of range: expected 1 to 95, got 0"),
        ("bits:depth=9", "option 'depth' of 'bits'"),
        ("median:side=4", "option 'side' of 'median' is an odd number of pixels: expected 1 to 99, got 4"),
        ("smooth:sigma=0", "option 'sigma' of 'smooth'"),
        ("smooth:n=0", "option 'n' of 'smooth'"),
        ("resize-pad:ratio=0.5", "option 'ratio' of 'resize-pad'"),
        ("blur", "unknown defence 'blur'"),
        ("jpeg+bits", "cannot read the defence: expected one name"),
    ],
)
def test_wrong_defences_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_defence(spec)
    assert message in str(caught.value)


def test_targets_behind_defences(cli: Run, few: Path) -> None:
    command = [
        *ATTACK,
        "--data",
        few,
        "-t",
        "vgg,resnet18|jpeg:quality=20",
        "-t",
        "resnet50-sgd|smooth:n=3,sigma=0.01",
    ]
    result = cli(*command, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)["records"]
    assert [r["target"].partition("/")[2] for r in content] == [
        "vgg",
        "vgg|jpeg:quality=20",
        "resnet18|jpeg:quality=20",
        "resnet50-sgd|smooth:sigma=0.01,n=3",
    ]
    assert [r["white_box"] for r in content] == [False, False, False, True]
    assert content[0]["target_sha256"] == content[1]["target_sha256"]
    assert content[0]["target_accuracy"] != content[1]["target_accuracy"]
    assert "pillow" in content[0]["versions"]


def test_defended_surrogates_are_refused(cli: Run, few: Path, tmp_path: Path) -> None:
    refused(cli("attack", "-s", "vgg|jpeg", "--data", few), 2, "a surrogate has no defence", "'vgg|jpeg'")
    refused(cli(*ATTACK, "-t", "vgg|jpeg:quality=99", "--data", few), 2, "1 to 95")
    nothing_written(tmp_path)


def test_a_zoo_may_name_a_defended_target() -> None:
    zoo = load_zoo()
    (found,) = select_models(zoo, ["vgg|bits"], "fashion-mnist", "target")
    assert (found.name, found.defence, found.folder.name) == ("vgg|bits:depth=5", "bits:depth=5", "vgg")
