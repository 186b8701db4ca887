"""Reconstruction tasks with true maps, of crystals typed by hand from the literature's structures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from mapcsp.crystals import distance_matrix
from mapcsp.ga.fitness import CONTACT_THRESHOLD
from mapcsp.ga.pairs import BOND_TOLERANCE_ANG, label_pairs
from mapcsp.records import Crystal, Label, LabelPrediction, PredictedMap, ReconstructionTask, SeedGeometry
from mapcsp.symmetry.geometry import label_geometry

# Name: (label, cell, free coordinates in the label's order).
KNOWN: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "rutile TiO2": ("136:O-f,Ti-a", (4.594, 4.594, 2.959, 90, 90, 90), (0.305,)),
    "wurtzite ZnS": ("186:S-b,Zn-b", (3.811, 3.811, 6.234, 90, 90, 120), (0.375, 0.0)),
    "perovskite SrTiO3": ("221:O-d,Sr-b,Ti-a", (3.905, 3.905, 3.905, 90, 90, 90), ()),
    "pyrite FeS2": ("205:Fe-a,S-c", (5.418, 5.418, 5.418, 90, 90, 90), (0.385,)),
    "baddeleyite ZrO2": (
        "14:O-e,O-e,Zr-e",
        (5.150, 5.212, 5.317, 90, 99.23, 90),
        (0.070, 0.332, 0.345, 0.449, 0.757, 0.479, 0.275, 0.040, 0.208),
    ),
}


def known_crystal(name: str) -> Crystal:
    key, cell, free = KNOWN[name]
    return label_geometry(Label.from_key(key)).decode(np.array(cell), np.array(free))


def true_map(label: Label, crystal: Crystal, z: int, spread_ang: float = 0.1) -> PredictedMap:
    distances = distance_matrix(crystal)
    pairs = label_pairs(label)
    contact = np.zeros_like(distances)
    kinds = pairs.kind_of_pair
    bonded = pairs.can_bond[kinds] & (np.abs(distances - pairs.bond_ang[kinds]) <= BOND_TOLERANCE_ANG)
    contact[(kinds >= 0) & bonded] = 1.0
    assert CONTACT_THRESHOLD < 1.0
    return PredictedMap(
        z, label.key, crystal.species, distances, np.full(distances.shape, spread_ang), contact
    )


def prediction(name: str, spread: float = 0.0, seeds: tuple[SeedGeometry, ...] = ()) -> LabelPrediction:
    key, cell, _ = KNOWN[name]
    label = Label.from_key(key)
    species = label_geometry(label).species
    z = int(np.gcd.reduce([species.count(s) for s in species]))
    return LabelPrediction(label, z, -0.7, "trained", np.array(cell, dtype=float), spread, spread, seeds)


def known_task(
    name: str, spread: float = 0.0, with_seed: bool = False, with_map: bool = True
) -> ReconstructionTask:
    _, cell, free = KNOWN[name]
    seeds: tuple[SeedGeometry, ...] = ()
    if with_seed:
        off = np.mod(np.array(free) + 0.01, 1.0)
        seeds = (SeedGeometry(np.array(cell, dtype=float), off, np.full(len(free), 0.02), 1.0, 12),)
    predicted = prediction(name, spread, seeds)
    maps = (true_map(predicted.label, known_crystal(name), predicted.z),) if with_map else ()
    formula = name.split()[1]
    number = predicted.label.space_group
    return ReconstructionTask(f"{formula}_{number}", formula, formula, number, 0.8, 7, (predicted,), maps)


def with_labels(task: ReconstructionTask, *more: ReconstructionTask) -> ReconstructionTask:
    labels = tuple(p for t in (task, *more) for p in t.labels)
    return replace(task, labels=labels, maps=tuple(m for t in (task, *more) for m in t.maps))
