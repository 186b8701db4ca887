"""What the ranking knows about the candidates of a pool, as numbers: one row a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.records import RelaxedCandidate

# Energies above the lowest count up to about this much: beyond what a potential errs, more of it says no more.
ENERGY_SCALE_EV_PER_ATOM = 0.05


@dataclass(frozen=True)
class Feature:
    """One column: its name with unit, what it is, and the sign that its coefficient may have (+1, -1)."""

    name: str
    meaning: str
    sign: int


FEATURES = (
    Feature("label_log_prob", "natural log of the predicted probability of the label, at least -50", +1),
    Feature(
        "energy_above",
        f"x / (x + {ENERGY_SCALE_EV_PER_ATOM} eV/atom), x the relaxing potential's energy above the pool's lowest",
        -1,
    ),
    Feature(
        "rescored_above",
        f"x / (x + {ENERGY_SCALE_EV_PER_ATOM} eV/atom), x the second potential's energy above the pool's lowest",
        -1,
    ),
    Feature(
        "map_log_likelihood", "log-likelihood of the distances under the predicted map, within [-10, 10]", +1
    ),
    Feature("contact_dice", "overlap with the predicted contact map", +1),
    Feature("log_prototype_count", "ln(1 + known crystals behind the start geometry)", +1),
    Feature("log_found_again", "ln(candidates of the pool that relaxed into this crystal)", +1),
    Feature("symmetry_kept", "1 if the space group after relaxation, at 0.1 Å, is the label's", +1),
    Feature("volume_change", "size of ln(volume after / before relaxation), at most 1", -1),
    Feature("energy_drop_ev_per_atom", "energy lost in relaxation, at most 2", -1),
)
NAMES = tuple(feature.name for feature in FEATURES)


def pool_features(candidates: Sequence[RelaxedCandidate], groups: Sequence[int]) -> np.ndarray:
    """Features of the candidates of one pool that have an energy.

    groups: (n,), numbers of `duplicates.group_duplicates`.
    Returns (n, len(FEATURES)), finite. A fitness term that was switched off counts as the mean of the
    pool's others, or 0; `rescored_above` is 0 where no candidate has a second energy. Raises ValueError for
    a candidate without energy.
    """
    energies = relaxed_energies(candidates)
    rescored = rescored_energies(candidates, groups)
    fitness = [relaxed.candidate.fitness for relaxed in candidates]
    columns = {
        "label_log_prob": np.array([max(r.candidate.label_log_prob, -50.0) for r in candidates]),
        "energy_above": saturating(energies, ENERGY_SCALE_EV_PER_ATOM),
        "rescored_above": np.zeros(len(candidates))
        if rescored is None
        else saturating(rescored, ENERGY_SCALE_EV_PER_ATOM),
        "map_log_likelihood": _filled([f.map_log_likelihood for f in fitness], -10.0, 10.0),
        "contact_dice": _filled([f.contact_dice for f in fitness], 0.0, 1.0),
        "log_prototype_count": np.log1p([float(r.candidate.prototype_count) for r in candidates]),
        "log_found_again": np.log([float(list(groups).count(g)) for g in groups]),
        "symmetry_kept": _filled([r.symmetry_kept for r in candidates], 0.0, 1.0),
        "volume_change": _filled([_log_volume_change(r) for r in candidates], 0.0, 1.0),
        "energy_drop_ev_per_atom": _filled([_energy_drop(r) for r in candidates], 0.0, 2.0),
    }
    return np.stack([columns[name] for name in NAMES], axis=1).reshape(len(candidates), len(NAMES))


def saturating(energies_ev_per_atom: np.ndarray, scale_ev_per_atom: float) -> np.ndarray:
    """Energy above the lowest as a number from 0 to 1, half at the scale: (n,).

    A linear term would let the few crystals on which a potential is far off decide the fit.
    """
    above = energies_ev_per_atom - energies_ev_per_atom.min(initial=np.inf)
    return above / (above + scale_ev_per_atom)


def relaxed_energies(candidates: Sequence[RelaxedCandidate]) -> np.ndarray:
    """Energies by the potential that relaxed: (n,), eV/atom; raises ValueError for a candidate without one."""
    energies = []
    for relaxed in candidates:
        if relaxed.energy_ev_per_atom is None:
            raise ValueError(f"candidate {relaxed.candidate.id} has no energy and cannot be ranked")
        energies.append(relaxed.energy_ev_per_atom)
    return np.array(energies)


def rescored_energies(candidates: Sequence[RelaxedCandidate], groups: Sequence[int]) -> np.ndarray | None:
    """Energies by the second potential: (n,), eV/atom; None where no candidate has one.

    All candidates of a group are one crystal and have its lowest. A crystal that was not asked about counts
    with its energy by the first potential, moved by the median difference of the two.
    """
    of_group: dict[int, float] = {}
    for relaxed, group in zip(candidates, groups):
        second = relaxed.rescored_energy_ev_per_atom
        if second is not None:
            of_group[group] = min(second, of_group.get(group, np.inf))
    if not of_group:
        return None
    first = relaxed_energies(candidates)
    shifts = [of_group[group] - energy for group, energy in zip(groups, first) if group in of_group]
    return np.array(
        [of_group.get(group, energy + float(np.median(shifts))) for group, energy in zip(groups, first)]
    )


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
