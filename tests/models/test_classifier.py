"""From pixels to logits, and models handed back as they came."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from transferzoo.base.errors import DataError, ModelError
from transferzoo.models.classifier import Classifier, frozen


class Recorder(nn.Module):
    """Returns what it reads."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def _classifier(channels: int = 3, size: tuple[int, int] | None = None) -> Classifier:
    mean, std = [0.1, 0.2, 0.3][:channels], [0.5, 0.25, 2.0][:channels]
    return Classifier(Recorder(), size=size, channels=channels, mean=mean, std=std).double()


def _images(channels: int = 3, side: int = 8) -> Tensor:
    return torch.rand(
        2, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


def test_normalises_each_channel() -> None:
    images = _images()
    seen = _classifier()(images)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 0.25), (0.3, 2.0)]):
        torch.testing.assert_close(seen[:, channel], (images[:, channel] - mean) / std, rtol=0, atol=1e-6)


def test_grey_images_become_rgb() -> None:
    images = _images(1)
    assert torch.equal(_classifier()(images), _classifier()(images.repeat(1, 3, 1, 1)))


def test_rgb_images_do_not_become_grey() -> None:
    with pytest.raises(ModelError, match=r"expected 1 channel\(s\), got 3"):
        _classifier(1)(_images())


def test_8_bit_images_are_refused() -> None:
    with pytest.raises(DataError, match="divide 8-bit images by 255"):
        _classifier()(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("size", [(4, 4), (12, 12), (5, 9)])
def test_resizes_with_antialiasing_and_gradient(size: tuple[int, int]) -> None:
    images = _images(1).requires_grad_()
    seen = _classifier(1, size)(images)
    wanted = (interpolate(images, size, mode="bilinear", antialias=True) - 0.1) / 0.5
    torch.testing.assert_close(seen, wanted, rtol=0, atol=1e-6)
    assert torch.autograd.grad(seen.sum(), images)[0].count_nonzero() == images.numel()


def test_the_right_size_is_left_alone() -> None:
    assert torch.equal(_classifier(3, (8, 8))(_images()), _classifier()(_images()))


def test_state_dict_is_the_models() -> None:
    wrapped = Classifier(nn.Linear(2, 2), size=None, channels=1, mean=[0], std=[1])
    assert set(wrapped.state_dict()) == {"model.weight", "model.bias"}
    assert wrapped.mean.is_floating_point()


@pytest.mark.parametrize(("mean", "std"), [([0.5], [1, 1, 1]), ([0, 0, 0], [1, 0, 1]), ([0, 0, 0], [1.0])])
def test_wrong_statistics_are_sentences(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ModelError, match=r"does not fit its 3 channel\(s\)"):
        Classifier(Recorder(), size=None, channels=3, mean=mean, std=std)


@pytest.mark.parametrize("fails", [False, True])
def test_frozen_restores_every_part(fails: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones(2, 2)
    modes = [part.training for part in model.modules()]
    try:
        with frozen(model):
            assert not any(part.training for part in model.modules())
            assert not any(parameter.requires_grad for parameter in model.parameters())
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [part.training for part in model.modules()] == modes == [True, True, False, True]
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, True, True]
    assert torch.equal(model[0].weight.grad, torch.ones(2, 2))
