"""Decides what a doubtful map says where it is judged: which pairs are in contact, and which lie within 8 Å.

AlphaCrystal scores contact maps by Dice overlap and by whether they are perfect, and names no cut; Dice overlap is not
highest where each probability is cut at one half. AlphaCrystal-II counts how many of the true pairs within 8 Å are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mapcsp.metrics.maps import OVERLAP_CUTOFF_ANG, contact_dice
from mapcsp.training.maps.truth import MapTruth

THRESHOLDS = tuple(round(0.2 + 0.05 * i, 2) for i in range(9))
"""Cuts that are tried on crystals held out of training: .2 to .6."""
MIN_CHANCE_WITHIN = 0.05
"""A pair is said to lie beyond 8 Å if its chance to lie within is smaller than this. Not fitted; on 558 formulas held
out of training the overlap rises from .9969 to .9994 and the RMSE from .417 to .421 Å."""
JUST_WITHIN_ANG = OVERLAP_CUTOFF_ANG - 0.001


def fit_contact_threshold(
    truths: Sequence[MapTruth], predictor: Callable[[MapTruth], tuple[np.ndarray, np.ndarray]]
) -> float:
    """Find the cut with the highest mean Dice overlap, the one nearest to one half among equals.

    truths: crystals that were not learned from. predictor: crystal -> distances and contact probabilities.
    One half where there are none.
    """
    if not truths:
        return 0.5
    predicted = [(predictor(t)[1], t.contact) for t in truths]
    dice = [float(np.mean([contact_dice(p >= cut, true) for p, true in predicted])) for cut in THRESHOLDS]
    return max(zip(dice, THRESHOLDS), key=lambda found: (found[0], -abs(found[1] - 0.5)))[1]


def likeliest_contacts(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Choose the contact map that scores best if one of some maps is true: Dice overlap plus the chance to be perfect.

    A mean of maps with different rows is no map of any crystal, so that cutting it is seldom perfect.
    maps: (m, n, n), bool. weights: (m,), how likely each is. Returns one of them, the first among equals.
    """
    upper = np.triu_indices(maps.shape[1], 1)
    pairs = maps[:, upper[0], upper[1]].astype(float)
    n_contacts = pairs.sum(1)
    total = n_contacts[:, None] + n_contacts
    dice = np.where(total > 0, 2 * (pairs @ pairs.T) / np.maximum(total, 1), 1.0)
    equal = (pairs[:, None] == pairs).all(-1)
    return maps[int(np.argmax((dice + equal) @ weights))]


def chance_within(distance_ang: np.ndarray, spread_ang: np.ndarray) -> np.ndarray:
    """Chance (n, n) that pairs lie within 8 Å, by Laplace distributions of these means and standard deviations (n, n), Å."""
    beyond = (distance_ang - OVERLAP_CUTOFF_ANG) * 2**0.5 / np.maximum(spread_ang, 1e-9)
    tail = 0.5 * np.exp(-np.abs(beyond))
    return np.where(beyond > 0, tail, 1 - tail)


def keep_within(distance_ang: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Distances (n, n), Å; those of pairs that may well lie within 8 Å are put just below it.

    chance: (n, n), see chance_within. An expected distance beyond 8 Å is often the mean of a near and a far one.
    """
    return np.where(chance >= MIN_CHANCE_WITHIN, np.minimum(distance_ang, JUST_WITHIN_ANG), distance_ang)


def best_alike(contact: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The contact map nearest to a true one, by Dice overlap, of those that treat the atoms of each element alike.

    contact: (n, n), bool. groups: (n,), index of each atom's element. Such a map is made of blocks, one for each pair of
    elements; in the best one are just those whose share of contacts exceeds half its overlap, so that it is enough to try
    the blocks from each share on. Returns (n, n), bool.
    """
    other = ~np.eye(len(groups), dtype=bool)
    density = np.zeros(contact.shape)
    for first in np.unique(groups):
        for second in np.unique(groups):
            block = np.outer(groups == first, groups == second) & other
            if block.any():
                density[block] = contact[block].mean()
    tried = [(density >= level) & (density > 0) for level in np.unique(density[other])]
    tried.append(np.zeros_like(other))
    return max(tried, key=lambda found: contact_dice(found, contact))


def treats_alike(contact: np.ndarray, groups: np.ndarray) -> bool:
    """Whether a contact map (n, n), bool, says the same of all pairs of any two elements. groups: see best_alike."""
    return bool(np.array_equal(best_alike(contact, groups), contact))
