"""The symmetry stage: Z, labels, cells and the space groups to run, one SymmetryPrediction a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mapcsp.errors import UserError
from mapcsp.records import FormulaEntry, LabelPrediction, SymmetryPrediction
from mapcsp.registry import registered_model
from mapcsp.settings import SymmetrySettings, read_section
from mapcsp.store import read_json, read_record, shard, write_records
from mapcsp.symmetry.candidates import Stoichiometry, slot_elements
from mapcsp.symmetry.cells import impose_crystal_systems, scale_to_volume
from mapcsp.symmetry.cells_to_try import cells_to_try
from mapcsp.symmetry.coverage import group_probabilities, space_groups_to_run
from mapcsp.symmetry.enumeration import EnumeratedPattern, enumerate_patterns
from mapcsp.symmetry.known_labels import (
    MAX_CELL_ATOMS,
    KnownClass,
    RankedLabels,
    known_class,
    known_log_probabilities,
    placed_labels,
    predict_known_cells,
)
from mapcsp.symmetry.model import SymmetryModel, load_model
from mapcsp.symmetry.network import Scores
from mapcsp.symmetry.no_larger import best_of_no_larger
from mapcsp.symmetry.placement import named
from mapcsp.symmetry.units import SymmetryPredictor, in_units_of_the_formula
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
    predict = symmetry_predictor(read_section(settings_file, SymmetrySettings))
    for identifier in tqdm(read_json(intake_dir / "index.json")["ids"], desc="symmetry", mininterval=5):
        place = Path(shard(identifier)) / f"{identifier}.jsonl"
        entry = read_record(intake_dir / "entries" / place, FormulaEntry)
        write_records(output_dir / place, SymmetryPrediction, [predict(entry)])


def symmetry_predictor(settings: SymmetrySettings) -> SymmetryPredictor:
    """The predictor that `settings.model` names in the registry, its weights loaded.

    Raises UserError for a name that the registry does not list as a model of symmetry.
    """
    registered = registered_model(settings.model, "symmetry.model")
    if registered.stage == "cryspnet":
        # A model of its own beside the default one, which most runs never load.
        from mapcsp.cryspnet.stage import predict_symmetry_by_cryspnet

        def predict_by_cryspnet(entry: FormulaEntry, hidden_formula: int | None = None) -> SymmetryPrediction:
            if hidden_formula is not None:
                raise UserError(
                    f"symmetry.model: {settings.model} cannot leave a training formula out of its networks, which "
                    "predictions out of fold need; use the model `symmetry`"
                )
            return predict_symmetry_by_cryspnet(entry, settings)

        return in_units_of_the_formula(predict_by_cryspnet)
    model = load_model(registered.folder)

    def predict(entry: FormulaEntry, hidden_formula: int | None = None) -> SymmetryPrediction:
        return predict_symmetry(entry, settings, model, hidden_formula)

    return in_units_of_the_formula(predict)


def predict_symmetry(
    entry: FormulaEntry, settings: SymmetrySettings, model: SymmetryModel, hidden_formula: int | None = None
) -> SymmetryPrediction:
    """Predict Z, labels, cells and the space groups to run for one formula.

    hidden_formula: hash of a training formula whose own crystals are left out, for predictions out of fold.
    A given space group for which no label is found gives a prediction without labels.
    """
    slots = slot_elements(entry.amounts)
    known = known_class(model, slots.amounts)
    scores, logits = None, np.zeros(0)
    if known is not None:
        with torch.inference_mode():
            scores = score_labels(slots, model, known, hidden_formula)
        logits = scores.logits[0].double().numpy().copy()
        if entry.space_group is not None:
            # A given space group says much about z, too.
            logits[known.groups != entry.space_group] = -np.inf
    cells = cells_to_try(
        entry, None if known is None else z_by_network(logits, known.found.z), settings.max_z
    )
    labels = _all_labels(entry, slots, model, known, logits, cells.probabilities)
    probabilities = np.exp(labels.log_prob)
    # Counted over all cells up to the cap, so that a z more that is tried takes neither label nor group from another.
    to_run = space_groups_to_run(labels.groups, probabilities, labels.z, settings)
    listed = best_of_no_larger(labels.z.tolist(), settings.n_labels)
    kept = [i for i in listed if labels.z[i] in cells.tried and labels.groups[i] in to_run]
    if not kept:
        # Only a given space group can be without labels (P1 holds anything); its search becomes a record of that.
        nothing: tuple[tuple[int, float], ...] = ((entry.space_group or 1, 1.0),)
        return SymmetryPrediction(
            entry.id, entry.formula, cells.z_prob, (), nothing, model.name, cells.untried(0.0)
        )
    groups = group_probabilities(labels.groups[kept], probabilities[kept])
    tried = float(probabilities[kept].sum())
    labels = labels.only(kept, labels.log_prob[kept] - np.log(tried))
    found: dict[int, LabelPrediction] = {}
    from_known = np.flatnonzero(labels.candidates >= 0)
    if known is not None and scores is not None and len(from_known):
        ranked = RankedLabels(
            labels.candidates[from_known],
            labels.log_prob[from_known],
            labels.z[from_known],
            labels.groups[from_known],
            placed_labels(slots, model, known, labels.candidates[from_known]),
        )
        found |= zip(from_known.tolist(), predict_known_cells(slots, model, known, scores, ranked))
    new = np.flatnonzero(labels.candidates < 0).tolist()
    chosen = [
        replace(one, log_prob=float(log))
        for one, log in zip(labels.enumerated, labels.log_prob)
        if one is not None
    ]
    found |= zip(new, _bare_predictions(entry, model, chosen))
    predictions = sorted(found.values(), key=lambda p: (-p.log_prob, p.z, p.label.key))
    return SymmetryPrediction(
        entry.id,
        entry.formula,
        cells.z_prob,
        tuple(predictions),
        groups,
        model.name,
        cells.untried(tried),
    )


def score_labels(
    slots: Stoichiometry, model: SymmetryModel, known: KnownClass, hidden_formula: int | None = None
) -> Scores:
    """Scores of the known labels of one formula by the network; hidden_formula as in `predict_symmetry`."""
    return model.network.score(
        torch.as_tensor(slots.numbers)[None],
        torch.tensor(slots.amounts, dtype=torch.float32),
        known.tensors,
        None if hidden_formula is None else torch.tensor([hidden_formula]),
        known.fixed,
    )


def z_by_network(logits: np.ndarray, zs: np.ndarray) -> np.ndarray | None:
    """P(z) among the cells of known labels, (largest z + 1,); None without a label. logits, zs: (c,), of the candidates."""
    if not np.isfinite(logits).any():
        return None
    found = np.bincount(zs, np.exp(logits - logits.max()), MAX_CELL_ATOMS + 1)
    return found / found.sum()


@dataclass(frozen=True, eq=False)
class _Labels:
    """All labels of a formula, likeliest first.

    log_prob: (n,), natural log of P(label, z | formula), z of any size. z, groups: (n,). candidates: (n,), index into the
    known class, -1 for a label without a training crystal, which `enumerated` then holds.
    """

    log_prob: np.ndarray
    z: np.ndarray
    groups: np.ndarray
    candidates: np.ndarray
    enumerated: tuple[_Enumerated | None, ...]

    def only(self, kept: Sequence[int], log_prob: np.ndarray) -> _Labels:
        """Some of them, with other probabilities."""
        indices = list(kept)
        enumerated = tuple(self.enumerated[i] for i in indices)
        return _Labels(log_prob, self.z[indices], self.groups[indices], self.candidates[indices], enumerated)


def _all_labels(
    entry: FormulaEntry,
    slots: Stoichiometry,
    model: SymmetryModel,
    known: KnownClass | None,
    logits: np.ndarray,
    z_prob: dict[int, float],
) -> _Labels:
    """Known and enumerated labels of every z with a probability, whatever the limits."""
    log_prob, candidates = np.zeros(0), np.zeros(0, dtype=int)
    if known is not None:
        allowed = np.isin(known.found.z, list(z_prob)) & np.isfinite(logits)
        log_prob = known_log_probabilities(known, logits, allowed, z_prob)
        candidates = np.argsort(-log_prob, kind="stable")
        candidates = candidates[np.isfinite(log_prob[candidates])]
        log_prob = log_prob[candidates]
    z = known.found.z[candidates] if known is not None else np.zeros(0, dtype=int)
    groups = known.groups[candidates] if known is not None else np.zeros(0, dtype=int)
    new = _enumerated_labels(entry, slots, model, known, candidates, log_prob, z_prob)
    log_prob = np.append(log_prob, [e.log_prob for e in new])
    all_z = np.append(z, [e.z for e in new]).astype(int)
    for one, probability in z_prob.items():
        # Where one kind of label is missing, the other has all of this z.
        mine = all_z == one
        log_prob[mine] += np.log(probability / max(np.exp(log_prob[mine]).sum(), 1e-300))
    order = np.argsort(-log_prob, kind="stable")
    return _Labels(
        log_prob[order],
        all_z[order],
        np.append(groups, [e.pattern.label.space_group for e in new]).astype(int)[order],
        np.append(candidates, np.full(len(new), -1)).astype(int)[order],
        tuple(new[i - len(z)] if i >= len(z) else None for i in order.tolist()),
    )


@dataclass(frozen=True, eq=False)
class _Enumerated:
    """A label without a training crystal, at one z, with its natural log of P(label, z | formula)."""

    pattern: EnumeratedPattern
    z: int
    log_prob: float


def _enumerated_labels(
    entry: FormulaEntry,
    slots: Stoichiometry,
    model: SymmetryModel,
    known: KnownClass | None,
    candidates: np.ndarray,
    log_prob: np.ndarray,
    z_prob: dict[int, float],
) -> list[_Enumerated]:
    """Labels without a training crystal share the novelty of their z by their prior.

    candidates, log_prob: (n,), of the known labels.
    """
    found: list[_Enumerated] = []
    usual = np.argsort(-model.letters.log_group[1:], kind="stable") + 1
    no_larger = 0.0
    for z, probability in sorted(z_prob.items()):
        no_larger += probability
        mine = known.found.z[candidates] == z if known is not None else np.zeros(0, dtype=bool)
        its_groups = known.groups[candidates[mine]] if known is not None else np.zeros(0, dtype=int)
        if entry.space_group is not None:
            numbers, limit = [entry.space_group], ENUMERATED_GROUPS * ENUMERATED_LABELS
        else:
            # As a share of the cells no larger, so that it does not depend on the largest cell that is tried.
            if len(candidates) and probability < NEGLIGIBLE_Z * no_larger:
                continue
            mass = np.bincount(its_groups, np.exp(log_prob[mine]), 231)
            likely = [int(n) for n in np.argsort(-mass, kind="stable")[:ENUMERATED_GROUPS] if mass[n] > 0]
            numbers, limit = likely or [int(n) for n in usual], ENUMERATED_LABELS
        taken: set[str] = set()
        if known is not None:
            near = candidates[mine][np.isin(its_groups, numbers)]
            taken = {p.key for p in placed_labels(slots, model, known, near)}
        atoms = tuple(a * z for _, a in sorted(entry.amounts))
        ranked: list[EnumeratedPattern] = []
        for number in numbers:
            patterns = enumerate_patterns(atoms, number, model.letters, limit + 5)
            ranked += [p for p in patterns if p.key not in taken][:limit]
            if len(ranked) >= ENUMERATED_GROUPS * ENUMERATED_LABELS:
                break
        if not ranked:
            continue
        logs = np.array([p.log_prior for p in ranked])
        # Where nothing is known, all is new.
        novelty = known.novelty.get(z, 1.0) if known is not None else 1.0
        share = np.log(probability * max(novelty, 1e-3))
        logs = logs - logs.max() - np.log(np.exp(logs - logs.max()).sum()) + share
        found += [_Enumerated(pattern, z, log) for pattern, log in zip(ranked, logs.tolist())]
    return found


def _bare_predictions(
    entry: FormulaEntry, model: SymmetryModel, enumerated: list[_Enumerated]
) -> list[LabelPrediction]:
    # ASSUME: atoms pack as in the average training crystal, in a cell as isotropic as the system allows.
    if not enumerated:
        return []
    slots = slot_elements(entry.amounts)
    elements = tuple(sorted(slots.elements))
    additive = float(np.dot(model.memory.element_volume_ang3[slots.numbers], slots.amounts))
    numbers = [e.pattern.label.space_group for e in enumerated]
    volumes = np.array([additive * e.z * len(space_group(n).centring) for e, n in zip(enumerated, numbers)])
    cells = np.tile([1.0, 1.0, 1.0, 90.0, 90.0, 90.0], (len(enumerated), 1))
    cells = scale_to_volume(impose_crystal_systems(cells, np.array(numbers)), volumes)
    return [
        LabelPrediction(
            named(e.pattern.label, elements), e.z, e.log_prob, "enumerated", cell,
            UNKNOWN_LOG_VOLUME_SPREAD, UNKNOWN_SHAPE_SPREAD,
        )
        for e, cell in zip(enumerated, cells)
    ]  # fmt: skip
