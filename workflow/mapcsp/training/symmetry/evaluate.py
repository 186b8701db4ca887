"""How good the symmetry model is on crystals whose formulas it has not seen: figures for its metrics.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from mapcsp.elements import atomic_number
from mapcsp.records import FormulaEntry, Label, LabelPrediction, SymmetryPrediction
from mapcsp.settings import SymmetrySettings
from mapcsp.symmetry.cells import bravais_lattice, free_cell_indices
from mapcsp.symmetry.model import SymmetryModel
from mapcsp.symmetry.predict import predict_symmetry
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.geometries import formula_hash, shares, volume_per_atom_ang3

# Labels looked at in an evaluation: enough for the label of nearly every crystal to be among them.
DEEP = 400


def entry_of(row: EncodedKnown, z_allowed: tuple[int, ...]) -> FormulaEntry:
    """The formula of a known crystal, as the intake would give it."""
    counts = row.anonymous.counts
    amounts = sorted(zip(row.elements, (c // row.z for c in counts)), key=lambda p: atomic_number(p[0]))
    return FormulaEntry(
        row.material_id, row.formula, row.formula, 0, tuple(amounts), z_allowed, len(z_allowed) == 1
    )


def evaluate_symmetry(
    model: SymmetryModel, rows: Sequence[EncodedKnown], training: Sequence[EncodedKnown], max_atoms: int = 20
) -> dict[str, Any]:
    """Evaluate on `rows` (at most max_atoms atoms), true Z given, except for `z_*`, where nothing is given.

    Returns shares of 1 and mean relative errors (DESIGN keys), with most-frequent baselines and counts.
    Raises ValueError if a formula of `rows` was trained on.
    """
    rows = [r for r in rows if r.n_atoms <= max_atoms]
    trained = set(model.memory.example_formula.tolist())
    leaked = [r.formula for r in rows if formula_hash(r.formula) in trained]
    if leaked:
        raise ValueError(f"{len(leaked)} formulas were trained on, such as {leaked[0]}")
    settings = SymmetrySettings(n_labels=DEEP, max_space_groups=230, coverage=1.0, max_z=24)
    found: dict[str, list[float]] = {}

    def note(key: str, value: float) -> None:
        found.setdefault(key, []).append(float(value))

    baseline = _most_frequent(training)
    cubic: list[tuple[float, float]] = []
    for row in tqdm(rows, desc="evaluate", mininterval=10):
        truth = Label.from_key(row.label_key)
        given = predict_symmetry(entry_of(row, (row.z,)), settings, model)
        _note_ranks(note, given, truth)
        _note_baseline(note, baseline, row)
        mine = [p for p in given.labels if p.label == truth]
        note("label_listed", bool(mine))
        if mine:
            _note_cell(note, mine[0], row, cubic)
        reduced = sum(c // row.z for c in row.anonymous.counts)
        free = predict_symmetry(entry_of(row, tuple(range(1, 24 // reduced + 1))), settings, model)
        rank = next((i for i, (z, _) in enumerate(free.z_prob) if z == row.z), 99)
        note("z_top1", rank < 1)
        note("z_top3", rank < 3)
    figures: dict[str, Any] = {k: round(float(np.mean(v)), 4) for k, v in sorted(found.items())}
    figures["volume_median_re"] = round(float(np.median(found["volume_mre"])), 4)
    true_a, predicted_a = np.array(cubic).T
    figures["cubic_a_r2"] = round(
        float(1 - ((true_a - predicted_a) ** 2).sum() / ((true_a - true_a.mean()) ** 2).sum()), 4
    )
    figures["crystals"] = len(rows)
    figures["crystals_with_label_listed"] = int(sum(found["label_listed"]))
    return figures


def _note_ranks(note, given: SymmetryPrediction, truth: Label) -> None:
    labels = [p.label for p in given.labels]
    rank = labels.index(truth) if truth in labels else DEEP
    for k in (1, 5, 10, 20, 40):
        note(f"label_top{k}", rank < k)
    groups = [n for n, _ in given.space_groups]
    rank = groups.index(truth.space_group) if truth.space_group in groups else 230
    for k in (1, 5, 10):
        note(f"sg_top{k}", rank < k)
    mass: Counter[str] = Counter()
    for number, probability in given.space_groups:
        mass[bravais_lattice(number)] += probability  # type: ignore[assignment]
    lattices = [name for name, _ in mass.most_common()]
    right = bravais_lattice(truth.space_group)
    rank = lattices.index(right) if right in lattices else 14
    note("bravais_top1", rank < 1)
    note("bravais_top2", rank < 2)
    # Calibration of the first label's probability, gathered as (confidence, right).
    note("label_confidence", float(np.exp(given.labels[0].log_prob)))


def _note_cell(
    note, prediction: LabelPrediction, row: EncodedKnown, cubic: list[tuple[float, float]]
) -> None:
    from mapcsp.symmetry.cells import cell_volume_ang3

    volume = float(cell_volume_ang3(row.cell))
    note("volume_mre", abs(float(cell_volume_ang3(prediction.cell)) / volume - 1))
    lengths = [i for i in free_cell_indices(prediction.label.space_group) if i < 3]
    note("length_mre", float(np.mean(np.abs(prediction.cell[lengths] / row.cell[lengths] - 1))))
    if prediction.label.space_group >= 195:
        cubic.append((row.cell[0], prediction.cell[0]))


def _most_frequent(training: Sequence[EncodedKnown]) -> dict[str, Any]:
    """Most frequent answers: Bravais lattice and space group overall, label and z by stoichiometry, mean volume."""
    groups = Counter(r.anonymous.space_group for r in training)
    lattices: Counter[str] = Counter()
    for number, count in groups.items():
        lattices[bravais_lattice(number)] += count
    labels: dict[tuple[int, ...], Counter] = {}
    zs: dict[tuple[int, ...], Counter] = {}
    for row in training:
        counts = tuple(sorted(row.anonymous.counts))
        labels.setdefault(counts, Counter())[row.anonymous_key] += 1
        zs.setdefault(tuple(c // row.z for c in counts), Counter())[row.z] += 1
    return {
        "lattice": [n for n, _ in lattices.most_common(2)],
        "group": [n for n, _ in groups.most_common(10)],
        "labels": {k: [n for n, _ in c.most_common(20)] for k, c in labels.items()},
        "z": {k: [n for n, _ in c.most_common(3)] for k, c in zs.items()},
    }


def _note_baseline(note, baseline: dict[str, Any], row: EncodedKnown) -> None:
    counts = tuple(sorted(row.anonymous.counts))
    number = row.anonymous.space_group
    note("baseline_bravais_top1", bravais_lattice(number) in baseline["lattice"][:1])
    note("baseline_bravais_top2", bravais_lattice(number) in baseline["lattice"][:2])
    for k in (1, 5, 10):
        note(f"baseline_sg_top{k}", number in baseline["group"][:k])
    ranked = baseline["labels"].get(counts, [])
    for k in (1, 5, 20):
        # Which element takes which role is not counted against the baseline.
        note(f"baseline_label_top{k}", row.anonymous_key in ranked[:k])
    zs = baseline["z"].get(tuple(c // row.z for c in counts), [])
    note("baseline_z_top1", row.z in zs[:1])
    note("baseline_z_top3", row.z in zs[:3])


def baseline_volume_mre(rows: Sequence[EncodedKnown], element_volume_ang3: np.ndarray) -> float:
    """Mean relative error of the sum of elemental volumes, the trivial predictor of a cell's volume."""
    errors = [abs(float(shares(r) @ element_volume_ang3) / volume_per_atom_ang3(r) - 1) for r in rows]
    return round(float(np.mean(errors)), 4)
