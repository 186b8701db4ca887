"""How good CRYSPNet is on crystals whose formulas it has not seen: the figures of its metrics.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mapcsp.cryspnet.conventional import (
    BRAVAIS_LATTICES,
    complete_cell,
    free_parameters,
    free_values,
    possible_cell,
)
from mapcsp.cryspnet.networks import Ensemble
from mapcsp.cryspnet.predict import bravais_name, cell_name, groups_name
from mapcsp.symmetry.cells import bravais_lattice, cell_volume_ang3
from mapcsp.training.cryspnet.data import DATA_SETS, Sample, data_sets_of, one_a_formula, samples_of
from mapcsp.training.encoded import EncodedKnown

Figures = dict[str, Any]
# Fewer crystals than this say nothing about a coefficient of determination.
FEWEST_FOR_R2 = 5


def evaluate_cryspnet(
    ensembles: Mapping[str, Ensemble], rows: Sequence[EncodedKnown], training: Sequence[EncodedKnown]
) -> Figures:
    """Figures of Tables 2, 3 and 4, of the whole chain, and of baselines on the crystals `rows`.

    training: what the networks learned from, one crystal a formula. Shares are fractions of 1, errors mean relative ones.
    Raises ValueError if a formula of `rows` was trained on.
    """
    leaked = {r.formula for r in rows} & {r.formula for r in training}
    if leaked:
        raise ValueError(f"{len(leaked)} formulas were trained on, such as {min(leaked)}")
    samples = samples_of(rows, "evaluate")
    figures: Figures = {"crystals": len(rows), "formulas": len({r.formula for r in rows})}
    unique = {id(r) for r in one_a_formula(rows)}
    one_each = [s for s, r in zip(samples, rows) if id(r) in unique]
    for data_set in DATA_SETS:
        members = [s for s in samples if data_set in s.data_sets]
        known = [
            bravais_lattice(r.anonymous.space_group) for r in training if data_set in data_sets_of(r.elements)
        ]
        model = ensembles[bravais_name(data_set)]
        figures |= _prefixed(f"table2_{data_set}_", _bravais_figures(model, members, known))
    figures["one_a_formula_bravais_top1"] = _bravais_figures(ensembles[bravais_name("all")], one_each, [])[
        "top1"
    ]
    for bravais in BRAVAIS_LATTICES:
        chosen = [s for s in samples if s.target.bravais == bravais]
        if not chosen:
            continue
        groups = [r.anonymous.space_group for r in training]
        known = [str(n) for n in groups if bravais_lattice(n) == bravais]
        figures |= _prefixed(
            f"table3_{bravais}_", _group_figures(ensembles[groups_name(bravais)], chosen, known)
        )
        for with_z, table in ((False, "table4"), (True, "table4_z")):
            model = ensembles[cell_name(bravais, with_z)]
            figures |= _prefixed(f"{table}_{bravais}_", _cell_figures(model, chosen, bravais))
    for key in ("top1", "top3", "mode", "random"):
        figures[f"table3_mean_{key}"] = _weighted(figures, "table3", key)
    for table in ("table4", "table4_z"):
        figures[f"{table}_mean_log_mse"] = _weighted(figures, table, "log_mse")
    figures |= _chain_figures(ensembles, samples) | _cell_errors(ensembles, samples)
    figures |= _baselines(samples, training)
    figures |= {f"bravais_{k}": figures[f"table2_all_{k}"] for k in ("top1", "top2")}
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}


def _prefixed(prefix: str, figures: Figures) -> Figures:
    return {prefix + key: value for key, value in figures.items()}


def _weighted(figures: Figures, table: str, key: str) -> float:
    names = [b for b in BRAVAIS_LATTICES if f"{table}_{b}_{key}" in figures]
    weights = [figures[f"{table}_{b}_crystals"] for b in names]
    return float(np.average([figures[f"{table}_{b}_{key}"] for b in names], weights=weights))


def _predictors(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([s.predictors for s in samples])


def _top(probabilities: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Whether the true class, an index or -1, is among the first k: (…, n)."""
    return (np.argsort(-probabilities, axis=-1, kind="stable")[..., :k] == truth[:, None]).any(-1)


def _class_figures(
    model: Ensemble, samples: Sequence[Sample], names: Sequence[str], ks: Sequence[int]
) -> Figures:
    truth = np.array([model.classes.index(n) if n in model.classes else -1 for n in names])
    by_member = model.member_probabilities(_predictors(samples))
    single = _top(by_member, truth, 1).mean(-1)
    counts = np.array(list(Counter(names).values())) / len(names)
    return {
        "crystals": len(names),
        **{f"top{k}": float(_top(by_member.mean(0), truth, k).mean()) for k in ks},
        "member_top1": float(single.mean()),
        "member_top1_std": float(single.std()),
        "random": float((counts**2).sum()),
    }


def _bravais_figures(model: Ensemble, samples: Sequence[Sample], known: Sequence[str]) -> Figures:
    names = [s.target.bravais for s in samples]
    return {**_class_figures(model, samples, names, (1, 2)), **_mode(names, known)}


def _group_figures(model: Ensemble, samples: Sequence[Sample], known: Sequence[str]) -> Figures:
    names = [str(s.target.space_group) for s in samples]
    return {**_class_figures(model, samples, names, (1, 3)), **_mode(names, known)}


def _mode(names: Sequence[str], known: Sequence[str]) -> Figures:
    """Share that the most frequent class of the training crystals gets right."""
    if not known:
        return {}
    best = Counter(sorted(known)).most_common(1)[0][0]
    return {"mode": float(np.mean([name == best for name in names]))}


