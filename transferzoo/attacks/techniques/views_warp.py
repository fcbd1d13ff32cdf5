"""Views of the image bent like a thin plate."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, View
from transferzoo.attacks.techniques.oracles import mean, through
from transferzoo.attacks.techniques.ranges import Count
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("decowa")
@dataclass(frozen=True)
class DeformationWarp(View):
    """Deformation-constrained warping (DeCowA): the mean gradient over warps made a little harder.

        θ ~ U(−noise, noise),  θ′ = θ − rho·∂J(W(x; θ))/∂θ,  g = mean ∂J(W(x; θ′))/∂x

    W moves the inner points of a square mesh by θ and the pixels between them by the thin-plate spline; the
    outer points stay. It samples bilinearly, 0 outside the image. Each image has warps of its own, new ones
    at every step. J is what the attacker maximises, so θ′ is the warp that resists more.

    TransferAttack warps the whole batch alike, so θ′ mixes the gradients of all its images, and samples the
    outermost pixels half a pixel too far out: there θ = 0 is not the identity, here it is.

    Attributes:
        mesh: points a side, 3..16; 3 leaves one point to move.
        noise: how far a point may move, in half sides of the image, 0..2.
        rho: step of θ, in half sides, at least 0.
        copies: warps of an image, from 1; each costs two gradients.
    """

    paper: ClassVar[str] = "Lin et al. 2024, https://arxiv.org/abs/2402.03951"
    small = MappingProxyType({"noise": 0.2})

    mesh: Annotated[int, Field(ge=3, le=16, description="points a side")] = 3
    noise: Annotated[float, Field(ge=0, le=2)] = 1.0
    rho: NonNegative = 0.01
    copies: Count = 20

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return 2 * self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        pixels, pull = (plate.to(unit.images) for plate in _plate(self.mesh, *unit.images.shape[-2:]))

        def warp(images: Tensor, moves: Tensor) -> Tensor:
            from torch.nn.functional import grid_sample

            return grid_sample(images, pixels + pull @ moves[:, None], align_corners=False)

        def hardest(images: Tensor) -> Tensor:
            drawn = self.noise * sent(2 * unit.uniform((self.mesh - 2) ** 2, 2) - 1, images)
            return drawn - self.rho * through(lambda moves: warp(images, moves), oracle)(drawn)

        def direction(images: Tensor) -> Tensor:
            moves = hardest(images)
            return through(lambda x: warp(x, moves), oracle)(images)

        return lambda images: mean(direction(images) for _ in range(self.copies))


def _plate(mesh: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return where the pixels lie, (H, W, 2), and how each follows the inner points, (H, W, K), float64.

    The image is [−1, 1]², (x, y). A spline is linear in the moves of its points, so the move of a pixel is
    Σ_k φ_k·θ_k. φ_k is the thin-plate spline that is 1 at point k and 0 at the others: a combination of
    r²·log r² at the distances r from all points, and of 1, x and y.
    """
    import torch

    centres = [(2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1 for side in (height, width)]
    pixels = torch.stack(torch.meshgrid(*centres, indexing="ij")[::-1], -1)
    line = torch.linspace(-1, 1, mesh, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)[:, [1, 0]]
    system = torch.zeros(mesh**2 + 3, mesh**2 + 3, dtype=torch.float64)
    system[:-3], system[-3:, :-3] = _terms(points, points), _affine(points).T
    inner = (points.abs() < 1).all(1).nonzero().flatten()
    coefficients = torch.linalg.solve(system, torch.eye(len(system), dtype=torch.float64)[:, inner])
    return pixels, _terms(pixels, points) @ coefficients


def _terms(places: Tensor, points: Tensor) -> Tensor:
    """Return r²·log r² of the places (…, 2) from all points (K, 2), then 1, x and y: (…, K + 3)."""
    import torch

    squares = (places[..., None, :] - points).square().sum(-1)
    return torch.cat([torch.xlogy(squares, squares), _affine(places)], -1)


def _affine(places: Tensor) -> Tensor:
    import torch

    return torch.cat([torch.ones_like(places[..., :1]), places], -1)
