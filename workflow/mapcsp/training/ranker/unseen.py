"""Formulas unlike those that the networks learned from: they show how far a ranking of such formulas can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mapcsp.elements import SUPPORTED_ELEMENTS, SYMBOLS
from mapcsp.ranking.domain import KINDS, Domain, count_formulas
from mapcsp.symmetry.memory import LabelMemory
from mapcsp.training.encoded import encode_known
from mapcsp.training.geometries import formula_hash
from mapcsp.training.ranker.pools import RankTarget
from mapcsp.training.split import is_held_out
from mapcsp.training.tables import KnownCrystal, read_structures


def domain_of(memory: LabelMemory) -> Domain:
    """Count the training formulas of a memory of labels; the shifts, which are fitted later, are 0."""
    formulas: dict[int, dict[str, int]] = {}
    for formula, label, roles in zip(
        memory.example_formula.tolist(), memory.example_label.tolist(), memory.example_elements.tolist()
    ):
        if formula not in formulas:
            counts = memory.labels[label].counts
            unit = int(np.gcd.reduce(counts))
            formulas[formula] = {SYMBOLS[z - 1]: int(n) // unit for z, n in zip(roles, counts)}
    elements, stoichiometries = count_formulas(list(formulas.values()))
    return Domain(
        tuple(sorted(elements.items())),
        tuple(sorted(stoichiometries.items())),
        tuple((kind, 0.0) for kind in KINDS),
    )


def choose_unseen(
    tables: Sequence[Path], memory: LabelMemory, domain: Domain, max_atoms: int, count: int, seed: int
) -> list[RankTarget]:
    """Draw formulas of each kind of `domain.KINDS` that no network was trained on, at most `count` of each.

    tables: may hold formulas that were trained on; those are passed over. The stablest crystal of a formula is its answer.
    """
    trained = set(memory.example_formula.tolist())
    stablest: dict[str, KnownCrystal] = {}
    for row in read_structures(tables, max_atoms):
        unseen = formula_hash(row.formula) not in trained or is_held_out(row.formula)
        if unseen and set(row.crystal.species) <= SUPPORTED_ELEMENTS:
            known = stablest.setdefault(row.formula, row)
            if _above_hull(row) < _above_hull(known):
                stablest[row.formula] = row
    rows = list(stablest.values())
    chosen: dict[str, list[RankTarget]] = {kind: [] for kind in KINDS}
    for index in np.random.default_rng(seed).permutation(len(rows)).tolist():
        outside = domain.outside(rows[index].formula)
        if outside and len(chosen[outside[0].kind]) < count:
            encoded, _ = encode_known([rows[index]])
            chosen[outside[0].kind] += [RankTarget(rows[index], one) for one in encoded]
    # Kinds in turn, so that a larger count only adds to the end.
    return [targets[i] for i in range(count) for targets in chosen.values() if i < len(targets)]


def _above_hull(row: KnownCrystal) -> float:
    energy = row.energy_above_hull_ev_per_atom
    return np.inf if energy is None else energy
