"""From a label to atoms and back: the exact, linear map between free parameters and a symmetric crystal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mapcsp.crystals import wrap
from mapcsp.records import Crystal, Label
from mapcsp.symmetry.cells import cell_from_lattice, impose_crystal_system, lattice_from_cell
from mapcsp.symmetry.wyckoff import SpaceGroup, space_group


@dataclass(frozen=True, eq=False)
class LabelGeometry:
    """The geometry that a label leaves open.

    Atoms of the primitive cell, grouped by orbit in the label's order, lie in the conventional basis at
    coord_matrix[i] @ free + coord_offset[i].

    species: (n,). orbit_of_atom: (n,), index into label.orbits. orbit_starts: (o + 1,), first atom of each orbit.
    orbit_free: per orbit, the slice of `free` that belongs to it. coord_matrix: (n, 3, f). coord_offset: (n, 3).
    primitive_transform: (3, 3), rows: primitive lattice vectors in the conventional basis.
    """

    label: Label
    species: tuple[str, ...]
    orbit_of_atom: np.ndarray
    orbit_starts: np.ndarray
    orbit_free: tuple[slice, ...]
    coord_matrix: np.ndarray
    coord_offset: np.ndarray
    primitive_transform: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return len(self.species)

    @property
    def n_free(self) -> int:
        """Free coordinates of the whole label."""
        return self.coord_matrix.shape[2]

    def decode(self, cell: np.ndarray, free_coords: np.ndarray) -> Crystal:
        """Build the primitive crystal of one cell (6,) and free coordinates (f,)."""
        lattices, frac = self.decode_batch(np.asarray(cell)[None], np.asarray(free_coords, dtype=float)[None])
        return Crystal(lattices[0], self.species, wrap(frac[0]))

    def decode_batch(self, cells: np.ndarray, free_coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Build many crystals at once.

        cells: (p, 6), conventional, Å and degrees. free_coords: (p, f).
        Returns primitive lattices (p, 3, 3), Å, and fractional coordinates (p, n, 3) in their basis, not wrapped.
        """
        conventional = np.einsum("nxf,pf->pnx", self.coord_matrix, free_coords) + self.coord_offset
        lattices = self.primitive_transform @ lattice_from_cell(
            impose_crystal_system(cells, self.label.space_group)
        )
        return lattices, conventional @ np.linalg.inv(self.primitive_transform)


@lru_cache(maxsize=4096)
def label_geometry(label: Label) -> LabelGeometry:
    """Geometry of a label (cached); raises KeyError for a letter that the space group lacks."""
    group = space_group(label.space_group)
    species: list[str] = []
    orbit_of_atom: list[int] = []
    starts = [0]
    slices: list[slice] = []
    n_free = sum(group.by_letter[w].n_free for _, w in label.orbits)
    matrices, offsets = [], []
    first = 0
    for index, (element, letter) in enumerate(label.orbits):
        position = group.by_letter[letter]
        rotations, shifts = group.orbit_affine(letter)
        matrix = np.zeros((len(rotations), 3, n_free))
        matrix[:, :, first : first + position.n_free] = rotations[:, :, list(position.free_axes)]
        matrices.append(matrix)
        offsets.append(shifts)
        slices.append(slice(first, first + position.n_free))
        first += position.n_free
        species += [element] * len(rotations)
        orbit_of_atom += [index] * len(rotations)
        starts.append(len(species))
    return LabelGeometry(
        label,
        tuple(species),
        np.array(orbit_of_atom),
        np.array(starts),
        tuple(slices),
        np.concatenate(matrices),
        np.concatenate(offsets),
        group.primitive_transform,
    )


@dataclass(frozen=True, eq=False)
class EncodedCrystal:
    """A crystal in terms of its label: decode(cell, free_coords) gives it back, symmetrised.

    label: not canonical (see `labels.canonicalise`). z: formula units in the primitive cell. cell: (6,), conventional.
    """

    label: Label
    z: int
    cell: np.ndarray
    free_coords: np.ndarray


def encode_crystal(crystal: Crystal, symprec_ang: float = 0.1) -> EncodedCrystal:
    """Find the symmetry of a crystal and express it by label, cell and free coordinates.

    Raises ValueError if no symmetry is found or an atom does not lie on the Wyckoff position that moyopy names.
    """
    from mapcsp.symmetry.detect import standardise

    found = standardise(crystal, symprec_ang)
    label, free_coords = encode_points(found.space_group, found.species, found.letters, found.frac_coords)
    z = int(np.gcd.reduce(np.unique(found.species, return_counts=True)[1]))
    cell = impose_crystal_system(cell_from_lattice(found.lattice_ang), found.space_group)
    return EncodedCrystal(label, z, cell, free_coords)


def encode_points(
    number: int, species: tuple[str, ...], letters: tuple[str, ...], frac_coords: np.ndarray
) -> tuple[Label, np.ndarray]:
    """Gather symmetric atoms into orbits.

    species, letters: (n,); frac_coords: (n, 3), conventional basis: the atoms of the primitive cell.
    Returns the label and its free coordinates. Raises ValueError if the orbits do not account for all atoms.
    """
    group = space_group(number)
    orbits: list[tuple[str, str, np.ndarray]] = []
    left = list(range(len(species)))
    while left:
        element, letter = species[left[0]], letters[left[0]]
        rotations, offsets = group.orbit_affine(letter)
        # Some image of the orbit lies on the representative; which atom that is depends on the crystal.
        for index in left:
            if (species[index], letters[index]) != (element, letter):
                continue
            free = _solve_free(group, letter, frac_coords[index])
            if free is None:
                continue
            images = rotations @ free + offsets
            members = [
                i
                for i in left
                if species[i] == element and group.is_lattice_vector(images - frac_coords[i], 1e-2).any()
            ]
            if len(members) == len(images):
                break
        else:
            raise ValueError(f"no atom of {element} at {number}{letter} completes an orbit")
        left = [i for i in left if i not in members]
        orbits.append((element, letter, free[list(group.by_letter[letter].free_axes)]))
    orbits.sort(key=lambda o: (o[0], o[1], *np.round(o[2], 6)))
    label = Label(number, tuple((e, w) for e, w, _ in orbits))
    return label, np.mod(np.concatenate([o[2] for o in orbits]), 1.0)


def _solve_free(group: SpaceGroup, letter: str, point: np.ndarray) -> np.ndarray | None:
    """Find (x, y, z) with which the representative of `letter` lies at `point` (mod lattice); None if it cannot."""
    position = group.by_letter[letter]
    axes = list(position.free_axes)
    shifts = _lattice_shifts(group)
    targets = point - position.offset + shifts
    if not axes:
        return np.zeros(3) if np.abs(targets).max(1).min() < 5e-3 else None
    basis = position.rotation[:, axes]
    pseudo = np.linalg.pinv(basis)
    solved = targets @ pseudo.T
    misfit = np.abs(solved @ basis.T - targets).max(1)
    best = int(np.lexsort((np.abs(solved - 0.5).sum(1), misfit > 5e-3))[0])
    if misfit[best] > 5e-3:
        return None
    full = np.zeros(3)
    full[axes] = solved[best]
    return full


@lru_cache(maxsize=256)
def _lattice_shifts(group: SpaceGroup) -> np.ndarray:
    steps = np.array(np.meshgrid(*[[-2, -1, 0, 1, 2]] * 3, indexing="ij")).reshape(3, -1).T
    return (steps[:, None] + group.centring[None]).reshape(-1, 3)
