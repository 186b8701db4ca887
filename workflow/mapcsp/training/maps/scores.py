"""Figures of merit of predicted maps, as the papers define them and with atoms of one element exchanged to fit best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from mapcsp.maps.alignment import align_atoms
from mapcsp.metrics.maps import contact_dice, distance_mse_ang2, distance_overlap
from mapcsp.training.maps.truth import MapTruth


@dataclass(frozen=True)
class MapScores:
    """Scores of one crystal's map.

    rmse_ang, mse_ang2: over off-diagonal pairs. overlap: share of the pairs below 8 Å that are predicted below
    8 Å (AlphaCrystal-II, eq. 4). dice: of contact maps (AlphaCrystal, eq. 3), 1 where neither has a contact.
    perfect: whether they are equal. Aligned: after the atoms of each element were ordered to fit the true
    distances best.
    """

    rmse_ang: float
    mse_ang2: float
    overlap: float
    dice: float
    perfect: float
    rmse_aligned_ang: float
    mse_aligned_ang2: float
    dice_aligned: float
    perfect_aligned: float


def score_map(truth: MapTruth, distance_ang: np.ndarray, contact: np.ndarray) -> MapScores:
    """Score a predicted map of at least two atoms whose rows are grouped by element as the truth's are.

    distance_ang: (n, n), Å. contact: (n, n), bool or probabilities, a contact from 0.5.
    """
    guessed = np.asarray(contact) >= 0.5
    order = align_atoms(truth.distance_ang, distance_ang, truth.groups)
    moved = np.ix_(order, order)
    mse, mse_aligned = (_mse(d, truth) for d in (distance_ang, distance_ang[moved]))
    overlap = distance_overlap(distance_ang, truth.distance_ang)
    return MapScores(
        mse**0.5,
        mse,
        # Without a true pair within 8 Å there is none to miss.
        1.0 if overlap is None else overlap,
        contact_dice(guessed, truth.contact),
        float(np.array_equal(truth.contact, guessed)),
        mse_aligned**0.5,
        mse_aligned,
        contact_dice(guessed[moved], truth.contact),
        float(np.array_equal(truth.contact, guessed[moved])),
    )


def _mse(distance_ang: np.ndarray, truth: MapTruth) -> float:
    found = distance_mse_ang2(distance_ang, truth.distance_ang)
    if found is None:
        raise ValueError(f"{truth.material_id}: a map of one atom has no distances to judge")
    return found


def mean_scores(scores: Sequence[MapScores], bonded: Sequence[bool] | None = None) -> dict[str, float]:
    """Means over crystals, under the keys of metrics.json; contacts over the crystals where `bonded` says so.

    bonded: of each crystal, whether it belongs to the contact test.
    """
    chosen = [s for s, b in zip(scores, bonded) if b] if bonded is not None else list(scores)
    means = {f.name: float(np.mean([getattr(s, f.name) for s in scores])) for f in fields(MapScores)}
    contacts = {
        f.name: float(np.mean([getattr(s, f.name) for s in chosen])) if chosen else 0.0
        for f in fields(MapScores)
    }
    return {
        "contact_accuracy": contacts["dice"],
        "contact_accuracy_aligned": contacts["dice_aligned"],
        "contact_perfect": contacts["perfect"],
        "contact_perfect_aligned": contacts["perfect_aligned"],
        "distance_mse_aligned_ang2": means["mse_aligned_ang2"],
        "distance_mse_ang2": means["mse_ang2"],
        "distance_overlap": means["overlap"],
        "distance_rmse_aligned_ang": means["rmse_aligned_ang"],
        "distance_rmse_ang": means["rmse_ang"],
    }
