"""What the ranking knows about the candidates of a pool, as numbers: one row a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.records import RelaxedCandidate


@dataclass(frozen=True)
class Feature:
    """One column: its name with unit, what it is, and the sign that its coefficient may have (+1, -1)."""

    name: str
    meaning: str
    sign: int


FEATURES = (
    Feature("label_log_prob", "natural log of the predicted probability of the label", +1),
    Feature("energy_above_ev_per_atom", "potential energy above the pool's lowest, at most 1", -1),
    Feature("log_energy_above", "ln(1 + energy above the pool's lowest / 0.01 eV per atom)", -1),
    Feature(
        "map_log_likelihood", "log-likelihood of the distances under the predicted map, within [-10, 10]", +1
    ),
    Feature("contact_dice", "overlap with the predicted contact map", +1),
    Feature("bond_validity", "bond validity (AlphaCrystal eq. 2)", +1),
    Feature("short_distance", "penalty on short distances, 0 or negative, at least -10", +1),
    Feature("lattice_log_prob", "log density of the cell under its prediction, within [-20, 20]", +1),
    Feature("volume_change", "|ln(volume after / before relaxation)|, at most 1", -1),
    Feature("energy_drop_ev_per_atom", "energy lost in relaxation, at most 2", -1),
    Feature("symmetry_kept", "1 if the space group after relaxation is the label's", +1),
    Feature("log_prototype_count", "ln(1 + known crystals behind the start geometry)", +1),
    Feature("log_found_again", "ln(candidates of the pool that relaxed into this crystal)", +1),
    Feature("unconverged", "1 if the relaxation did not converge", -1),
)
NAMES = tuple(feature.name for feature in FEATURES)


def pool_features(
    candidates: Sequence[RelaxedCandidate], space_groups: Sequence[int], groups: Sequence[int]
) -> np.ndarray:
    """Features of the candidates of one pool that have an energy.

    space_groups: (n,), found after relaxation; groups: (n,), numbers of `duplicates.group_duplicates`.
    Returns (n, len(FEATURES)), finite. A fitness term that was switched off counts as the mean of the
    pool's others, or 0. Raises ValueError for a candidate without energy.
    """
    energies = []
    for relaxed in candidates:
        if relaxed.energy_ev_per_atom is None:
            raise ValueError(f"candidate {relaxed.candidate.id} has no energy and cannot be ranked")
        energies.append(relaxed.energy_ev_per_atom)
    above = np.array(energies) - min(energies, default=0.0)
    fitness = [relaxed.candidate.fitness for relaxed in candidates]
    columns = {
        "label_log_prob": np.array([max(r.candidate.label_log_prob, -50.0) for r in candidates]),
        "energy_above_ev_per_atom": np.minimum(above, 1.0),
        "log_energy_above": np.log1p(above / 0.01),
        "map_log_likelihood": _filled([f.map_log_likelihood for f in fitness], -10.0, 10.0),
        "contact_dice": _filled([f.contact_dice for f in fitness], 0.0, 1.0),
        "bond_validity": _filled([f.bond_validity for f in fitness], -10.0, 10.0),
        "short_distance": _filled([f.short_distance for f in fitness], -10.0, 0.0),
        "lattice_log_prob": _filled([f.lattice_log_prob for f in fitness], -20.0, 20.0),
        "volume_change": _filled([_log_volume_change(r) for r in candidates], 0.0, 1.0),
        "energy_drop_ev_per_atom": _filled([_energy_drop(r) for r in candidates], 0.0, 2.0),
        "symmetry_kept": np.array(
            [float(r.candidate.label.space_group == sg) for r, sg in zip(candidates, space_groups)]
        ),
        "log_prototype_count": np.log1p([float(r.candidate.prototype_count) for r in candidates]),
        "log_found_again": np.log([float(list(groups).count(g)) for g in groups]),
        "unconverged": np.array([float(r.status != "converged") for r in candidates]),
    }
    return np.stack([columns[name] for name in NAMES], axis=1).reshape(len(candidates), len(NAMES))


def _filled(values: Sequence[float | None], low: float, high: float) -> np.ndarray:
    known = [min(max(v, low), high) for v in values if v is not None]
    fill = sum(known) / len(known) if known else 0.0
    return np.array([fill if v is None else min(max(v, low), high) for v in values])


def _log_volume_change(relaxed: RelaxedCandidate) -> float | None:
    if relaxed.volume_change is None:
        return None
    return float(abs(np.log1p(max(relaxed.volume_change, -0.99))))


def _energy_drop(relaxed: RelaxedCandidate) -> float | None:
    if relaxed.initial_energy_ev_per_atom is None or relaxed.energy_ev_per_atom is None:
        return None
    return relaxed.initial_energy_ev_per_atom - relaxed.energy_ev_per_atom
