"""Defences that change the image: compression, fewer levels, smoothing, random geometry, noise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.base.options import ODD, Positive
from transferzoo.defences import DEFENCES, Defence

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import Tensor

Views = Annotated[int, Field(ge=1, le=10_000)]


@DEFENCES.register("jpeg")
@dataclass(frozen=True)
class Jpeg(Defence):
    """JPEG compression and decompression, by Pillow with its default chroma subsampling.

    Attributes:
        quality: 1 to 95.
    """

    paper: ClassVar[str] = "Dziugaite et al. 2016, https://arxiv.org/abs/1608.00853"
    packages: ClassVar[tuple[str, ...]] = ("pillow",)

    quality: Annotated[int, Field(ge=1, le=95)] = 75

    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """See `Defence.views`."""
        import io

        import numpy as np
        import torch
        from PIL import Image

        decoded = []
        for pixels in images.permute(0, 2, 3, 1).numpy():
            file = io.BytesIO()
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
                file, "JPEG", quality=self.quality
            )
            decoded.append(np.asarray(Image.open(file)).reshape(pixels.shape))
        yield torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).float() / 255


@DEFENCES.register("fd")
@dataclass(frozen=True)
class FeatureDistillation(Defence):
    """Feature distillation (FD): cosines of 8 × 8 blocks are rounded to multiples of a table.

    Every channel by itself, on the scale 0..255, by SciPy's orthonormal cosine transform; the table of the
    authors' code has `low` for the first four frequencies of either axis and `high` for the others. What
    comes back is cut to [0, 1] and not rounded to levels. An image whose sides are no multiples of 8 is
    continued by its last row and column.

    The authors' code takes sides that are multiples of 8 and leaves out the first image of every call.

    Attributes:
        low: step for low frequencies, above 0.
        high: step for high ones, above 0.
    """

    paper: ClassVar[str] = "Liu et al. 2019, https://arxiv.org/abs/1803.05787"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)

    low: Positive = 25.0
    high: Positive = 30.0

    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """See `Defence.views`."""
        import numpy as np
        import torch
        from scipy.fft import dctn, idctn

        height, width = images.shape[2:]
        more = [(0, 0), (0, 0), (0, -height % 8), (0, -width % 8)]
        whole = np.pad(images.numpy().astype(np.float64), more, mode="edge")
        rows, columns = (side // 8 for side in whole.shape[2:])
        blocks = whole.reshape(*whole.shape[:2], rows, 8, columns, 8)
        table = np.full((8, 1, 8), self.high)
        table[:4, :, :4] = self.low
        cosines = (dctn(blocks, axes=(3, 5), norm="ortho") / table).round() * table
        found = idctn(cosines, axes=(3, 5), norm="ortho").reshape(whole.shape)[..., :height, :width]
        yield (torch.from_numpy(found) / 255).clamp(0, 1).float()


@DEFENCES.register("bits")
@dataclass(frozen=True)
class Bits(Defence):
    """Fewer levels: x → round((2ᵇ − 1) x) / (2ᵇ − 1).

    Attributes:
        depth: b, bits a channel, 1 to 8.
    """

    paper: ClassVar[str] = "Xu et al. 2018, https://arxiv.org/abs/1704.01155"

    depth: Annotated[int, Field(ge=1, le=8)] = 5

    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """See `Defence.views`."""
        levels = 2**self.depth - 1
        yield (images.float() / 255 * levels).round() / levels


@DEFENCES.register("median")
@dataclass(frozen=True)
class Median(Defence):
    """The median of a square around each pixel, by SciPy; the image is mirrored at its edges.

    Attributes:
        side: of the square, in pixels, odd.
    """

    paper: ClassVar[str] = "Xu et al. 2018, https://arxiv.org/abs/1704.01155"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)

    side: Annotated[int, Field(ge=1, le=99, description="an odd number of pixels"), ODD] = 3

    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """See `Defence.views`."""
        import torch
        from scipy.ndimage import median_filter

        smoothed = median_filter(images.numpy(), size=(1, 1, self.side, self.side), mode="reflect")
        yield torch.from_numpy(smoothed).float() / 255


@DEFENCES.register("resize-pad")
@dataclass(frozen=True)
class ResizePad(Defence):
    """A random size and a random place: the side s becomes r ~ U{s, …, ⌊ratio·s⌋}, padded with black.

    The resize is bilinear. A model that reads one size only then shrinks the whole to that size.

    Attributes:
        ratio: padded side over the image's, 1 to 4; 331/299 is the paper's.
        n: views, each with draws of its own; most votes win.
    """

    paper: ClassVar[str] = "Xie et al. 2018, https://arxiv.org/abs/1711.01991"

    ratio: Annotated[float, Field(ge=1, le=4)] = 331 / 299
    n: Views = 1

    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """See `Defence.views`."""
        import torch
        from torch.nn.functional import interpolate, pad

        generators = _generators(self, ids)
        sides = [int(side * self.ratio + 1e-9) for side in images.shape[2:]]
        for _ in range(self.n):
            parts = []
            for image, generator in zip(images.float() / 255, generators, strict=True):
                size, down, right = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
                new = [s + int(size * (full - s + 1)) for s, full in zip(image.shape[1:], sides, strict=True)]
                room = [full - side for full, side in zip(sides, new, strict=True)]
                top, left = int(down * (room[0] + 1)), int(right * (room[1] + 1))
                larger = interpolate(image[None], new, mode="bilinear")
                parts.append(pad(larger, (left, room[1] - left, top, room[0] - top)))
            yield torch.cat(parts)


@DEFENCES.register("smooth")
@dataclass(frozen=True)
class Smoothing(Defence):
    """Randomised smoothing: the class that is seen in most of n noisy copies, x + N(0, sigma²), not clipped.

    Of classes with equally many votes the first one wins; nothing is certified.

    Attributes:
        sigma: standard deviation in [0, 1] pixels, > 0.
        n: copies, ≥ 1.
    """

    paper: ClassVar[str] = "Cohen et al. 2019, https://arxiv.org/abs/1902.02918"

    sigma: Annotated[float, Field(gt=0, le=10)] = 0.1
    n: Views = 50

    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """See `Defence.views`."""
        import torch

        clean, generators = images.float() / 255, _generators(self, ids)
        for _ in range(self.n):
            noise = [torch.randn(clean.shape[1:], generator=generator) for generator in generators]
            yield clean + self.sigma * torch.stack(noise)


def _generators(defence: object, ids: Tensor) -> list[torch.Generator]:
    """Return one CPU generator an image, seeded by the defence and the id."""
    import torch

    texts = (f"{defence} {name}".encode() for name in ids.tolist())
    seeds = (int.from_bytes(hashlib.sha256(text).digest()[:8]) for text in texts)
    return [torch.Generator().manual_seed(seed) for seed in seeds]
