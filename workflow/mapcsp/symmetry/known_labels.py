"""Predictions for labels that training has seen: probability, cell, and the geometries they are known to take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from mapcsp.records import LabelPrediction, SeedGeometry
from mapcsp.settings import SymmetrySettings
from mapcsp.symmetry.candidates import CandidateClass, Stoichiometry, candidate_class
from mapcsp.symmetry.cells import cell_from_shape, cell_shape, impose_crystal_system, scale_to_volume
from mapcsp.symmetry.geometry import EncodedCrystal
from mapcsp.symmetry.labels import canonical_label, canonicalise, role_free_order
from mapcsp.symmetry.model import SymmetryModel
from mapcsp.symmetry.network import ClassTensors, Scores, class_tensors
from mapcsp.symmetry.prior import example_priors
from mapcsp.symmetry.wyckoff import space_group

MAX_SEEDS = 6
MAX_CELL_ATOMS = 24


@dataclass(frozen=True, eq=False)
class KnownClass:
    """Candidates of one stoichiometry; source: (e,), index of each example row's (geometry, roles) in `sources`."""

    found: CandidateClass
    tensors: ClassTensors
    groups: np.ndarray
    source: np.ndarray
    sources: tuple[tuple[int, tuple[int, ...]], ...]
    rows: tuple[np.ndarray, ...]


@lru_cache(maxsize=4096)
def known_class(model: SymmetryModel, amounts: tuple[int, ...]) -> KnownClass | None:
    """Gather the candidates of ascending reduced amounts (cached); None if no known label fits."""
    found = candidate_class(model.memory, amounts, MAX_CELL_ATOMS)
    if found is None:
        return None
    groups = np.array([model.memory.labels[i].space_group for i in found.label])
    pairs = np.column_stack([model.memory.example_mode[found.example_index], found.example_role])
    unique, source = np.unique(pairs, axis=0, return_inverse=True)
    sources = tuple((int(p[0]), tuple(int(r) for r in p[1:])) for p in unique)
    order = np.argsort(found.example_candidate, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(found.example_candidate, minlength=len(found.label)))[:-1])
    return KnownClass(found, class_tensors(model.memory, found), groups, source.ravel(), sources, tuple(rows))


@dataclass(frozen=True, eq=False)
class CellCorrection:
    """What the cell network adds to the examples' cell: to ln(volume) and to the shape (5,); and its expected deviations."""

    log_volume: float
    shape: np.ndarray
    log_volume_spread: float
    shape_spread: float


def predict_known_labels(
    slots: Stoichiometry,
    settings: SymmetrySettings,
    model: SymmetryModel,
    known: KnownClass,
    scores: Scores,
    logits: np.ndarray,
    allowed: np.ndarray,
    z_prob: tuple[tuple[int, float], ...],
    novelty: dict[int, float],
) -> list[LabelPrediction]:
    """Predict the likeliest known labels of a formula, at most `settings.n_labels`.

    logits: (c,), of the candidates; allowed: (c,), which of them the entry admits. z_prob: (z, probability).
    novelty: by z, the chance that the right label is none of the known ones.
    """
    if not allowed.any():
        return []
    log_prob = np.full(len(logits), -np.inf)
    for z, probability in z_prob:
        mine = known.found.z == z
        if mine.any() and np.isfinite(logits[mine]).any():
            shifted = logits[mine] - logits[mine].max()
            log_prob[mine] = (
                shifted - np.log(np.exp(shifted).sum()) + np.log(probability * (1 - novelty[z]) + 1e-30)
            )
    log_prob[~allowed] = -np.inf
    order = np.argsort(-log_prob, kind="stable")[: settings.n_labels]
    order = order[np.isfinite(log_prob[order])]
    with torch.inference_mode():
        chosen = torch.as_tensor(order.copy())
        prior = example_priors(scores.support.expand(len(order), -1), known.tensors, chosen, model.priors)
        cells = model.cells(
            torch.as_tensor(slots.numbers).expand(len(order), -1),
            torch.tensor(slots.amounts, dtype=torch.float32),
            model.network.vectors.roles(known.tensors.role[chosen]),
            model.network.vectors.labels(known.tensors.label[chosen]),
            prior,
        )
    corrections = [
        CellCorrection(*values)
        for values in zip(
            (cells.log_volume - prior[:, 0]).double().tolist(),
            (cells.shape - prior[:, 1:]).double().numpy(),
            cells.log_volume_spread.double().tolist(),
            cells.shape_spread.double().tolist(),
        )
    ]
    support = scores.support[0].double().numpy()
    return [
        _label_prediction(slots, model, known, int(c), float(log_prob[c]), corrections[i], support)
        for i, c in enumerate(order)
    ]


def _label_prediction(
    slots: Stoichiometry,
    model: SymmetryModel,
    known: KnownClass,
    candidate: int,
    log_prob: float,
    correction: CellCorrection,
    support: np.ndarray,
) -> LabelPrediction:
    memory, found = model.memory, known.found
    anonymous = memory.labels[found.label[candidate]]
    z = int(found.z[candidate])
    group = space_group(anonymous.space_group)
    additive = float(np.dot(memory.element_volume_ang3[slots.numbers], slots.amounts) / sum(slots.amounts))
    n_atoms = int(found.n_atoms[candidate])
    rows = known.rows[candidate]
    rows = rows[support[rows] > 0]
    used, place = np.unique(known.source[rows], return_inverse=True)
    weights = np.bincount(place, support[rows])
    likely = np.argsort(-weights, kind="stable")[:MAX_SEEDS]
    seeds, target = [], None
    for index in likely:
        mode, roles = known.sources[used[index]]
        elements = tuple(slots.elements[roles.index(r)] for r in range(len(roles)))
        label = anonymous.assign(elements)
        # The network corrects the examples' mean cell; each geometry keeps its own difference from that mean.
        shape = cell_shape(memory.mode_cell[mode].astype(float)) + correction.shape
        log_volume = correction.log_volume + float(memory.mode_log_volume[mode])
        cell = impose_crystal_system(cell_from_shape(shape), anonymous.space_group)
        cell = scale_to_volume(cell, additive * np.exp(log_volume) * n_atoms * len(group.centring))
        free, spread = memory.free_coords(mode)
        order = role_free_order(label, elements)
        in_label, in_spread = np.zeros(len(order)), np.zeros(len(order))
        in_label[order], in_spread[order] = free, spread
        target = canonical_label(label)
        if label != target:
            moved = canonicalise(EncodedCrystal(label, z, cell, in_label))
            cell, in_label, in_spread = (
                moved.cell,
                moved.free_coords,
                np.full(len(order), float(in_spread.mean()) if len(order) else 0.0),
            )
        seeds.append(
            SeedGeometry(
                cell, in_label, in_spread, float(weights[index] / weights.sum()), int(memory.mode_count[mode])
            )
        )
    assert target is not None
    return LabelPrediction(
        target,
        z,
        log_prob,
        "trained",
        seeds[0].cell,
        correction.log_volume_spread,
        correction.shape_spread,
        tuple(seeds),
    )
