"""Distances between the atomic environments of two crystals: orbital-field matrices and powder patterns.

All are means over atoms, so they do not depend on cell choice, origin or order.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import constants

if TYPE_CHECKING:
    from pymatgen.core import Structure

# First place of each subshell among the 32 of an orbital-field vector: s1-s2, p1-p6, d1-d10, f1-f14.
_SUBSHELL = {"s": 0, "p": 2, "d": 8, "f": 18}
_ANG_IN_BOHR = 1e-10 / constants.value("Bohr radius")
# matminer takes the angstrom star (an X-ray unit, 1.5e-5 longer) for the angstrom.
_ANG_IN_BOHR_AS_PUBLISHED = constants.value("Angstrom star") / constants.value("Bohr radius")


@cache
def orbital_vector(symbol: str) -> np.ndarray:
    """Valence subshells of an element, one-hot by occupation: (32,).

    Outermost shell n; also (n-1)d, (n-1)f and (n-2)f (Lam Pham et al., Sci. Technol. Adv. Mater. 18, 756,
    2017).
    """
    from pymatgen.core import Element

    shells = Element(symbol).full_electronic_structure
    outermost = max(n for n, _, _ in shells)
    vector = np.zeros(32)
    for n, subshell, electrons in shells:
        inner = outermost - n
        if inner == 0 or (inner == 1 and subshell in "df") or (inner == 2 and subshell == "f"):
            vector[_SUBSHELL[subshell] + electrons - 1] = 1.0
    vector.setflags(write=False)
    return vector


def orbital_field_matrix(structure: Structure, as_published: bool = False) -> np.ndarray:
    """Mean over atoms of sum over Voronoi neighbours of (solid-angle weight / distance in bohr) times outer products.

    Returns (32, 32). as_published: matminer's numbers with older pymatgen releases, whose distances are the
    shortest of a 3x3x3 supercell, in units of the angstrom star. (matminer 0.10 with pymatgen 2026 gives
    others: it takes the last subshell of pymatgen's list for the outermost, and that list's order has
    changed.)
    """
    if as_published:
        return _published_orbital_field_matrix(structure)
    vectors = np.array([orbital_vector(site.specie.symbol) for site in structure])
    total = np.zeros((32, 32))
    for i, neighbours in enumerate(voronoi_neighbours(structure)):
        for j, distance_ang, weight in neighbours:
            total += np.outer(vectors[j], vectors[i]) * (weight / (distance_ang * _ANG_IN_BOHR))
    return total / len(structure)


def _published_orbital_field_matrix(structure: Structure) -> np.ndarray:
    from pymatgen.analysis.local_env import VoronoiNN

    finder = VoronoiNN(allow_pathological=True)
    # A supercell keeps atoms from being their own neighbours; its first image of each atom stands for all.
    supercell = structure * [3, 3, 3]
    total = np.zeros((32, 32))
    for i in range(0, len(supercell), 27):
        centre = supercell[i]
        own = orbital_vector(centre.specie.symbol)
        for neighbour in finder.get_nn_info(supercell, i):
            site = neighbour["site"]
            reach = float(centre.distance(site)) * _ANG_IN_BOHR_AS_PUBLISHED
            total += np.outer(orbital_vector(site.specie.symbol), own) * (neighbour["weight"] / reach)
    return total / len(structure)


def voronoi_neighbours(structure: Structure) -> list[list[tuple[int, float, float]]]:
    """Faces of each atom's Voronoi cell: (neighbour, its distance in Å, solid angle as a share of the cell's largest).

    The same as pymatgen's VoronoiNN, but with only so many images as can touch a cell: a face lies at half the distance
    to its neighbour, and no corner of the cell is farther than the farthest one found.
    """
    lattice, frac = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    cartesian = frac @ lattice
    spacing = (structure.volume / len(structure)) ** (1 / 3)
    found = []
    for centre in range(len(structure)):
        radius = 3.0 * spacing
        while True:
            points, owners = _images_within(lattice, heights, cartesian, centre, radius)
            faces, farthest = _voronoi_faces(points)
            if 2 * farthest <= radius:
                break
            radius = min(2.001 * farthest, 2 * radius)
        largest = max(angle for _, angle in faces)
        distances = np.linalg.norm(points, axis=1)
        found.append(
            [(int(owners[j]), float(distances[j]), angle / largest) for j, angle in faces if angle > 0]
        )
    return found


def _images_within(
    lattice: np.ndarray, heights: np.ndarray, cartesian: np.ndarray, centre: int, radius_ang: float
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms within a radius of one atom, seen from it, that atom first: (m, 3), Å, and (m,), whose image each is."""
    around = cartesian - cartesian[centre]
    # Differences of positions may span a cell more.
    reach = np.ceil(radius_ang / heights).astype(int) + 1
    shifts = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    points = (around[None] + (shifts @ lattice)[:, None]).reshape(-1, 3)
    owners = np.tile(np.arange(len(cartesian)), len(shifts))
    distance = np.linalg.norm(points, axis=1)
    order = np.argsort(distance, kind="stable")
    order = order[distance[order] <= radius_ang]
    return points[order], owners[order]


def _voronoi_faces(points: np.ndarray) -> tuple[list[tuple[int, float]], float]:
    """(Neighbour, solid angle) of each face of the first point's Voronoi cell, and its farthest corner, Å.

    The corner is infinitely far for an open cell.
    """
    from pymatgen.analysis.local_env import solid_angle
    from scipy.spatial import Voronoi

    cells = Voronoi(points)
    if -1 in cells.regions[cells.point_region[0]]:
        return [], np.inf
    faces = [
        (int(max(pair)), float(solid_angle(points[0], cells.vertices[corners])))
        for pair, corners in zip(cells.ridge_points, cells.ridge_vertices)
        if min(pair) == 0
    ]
    corners = cells.vertices[cells.regions[cells.point_region[0]]]
    return faces, float(np.linalg.norm(corners - points[0], axis=1).max())


def ofm_distance(predicted: Structure, true: Structure, as_published: bool = False) -> float:
    """Frobenius norm of the difference of orbital-field matrices."""
    matrices = [orbital_field_matrix(structure, as_published) for structure in (predicted, true)]
    return float(np.linalg.norm(matrices[0] - matrices[1]))


def powder_distance(predicted: Structure, true: Structure) -> float:
    """Euclidean distance of two powder patterns (Cu Kα, 0 to 90° 2θ) smoothed on 901 points, each of unit area.

    Smoothing is SciPy's Gaussian kernel with factor .01 over peaks weighted by tenths of a percent of the
    strongest.
    """
    return float(np.linalg.norm(_smooth_powder(predicted) - _smooth_powder(true)))


def _smooth_powder(structure: Structure) -> np.ndarray:
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from scipy.stats import gaussian_kde

    pattern = XRDCalculator(wavelength="CuKa").get_pattern(structure, two_theta_range=(0, 90))
    angles = np.repeat(np.asarray(pattern.x), (10 * np.asarray(pattern.y)).astype(int))
    return gaussian_kde(angles, bw_method=0.01)(np.linspace(0, 90, 901))
