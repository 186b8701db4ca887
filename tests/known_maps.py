"""Small families of crystals for tests of the map networks: prototypes filled with elements, sizes from radii."""

from itertools import product

import numpy as np
from mapcsp.elements import covalent_radius_ang
from mapcsp.records import Crystal, Label, LabelPrediction, SeedGeometry
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.training.tables import KnownCrystal

CATIONS = ("Li", "Na", "K", "Mg", "Ca", "Sr", "Zn", "Cd", "Ba", "Mn")
ANIONS = ("O", "S", "Se", "F", "Cl", "Br")


def cubic(a: float, species: tuple[str, ...], points: list) -> Crystal:
    return Crystal(np.eye(3) * a, species, np.array(points, dtype=float))


def rock_salt(cation: str, anion: str) -> Crystal:
    a = 2 * (covalent_radius_ang(cation) + covalent_radius_ang(anion))
    lattice = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(lattice, (cation, anion), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def wurtzite(cation: str, anion: str, u: float = 0.375) -> Crystal:
    bond = covalent_radius_ang(cation) + covalent_radius_ang(anion)
    a = bond * np.sqrt(8 / 3)
    lattice = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, a * np.sqrt(8 / 3)]])
    points = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, u], [2 / 3, 1 / 3, 0.5 + u]]
    return Crystal(lattice, (cation, cation, anion, anion), np.array(points))


def perovskite(a_cation: str, b_cation: str, anion: str) -> Crystal:
    a = 2 * (covalent_radius_ang(b_cation) + covalent_radius_ang(anion))
    points = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return cubic(a, (a_cation, b_cation, anion, anion, anion), points)


def toy_crystals(n: int) -> list[KnownCrystal]:
    """At most 160 different crystals of three prototypes, their formulas in no fixed order."""
    found = []
    for cation, anion in product(CATIONS, ANIONS):
        found.append((f"{cation}{anion}", rock_salt(cation, anion)))
        found.append((f"{cation}2{anion}2", wurtzite(cation, anion, 0.36 + 0.002 * len(found) % 0.03)))
    for cation, anion in product(CATIONS[:8], ANIONS[:5]):
        found.append((f"{cation}Ti{anion}3", perovskite(cation, "Ti", anion)))
    chosen = np.random.default_rng(0).permutation(len(found))[:n]
    return [
        KnownCrystal(f"toy-{i}", found[i][0].replace("2", ""), found[i][1], -float(i) / 100, 0.0)
        for i in chosen
    ]


def label_prediction(key: str, cell: list[float], free: list[float], seeded: bool = True) -> LabelPrediction:
    """A predicted label with one seed, or none."""
    label = Label.from_key(key)
    assert label_geometry(label).n_free == len(free)
    array = np.array(cell, dtype=float)
    seeds = (SeedGeometry(array, np.array(free), np.zeros(len(free)), 1.0, 1),) if seeded else ()
    return LabelPrediction(label, 1, -1.0, "trained", array, 0.05, 0.03, seeds)
