"""Known labels and geometries with elements in their roles, worked out once for every order of names.

Which of several equivalent labels is canonical depends on the elements only through the alphabetical order of their
symbols. So this module knows elements as ranks in that order (0 is the first), and formulas share its caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mapcsp.crystals import wrap
from mapcsp.records import Label
from mapcsp.symmetry.geometry import encode_points, label_geometry
from mapcsp.symmetry.labels import canonical_label, renamed, role_free_order
from mapcsp.symmetry.memory import LabelMemory
from mapcsp.symmetry.normaliser import letter_exchanges


def rank_names(n_elements: int) -> tuple[str, ...]:
    """Names of the ranks, ascending: they stand for elements in a label."""
    return tuple(chr(ord("A") + rank) for rank in range(n_elements))


def named(label: Label, elements: tuple[str, ...]) -> Label:
    """A label of ranks with real elements: `elements` in alphabetical order."""
    return Label(label.space_group, tuple((elements[ord(rank) - ord("A")], w) for rank, w in label.orbits))


@dataclass(frozen=True, eq=False)
class Placement:
    """A known label with an element in each role.

    own: the label as the memory writes it; target: its canonical form, with elements as ranks; key: target's text.
    free_order: see `role_free_order`. exchanges: (x,), indices of the changes of axes and origin that turn own into target,
    none where they are the same; axes: (x, 3, 3), what each does to lattice vectors.
    """

    own: Label
    target: Label
    key: str
    free_order: np.ndarray
    exchanges: np.ndarray
    axes: np.ndarray


@lru_cache(maxsize=100_000)
def place_label(memory: LabelMemory, label: int, ranks: tuple[int, ...]) -> Placement:
    """Put elements into the roles of a label of the memory; ranks: of the element in each role."""
    elements = tuple(rank_names(len(ranks))[rank] for rank in ranks)
    own = memory.labels[label].assign(elements)
    target = canonical_label(own)
    changes = letter_exchanges(own.space_group)
    fitting = [] if own == target else [i for i, x in enumerate(changes) if renamed(own, x) == target.orbits]
    axes = np.array([np.linalg.inv(changes[i].rotation).T for i in fitting]).reshape(-1, 3, 3)
    order = role_free_order(own, elements)
    return Placement(own, target, target.key, order, np.array(fitting, dtype=int), axes)


@lru_cache(maxsize=50_000)
def place_geometry(
    memory: LabelMemory, mode: int, ranks: tuple[int, ...], exchange: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Free coordinates and their spread, (f,) each, of a known geometry with elements in its roles, read-only.

    exchange: the change of axes and origin to go through, one of the placement's; None where there is none.
    """
    placement = place_label(memory, int(memory.mode_label[mode]), ranks)
    free, spread = np.zeros(len(placement.free_order)), np.zeros(len(placement.free_order))
    free[placement.free_order], spread[placement.free_order] = memory.free_coords(mode)
    if exchange is not None:
        own, change = placement.own, letter_exchanges(placement.own.space_group)[exchange]
        geometry = label_geometry(own)
        points = np.einsum("nxf,f->nx", geometry.coord_matrix, free) + geometry.coord_offset
        letters = tuple(change.letters[own.orbits[o][1]] for o in geometry.orbit_of_atom)
        moved = wrap(change.apply_to_points(points))
        label, free = encode_points(own.space_group, geometry.species, letters, moved)
        if label != placement.target:
            raise ValueError(f"{own.key} became {label.key}, expected {placement.target.key}")
        # The exchange mixes coordinates; what is left of their spreads is the mean.
        spread = np.full(len(spread), float(spread.mean()) if len(spread) else 0.0)
    free.flags.writeable = spread.flags.writeable = False
    return free, spread
