"""Views that resize and pad the image (DI), and logits over several such sizes (DEM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Refinement, View
from transferzoo.attacks.techniques.oracles import mean, through
from transferzoo.attacks.techniques.ranges import Count
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.spec_strings import require

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Logits, Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("di")
@dataclass(frozen=True)
class DiverseInputs(View):
    """Input diversity (DI): the model sees the image at a random size and place.

    With probability p the image of side s is resized to r ~ U{s, …, ⌊ratio·s⌋}, padded with zeros at a random
    offset to ⌊ratio·s⌋, and resized back to s; otherwise it is left alone. Each image has draws of its own,
    new ones at every step. Both resizes are bilinear, without antialiasing.

    Some implementations, torchattacks among them, draw once for the whole batch and hand the model the padded
    size; here the size stays the image's own.

    Attributes:
        p: probability of a transform, 0..1.
        ratio: padded side over the image's side, at least 1. Small images may have few sizes: 28 → 28..30.
    """

    paper: ClassVar[str] = "Xie et al. 2019, https://arxiv.org/abs/1803.06978"

    p: Annotated[float, Field(ge=0, le=1, description="a probability")] = 0.5
    ratio: Annotated[float, Field(ge=1, le=4)] = 1.1

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        return through(lambda images: self.transform(images, unit.uniform(4)), oracle)

    def transform(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return T(x): rows and columns are resampled by one matrix each, since resizing is linear.

        Args:
            images: x, (N, C, H, W).
            draws: four numbers of U[0, 1) an image, (N, 4): whether, size, offset down, offset right.
        """
        # Every image has a size of its own, so `interpolate` would be called once an image.
        # Enlarging, padding and shrinking a line are linear maps: their product is one small matrix an image
        # and axis, and two batched products do it for all images at once.
        import torch

        height, width = images.shape[-2:]
        whether, size, down, right = draws.unbind(1)  # float64: rounded to float32 some would become 1
        places = [whether < self.p, *self._place(height, size, down), *self._place(width, size, right)]
        chosen, *places = sent(torch.stack(places), images)[..., None]  # in one copy: whole numbers all
        rows = self._resampling(height, chosen, *places[:2])
        columns = self._resampling(width, chosen, *places[2:])
        return rows[:, None] @ images @ columns[:, None].mT

    def _place(self, side: int, size: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Return how long a line of `side` pixels becomes, and where it starts when padded: (N,) each."""
        padded = self._padded(side)
        resized = side + (size * (padded - side + 1)).floor()
        return resized, (offset * (padded - resized + 1)).floor()

    def _padded(self, side: int) -> int:
        return int(side * self.ratio + 1e-9)

    def _resampling(self, side: int, chosen: Tensor, resized: Tensor, start: Tensor) -> Tensor:
        """Return the matrices (N, side, side) that enlarge, pad and shrink a line of `side` pixels.

        Args:
            side: length of the line.
            chosen: 1 where it is done, 0 where the line is left alone, (N, 1).
            resized: length it is enlarged to, likewise.
            start: where it starts then in the padded line, likewise.
        """
        import torch

        # Padding is in `enlarge`: rows of the padded line that lie outside the resized image are zero.
        padded = self._padded(side)
        line = torch.arange(padded, device=start.device).to(start)
        inner = line - start
        inside = (inner >= 0) & (inner < resized)
        enlarge = _bilinear(inner, resized, side) * inside[..., None]
        shrink = _bilinear(line[:side], side, padded)
        return torch.where(
            chosen[..., None] > 0, shrink @ enlarge, torch.eye(side, device=start.device).to(start)
        )


def _bilinear(pixel: Tensor, target: Tensor | int, source: int) -> Tensor:
    """Return the weights (…, source) of a line of `source` pixels in pixels of one of `target`.

    Pixel i of the new line lies at x = (i + ½)·source/target − ½ of the old one, moved inside it, and takes
    the weight 1 − |x − k| of each pixel k within 1 of x (PyTorch's `interpolate` with `align_corners=False`).
    """
    import torch

    place = ((pixel + 0.5) * (source / target) - 0.5).clamp(0, source - 1)
    return (1 - (place[..., None] - torch.arange(source, device=place.device).to(place)).abs()).clamp_min(0)


@TECHNIQUES.register("dem")
@dataclass(frozen=True)
class DiversityEnsemble(Refinement):
    """Diversity ensemble (DEM): the mean of the logits at several sizes of the image, mean_r z(T_r(x)).

    T_r is DI's transform with p = 1 and ratio r; the ratios lie evenly between two bounds. Each image has
    draws of its own, new ones at every step. All copies are in memory together, since the loss of a mean
    needs them all. The paper also steps by ε, which is the attack's `step=eps` and not part of this.

    TransferAttack leaves out DI's largest size and offset, and draws once for the whole batch.

    Attributes:
        copies: ratios, from 1; a single one is the smallest.
        smallest: least padded side over the image's side, 1..4.
        largest: greatest, likewise.
    """

    paper: ClassVar[str] = "Zou et al. 2020, https://arxiv.org/abs/2112.06011"

    copies: Count = 5
    smallest: float = 1.14
    largest: float = 1.66

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: one is out of range.
        """
        require(
            1 <= self.smallest <= self.largest <= 4,
            "options 'smallest' and 'largest' of 'dem' are ratios",
            expected="1 ≤ smallest ≤ largest ≤ 4",
            got=f"{self.smallest} and {self.largest}",
        )

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.copies

    def refine(self, logits: Logits, unit: WorkUnit) -> Logits:
        """See `Refinement.refine`."""
        gap = (self.largest - self.smallest) / max(self.copies - 1, 1)
        views = [DiverseInputs(p=1, ratio=self.smallest + i * gap) for i in range(self.copies)]

        def ensemble(images: Tensor) -> Tensor:
            return mean(logits(view.transform(images, unit.uniform(4))) for view in views)

        return ensemble
