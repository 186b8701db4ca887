"""Training pairs of the default map network: a crystal to predict, and other crystals of its label as likely geometries.

A label's atoms are the same set in both, but which atom of an element is which is a matter of origin and axes;
the order that fits best is found once here, so that the network is not asked to guess it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mapcsp.elements import scaled_element_features
from mapcsp.maps.alignment import align_atoms
from mapcsp.maps.distances import batch_distances
from mapcsp.records import Label
from mapcsp.store import read_records, write_records
from mapcsp.symmetry.cells import cell_volume_ang3, scale_to_volume
from mapcsp.symmetry.geometry import EncodedCrystal, LabelGeometry, label_geometry
from mapcsp.symmetry.labels import AnonymousLabel, canonicalise
from mapcsp.symmetry.memory import role_symmetries
from mapcsp.training.encoded import EncodedKnown

N_NEAR, N_RANDOM = 3, 2
"""Seeds of a crystal: the nearest in chemistry, as a prediction uses them, and random ones, so that it learns doubt."""
MAX_COMPARED = 400


@dataclass(frozen=True, eq=False)
class PairSeed:
    """Another crystal's geometry with the target's elements: cell (6,), Å and degrees, and free coordinates (f,).

    order: (n,): the target's map in this order of atoms fits the seed's map best.
    """

    cell: np.ndarray
    free_coords: np.ndarray
    order: np.ndarray


@dataclass(frozen=True, eq=False)
class MapTarget:
    """A crystal to predict: label, z, conventional cell (6,), free coordinates (f,), and its seeds, nearest first.

    n_near: how many of the seeds are the nearest ones.
    """

    material_id: str
    formula: str
    label_key: str
    z: int
    cell: np.ndarray
    free_coords: np.ndarray
    n_near: int
    seeds: tuple[PairSeed, ...]

    def geometry(self) -> LabelGeometry:
        """Atoms and free parameters of its label."""
        return label_geometry(Label.from_key(self.label_key))


@cache
def element_position(symbol: str) -> np.ndarray:
    """Where an element lies in chemistry, (11,): elements that replace each other in crystals are near."""
    return scaled_element_features([symbol])[0]


def role_distances(
    elements: Sequence[str], others: Sequence[Sequence[str]], orders: Sequence[tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    """How far other crystals' elements are from a crystal's, role by role, under the best order of roles.

    elements: of each role; others: (m,) such tuples; orders: permutations of roles that leave the label the same.
    Returns distances (m,) and the index of the best order (m,).
    """
    own = np.array([element_position(e) for e in elements])
    theirs = np.array([[element_position(e) for e in other] for other in others])
    by_order = np.stack([np.sqrt(((theirs - own[list(o)]) ** 2).sum(-1)).sum(-1) for o in orders])
    return by_order.min(0), by_order.argmin(0)


def transfer_geometry(
    source: EncodedKnown, elements: Sequence[str], order: tuple[int, ...], target: Label
) -> EncodedCrystal | None:
    """Put elements into another crystal's roles, in the axes and origin of the target's label.

    elements: by role of the target; role i of the source takes elements[order[i]]. Returns None where that is not the
    target's label.
    """
    mapping = {old: elements[k] for old, k in zip(source.elements, order)}
    given = Label.from_key(source.label_key)
    replaced = [(mapping[e], w, i) for i, (e, w) in enumerate(given.orbits)]
    ranked = sorted(replaced)
    label = Label(given.space_group, tuple((e, w) for e, w, _ in ranked))
    slices = label_geometry(given).orbit_free
    free = (
        np.concatenate([source.free_coords[slices[i]] for _, _, i in ranked])
        if len(source.free_coords)
        else np.zeros(0)
    )
    moved = canonicalise(EncodedCrystal(label, source.z, source.cell, free))
    return moved if moved.label == target else None


def build_targets(
    crystals: Sequence[EncodedKnown],
    library: Sequence[EncodedKnown],
    seed: int,
    n_near: int = N_NEAR,
    n_random: int = N_RANDOM,
) -> list[MapTarget]:
    """Find seeds for crystals among those of a library with another reduced formula and the same label.

    Deterministic in `seed`. Crystals without such others get no seeds. Shows progress.
    """
    by_key: dict[str, list[EncodedKnown]] = defaultdict(list)
    for known in library:
        by_key[known.anonymous_key].append(known)
    rng = np.random.default_rng(seed)
    return [
        _build_target(crystal, by_key[crystal.anonymous_key], rng, n_near, n_random)
        for crystal in tqdm(crystals, desc="aligning crystals", mininterval=10)
    ]


def _build_target(
    crystal: EncodedKnown, alike: Sequence[EncodedKnown], rng: np.random.Generator, n_near: int, n_random: int
) -> MapTarget:
    others = [o for o in alike if o.formula != crystal.formula]
    if len(others) > MAX_COMPARED:
        others = [others[i] for i in np.sort(rng.choice(len(others), MAX_COMPARED, replace=False))]
    seeds: list[PairSeed] = []
    found_near = 0
    label = Label.from_key(crystal.label_key)
    geometry = label_geometry(label)
    if others:
        orders = _role_orders(crystal.anonymous_key)
        far, best = role_distances(crystal.elements, [o.elements for o in others], orders)
        ranked = np.argsort(far, kind="stable")
        random = rng.permutation(ranked[n_near:])[:n_random]
        own, _ = batch_distances(*geometry.decode_batch(crystal.cell[None], crystal.free_coords[None]))
        groups = np.unique(geometry.species, return_inverse=True)[1]
        for place, index in enumerate([*ranked[:n_near], *random]):
            moved = transfer_geometry(others[index], crystal.elements, orders[best[index]], label)
            if moved is None:
                continue
            cell = scale_to_volume(moved.cell, float(cell_volume_ang3(crystal.cell)))
            seed_map, _ = batch_distances(*geometry.decode_batch(cell[None], moved.free_coords[None]))
            order = align_atoms(seed_map[0], own[0], groups)
            seeds.append(PairSeed(moved.cell, moved.free_coords, order))
            found_near += place < n_near
    return MapTarget(
        crystal.material_id,
        crystal.formula,
        label.key,
        crystal.z,
        crystal.cell,
        crystal.free_coords,
        found_near,
        tuple(seeds),
    )


@cache
def _role_orders(anonymous_key: str) -> tuple[tuple[int, ...], ...]:
    return role_symmetries(AnonymousLabel.from_key(anonymous_key))


def write_targets(path: Path, targets: Iterable[MapTarget]) -> None:
    """Write targets (a working file of the training)."""
    write_records(path, MapTarget, targets)


def read_targets(path: Path) -> list[MapTarget]:
    """Read targets."""
    return read_records(path, MapTarget)