def _cell_figures(model: Ensemble, samples: Sequence[Sample], bravais: str) -> Figures:
    truth = np.array([free_values(bravais, s.target.cell) for s in samples])
    logs = model.member_logs(_predictors(samples)).mean(0)
    error = logs - np.log(truth)
    always_mean = np.log(truth) - model.target_mean
    figures: Figures = {
        "crystals": len(samples),
        "log_mse": float(((error / model.target_scale) ** 2).mean()),
        "log_mse_natural": float((error**2).mean()),
        "log_mse_mean_cell": float(((always_mean / model.target_scale) ** 2).mean()),
    }
    if len(samples) >= FEWEST_FOR_R2:
        r2 = _r2(truth, np.exp(logs))
        varied = np.ptp(truth, axis=0) > 0
        names = free_parameters(bravais)
        figures |= {f"r2_{n}": float(v) for n, v, is_varied in zip(names, r2, varied) if is_varied}
    return figures


def _r2(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - ((predicted - truth) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)


def _chain_figures(ensembles: Mapping[str, Ensemble], samples: Sequence[Sample]) -> Figures:
    """The whole chain, nothing given: P(lattice) P(space group | lattice), and the first of the first."""
    predictors = _predictors(samples)
    lattices = ensembles[bravais_name("all")]
    prior = lattices.probabilities(predictors)
    numbers: list[int] = []
    columns, firsts = [], []
    for index, bravais in enumerate(lattices.classes):
        model = ensembles[groups_name(bravais)]
        within = model.probabilities(predictors)
        numbers += [int(c) for c in model.classes]
        columns.append(prior[:, index : index + 1] * within)
        firsts.append(np.array([int(c) for c in model.classes])[within.argmax(1)])
    joint = np.concatenate(columns, axis=1)
    truth = np.array([s.target.space_group for s in samples])
    places = np.array([numbers.index(n) if n in numbers else -1 for n in truth])
    greedy = np.stack(firsts, axis=1)[np.arange(len(truth)), prior.argmax(1)]
    return {
        **{f"sg_top{k}": float(_top(joint, places, k).mean()) for k in (1, 5, 10)},
        "sg_first_of_first_lattice": float((greedy == truth).mean()),
    }


def _cell_errors(ensembles: Mapping[str, Ensemble], samples: Sequence[Sample]) -> Figures:
    """Errors of cells: true Bravais lattice given (with and without z), and with the first one predicted (Fig. 6)."""
    figures: Figures = {}
    volumes = np.array([float(cell_volume_ang3(s.target.cell)) for s in samples])
    true = [s.target.bravais for s in samples]
    for suffix, with_z in (("", False), ("_with_z", True)):
        cells = _cells(ensembles, samples, true, with_z)
        figures[f"volume_mre{suffix}"] = float(np.abs(cell_volume_ang3(cells) / volumes - 1).mean())
        lengths = [
            float(np.mean([abs(p[i] / s.target.cell[i] - 1) for i in _free_lengths(s)]))
            for p, s in zip(cells, samples)
        ]
        figures[f"length_mre{suffix}"] = float(np.mean(lengths))
        cubic = [i for i, b in enumerate(true) if b[0] == "c"]
        true_a = np.array([samples[i].target.cell[0] for i in cubic])
        figures[f"cubic_a_r2{suffix}"] = float(_r2(true_a, cells[cubic, 0]))
    model = ensembles[bravais_name("all")]
    first = [model.classes[i] for i in model.probabilities(_predictors(samples)).argmax(1)]
    predicted = cell_volume_ang3(_cells(ensembles, samples, first, False))
    right = np.array([a == b for a, b in zip(first, true)])
    figures["volume_r2_lattice_right"] = float(_r2(volumes[right], predicted[right]))
    figures["volume_r2_lattice_wrong"] = float(_r2(volumes[~right], predicted[~right]))
    return figures


def _free_lengths(sample: Sample) -> list[int]:
    return [i for i, name in enumerate("abc") if name in free_parameters(sample.target.bravais)]


def _cells(
    ensembles: Mapping[str, Ensemble], samples: Sequence[Sample], lattices: Sequence[str], with_z: bool
) -> np.ndarray:
    """Cells (n, 6) of samples in the given lattices."""
    cells = np.zeros((len(samples), 6))
    for bravais in sorted(set(lattices)):
        rows = [i for i, name in enumerate(lattices) if name == bravais]
        found = ensembles[cell_name(bravais, with_z)].parameters(_predictors([samples[i] for i in rows]))
        cells[rows] = [possible_cell(complete_cell(bravais, values)) for values in found]
    return cells


def _baselines(samples: Sequence[Sample], training: Sequence[EncodedKnown]) -> Figures:
    """The most frequent answers of the training crystals, on the same crystals, and the mean volume of a lattice."""
    groups = Counter(r.anonymous.space_group for r in training)
    lattices: Counter[str] = Counter()
    for number, count in groups.items():
        lattices[bravais_lattice(number)] += count
    figures: Figures = {}
    for k in (1, 2):
        ranked = [name for name, _ in lattices.most_common(k)]
        figures[f"baseline_bravais_top{k}"] = float(np.mean([s.target.bravais in ranked for s in samples]))
    for k in (1, 5, 10):
        numbers = [n for n, _ in groups.most_common(k)]
        figures[f"baseline_sg_top{k}"] = float(np.mean([s.target.space_group in numbers for s in samples]))
    return figures
