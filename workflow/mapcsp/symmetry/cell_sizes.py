"""How many formula units a primitive cell holds: from how formulas of the same stoichiometry crystallise.

The label network knows cells of at most 24 atoms. What lies beyond, and what it has no label for, is known here from
counts of crystals of any size (`resources/tables/cell_sizes.json`, built by `mapcsp build-cell-size-table`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from mapcsp.resources import resource_path
from mapcsp.store import read_json
from mapcsp.symmetry.feasible import LARGEST_Z, can_hold

TABLE = "tables/cell_sizes.json"
# How many crystals the coarser class of a stoichiometry weighs: of its kind of size, size, size and number of elements,
# stoichiometry. Chosen by the log-likelihood of z of held-out training formulas, which they hardly change.
BACK_OFF = (5.0, 20.0, 20.0, 10.0, 5.0)
# The network's share of P(z) among the cells that it knows; the rest is the counts', so that no z is impossible.
NETWORK_SHARE = 0.95

Stoichiometry = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CellSizes:
    """Counts of crystals by class of stoichiometry and z; classes from coarse to fine, see `classes_of`."""

    counts: Mapping[tuple[int, ...], np.ndarray]

    def probabilities(self, amounts: Sequence[int]) -> np.ndarray:
        """P(z) of a formula with these reduced amounts: (LARGEST_Z + 1,), 0 at z = 0, positive elsewhere."""
        # ASSUME: without any count P(z) falls as 1/z², a wide distribution.
        found = np.zeros(LARGEST_Z + 1)
        found[1:] = 1.0 / np.arange(1, LARGEST_Z + 1) ** 2
        found /= found.sum()
        for key, weight in zip(classes_of(tuple(sorted(amounts))), BACK_OFF):
            counts = self.counts.get(key)
            if counts is not None:
                found = (counts + weight * found) / (counts.sum() + weight)
        return found


def classes_of(amounts: Stoichiometry) -> tuple[tuple[int, ...], ...]:
    """Classes of a stoichiometry (ascending amounts), from all formulas to itself; the first number is the kind of class."""
    size = sum(amounts)
    # From 8 atoms on, classes of size widen by a quarter.
    kind = size if size <= 8 else 9 + int(3 * np.log2(size / 8))
    return (0,), (1, kind), (2, size), (3, size, len(amounts)), (4, *amounts)


def gather_counts(crystals: Mapping[Stoichiometry, Mapping[int, float]]) -> CellSizes:
    """Add weighted numbers of crystals, by stoichiometry (ascending amounts) and z, up to all classes."""
    counts: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(LARGEST_Z + 1))
    for amounts, by_z in crystals.items():
        for z, weight in by_z.items():
            for key in classes_of(amounts):
                counts[key][min(z, LARGEST_Z)] += weight
    return CellSizes(dict(counts))


@cache
def shipped_cell_sizes() -> CellSizes:
    """The counts that ship with mapcsp."""
    table = read_json(resource_path(TABLE))["crystals"]
    crystals = {
        tuple(map(int, key.split())): {int(z): weight for z, weight in by_z.items()}
        for key, by_z in table.items()
    }
    return gather_counts(crystals)


@lru_cache(maxsize=4096)
def z_probabilities(amounts: Stoichiometry, space_group: int | None = None) -> np.ndarray:
    """P(z | stoichiometry), or given a space group, which excludes each z that it cannot hold: (LARGEST_Z + 1,), read-only.

    amounts: reduced, ascending. Raises UserError outside 1-230. All zero if the group can hold no z up to LARGEST_Z.
    """
    found = shipped_cell_sizes().probabilities(amounts).copy()
    if space_group is not None:
        for z in range(1, LARGEST_Z + 1):
            if not can_hold(space_group, tuple(z * n for n in amounts)):
                found[z] = 0.0
        if found.any():
            found /= found.sum()
    found.flags.writeable = False
    return found


def joined_with_network(counted: np.ndarray, network: np.ndarray | None, most_known: int) -> np.ndarray:
    """P(z) of counts and network together: (LARGEST_Z + 1,).

    counted: `z_probabilities`. network: (most_known + 1,), P(z) among the cells that the network knows, or None.
    most_known: largest z of them. How probable the cells beyond are is known from the counts alone.
    """
    if network is None or not network.sum() > 0:
        return counted
    found = counted.copy()
    known = slice(1, min(most_known, LARGEST_Z) + 1)
    share = counted[known]
    mixed = NETWORK_SHARE * network[known] / network.sum()
    mixed += (1 - NETWORK_SHARE) * (share / share.sum() if share.any() else 0.0)
    found[known] = share.sum() * mixed / mixed.sum()
    return found
