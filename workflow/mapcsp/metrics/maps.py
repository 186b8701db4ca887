"""Contact and distance maps: how well predicted ones agree with those of the true crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.maps.alignment import align_atoms

OVERLAP_CUTOFF_ANG = 8.0


@dataclass(frozen=True)
class MapScore:
    """One predicted map against the true one; None where the true crystal gives nothing to compare.

    contact_dice: contact-map accuracy. contact_perfect: every pair right. distance_mse_ang2,
    distance_rmse_ang: over pairs, rows as they come. distance_aligned_rmse_ang: the same after atoms of one
    element were put in the best order. distance_overlap: at 8 Å.
    """

    contact_dice: float
    contact_perfect: bool
    distance_mse_ang2: float | None
    distance_rmse_ang: float | None
    distance_aligned_rmse_ang: float | None
    distance_overlap: float | None


@dataclass(frozen=True)
class MapSummary:
    """Means over maps, as the papers report them; n: maps, n_distance: of them with at least two atoms.

    Each is the mean of the maps' own values, so `distance_rmse_ang` is not the root of `distance_mse_ang2`:
    only so do the columns of AlphaCrystal-II's Table 5 (MSE 1.5591, RMSE .9239) go together.
    distance_pooled_rmse_ang: root of the mean over all pairs of all maps.
    """

    n: int
    n_distance: int
    contact_accuracy: float
    contact_perfect: float
    distance_mse_ang2: float | None
    distance_rmse_ang: float | None
    distance_aligned_rmse_ang: float | None
    distance_pooled_rmse_ang: float | None
    distance_overlap: float | None


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


def distance_rmse_ang(predicted_ang: np.ndarray, true_ang: np.ndarray) -> float | None:
    """Root of `distance_mse_ang2`, Å (AlphaCrystal-II eq. 3)."""
    mse = distance_mse_ang2(predicted_ang, true_ang)
    return None if mse is None else float(np.sqrt(mse))


def aligned_rmse_ang(predicted_ang: np.ndarray, true_ang: np.ndarray, species: Sequence[str]) -> float | None:
    """RMSE of distances in the best order of the atoms within each element, Å.

    Atoms of one element are interchangeable, so an error that a renaming of atoms removes is none.
    predicted_ang, true_ang: (n, n), Å; species: (n,), of both. None for n < 2. The search is exact for few
    atoms of an element and never worse than the given order (`mapcsp.maps.alignment`).
    """
    groups = np.unique(list(species), return_inverse=True)[1]
    order = align_atoms(np.asarray(predicted_ang, float), np.asarray(true_ang, float), groups)
    return distance_rmse_ang(predicted_ang, np.asarray(true_ang)[np.ix_(order, order)])


def distance_overlap(predicted_ang: np.ndarray, true_ang: np.ndarray) -> float | None:
    """Share of the true pairs within 8 Å that are predicted within 8 Å (AlphaCrystal-II eq. 4).

    Both maps become 1/0 at 8 Å; the overlap is the number of common ones over the number of true ones.
    None if no true pair is that close.
    """
    true = _pairs(true_ang) < OVERLAP_CUTOFF_ANG
    if not true.any():
        return None
    return float((true & (_pairs(predicted_ang) < OVERLAP_CUTOFF_ANG)).sum() / true.sum())


def score_map(
    predicted_ang: np.ndarray,
    true_ang: np.ndarray,
    species: Sequence[str],
    predicted_contact: np.ndarray,
    true_contact: np.ndarray,
) -> MapScore:
    """All figures of one map.

    predicted_ang, true_ang: (n, n), Å; predicted_contact, true_contact: (n, n), bool; rows of all four are
    `species`. Raises ValueError if the shapes differ.
    """
    shape = (len(species), len(species))
    for name, array in (
        ("predicted_ang", predicted_ang),
        ("true_ang", true_ang),
        ("predicted_contact", predicted_contact),
        ("true_contact", true_contact),
    ):
        if np.shape(array) != shape:
            raise ValueError(f"{name} has shape {np.shape(array)}, expected {shape}")
    return MapScore(
        contact_dice=contact_dice(predicted_contact, true_contact),
        contact_perfect=bool((_pairs(predicted_contact) == _pairs(true_contact)).all()),
        distance_mse_ang2=distance_mse_ang2(predicted_ang, true_ang),
        distance_rmse_ang=distance_rmse_ang(predicted_ang, true_ang),
        distance_aligned_rmse_ang=aligned_rmse_ang(predicted_ang, true_ang, species),
        distance_overlap=distance_overlap(predicted_ang, true_ang),
    )


def summarise_maps(scores: Sequence[MapScore], n_atoms: Sequence[int]) -> MapSummary:
    """Means over maps; n_atoms: (maps,), to weigh the pooled RMSE by pairs. Raises ValueError without maps."""
    if not scores:
        raise ValueError("no map was given to summarise")
    n_pairs = [n * (n - 1) // 2 for n in n_atoms]
    squares = [(s.distance_mse_ang2, k) for s, k in zip(scores, n_pairs) if s.distance_mse_ang2 is not None]
    pooled = float(np.sqrt(sum(v * k for v, k in squares) / sum(k for _, k in squares))) if squares else None
    return MapSummary(
        n=len(scores),
        n_distance=len(squares),
        contact_accuracy=float(np.mean([s.contact_dice for s in scores])),
        contact_perfect=float(np.mean([s.contact_perfect for s in scores])),
        distance_mse_ang2=_mean([s.distance_mse_ang2 for s in scores]),
        distance_rmse_ang=_mean([s.distance_rmse_ang for s in scores]),
        distance_aligned_rmse_ang=_mean([s.distance_aligned_rmse_ang for s in scores]),
        distance_pooled_rmse_ang=pooled,
        distance_overlap=_mean([s.distance_overlap for s in scores]),
    )


def _pairs(matrix: np.ndarray) -> np.ndarray:
    """Entries above the diagonal: (n (n-1) / 2,)."""
    array = np.asarray(matrix)
    return array[np.triu_indices(len(array), 1)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
