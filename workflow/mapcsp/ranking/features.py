"""What the ranking knows about the candidates of a pool, as numbers: one row a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.records import RelaxedCandidate

# Within what a potential can be wrong by, more of a gap says less and less; beyond, each eV/atom says as much as the last.
ENERGY_SCALE_EV_PER_ATOM = 0.05
LARGEST_ERROR_EV_PER_ATOM = 0.15
# ASSUME: an error of a potential beyond that is less likely by a factor e with each 20 meV/atom more. In the pools that the
# ranking is fitted on, right crystals thin out as fast above the lowest energy, and too few lie beyond to fit a slope.
SLOPE_PER_EV_PER_ATOM = 50.0
# No network knows that a label is less likely than this: right crystals of those pools have at least -5.3.
LOWEST_LABEL_LOG_PROB = -8.0


@dataclass(frozen=True)
class Feature:
    """One column: its name with unit, what it is, and the sign that its coefficient may have (+1, -1).

    fixed: the size of the coefficient of a model that has the term, where data cannot tell it; None if it is fitted.
    """

    name: str
    meaning: str
    sign: int
    fixed: float | None = None


FEATURES = (
    Feature(
        "label_log_prob",
        f"natural log of the predicted probability of the label, at least {LOWEST_LABEL_LOG_PROB:g}",
        +1,
    ),
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
        "energy_excess",
        f"x beyond {LARGEST_ERROR_EV_PER_ATOM} eV/atom, without bound; x as in `energy_above`",
        -1,
        SLOPE_PER_EV_PER_ATOM,
    ),
    Feature(
        "rescored_excess",
        f"x beyond {LARGEST_ERROR_EV_PER_ATOM} eV/atom, without bound; x as in `rescored_above`",
        -1,
        SLOPE_PER_EV_PER_ATOM,
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
    pool's others, or 0; `rescored_above` and `rescored_excess` are 0 where no candidate has a second energy.
    Raises ValueError for a candidate without energy.
    """
    energies = relaxed_energies(candidates)
    rescored = rescored_energies(candidates, groups)
    no_second = np.zeros(len(candidates))
    fitness = [relaxed.candidate.fitness for relaxed in candidates]
    columns = {
        "label_log_prob": np.array(
            [max(r.candidate.label_log_prob, LOWEST_LABEL_LOG_PROB) for r in candidates]
        ),
        "energy_above": saturating(energies, ENERGY_SCALE_EV_PER_ATOM),
        "rescored_above": no_second if rescored is None else saturating(rescored, ENERGY_SCALE_EV_PER_ATOM),
        "energy_excess": excess(energies, LARGEST_ERROR_EV_PER_ATOM),
        "rescored_excess": no_second if rescored is None else excess(rescored, LARGEST_ERROR_EV_PER_ATOM),
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


def excess(energies_ev_per_atom: np.ndarray, free_ev_per_atom: float) -> np.ndarray:
    """Energy above the lowest, less what a potential can be wrong by: (n,), eV/atom, at least 0, without upper bound.

    A saturating term alone lets the likeliest label stand first at any energy.
    """
    above = energies_ev_per_atom - energies_ev_per_atom.min(initial=np.inf)
    return np.maximum(above - free_ev_per_atom, 0.0)


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
