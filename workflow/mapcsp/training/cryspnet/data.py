"""The data sets of CRYSPNet: one crystal a composition (Appendix B), Master, Metal and Oxide, and oversampling."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from mapcsp.cryspnet.conventional import BravaisCell, bravais_cell
from mapcsp.cryspnet.features import cell_features, composition_features
from mapcsp.elements import is_metal
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.geometries import volume_per_atom_ang3

DATA_SETS = ("all", "metals", "oxides")
"""Names here of the paper's Master, Metal and Oxide data sets."""

# Appendix B: balances energy above the hull against abundance, eV/atom.
ALPHA_EV_PER_ATOM = 0.1


@dataclass(frozen=True, eq=False)
class Sample:
    """One crystal as CRYSPNet sees it. predictors: (233,), 228 of the composition and 5 of the cell's content."""

    formula: str
    target: BravaisCell
    z: int
    predictors: np.ndarray
    data_sets: tuple[str, ...]


def amounts_of(row: EncodedKnown) -> dict[str, int]:
    """Atoms of each element in one formula unit of an encoded crystal."""
    return {e: count // row.z for e, count in zip(row.elements, row.anonymous.counts)}


def data_sets_of(elements: Sequence[str]) -> tuple[str, ...]:
    """Data sets that a compound of these elements belongs to.

    ASSUME: metals as in the element table, so metalloids are none, and every compound with oxygen is an oxide; the
    paper names the series of metals but not the metalloids, and says only "oxide compounds" (section II.A).
    """
    named = ["all"]
    if all(is_metal(e) for e in elements):
        named.append("metals")
    if "O" in elements and len(elements) > 1:
        named.append("oxides")
    return tuple(named)


def sample_of(row: EncodedKnown) -> Sample:
    """Turn an encoded crystal into predictors and targets."""
    amounts = amounts_of(row)
    predictors = np.concatenate([composition_features(amounts), cell_features(amounts, row.z)])
    target = bravais_cell(row.anonymous.space_group, row.cell)
    return Sample(row.formula, target, row.z, predictors.astype(np.float32), data_sets_of(row.elements))


def samples_of(rows: Sequence[EncodedKnown], name: str) -> list[Sample]:
    """Samples of many crystals, with a progress bar called `name`."""
    return [sample_of(row) for row in tqdm(rows, desc=name, mininterval=10)]


def one_a_formula(rows: Sequence[EncodedKnown]) -> list[EncodedKnown]:
    """Keep the likeliest crystal of each formula (Appendix B), in the order of the formulas.

    The space group with the highest abundance / (energy above hull + 0.1), then the crystal whose volume is nearest to
    the group's median. Energies that a table lacks count as on the hull.
    """
    by_formula: dict[str, list[EncodedKnown]] = defaultdict(list)
    for row in rows:
        by_formula[row.formula].append(row)
    kept = []
    for formula in sorted(by_formula):
        groups: dict[int, list[EncodedKnown]] = defaultdict(list)
        for row in by_formula[formula]:
            groups[row.anonymous.space_group].append(row)
        best = max(sorted(groups), key=lambda n: _score(groups[n]))
        volumes = np.array([volume_per_atom_ang3(r) for r in groups[best]])
        kept.append(groups[best][int(np.argmin(np.abs(volumes - np.median(volumes))))])
    return kept


def _score(group: Sequence[EncodedKnown]) -> float:
    hull = min(r.energy_above_hull_ev_per_atom or 0.0 for r in group)
    return len(group) / (hull + ALPHA_EV_PER_ATOM)


def oversampled(labels: Sequence, at_least: int, at_most_times: int = 10) -> np.ndarray:
    """Indices with rare classes repeated whole, until they have `at_least` members or `at_most_times` their own.

    The paper leaves the degree open; 400 for Bravais lattices, 100 for space groups and 10 times are its code's.
    """
    members: Mapping = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    picked: list[int] = []
    for label in sorted(members):
        times = min(at_most_times, -(-at_least // len(members[label])))
        picked += members[label] * max(1, times)
    return np.array(sorted(picked))


def classes_of(labels: Sequence, at_least: int = 1) -> list:
    """Classes with `at_least` members, sorted."""
    return sorted(label for label, count in Counter(labels).items() if count >= at_least)
