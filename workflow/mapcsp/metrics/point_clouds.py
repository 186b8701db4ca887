"""Distances between clouds of atoms as AlphaCrystal-II's metric program computes them.

They depend on the cell, its origin and its atoms' order, and ignore species; `mapcsp.metrics.structures` has
well-defined ones. They are here so that published tables can be compared (program: CSPBenchMetrics, commit
127cc49).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

SINKHORN_EPSILON_ANG = 1e-3
SINKHORN_STEPS = 100
SINKHORN_CHANGE = 1e-3
ICP_REACH_ANG = 5.0
ICP_STEPS = 1000
ICP_CHANGE = 1e-6


def sinkhorn_ang(true_ang: np.ndarray, predicted_ang: np.ndarray) -> float:
    """Transport cost between point clouds of mass 1 an atom, Å, by entropic regularisation.

    true_ang, predicted_ang: (n, 3) and (m, 3), Cartesian. Regularisation 1e-3 Å and at most 100 steps in
    the log domain, ended when both duals change by less than 1e-3 in sum: for clouds as far apart as in
    practice it has not converged then, so that the result depends on which cloud comes first.
    """
    cost = cdist(true_ang, predicted_ang)
    epsilon, u, v = SINKHORN_EPSILON_ANG, np.zeros(len(cost)), np.zeros(cost.shape[1])
    for _ in range(SINKHORN_STEPS):
        old_u, old_v = u, v
        u = -epsilon * logsumexp((v - cost) / epsilon, axis=1)
        v = -epsilon * logsumexp((u - cost.T) / epsilon, axis=1)
        if np.abs(u - old_u).sum() < SINKHORN_CHANGE and np.abs(v - old_v).sum() < SINKHORN_CHANGE:
            break
    plan = np.exp((u[:, None] + v - cost) / epsilon)
    return float((plan * cost).sum())


def chamfer_ang(true_ang: np.ndarray, predicted_ang: np.ndarray) -> float:
    """Mean distance to the nearest point of the other cloud, both ways added, Å."""
    cost = cdist(true_ang, predicted_ang)
    return float(cost.min(axis=1).mean() + cost.min(axis=0).mean())


def hausdorff_ang(true_ang: np.ndarray, predicted_ang: np.ndarray) -> float:
    """Largest distance of any point to the nearest one of the other cloud, Å."""
    cost = cdist(true_ang, predicted_ang)
    return float(max(cost.min(axis=1).max(), cost.min(axis=0).max()))


def superpose_nearest_ang(true_ang: np.ndarray, predicted_ang: np.ndarray) -> float | None:
    """RMS distance after iterative closest points, Å: the program's present definition of superpose distance.

    The true cloud is moved rigidly onto the predicted one, each point paired with the nearest within 5 Å,
    from where the clouds stand; several points may share a partner. None if some point has no partner
    within 5 Å in the end.
    """
    moved = np.array(true_ang, dtype=float)
    partner, within, share, rmse = _nearest(moved, predicted_ang)
    for _ in range(ICP_STEPS):
        if not within.any():
            return None
        _, rotation, shift = best_superposition(moved[within], predicted_ang[partner[within]])
        moved = moved @ rotation.T + shift
        old_share, old_rmse = share, rmse
        partner, within, share, rmse = _nearest(moved, predicted_ang)
        if abs(share - old_share) < ICP_CHANGE and abs(rmse - old_rmse) < ICP_CHANGE:
            break
    return rmse if within.all() else None


def superpose_in_order_ang(true_ang: np.ndarray, predicted_ang: np.ndarray) -> float | None:
    """RMS distance after rotation, translation and free scaling, Å: the definition behind the published tables.

    Atoms are paired in the order of the files; the predicted cloud is moved. None for unequal counts.
    """
    if len(true_ang) != len(predicted_ang):
        return None
    scale, rotation, shift = best_superposition(predicted_ang, true_ang, with_scale=True)
    moved = scale * predicted_ang @ rotation.T + shift
    return float(np.sqrt(((moved - true_ang) ** 2).sum(axis=1).mean()))


def best_superposition(
    mobile_ang: np.ndarray, fixed_ang: np.ndarray, with_scale: bool = False
) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, proper rotation (3, 3) and shift (3,) that bring paired points closest (Umeyama, IEEE PAMI 13, 376, 1991).

    fixed ~ scale * mobile @ rotation.T + shift.
    """
    from_mean, to_mean = mobile_ang.mean(axis=0), fixed_ang.mean(axis=0)
    left, spread, right = np.linalg.svd((fixed_ang - to_mean).T @ (mobile_ang - from_mean))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    extent = ((mobile_ang - from_mean) ** 2).sum()
    scale = float((spread * signs).sum() / extent) if with_scale and extent > 0 else 1.0
    return scale, rotation, to_mean - scale * rotation @ from_mean


def _nearest(moved: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    distance = cdist(moved, fixed)
    nearest = distance.min(axis=1)
    within = nearest < ICP_REACH_ANG
    rmse = float(np.sqrt((nearest[within] ** 2).mean())) if within.any() else 0.0
    return distance.argmin(axis=1), within, float(within.mean()), rmse
