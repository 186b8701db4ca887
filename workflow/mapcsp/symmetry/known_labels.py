"""Predictions for labels that training has seen: probability, cell, and the geometries they are known to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from mapcsp.records import LabelPrediction, SeedGeometry
from mapcsp.symmetry.candidates import CandidateClass, Stoichiometry, candidate_class
from mapcsp.symmetry.cell_network import PredictedCells
from mapcsp.symmetry.cells import (
    cell_from_lattice,
    cell_from_shape,
    impose_crystal_systems,
    lattice_from_cell,
    scale_to_volume,
)
from mapcsp.symmetry.model import SymmetryModel
from mapcsp.symmetry.network import ClassTensors, FixedPart, Scores, class_tensors
from mapcsp.symmetry.placement import Placement, named, place_geometry, place_label
from mapcsp.symmetry.prior import candidate_priors
from mapcsp.symmetry.wyckoff import space_group

MAX_SEEDS = 6
MAX_CELL_ATOMS = 24


@dataclass(frozen=True, eq=False)
class KnownClass:
    """Candidates of one stoichiometry, with what of their prediction does not depend on the elements.

    groups: (c,), space groups. centrings: (c,), lattice points of their conventional cells. fixed: of the network.
    A source is a (candidate, geometry, element in each role); its rows are the examples with them:
    source_of_row: (e,); source_start: (c + 1,), first source of each candidate; source_mode: (p,), geometry;
    source_slots: (p, s), the slot in each role. novelty: by z, see `_novelty`.
    """

    found: CandidateClass
    tensors: ClassTensors
    groups: np.ndarray
    centrings: np.ndarray
    fixed: FixedPart
    source_of_row: np.ndarray
    source_start: np.ndarray
    source_mode: np.ndarray
    source_slots: np.ndarray
    novelty: dict[int, float]


@lru_cache(maxsize=1024)
def known_class(model: SymmetryModel, amounts: tuple[int, ...]) -> KnownClass | None:
    """Gather the candidates of ascending reduced amounts (cached); None if no known label fits."""
    memory = model.memory
    found = candidate_class(memory, amounts, MAX_CELL_ATOMS)
    if found is None:
        return None
    groups = np.array([memory.labels[i].space_group for i in found.label])
    tensors = class_tensors(memory, found)
    with torch.inference_mode():
        fixed = model.network.fixed_part(tensors)
    rows = np.column_stack(
        [found.example_candidate, memory.example_mode[found.example_index], found.example_role]
    )
    sources, source_of_row = np.unique(rows, axis=0, return_inverse=True)
    return KnownClass(
        found,
        tensors,
        groups,
        np.array([len(space_group(int(n)).centring) for n in groups]),
        fixed,
        source_of_row.ravel(),
        np.searchsorted(sources[:, 0], np.arange(len(found.label) + 1)),
        sources[:, 1],
        np.argsort(sources[:, 2:], axis=1),
        {z: _novelty(model, found, z) for z in sorted({int(z) for z in found.z})},
    )


def _novelty(model: SymmetryModel, found: CandidateClass, z: int) -> float:
    """Chance that the right label is none of the known ones: Good-Turing, the share of examples alone in their label."""
    candidates = np.unique(found.label[found.z == z])
    support = np.array([len(model.memory.examples_of_label[int(i)]) for i in candidates])
    return float((support == 1).sum() / (support.sum() + 1))


@dataclass(frozen=True, eq=False)
class RankedLabels:
    """The likeliest known labels of one formula, most likely first.

    candidates: (n,), indices into the class. log_prob: (n,), natural log of P(label, z | formula). z: (n,).
    groups: (n,), space groups. placements: of each, elements as ranks.
    """

    candidates: np.ndarray
    log_prob: np.ndarray
    z: np.ndarray
    groups: np.ndarray
    placements: tuple[Placement, ...]


def alphabetical_ranks(slots: Stoichiometry) -> tuple[int, ...]:
    """Place of each slot's element among the formula's symbols in alphabetical order."""
    ordered = sorted(slots.elements)
    return tuple(ordered.index(e) for e in slots.elements)


def known_log_probabilities(
    known: KnownClass, logits: np.ndarray, allowed: np.ndarray, z_prob: Mapping[int, float]
) -> np.ndarray:
    """Natural log of P(label, z | formula) of the candidates of a formula: (c,), -inf where it is not allowed.

    logits: (c,), of the candidates; allowed: (c,), which of them the entry admits. z_prob: P(z).
    """
    log_prob = np.full(len(logits), -np.inf)
    for z, probability in z_prob.items():
        mine = known.found.z == z
        if mine.any() and np.isfinite(logits[mine]).any():
            shifted = logits[mine] - logits[mine].max()
            known_share = probability * (1 - known.novelty[z])
            log_prob[mine] = shifted - np.log(np.exp(shifted).sum()) + np.log(known_share + 1e-30)
    log_prob[~allowed] = -np.inf
    return log_prob


def placed_labels(
    slots: Stoichiometry, model: SymmetryModel, known: KnownClass, candidates: np.ndarray
) -> tuple[Placement, ...]:
    """The labels of some candidates (n,), with the formula's elements as ranks."""
    ranks, found = alphabetical_ranks(slots), known.found
    return tuple(
        place_label(model.memory, label, tuple(ranks[roles.index(r)] for r in range(len(roles))))
        for label, roles in zip(found.label[candidates].tolist(), found.role_of_slot[candidates].tolist())
    )


