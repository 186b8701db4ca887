"""The symmetry stage by CRYSPNet (`symmetry.model: cryspnet`): its space groups and cells, with labels enumerated in them.

CRYSPNet names no Wyckoff positions and no z. Within a space group labels are enumerated from its Wyckoff positions, the
usual letters of known crystals first, as the default model does for labels it has never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mapcsp.cryspnet.conventional import standard_cell
from mapcsp.cryspnet.predict import BravaisPrediction, predict_cryspnet
from mapcsp.elements import standard_order
from mapcsp.records import FormulaEntry, LabelPrediction, SymmetryPrediction
from mapcsp.registry import registered_model
from mapcsp.settings import SymmetrySettings
from mapcsp.symmetry.cells import bravais_lattice
from mapcsp.symmetry.cells_to_try import cells_to_try
from mapcsp.symmetry.coverage import group_probabilities, space_groups_to_run
from mapcsp.symmetry.enumeration import LetterPrior, enumerate_labels, letter_prior
from mapcsp.symmetry.memory import read_memory
from mapcsp.symmetry.no_larger import best_of_no_larger

# Labels tried in each (space group, z).
LABELS_PER_GROUP = 6
# Space groups whose labels are enumerated at each z, likeliest first; the settings choose among these labels.
GROUPS_PER_Z = 30
# Expected deviations of ln(volume) and of the shape: about the mean errors of volumes and of lengths in the model's card.
LOG_VOLUME_SPREAD, SHAPE_SPREAD = 0.14, 0.18


@dataclass(frozen=True)
class _Choice:
    """A space group at one z: its probability, and the lattice whose cell it takes."""

    number: int
    z: int
    probability: float
    lattice: BravaisPrediction


@lru_cache(maxsize=2)
def letters_of(name: str) -> LetterPrior:
    """How usual Wyckoff letters are, from the memory that the registry names for a CRYSPNet model."""
    return letter_prior(read_memory(registered_model(name, "cryspnet").memory_file))


def predict_symmetry_by_cryspnet(entry: FormulaEntry, settings: SymmetrySettings) -> SymmetryPrediction:
    """Predict labels, cells and the space groups to run for one formula.

    P(label, z) = P(z) P(lattice) P(space group | lattice) P(label | space group); P(z) is how often crystals of the same
    stoichiometry have so many formula units. A given space group takes the cell of its lattice. A content that no likely
    space group can hold has no labels.
    """
    cells = cells_to_try(entry, None, settings.max_z)
    zs = tuple(sorted(cells.probabilities))
    # Sums over elements round differently in another order.
    amounts = dict(standard_order(entry.amounts))
    predictions = predict_cryspnet(
        [amounts] * len(zs),
        top_bravais=14,
        top_space_groups=230,
        z=zs,
        folder=registered_model(settings.model, "cryspnet").folder,
    )
    found: list[LabelPrediction] = []
    for z, prediction in zip(zs, predictions):
        of_z: list[LabelPrediction] = []
        for choice in _choices(entry.space_group, z, prediction.bravais):
            of_z += _labels(entry, choice, letters_of(settings.model))
        found += _normalised(of_z, cells.probabilities[z])
    found.sort(key=lambda p: (-p.log_prob, p.z, p.label.key))
    probabilities = np.exp([p.log_prob for p in found])
    numbers = np.array([p.label.space_group for p in found], dtype=int)
    to_run = space_groups_to_run(numbers, probabilities, np.array([p.z for p in found]), settings)
    listed = best_of_no_larger([p.z for p in found], settings.n_labels)
    kept = [i for i in listed if found[i].z in cells.tried and numbers[i] in to_run]
    if not kept:
        nothing = ((entry.space_group or 1, 1.0),)
        untried = cells.untried(0.0)
        return SymmetryPrediction(entry.id, entry.formula, cells.z_prob, (), nothing, settings.model, untried)
    tried = float(probabilities[kept].sum())
    labels = tuple(replace(found[i], log_prob=found[i].log_prob - float(np.log(tried))) for i in kept)
    groups = group_probabilities(numbers[kept], probabilities[kept])
    return SymmetryPrediction(
        entry.id, entry.formula, cells.z_prob, labels, groups, settings.model, cells.untried(tried)
    )


def _choices(given: int | None, z: int, lattices: Sequence[BravaisPrediction]) -> list[_Choice]:
    """The likeliest space groups, or the given one."""
    if given is not None:
        lattice = next(b for b in lattices if b.bravais == bravais_lattice(given))
        return [_Choice(given, z, 1.0, lattice)]
    joint = [_Choice(n, z, b.probability * p, b) for b in lattices for n, p in b.space_groups]
    return sorted(joint, key=lambda c: (-c.probability, c.number))[:GROUPS_PER_Z]


def _labels(entry: FormulaEntry, choice: _Choice, letters: LetterPrior) -> list[LabelPrediction]:
    """Labels of one space group at one z share its probability by how usual their letters are."""
    counts = tuple((element, n * choice.z) for element, n in entry.amounts)
    ranked = enumerate_labels(counts, choice.number, letters, LABELS_PER_GROUP)
    if not ranked:
        return []
    logs = np.array([log for _, log in ranked])
    logs = logs - logs.max() - np.log(np.exp(logs - logs.max()).sum())
    logs += np.log(max(choice.probability, 1e-30))
    cell = standard_cell(choice.number, choice.lattice.cell)
    return [
        LabelPrediction(label, choice.z, log, "enumerated", cell, LOG_VOLUME_SPREAD, SHAPE_SPREAD)
        for (label, _), log in zip(ranked, logs.tolist())
    ]


def _normalised(labels: Sequence[LabelPrediction], probability: float) -> list[LabelPrediction]:
    """The probability of a z, shared by what the space groups can hold."""
    if not labels:
        return []
    logs = np.array([p.log_prob for p in labels])
    total = float(logs.max() + np.log(np.exp(logs - logs.max()).sum())) - float(np.log(probability))
    return [replace(p, log_prob=p.log_prob - total) for p in labels]
