"""Known crystals as the papers' networks and metrics see them: atoms grouped by element in the order of the formula."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.maps.labels import can_bond, map_labels
from mapcsp.records import FormulaEntry
from mapcsp.training.tables import KnownCrystal


@dataclass(frozen=True, eq=False)
class MapTruth:
    """The true map of a known crystal.

    species: (n,), grouped by element in the order of the formula, within an element as the table lists them.
    groups: (n,), index of the element in the formula. distance_ang: (n, n), Å. contact: (n, n), bool.
    """

    material_id: str
    formula: str
    species: tuple[str, ...]
    groups: np.ndarray
    distance_ang: np.ndarray
    contact: np.ndarray
    space_group: int | None
    formation_energy_ev_per_atom: float | None

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements in the order of the formula."""
        return formula_elements(self.formula)

    @property
    def counts(self) -> tuple[int, ...]:
        """Atoms of each element in the cell."""
        return tuple(int(c) for c in np.bincount(self.groups))


def formula_elements(formula: str) -> tuple[str, ...]:
    """Elements of a reduced formula such as `Mg(FeO2)2`, in its order."""
    return tuple(dict.fromkeys(re.findall(r"[A-Z][a-z]?", formula)))


def grouped_order(species: Sequence[str], elements: Sequence[str]) -> np.ndarray:
    """Order (n,) that groups atoms by element, elements in the given order, and keeps the order within an element."""
    return np.argsort([elements.index(s) for s in species], kind="stable")


def true_map(known: KnownCrystal, space_group: int | None = None) -> MapTruth:
    """Work out the true map of a known crystal."""
    elements = formula_elements(known.formula)
    order = grouped_order(known.crystal.species, elements)
    labels = map_labels(known.crystal)
    species = tuple(labels.species[i] for i in order)
    return MapTruth(
        known.material_id,
        known.formula,
        species,
        np.array([elements.index(s) for s in species]),
        labels.distance_ang[np.ix_(order, order)],
        labels.contact[np.ix_(order, order)],
        space_group,
        known.formation_energy_ev_per_atom,
    )


def true_maps(
    known: Iterable[KnownCrystal], space_groups: Sequence[int | None] | None = None
) -> list[MapTruth]:
    """True maps of crystals of at least two atoms, in order."""
    rows = list(known)
    numbers: Sequence[int | None] = space_groups if space_groups is not None else [None] * len(rows)
    return [
        true_map(row, number) for row, number in zip(rows, numbers, strict=True) if row.crystal.n_atoms > 1
    ]


def content_entry(truth: MapTruth) -> FormulaEntry:
    """The formula of a crystal with the z of its cell, as the intake would give it."""
    z = int(np.gcd.reduce(truth.counts))
    amounts = tuple((e, c // z) for e, c in zip(truth.elements, truth.counts))
    return FormulaEntry(truth.material_id, truth.formula, truth.formula, None, amounts, (z,), True)


def contact_subset(truths: Iterable[MapTruth]) -> list[MapTruth]:
    """The crystals of AlphaCrystal's contact test: of each formula the one with the lowest formation energy,
    no all-metal ones."""
    best: dict[str, MapTruth] = {}
    for truth in truths:
        if not can_bond(truth.species).any():
            continue
        energy = np.inf if truth.formation_energy_ev_per_atom is None else truth.formation_energy_ev_per_atom
        other = best.get(truth.formula)
        known = (
            np.inf
            if other is None or other.formation_energy_ev_per_atom is None
            else other.formation_energy_ev_per_atom
        )
        if other is None or energy < known:
            best[truth.formula] = truth
    return list(best.values())


def scrambled(truths: Sequence[MapTruth], seed: int) -> list[MapTruth]:
    """Deal maps out anew among crystals with the same atom counts (y-scrambling): what is learned from them is chance."""
    rng = np.random.default_rng(seed)
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, truth in enumerate(truths):
        groups.setdefault(truth.counts, []).append(index)
    dealt: list[MapTruth] = [*truths]
    for members in groups.values():
        for index, other in zip(members, rng.permutation(members)):
            source = truths[other]
            contact = source.contact & can_bond(truths[index].species)
            dealt[index] = MapTruth(
                **{**truths[index].__dict__, "distance_ang": source.distance_ang, "contact": contact}
            )
    return dealt
