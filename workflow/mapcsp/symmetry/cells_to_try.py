"""How many formula units to try in a primitive cell, and how probable those are that are not tried."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from mapcsp.composition import units_of
from mapcsp.records import FormulaEntry
from mapcsp.symmetry.cell_sizes import joined_with_network, z_probabilities
from mapcsp.symmetry.known_labels import MAX_CELL_ATOMS
from mapcsp.symmetry.no_larger import best_of_no_larger
from mapcsp.untried import Untried, UntriedCell

# Untried cells less likely than this are summed up without being listed.
NEGLIGIBLE_CELL = 1e-3


@dataclass(frozen=True, eq=False)
class CellsToTry:
    """The z of one formula.

    probabilities: of each z within the cap, positive; they sum to what is not beyond it. tried: those that are tried.
    left_out: the others, beyond the cap or the limit on z, by falling probability.
    """

    probabilities: dict[int, float]
    tried: Collection[int]
    left_out: tuple[UntriedCell, ...]

    @property
    def z_prob(self) -> tuple[tuple[int, float], ...]:
        """(z, probability) of those that are tried, the likeliest first; the probabilities sum to 1."""
        mine = {z: self.probabilities[z] for z in self.tried}
        total = sum(mine.values())
        return tuple((z, p / total) for z, p in sorted(mine.items(), key=lambda p: (-p[1], p[0])))

    def untried(self, labels: float) -> Untried:
        """What was not tried if the labels that were have this probability together."""
        cells = sum(self.probabilities[z] for z in self.tried)
        listed = tuple(c for c in self.left_out if c.probability >= NEGLIGIBLE_CELL)
        return Untried(listed, max(1.0 - cells, 0.0), max(cells - labels, 0.0))


def cells_to_try(entry: FormulaEntry, network: np.ndarray | None, max_z: int) -> CellsToTry:
    """Choose the z of one formula: all that are allowed and have fewer than `max_z` likelier ones among smaller cells.

    network: P(z) among the cells that the network knows, None where it knows no label that fits.
    """
    unit = sum(n for _, n in entry.amounts)
    amounts = tuple(sorted(n for _, n in entry.amounts))
    found = joined_with_network(z_probabilities(amounts, entry.space_group), network, MAX_CELL_ATOMS // unit)
    # Cells of Na2O2 hold whole units of it: an odd number of NaO is another compound's, not one that was left out.
    found = np.where(np.arange(len(found)) % units_of(entry.formula) == 0, found, 0.0)
    found /= found.sum() or 1.0
    within = {z: float(found[z]) for z in entry.z_allowed if found[z] > 0}
    if entry.z_given or not within:
        # What the user says is certain; and a group that can hold none of the z is searched for nothing, with a record.
        even = {z: 1.0 / len(entry.z_allowed) for z in entry.z_allowed}
        return CellsToTry(even, entry.z_allowed, ())
    tried = _likeliest(within, max_z)
    beyond = f"most {entry.max_atoms}" if entry.max_atoms else "beyond the largest cell"
    left_out = [
        UntriedCell(z, z * unit, float(p), f"symmetry.max_z = {max_z}" if z in within else beyond)
        for z, p in enumerate(found)
        if p > 0 and z not in tried
    ]
    return CellsToTry(within, tried, tuple(sorted(left_out, key=lambda c: (-c.probability, c.z))))


def _likeliest(probabilities: Mapping[int, float], most: int) -> frozenset[int]:
    order = sorted(probabilities, key=lambda z: (-probabilities[z], z))
    return frozenset(order[i] for i in best_of_no_larger(order, most))
