"""Lattice parameters: coefficients of determination and mean relative errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.symmetry.cells import cell_volume_ang3


@dataclass(frozen=True)
class LatticeSummary:
    """Agreement of predicted with true cells over n crystals.

    r2_*: coefficient of determination; None where the true values do not vary. length_mre: mean over a, b,
    c of all crystals of |predicted / true - 1|; volume_mre: the same of the cell's volume. angle_mae_deg:
    mean absolute error.
    """

    n: int
    r2_a: float | None
    r2_b: float | None
    r2_c: float | None
    r2_volume: float | None
    length_mre: float
    volume_mre: float
    angle_mae_deg: float


def r2(predicted: Sequence[float] | np.ndarray, true: Sequence[float] | np.ndarray) -> float | None:
    """Coefficient of determination, 1 - sum of squared errors over sum of squares about the mean of the truth.

    It is negative where the truth's mean would do better (CRYSPNet and MLatticeABC report it). None if the
    truth is constant.
    """
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    total = float(((t - t.mean()) ** 2).sum())
    return (
        None if total <= 1e-12 * max(1.0, float((t**2).sum())) else float(1.0 - ((p - t) ** 2).sum() / total)
    )


def mean_relative_error(predicted: Sequence[float] | np.ndarray, true: Sequence[float] | np.ndarray) -> float:
    """Mean of |predicted - true| / |true|, a fraction; raises ValueError for a true value of zero or no values."""
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    if t.size == 0 or (t == 0).any():
        raise ValueError("a relative error needs true values other than zero")
    return float(np.mean(np.abs(p - t) / np.abs(t)))


def summarise_lattices(predicted: np.ndarray, true: np.ndarray) -> LatticeSummary:
    """Compare cells of the same crystals in the same setting.

    predicted, true: (n, 6), a, b, c in Å and angles in degrees. Raises ValueError for other shapes or no
    crystals.
    """
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    if p.shape != t.shape or p.ndim != 2 or p.shape[1] != 6 or not len(p):
        raise ValueError(f"cells have shapes {p.shape} and {t.shape}, expected (n, 6) for both")
    return LatticeSummary(
        n=len(p),
        r2_a=r2(p[:, 0], t[:, 0]),
        r2_b=r2(p[:, 1], t[:, 1]),
        r2_c=r2(p[:, 2], t[:, 2]),
        r2_volume=r2(cell_volume_ang3(p), cell_volume_ang3(t)),
        length_mre=mean_relative_error(p[:, :3], t[:, :3]),
        volume_mre=mean_relative_error(cell_volume_ang3(p), cell_volume_ang3(t)),
        angle_mae_deg=float(np.abs(p[:, 3:] - t[:, 3:]).mean()),
    )
