"""The largest eigenvalues and the trace of the Hessian."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import TYPE_CHECKING

import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from transferzoo.base.errors import ModelError
from transferzoo.base.spec_strings import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.sharpness.surface import LossSurface

KRYLOV = 10
"""Lanczos vectors that are kept at least; few are enough, the top of a network's spectrum stands apart."""
TOLERANCE = 1e-4
"""Of the residual, relative to the eigenvalue; the eigenvalue itself is off by about its square."""
RESTARTS = 100


def top_eigenvalues(surface: LossSurface, count: int, generator: torch.Generator) -> tuple[float, ...]:
    """Return the largest eigenvalues of T H T in falling order, by Lanczos' method (ARPACK, through SciPy).

    Args:
        surface: where.
        count: how many, at least 1 and fewer than there are weights.
        generator: draws the first vector.

    Raises:
        UsageError: as many eigenvalues as weights, or more.
        ModelError: the method does not converge.
    """
    require(
        count < surface.size,
        "there are not as many eigenvalues",
        expected=f"fewer than {surface.size}",
        got=count,
    )

    def product(vector: NDArray[np.floating]) -> NDArray[np.floating]:
        there = torch.as_tensor(vector.ravel()).to(surface.origin)
        found: NDArray[np.floating] = surface.hessian_times(there).cpu().numpy()
        return found

    start = surface.draw(generator).cpu().numpy()
    operator = LinearOperator((surface.size, surface.size), matvec=product, dtype=start.dtype)
    kept = min(max(2 * count + 1, KRYLOV), surface.size)
    try:
        values = eigsh(
            operator,
            k=count,
            which="LA",
            v0=start,
            ncv=kept,
            tol=TOLERANCE,
            maxiter=RESTARTS,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence:
        raise ModelError(
            "the largest eigenvalues of the Hessian do not converge",
            got=f"{RESTARTS} restarts",
            hint="ask for fewer eigenvalues",
        ) from None
    return tuple(sorted(map(float, values), reverse=True))


def trace(surface: LossSurface, probes: int, generator: torch.Generator) -> tuple[float, float]:
    """Return Hutchinson's estimate of tr(T H T), the mean of vᵀ T H T v, and its standard error.

    Args:
        surface: where.
        probes: vectors v with coordinates ±1, at least 2.
        generator: draws them.

    Source: Hutchinson 1989, https://doi.org/10.1080/03610918908812806.
    """
    signs = [
        2 * torch.randint(2, (surface.size,), generator=generator, dtype=torch.int8) - 1
        for _ in range(probes)
    ]
    return mean_and_error(surface.quadratic_forms(signs))


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Return the mean of at least two values and its standard error."""
    return fmean(values), stdev(values) / len(values) ** 0.5
