"""The shipped symmetry model: memory, network and what is enumerated, loaded from one folder of resources/models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mapcsp.errors import UserError
from mapcsp.records import FormulaEntry, Label, LabelPrediction, SeedGeometry, SymmetryPrediction
from mapcsp.settings import SymmetrySettings
from mapcsp.store import atomic_path
from mapcsp.symmetry.candidates import CandidateClass, Stoichiometry, candidate_class, slot_elements
from mapcsp.symmetry.cells import (
    cell_from_shape,
    cell_shape,
    impose_crystal_system,
    scale_to_volume,
)
from mapcsp.symmetry.enumeration import LetterPrior, enumerate_labels, letter_prior
from mapcsp.symmetry.geometry import EncodedCrystal, label_geometry
from mapcsp.symmetry.labels import canonical_label, canonicalise, role_free_order
from mapcsp.symmetry.memory import LabelMemory, read_memory, write_memory
from mapcsp.symmetry.network import (
    N_SHAPE,
    ClassTensors,
    NetworkShape,
    Scores,
    SymmetryNetwork,
    class_tensors,
)
from mapcsp.symmetry.prior import example_priors, memory_priors
from mapcsp.symmetry.wyckoff import space_group

MEMORY_FILE, WEIGHTS_FILE = "memory.safetensors", "weights.safetensors"
MAX_SEEDS = 6
MAX_CELL_ATOMS = 24
# Spread of ln(volume) and of the shape where a label was enumerated and nothing is known of its cell.
UNKNOWN_LOG_VOLUME_SPREAD, UNKNOWN_SHAPE_SPREAD = 0.12, 0.35
# Space groups in which labels without a training crystal are tried, and labels tried in each.
ENUMERATED_GROUPS, ENUMERATED_LABELS = 6, 3
# A z less likely than this gets no enumerated labels unless nothing else is known.
NEGLIGIBLE_Z = 0.02


@dataclass(frozen=True, eq=False)
class SymmetryModel:
    """Everything a prediction needs."""

    name: str
    memory: LabelMemory
    network: SymmetryNetwork
    priors: torch.Tensor
    letters: LetterPrior


def save_model(folder: Path, memory: LabelMemory, network: SymmetryNetwork) -> None:
    """Write memory and weights (half precision: the error in a log-probability is below 0.01)."""
    write_memory(folder / MEMORY_FILE, memory)
    weights = {k: v.detach().to(torch.float16).contiguous() for k, v in network.state_dict().items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, str(temporary), network.settings())


@lru_cache(maxsize=2)
def load_model(folder: Path) -> SymmetryModel:
    """Load a model; raises UserError or StoreError, naming the file, if it is missing or does not fit."""
    memory = read_memory(folder / MEMORY_FILE)
    path = folder / WEIGHTS_FILE
    if not path.exists():
        raise UserError(
            f"{path} is missing; restore it with `git checkout resources` or run `snakemake train_symmetry`"
        )
    network = SymmetryNetwork(memory, NetworkShape())
    try:
        network.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
    except RuntimeError as error:
        raise UserError(f"{path} does not fit {folder / MEMORY_FILE}: {str(error).splitlines()[0]}") from None
    network.eval()
    return SymmetryModel(folder.name, memory, network, memory_priors(memory), letter_prior(memory))


@dataclass(frozen=True, eq=False)
class _KnownClass:
    """Candidates of one stoichiometry; source: (e,), index of each example row's (geometry, roles) in `sources`."""

    found: CandidateClass
    tensors: ClassTensors
    groups: np.ndarray
    source: np.ndarray
    sources: tuple[tuple[int, tuple[int, ...]], ...]
    rows: tuple[np.ndarray, ...]


@lru_cache(maxsize=4096)
def _known_class(model: SymmetryModel, amounts: tuple[int, ...]) -> _KnownClass | None:
    found = candidate_class(model.memory, amounts, MAX_CELL_ATOMS)
    if found is None:
        return None
    groups = np.array([model.memory.labels[i].space_group for i in found.label])
    pairs = np.column_stack([model.memory.example_mode[found.example_index], found.example_role])
    unique, source = np.unique(pairs, axis=0, return_inverse=True)
    sources = tuple((int(p[0]), tuple(int(r) for r in p[1:])) for p in unique)
    order = np.argsort(found.example_candidate, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(found.example_candidate, minlength=len(found.label)))[:-1])
    return _KnownClass(
        found, class_tensors(model.memory, found), groups, source.ravel(), sources, tuple(rows)
    )


