"""Decides which pairs are in contact: Dice overlap is not highest where each probability is cut at one half.

AlphaCrystal scores contact maps by Dice overlap and by whether they are perfect, and names no cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mapcsp.metrics.maps import contact_dice
from mapcsp.training.maps_truth import MapTruth

THRESHOLDS = tuple(round(0.2 + 0.05 * i, 2) for i in range(9))
"""Cuts that are tried on crystals held out of training: .2 to .6."""


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
