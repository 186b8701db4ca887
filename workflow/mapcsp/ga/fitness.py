"""Fitness of whole populations, term by term, and what the search makes of the terms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mapcsp.ga import kernels
from mapcsp.ga.pairs import BOND_TOLERANCE_ANG, LabelPairs, label_pairs
from mapcsp.records import FitnessTerms, LabelPrediction, PredictedMap
from mapcsp.settings import ReconstructSettings
from mapcsp.symmetry.cells import free_cell_indices, lattice_from_cell

# ASSUME: errors of predicted distances have heavier tails than a normal law (a wrong neighbour shell is off by Å).
DEGREES_OF_FREEDOM = 4.0
# Spreads below this would turn the likelihood into needles that no search finds.
MIN_SPREAD_ANG = 0.05
# Distances are punished below this share of the sum of covalent radii.
SHORT_RATIO = 0.7
# A predicted contact of AlphaCrystal's binary maps.
CONTACT_THRESHOLD = 0.5
# Keeps the density of a certain cell finite.
MIN_CELL_SPREAD = 1e-3


@dataclass(frozen=True, eq=False)
class MapTarget:
    """A predicted map in the order of the kernel that compares it; see `kernels.map_terms_*`."""

    by_row: bool
    expected: np.ndarray
    spread: np.ndarray
    contact: np.ndarray
    contact_sum: float


@dataclass(frozen=True, eq=False)
class Objective:
    """What decides the fitness of crystals of one label."""

    prediction: LabelPrediction
    pairs: LabelPairs
    target: MapTarget | None
    settings: ReconstructSettings


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Fitness of a population.

    total: (p,), what the search maximises. terms: (p,) each, by name of the field of FitnessTerms, those of weight 0 too.
    """

    total: np.ndarray
    terms: dict[str, np.ndarray]

    def row(self, index: int) -> FitnessTerms:
        """Fitness of one individual."""
        values = {name: float(column[index]) for name, column in self.terms.items()}
        return FitnessTerms(total=float(self.total[index]), **values)


def build_objective(
    prediction: LabelPrediction, predicted: PredictedMap | None, settings: ReconstructSettings
) -> Objective:
    """Prepare the evaluation of one label; raises ValueError for a map that does not fit it."""
    pairs = label_pairs(prediction.label)
    target = None if predicted is None else _target(pairs, predicted, settings)
    return Objective(prediction, pairs, target, settings)


def _target(pairs: LabelPairs, predicted: PredictedMap, settings: ReconstructSettings) -> MapTarget:
    key = pairs.geometry.label.key
    by_row = predicted.label_key is not None
    if by_row and (predicted.label_key != key or predicted.species != pairs.geometry.species):
        raise ValueError(f"the map is for {predicted.label_key}, expected {key}")
    if sorted(predicted.species) != sorted(pairs.geometry.species):
        raise ValueError(f"the map is for {predicted.species}, expected the atoms {pairs.geometry.species}")
    contact = predicted.contact_prob
    if settings.mode == "cmcrystal":
        contact = (contact >= CONTACT_THRESHOLD).astype(float)
    spread = np.maximum(predicted.spread_ang, MIN_SPREAD_ANG)
    if by_row:
        # Symmetry makes the distances of a kind equal, so that their predictions merge without loss.
        variance = _mean_by_kind(pairs, spread**2)
        values = (
            _mean_by_kind(pairs, predicted.distance_ang),
            np.sqrt(variance),
            _mean_by_kind(pairs, contact),
        )
        return MapTarget(True, *values, contact_sum=float((values[2] * pairs.weight).sum()))
    return _sorted_target(pairs, predicted, spread, contact)


def _mean_by_kind(pairs: LabelPairs, values: np.ndarray) -> np.ndarray:
    upper = np.triu_indices(len(values), 1)
    kinds = pairs.kind_of_pair[upper]
    merged = (values[upper] + values.T[upper]) / 2
    return np.bincount(kinds, merged, minlength=pairs.n_kinds) / np.bincount(kinds, minlength=pairs.n_kinds)


def _sorted_target(
    pairs: LabelPairs, predicted: PredictedMap, spread: np.ndarray, contact: np.ndarray
) -> MapTarget:
    """Distances and contacts of each pair of elements, sorted: what a map without known rows determines."""
    species = np.array(predicted.species)
    first, second = np.triu_indices(len(species), 1)
    names = np.sort(np.stack([species[first], species[second]]), axis=0)
    columns: list[list[np.ndarray]] = [[], [], []]
    for start in pairs.group_start[:-1]:
        atoms = pairs.geometry.species
        wanted = sorted((atoms[pairs.first[start]], atoms[pairs.second[start]]))
        chosen = (names[0] == wanted[0]) & (names[1] == wanted[1])
        i, j = first[chosen], second[chosen]
        order = np.argsort(predicted.distance_ang[i, j], kind="stable")
        columns[0].append(predicted.distance_ang[i, j][order])
        columns[1].append(spread[i, j][order])
        columns[2].append(-np.sort(-contact[i, j]))
    expected, ordered, contacts = (np.concatenate(c) if c else np.empty(0) for c in columns)
    return MapTarget(False, expected, ordered, contacts, float(contacts.sum()))