def predict_known_cells(
    slots: Stoichiometry, model: SymmetryModel, known: KnownClass, scores: Scores, ranked: RankedLabels
) -> list[LabelPrediction]:
    """Cells and known geometries of ranked labels, in their order."""
    if not len(ranked.candidates):
        return []
    with torch.inference_mode():
        chosen = torch.as_tensor(ranked.candidates.copy())
        prior = candidate_priors(scores.support[0], known.tensors, model.priors)[chosen]
        cells = model.cells(
            torch.as_tensor(slots.numbers)[None],
            torch.tensor(slots.amounts, dtype=torch.float32),
            known.fixed.roles[chosen],
            known.fixed.labels[chosen],
            prior,
        )
    seeds = _seeds(slots, model, known, scores, ranked, cells, prior)
    elements = tuple(sorted(slots.elements))
    spreads = zip(cells.log_volume_spread.double().tolist(), cells.shape_spread.double().tolist())
    return [
        LabelPrediction(
            named(placement.target, elements),
            z,
            log_prob,
            "trained",
            mine[0].cell,
            volume_spread,
            shape_spread,
            mine,
        )
        for placement, z, log_prob, mine, (volume_spread, shape_spread) in zip(
            ranked.placements, ranked.z.tolist(), ranked.log_prob.tolist(), seeds, spreads
        )
    ]


def _seeds(
    slots: Stoichiometry,
    model: SymmetryModel,
    known: KnownClass,
    scores: Scores,
    ranked: RankedLabels,
    cells: PredictedCells,
    prior: torch.Tensor,
) -> list[tuple[SeedGeometry, ...]]:
    """The likeliest known geometries of each ranked label, at most MAX_SEEDS; all cells are worked out at once."""
    memory, found = model.memory, known.found
    weights = np.bincount(known.source_of_row, scores.support[0].double().numpy(), len(known.source_mode))
    source, share, label = _likeliest_sources(known, ranked, weights)
    modes, candidates = known.source_mode[source], ranked.candidates[label]
    # The network corrects the examples' mean cell; each geometry keeps its own difference from that mean.
    shape = memory.mode_shape[modes] + (cells.shape - prior[:, 1:]).double().numpy()[label]
    log_volume = (cells.log_volume - prior[:, 0]).double().numpy()[label] + memory.mode_log_volume[modes]
    additive = float(np.dot(memory.element_volume_ang3[slots.numbers], slots.amounts) / sum(slots.amounts))
    volume = additive * np.exp(log_volume) * found.n_atoms[candidates] * known.centrings[candidates]
    cell = scale_to_volume(impose_crystal_systems(cell_from_shape(shape), ranked.groups[label]), volume)
    ranks = alphabetical_ranks(slots)
    of_role = list(map(tuple, np.array(ranks)[known.source_slots[source]].tolist()))
    placements = [
        place_label(memory, found_label, roles)
        for found_label, roles in zip(found.label[candidates].tolist(), of_role)
    ]
    cell, exchanges = _move_cells(cell, ranked.groups[label], placements)
    grown: list[list[SeedGeometry]] = [[] for _ in ranked.candidates]
    columns = (label.tolist(), modes.tolist(), of_role, exchanges, cell, share.tolist())
    for index, mode, roles, exchange, its_cell, weight in zip(*columns):
        free, spread = place_geometry(memory, mode, roles, exchange)
        grown[index].append(SeedGeometry(its_cell, free, spread, weight, int(memory.mode_count[mode])))
    return [tuple(seeds) for seeds in grown]


def _likeliest_sources(
    known: KnownClass, ranked: RankedLabels, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sources of the ranked labels, at most MAX_SEEDS of each, by label and falling weight (p,).

    Returns (s,) each: the source, its share of the label's weight, and the label's index.
    """
    first, last = known.source_start[ranked.candidates], known.source_start[ranked.candidates + 1]
    counts = last - first
    label = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(label)) - starts[label]
    source = first[label] + place
    mine = weights[source]
    share = mine / np.add.reduceat(mine, starts)[label]
    order = np.lexsort((source, -mine, label))
    # Labels keep their share of the order, so a place in it is a rank. Sources whose examples are all hidden weigh nothing.
    kept = order[(place < MAX_SEEDS) & (mine[order] > 0)]
    return source[kept], share[kept], label[kept]


def _move_cells(
    cells: np.ndarray, numbers: np.ndarray, placements: Sequence[Placement]
) -> tuple[np.ndarray, list[int | None]]:
    """Bring cells (p, 6) into the axes of their canonical labels.

    Among exchanges that give the same label, the one with ascending cell lengths is taken, as by `canonicalise`.
    Returns the cells and the exchange that each went through.
    """
    chosen: list[int | None] = [None] * len(placements)
    moving = [i for i, p in enumerate(placements) if len(p.exchanges)]
    if not moving:
        return cells, chosen
    owner = np.repeat(moving, [len(placements[i].exchanges) for i in moving])
    exchange = np.concatenate([placements[i].exchanges for i in moving])
    axes = np.concatenate([placements[i].axes for i in moving])
    moved = cell_from_lattice(axes @ lattice_from_cell(cells[owner]))
    lengths = np.round(moved[:, :3], 4)
    order = np.lexsort((exchange, lengths[:, 2], lengths[:, 1], lengths[:, 0], owner))
    first = order[np.unique(owner[order], return_index=True)[1]]
    cells = cells.copy()
    cells[owner[first]] = impose_crystal_systems(moved[first], numbers[owner[first]])
    for i, x in zip(owner[first].tolist(), exchange[first].tolist()):
        chosen[i] = x
    return cells, chosen