def predict_symmetry(
    entry: FormulaEntry, settings: SymmetrySettings, model: SymmetryModel, hidden_formula: int | None = None
) -> SymmetryPrediction:
    """Predict Z, labels, cells and the space groups to run for one formula.

    hidden_formula: hash of a training formula whose own crystals are left out, for predictions out of fold.
    Raises UserError if no space group can hold the formula with any allowed z.
    """
    slots = slot_elements(entry.amounts)
    known = _known_class(model, slots.amounts)
    labels: list[LabelPrediction] = []
    z_prob: tuple[tuple[int, float], ...]
    if known is None:
        z_prob = _even(entry.z_allowed[: settings.max_z])
        novelty = dict.fromkeys((z for z, _ in z_prob), 1.0)
    else:
        with torch.inference_mode():
            scores = model.network.score(
                torch.as_tensor(slots.numbers)[None],
                torch.tensor(slots.amounts, dtype=torch.float32),
                known.tensors,
                None if hidden_formula is None else torch.tensor([hidden_formula]),
            )
        logits = scores.logits[0].double().numpy().copy()
        allowed = np.isin(known.found.z, entry.z_allowed)
        z_prob = _z_probabilities(logits, known.found.z, entry, settings.max_z)
        allowed &= np.isin(known.found.z, [z for z, _ in z_prob])
        if entry.space_group is not None:
            allowed &= known.groups == entry.space_group
        novelty = {z: _novelty(model, known, z) for z, _ in z_prob}
        labels = _known_labels(entry, slots, settings, model, known, scores, logits, allowed, z_prob, novelty)
    labels += _enumerated_labels(entry, model, labels, z_prob, novelty)
    if not labels:
        raise UserError(f"{entry.as_given}: no space group can hold it with z in {list(entry.z_allowed)}")
    labels = _normalised(labels)[: settings.n_labels]
    return SymmetryPrediction(
        entry.id, entry.formula, z_prob, tuple(labels), _space_groups(labels, settings), model.name
    )


def _even(zs: tuple[int, ...]) -> tuple[tuple[int, float], ...]:
    return tuple((z, 1.0 / len(zs)) for z in zs)


def _z_probabilities(
    logits: np.ndarray, zs: np.ndarray, entry: FormulaEntry, max_z: int
) -> tuple[tuple[int, float], ...]:
    """P(z | formula) over the allowed z, most likely first; z without a known label get what rounding leaves."""
    weights = np.exp(logits - logits.max())
    mass = {z: float(weights[zs == z].sum()) for z in entry.z_allowed}
    total = sum(mass.values())
    if total <= 0:
        return _even(entry.z_allowed[:max_z])
    ranked = sorted(mass.items(), key=lambda p: (-p[1], p[0]))[:max_z]
    kept = sum(m for _, m in ranked)
    return tuple((z, m / kept) for z, m in ranked if m > 0 or entry.z_given)


def _novelty(model: SymmetryModel, known: _KnownClass, z: int) -> float:
    """Chance that the right label is none of the known ones: Good-Turing, the share of examples alone in their label."""
    candidates = np.unique(known.found.label[known.found.z == z])
    support = np.array([len(model.memory.examples_of_label[int(i)]) for i in candidates])
    return float((support == 1).sum() / (support.sum() + 1)) if len(support) else 1.0


def _known_labels(
    entry: FormulaEntry,
    slots: Stoichiometry,
    settings: SymmetrySettings,
    model: SymmetryModel,
    known: _KnownClass,
    scores: Scores,
    logits: np.ndarray,
    allowed: np.ndarray,
    z_prob: tuple[tuple[int, float], ...],
    novelty: dict[int, float],
) -> list[LabelPrediction]:
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
        out = (
            model.network.predict_cell(
                scores.context.expand(len(order), -1),
                scores.slots.expand(len(order), -1, -1),
                known.tensors.role[chosen],
                known.tensors.label[chosen],
                prior,
            )
            .double()
            .numpy()
        )
    support = scores.support[0].double().numpy()
    return [
        _label_prediction(
            slots, model, known, int(c), float(log_prob[c]), out[i], prior[i].double().numpy(), support
        )
        for i, c in enumerate(order)
    ]


