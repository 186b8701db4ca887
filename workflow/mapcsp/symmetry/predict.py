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
from mapcsp.symmetry.candidates import slot_elements
from mapcsp.symmetry.cells import impose_crystal_systems, scale_to_volume
from mapcsp.symmetry.coverage import space_groups_to_run
from mapcsp.symmetry.enumeration import EnumeratedPattern, enumerate_patterns
from mapcsp.symmetry.known_labels import (
    NOTHING_KNOWN,
    RankedLabels,
    known_class,
    predict_known_cells,
    rank_known_labels,
)
from mapcsp.symmetry.model import SymmetryModel, load_model
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
    ranked = NOTHING_KNOWN
    z_prob: tuple[tuple[int, float], ...]
    if known is None:
        z_prob = _even(entry.z_allowed[: settings.max_z])
    else:
        with torch.inference_mode():
            scores = model.network.score(
                torch.as_tensor(slots.numbers)[None],
                torch.tensor(slots.amounts, dtype=torch.float32),
                known.tensors,
                None if hidden_formula is None else torch.tensor([hidden_formula]),
                known.fixed,
            )
        logits = scores.logits[0].double().numpy().copy()
        allowed = _one_of(known.found.z, entry.z_allowed)
        if entry.space_group is not None and (allowed & (known.groups == entry.space_group)).any():
            # A given space group says much about z, too.
            logits[known.groups != entry.space_group] = -np.inf
        z_prob = _z_probabilities(logits, known.found.z, entry, settings.max_z)
        allowed &= _one_of(known.found.z, [z for z, _ in z_prob])
        if entry.space_group is not None:
            allowed &= known.groups == entry.space_group
        ranked = rank_known_labels(slots, model, known, logits, allowed, z_prob, settings.n_labels)
    enumerated = _enumerated_labels(entry, model, ranked, z_prob, known.novelty if known else {})
    logs = np.array([*ranked.log_prob.tolist(), *(e.log_prob for e in enumerated)])
    if not len(logs):
        # Only a given space group can be without labels (P1 holds anything); its search becomes a record of that.
        return SymmetryPrediction(
            entry.id, entry.formula, z_prob, (), ((entry.space_group or 1, 1.0),), model.name
        )
    logs -= logs.max() + np.log(np.exp(logs - logs.max()).sum())
    n_known = len(ranked.log_prob)
    names = [
        *((z, p.key) for z, p in zip(ranked.z.tolist(), ranked.placements)),
        *((e.z, e.pattern.key) for e in enumerated),
    ]
    kept = sorted(range(len(logs)), key=lambda i: (-logs[i], *names[i]))[: settings.n_labels]
    found: dict[int, LabelPrediction] = {}
    from_known = [i for i in kept if i < n_known]
    if known is not None and from_known:
        found |= zip(
            from_known,
            predict_known_cells(slots, model, known, scores, ranked.only(from_known, logs[from_known])),
        )
    from_enumerated = [i for i in kept if i >= n_known]
    chosen = [replace(enumerated[i - n_known], log_prob=float(logs[i])) for i in from_enumerated]
    found |= zip(from_enumerated, _bare_predictions(entry, model, chosen))
    labels = tuple(found[i] for i in kept)
    return SymmetryPrediction(
        entry.id, entry.formula, z_prob, labels, space_groups_to_run(labels, settings), model.name
    )


def _one_of(zs: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Which of the candidates' z (c,) are wanted."""
    table = np.zeros(max(int(zs.max()), *wanted, 0) + 1, dtype=bool)
    table[list(wanted)] = True
    return table[zs]


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


@dataclass(frozen=True, eq=False)
class _Enumerated:
    """A label without a training crystal, at one z, with its natural log of P(label, z | formula)."""

    pattern: EnumeratedPattern
    z: int
    log_prob: float


def _enumerated_labels(
    entry: FormulaEntry,
    model: SymmetryModel,
    known: RankedLabels,
    z_prob: tuple[tuple[int, float], ...],
    novelty: dict[int, float],
) -> list[_Enumerated]:
    """Labels without a training crystal share the novelty of their z by their prior."""
    taken = {(p.key, z) for p, z in zip(known.placements, known.z.tolist())}
    found: list[_Enumerated] = []
    usual = np.argsort(-model.letters.log_group[1:], kind="stable") + 1
    for z, probability in z_prob:
        if entry.space_group is not None:
            numbers, limit = [entry.space_group], ENUMERATED_GROUPS * ENUMERATED_LABELS
        else:
            if len(known.z) and probability < NEGLIGIBLE_Z:
                continue
            mass = np.bincount(known.groups, np.exp(known.log_prob) * (known.z == z), 231)
            likely = [int(n) for n in np.argsort(-mass, kind="stable")[:ENUMERATED_GROUPS] if mass[n] > 0]
            numbers, limit = likely or [int(n) for n in usual], ENUMERATED_LABELS
        atoms = tuple(a * z for _, a in sorted(entry.amounts))
        ranked: list[EnumeratedPattern] = []
        for number in numbers:
            patterns = enumerate_patterns(atoms, number, model.letters, limit + 5)
            ranked += [p for p in patterns if (p.key, z) not in taken][:limit]
            if len(ranked) >= ENUMERATED_GROUPS * ENUMERATED_LABELS:
                break
        if not ranked:
            continue
        logs = np.array([p.log_prior for p in ranked])
        # Where nothing is known, all is new.
        share = np.log(probability * max(novelty.get(z, 1.0), 1e-3))
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
