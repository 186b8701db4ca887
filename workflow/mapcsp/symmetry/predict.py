"""The symmetry stage: Z, labels, cells and the space groups to run, one SymmetryPrediction a formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mapcsp.records import FormulaEntry, Label, LabelPrediction, SymmetryPrediction
from mapcsp.resources import resource_path
from mapcsp.settings import SymmetrySettings, read_section
from mapcsp.store import read_json, read_record, shard, write_records
from mapcsp.symmetry.candidates import slot_elements
from mapcsp.symmetry.cells import impose_crystal_system, scale_to_volume
from mapcsp.symmetry.enumeration import enumerate_labels
from mapcsp.symmetry.known_labels import KnownClass, known_class, predict_known_labels
from mapcsp.symmetry.model import SymmetryModel, load_model
from mapcsp.symmetry.wyckoff import space_group

# Spread of ln(volume) and of the shape where a label was enumerated and nothing is known of its cell.
UNKNOWN_LOG_VOLUME_SPREAD, UNKNOWN_SHAPE_SPREAD = 0.12, 0.35
# Space groups in which labels without a training crystal are tried, and labels tried in each.
ENUMERATED_GROUPS, ENUMERATED_LABELS = 6, 3
# A z less likely than this gets no enumerated labels unless nothing else is known.
NEGLIGIBLE_Z = 0.02


def run_symmetry(intake_dir: Path, settings_file: Path, output_dir: Path) -> None:
    """Predict every formula of the intake; writes output_dir/<shard>/<id>.jsonl.

    Raises UserError if the model is missing, StoreError for an intake file that cannot be read.
    """
    # One thread: sums in another order would change last digits, and results must not depend on the cores.
    torch.set_num_threads(1)
    settings = read_section(settings_file, SymmetrySettings)
    model = load_model(resource_path(f"models/{settings.model}"))
    for identifier in tqdm(read_json(intake_dir / "index.json")["ids"], desc="symmetry", mininterval=5):
        place = Path(shard(identifier)) / f"{identifier}.jsonl"
        entry = read_record(intake_dir / "entries" / place, FormulaEntry)
        write_records(output_dir / place, SymmetryPrediction, [predict_symmetry(entry, settings, model)])


def predict_symmetry(
    entry: FormulaEntry, settings: SymmetrySettings, model: SymmetryModel, hidden_formula: int | None = None
) -> SymmetryPrediction:
    """Predict Z, labels, cells and the space groups to run for one formula.

    hidden_formula: hash of a training formula whose own crystals are left out, for predictions out of fold.
    A given space group for which no label is found gives a prediction without labels.
    """
    slots = slot_elements(entry.amounts)
    known = known_class(model, slots.amounts)
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
        if entry.space_group is not None and (allowed & (known.groups == entry.space_group)).any():
            # A given space group says much about z, too.
            logits[known.groups != entry.space_group] = -np.inf
        z_prob = _z_probabilities(logits, known.found.z, entry, settings.max_z)
        allowed &= np.isin(known.found.z, [z for z, _ in z_prob])
        if entry.space_group is not None:
            allowed &= known.groups == entry.space_group
        novelty = {z: _novelty(model, known, z) for z, _ in z_prob}
        labels = predict_known_labels(slots, settings, model, known, scores, logits, allowed, z_prob, novelty)
    labels += _enumerated_labels(entry, model, labels, z_prob, novelty)
    if not labels:
        # Only a given space group can be without labels (P1 holds anything); its search becomes a record of that.
        return SymmetryPrediction(
            entry.id, entry.formula, z_prob, (), ((entry.space_group or 1, 1.0),), model.name
        )
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
    if not np.isfinite(logits).any():
        return _even(entry.z_allowed[:max_z])
    weights = np.exp(logits - logits.max())
    mass = {z: float(weights[zs == z].sum()) for z in entry.z_allowed}
    total = sum(mass.values())
    if total <= 0:
        return _even(entry.z_allowed[:max_z])
    ranked = sorted(mass.items(), key=lambda p: (-p[1], p[0]))[:max_z]
    kept = sum(m for _, m in ranked)
    return tuple((z, m / kept) for z, m in ranked if m > 0 or entry.z_given)


def _novelty(model: SymmetryModel, known: KnownClass, z: int) -> float:
    """Chance that the right label is none of the known ones: Good-Turing, the share of examples alone in their label."""
    candidates = np.unique(known.found.label[known.found.z == z])
    support = np.array([len(model.memory.examples_of_label[int(i)]) for i in candidates])
    return float((support == 1).sum() / (support.sum() + 1)) if len(support) else 1.0


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
