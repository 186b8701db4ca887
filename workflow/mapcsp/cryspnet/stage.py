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
from mapcsp.symmetry.coverage import space_groups_to_run
from mapcsp.symmetry.enumeration import LetterPrior, enumerate_labels, letter_prior
from mapcsp.symmetry.memory import read_memory

# Labels tried in each (space group, z).
LABELS_PER_GROUP = 6
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

    P(label, z) = P(z) P(lattice) P(space group | lattice) P(label | space group), P(z) being even over the first `max_z`.
    A given space group takes the cell of its lattice. A content that no likely space group can hold has no labels.
    """
    zs = entry.z_allowed[: settings.max_z]
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
        for choice in _choices(entry.space_group, z, prediction.bravais, settings.max_space_groups):
            found += _labels(entry, choice, 1.0 / len(zs), letters_of(settings.model))
    z_prob = tuple((z, 1.0 / len(zs)) for z in zs)
    if not found:
        number = entry.space_group or 1
        return SymmetryPrediction(entry.id, entry.formula, z_prob, (), ((number, 1.0),), settings.model)
    labels = _normalised(found)[: settings.n_labels]
    groups = space_groups_to_run(labels, settings)
    return SymmetryPrediction(entry.id, entry.formula, z_prob, labels, groups, settings.model)


def _choices(given: int | None, z: int, lattices: Sequence[BravaisPrediction], most: int) -> list[_Choice]:
    """The likeliest space groups, or the given one."""
    if given is not None:
        lattice = next(b for b in lattices if b.bravais == bravais_lattice(given))
        return [_Choice(given, z, 1.0, lattice)]
    joint = [_Choice(n, z, b.probability * p, b) for b in lattices for n, p in b.space_groups]
    return sorted(joint, key=lambda c: (-c.probability, c.number))[:most]


def _labels(
    entry: FormulaEntry, choice: _Choice, z_probability: float, letters: LetterPrior
) -> list[LabelPrediction]:
    """Labels of one space group at one z share its probability by how usual their letters are."""
    counts = tuple((element, n * choice.z) for element, n in entry.amounts)
    ranked = enumerate_labels(counts, choice.number, letters, LABELS_PER_GROUP)
    if not ranked:
        return []
    logs = np.array([log for _, log in ranked])
    logs = logs - logs.max() - np.log(np.exp(logs - logs.max()).sum())
    logs += np.log(max(choice.probability * z_probability, 1e-30))
    cell = standard_cell(choice.number, choice.lattice.cell)
    return [
        LabelPrediction(label, choice.z, log, "enumerated", cell, LOG_VOLUME_SPREAD, SHAPE_SPREAD)
        for (label, _), log in zip(ranked, logs.tolist())
    ]


def _normalised(labels: Sequence[LabelPrediction]) -> tuple[LabelPrediction, ...]:
    """Probabilities shared by what the space groups can hold, likeliest first."""
    logs = np.array([p.log_prob for p in labels])
    total = float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))
    ranked = sorted(labels, key=lambda p: (-p.log_prob, p.z, p.label.key))
    return tuple(replace(p, log_prob=p.log_prob - total) for p in ranked)
