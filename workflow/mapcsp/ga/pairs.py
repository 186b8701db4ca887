"""Pairs of atoms that symmetry makes equal: only one distance of each kind has to be computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mapcsp.elements import covalent_radius_ang, is_metal
from mapcsp.records import Label
from mapcsp.symmetry.geometry import LabelGeometry, label_geometry
from mapcsp.symmetry.wyckoff import space_group

# AlphaCrystal: two atoms are bonded if their distance is within 0.4 Å of the sum of their covalent radii.
BOND_TOLERANCE_ANG = 0.4


@dataclass(frozen=True, eq=False)
class LabelPairs:
    """The kinds of pairs in the primitive cell of a label, for all crystals with that label.

    first, second: (m,), atoms of one pair of each kind, sorted by elements. weight: (m,), unordered pairs of the kind.
    kind_of_pair: (n, n), kind of each pair of atoms, -1 on the diagonal.
    group_start: (g + 1,), first kind of each pair of elements.
    bond_ang: (m,), sum of covalent radii, Å. can_bond: (m,), False for two metals.
    self_weight: (e,), atoms of each element. self_bond_ang: (e,), twice its covalent radius, Å.
    coord_matrix: (n, 3, f), coord_offset: (n, 3): as in LabelGeometry, but in the primitive basis.
    """

    geometry: LabelGeometry
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    kind_of_pair: np.ndarray
    group_start: np.ndarray
    bond_ang: np.ndarray
    can_bond: np.ndarray
    self_weight: np.ndarray
    self_bond_ang: np.ndarray
    coord_matrix: np.ndarray
    coord_offset: np.ndarray

    @property
    def n_kinds(self) -> int:
        """Kinds of pairs."""
        return len(self.first)


@lru_cache(maxsize=1024)
def label_pairs(label: Label) -> LabelPairs:
    """Find the kinds of pairs of a label (cached)."""
    geometry = label_geometry(label)
    species = geometry.species
    n = geometry.n_atoms
    images = _permutations(geometry)
    low, high = (
        np.minimum(images[:, :, None], images[:, None]),
        np.maximum(images[:, :, None], images[:, None]),
    )
    code = (low * n + high).min(0)
    upper = np.triu_indices(n, 1)
    codes, counts = np.unique(code[upper], return_counts=True)
    elements = [tuple(sorted((species[c // n], species[c % n]))) for c in codes]
    order = sorted(range(len(codes)), key=lambda k: (elements[k], codes[k]))
    codes, counts = codes[order], counts[order]
    groups = [elements[k] for k in order]
    starts = [k for k in range(len(groups)) if k == 0 or groups[k] != groups[k - 1]] + [len(groups)]
    kind_of_pair = np.full((n, n), -1)
    position = {int(c): k for k, c in enumerate(codes)}
    for i, j in zip(*upper):
        kind_of_pair[i, j] = kind_of_pair[j, i] = position[int(code[i, j])]
    names, atoms = np.unique(species, return_counts=True)
    inverse = np.linalg.inv(geometry.primitive_transform)
    return LabelPairs(
        geometry,
        codes // n,
        codes % n,
        counts.astype(float),
        kind_of_pair,
        np.array(starts),
        np.array([covalent_radius_ang(a) + covalent_radius_ang(b) for a, b in groups]),
        np.array([not (is_metal(a) and is_metal(b)) for a, b in groups], dtype=bool),
        atoms.astype(float),
        np.array([2 * covalent_radius_ang(str(name)) for name in names]),
        np.ascontiguousarray(np.einsum("nxf,xy->nyf", geometry.coord_matrix, inverse)),
        np.ascontiguousarray(geometry.coord_offset @ inverse),
    )


def _permutations(geometry: LabelGeometry) -> np.ndarray:
    """How the operations of the space group permute the atoms: (k, n), the same for all free coordinates."""
    group = space_group(geometry.label.space_group)
    # One operation of each rotation suffices: centring translations map a primitive atom onto itself.
    _, chosen = np.unique(np.rint(group.rotations).astype(int).reshape(-1, 9), axis=0, return_index=True)
    # Coordinates without any accidental symmetry stand for all.
    generic = np.mod(0.1234567 + 0.61803398875 * np.arange(1, geometry.n_free + 1), 1.0)
    points = geometry.coord_matrix @ generic + geometry.coord_offset
    moved = np.einsum("kxy,ny->knx", group.rotations[chosen], points) + group.translations[chosen][:, None]
    images = np.empty(moved.shape[:2], dtype=int)
    for start, stop in zip(geometry.orbit_starts[:-1], geometry.orbit_starts[1:]):
        same = group.is_lattice_vector(moved[:, start:stop, None] - points[start:stop], 1e-5)
        if not (same.sum(-1) == 1).all():
            raise AssertionError(f"{geometry.label.key}: the space group does not permute its atoms")
        images[:, start:stop] = start + same.argmax(-1)
    return images
