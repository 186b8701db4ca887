"""Contact and distance maps: how well predicted ones agree with those of the true crystal."""

from __future__ import annotations

import numpy as np

OVERLAP_CUTOFF_ANG = 8.0


def contact_dice(predicted: np.ndarray, true: np.ndarray) -> float:
    """Dice overlap of two contact maps, 2|A∩B| / (|A|+|B|) (AlphaCrystal eq. 3, its "contact map accuracy").

    predicted, true: (n, n), bool, symmetric; the diagonal is ignored. Two empty maps agree: 1.
    """
    a, b = _pairs(np.asarray(predicted, bool)), _pairs(np.asarray(true, bool))
    total = int(a.sum() + b.sum())
    return 1.0 if total == 0 else float(2.0 * (a & b).sum() / total)


def distance_mse_ang2(predicted_ang: np.ndarray, true_ang: np.ndarray) -> float | None:
    """Mean squared difference of distances over pairs of atoms, Å² (AlphaCrystal-II eq. 2).

    predicted_ang, true_ang: (n, n), Å, rows of the same atoms. The diagonal, zero in both, is left out.
    None for n < 2.
    """
    if len(true_ang) < 2:
        return None
    return float(np.mean((_pairs(predicted_ang) - _pairs(true_ang)) ** 2))


def distance_overlap(predicted_ang: np.ndarray, true_ang: np.ndarray) -> float | None:
    """Share of the true pairs within 8 Å that are predicted within 8 Å (AlphaCrystal-II eq. 4).

    Both maps become 1/0 at 8 Å; the overlap is the number of common ones over the number of true ones.
    None if no true pair is that close.
    """
    true = _pairs(true_ang) < OVERLAP_CUTOFF_ANG
    if not true.any():
        return None
    return float((true & (_pairs(predicted_ang) < OVERLAP_CUTOFF_ANG)).sum() / true.sum())


def _pairs(matrix: np.ndarray) -> np.ndarray:
    """Entries above the diagonal: (n (n-1) / 2,)."""
    array = np.asarray(matrix)
    return array[np.triu_indices(len(array), 1)]