def evaluate(objective: Objective, cells: np.ndarray, free_coords: np.ndarray) -> Evaluation:
    """Evaluate crystals of one label, all at once.

    cells: (p, 6) or, if all share it, (1, 6); conventional, exact for the space group, Å and degrees.
    free_coords: (p, f), fractional.

    contact_dice: 2 sum(P C) / (sum P + sum C), P the predicted probability and C 1 for a contact (AlphaCrystal, eq. 3).
    bond_validity: valid / (valid + short) over pairs of atoms (AlphaCrystal, eq. 2), 1 if there are neither.
    short_distance: - sum of (1 - d / d_short)^2 over ordered pairs and own images, an atom.
    """
    pairs, settings = objective.pairs, objective.settings
    lattices = pairs.geometry.primitive_transform @ lattice_from_cell(cells)
    free_coords = np.ascontiguousarray(free_coords, dtype=float)
    distances, periods = kernels.pair_distances(
        lattices, free_coords, pairs.coord_matrix, pairs.coord_offset, pairs.first, pairs.second
    )
    table = np.empty((len(free_coords), kernels.N_TERMS))
    kernels.bond_terms(
        distances,
        periods,
        pairs.weight,
        pairs.bond_ang,
        BOND_TOLERANCE_ANG,
        SHORT_RATIO * pairs.bond_ang,
        pairs.self_weight,
        SHORT_RATIO * pairs.self_bond_ang,
        table,
    )
    if objective.target is not None:
        _fill_map_terms(pairs, objective.target, distances, table)
    terms = _terms(objective, table, cells)
    return Evaluation(_total(settings, terms), terms)


def _fill_map_terms(pairs: LabelPairs, target: MapTarget, distances: np.ndarray, table: np.ndarray) -> None:
    if target.by_row:
        kernels.map_terms_by_row(
            distances,
            pairs.weight,
            target.expected,
            target.spread,
            target.contact,
            pairs.bond_ang,
            BOND_TOLERANCE_ANG,
            pairs.can_bond,
            DEGREES_OF_FREEDOM,
            _log_constant(DEGREES_OF_FREEDOM),
            table,
        )
    else:
        kernels.map_terms_sorted(
            distances,
            pairs.weight,
            pairs.group_start,
            target.expected,
            target.spread,
            target.contact,
            target.contact_sum,
            pairs.bond_ang,
            BOND_TOLERANCE_ANG,
            pairs.can_bond,
            DEGREES_OF_FREEDOM,
            _log_constant(DEGREES_OF_FREEDOM),
            table,
        )


def _log_constant(degrees: float) -> float:
    """What the densities of the kernel leave out."""
    return math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)


def _terms(objective: Objective, table: np.ndarray, cells: np.ndarray) -> dict[str, np.ndarray]:
    """The terms of the mode; those of weight 0 too, since the ranking may learn from what the search did not use."""
    mode = objective.settings.mode
    if mode == "dmcrystal":
        return {"distance_error_ang": table[:, kernels.ERROR]}
    if mode == "cmcrystal":
        return {"contact_dice": table[:, kernels.DICE], "bond_validity": table[:, kernels.BOND]}
    terms: dict[str, np.ndarray] = {}
    if objective.target is not None:
        terms["map_log_likelihood"] = table[:, kernels.MAP]
        terms["distance_error_ang"] = table[:, kernels.ERROR]
        terms["contact_dice"] = table[:, kernels.DICE]
    terms["bond_validity"] = table[:, kernels.BOND]
    terms["short_distance"] = table[:, kernels.SHORT]
    terms["label_log_prob"] = np.full(len(table), objective.prediction.log_prob)
    terms["lattice_log_prob"] = np.broadcast_to(lattice_log_prob(objective.prediction, cells), len(table))
    return terms


def _total(settings: ReconstructSettings, terms: dict[str, np.ndarray]) -> np.ndarray:
    if settings.mode == "dmcrystal":
        return -terms["distance_error_ang"]
    if settings.mode == "cmcrystal":
        return terms["contact_dice"] * terms["bond_validity"]
    weights = {
        "map_log_likelihood": settings.weight_map,
        "contact_dice": settings.weight_contact,
        "bond_validity": settings.weight_bond,
        "short_distance": settings.weight_short,
        "label_log_prob": settings.weight_prior,
        "lattice_log_prob": settings.weight_prior,
    }
    parts = [weights[name] * column for name, column in terms.items() if weights.get(name, 0.0) > 0]
    if not parts:
        raise ValueError(
            "no term of the fitness is left: set a weight of `reconstruct:` above 0 that needs no map, or predict maps"
        )
    return np.sum(parts, axis=0)


def lattice_log_prob(prediction: LabelPrediction, cells: np.ndarray) -> np.ndarray:
    """Log density (p,) of cells (p, 6) under the prediction: normal in ln(volume), ln(length ratios) and free angles."""
    free = free_cell_indices(prediction.label.space_group)
    lengths = [i for i in free if i < 3]
    angles = [i for i in free if i >= 3]
    logs, centre = np.log(cells[:, :3]), np.log(prediction.cell[:3])
    volume, expected = (
        np.log(np.abs(np.linalg.det(lattice_from_cell(c)))) for c in (cells, prediction.cell[None])
    )
    density = _log_normal(volume - expected, prediction.log_volume_spread)
    for index in lengths[1:]:
        ratio = logs[:, index] - logs[:, 0] - (centre[index] - centre[0])
        density = density + _log_normal(ratio, prediction.shape_spread)
    for index in angles:
        delta = np.radians(cells[:, index] - prediction.cell[index])
        density = density + _log_normal(delta, prediction.shape_spread)
    return density


def _log_normal(delta: np.ndarray, spread: float) -> np.ndarray:
    spread = max(spread, MIN_CELL_SPREAD)
    return -0.5 * (delta / spread) ** 2 - math.log(spread) - 0.5 * math.log(2 * math.pi)