def _label_prediction(
    slots: Stoichiometry,
    model: SymmetryModel,
    known: _KnownClass,
    candidate: int,
    log_prob: float,
    out: np.ndarray,
    prior: np.ndarray,
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
        shape = cell_shape(memory.mode_cell[mode].astype(float)) + out[2 : 2 + N_SHAPE] - prior[1:]
        log_volume = float(out[0] + memory.mode_log_volume[mode] - prior[0])
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
        float(np.exp(np.clip(out[1], -5, 1))),
        float(np.exp(np.clip(out[-1], -6, 1))),
        tuple(seeds),
    )


def _enumerated_labels(
    entry: FormulaEntry,
    model: SymmetryModel,
    known: list[LabelPrediction],
    z_prob: tuple[tuple[int, float], ...],
    novelty: dict[int, float],
) -> list[LabelPrediction]:
    """Labels without a training crystal share the novelty of their z by their prior."""
    slots = slot_elements(entry.amounts)
    additive = float(np.dot(model.memory.element_volume_ang3[slots.numbers], slots.amounts))
    taken = {(p.label, p.z) for p in known}
    found: list[LabelPrediction] = []
    usual = np.argsort(-model.letters.log_group[1:], kind="stable") + 1
    for z, probability in z_prob:
        mass = np.zeros(231)
        for p in known:
            mass[p.label.space_group] += np.exp(p.log_prob) * (p.z == z)
        if entry.space_group is not None:
            numbers, limit = [entry.space_group], ENUMERATED_GROUPS * ENUMERATED_LABELS
        else:
            if known and probability < NEGLIGIBLE_Z:
                continue
            likely = [int(n) for n in np.argsort(-mass, kind="stable")[:ENUMERATED_GROUPS] if mass[n] > 0]
            numbers, limit = likely or [int(n) for n in usual], ENUMERATED_LABELS
        counts = tuple((e, a * z) for e, a in entry.amounts)
        ranked: list[tuple[Label, float]] = []
        for number in numbers:
            labels = enumerate_labels(counts, number, model.letters, limit + 5)
            ranked += [(label, log) for label, log in labels if (label, z) not in taken][:limit]
            if len(ranked) >= ENUMERATED_GROUPS * ENUMERATED_LABELS:
                break
        if not ranked:
            continue
        logs = np.array([log for _, log in ranked])
        logs = (
            logs
            - logs.max()
            - np.log(np.exp(logs - logs.max()).sum())
            + np.log(probability * max(novelty[z], 1e-3))
        )
        found += [
            _bare_prediction(label, z, float(log), additive * z) for (label, _), log in zip(ranked, logs)
        ]
    return found


def _bare_prediction(label: Label, z: int, log_prob: float, volume_ang3: float) -> LabelPrediction:
    # ASSUME: atoms pack as in the average training crystal, in a cell as isotropic as the system allows.
    number = label.space_group
    cell = impose_crystal_system(np.array([1.0, 1.0, 1.0, 90.0, 90.0, 90.0]), number)
    cell = scale_to_volume(cell, volume_ang3 * len(space_group(number).centring))
    assert label_geometry(label).n_atoms
    return LabelPrediction(
        label, z, log_prob, "enumerated", cell, UNKNOWN_LOG_VOLUME_SPREAD, UNKNOWN_SHAPE_SPREAD
    )


def _normalised(labels: list[LabelPrediction]) -> list[LabelPrediction]:
    logs = np.array([p.log_prob for p in labels])
    total = logs.max() + np.log(np.exp(logs - logs.max()).sum())
    ranked = sorted(labels, key=lambda p: (-p.log_prob, p.z, p.label.key))
    return [LabelPrediction(**{**p.__dict__, "log_prob": p.log_prob - float(total)}) for p in ranked]


def _space_groups(labels: list[LabelPrediction], settings: SymmetrySettings) -> tuple[tuple[int, float], ...]:
    mass: dict[int, float] = {}
    for p in labels:
        mass[p.label.space_group] = mass.get(p.label.space_group, 0.0) + float(np.exp(p.log_prob))
    ranked = sorted(mass.items(), key=lambda m: (-m[1], m[0]))
    chosen, reached = [], 0.0
    for number, probability in ranked[: settings.max_space_groups]:
        chosen.append((number, probability))
        reached += probability
        if reached >= settings.coverage:
            break
    return tuple(chosen)
