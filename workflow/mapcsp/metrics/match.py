"""Match rates: is a predicted crystal the true one, by pymatgen's matcher, within the first k predictions?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from scipy.stats import binomtest

from mapcsp.crystals import distance_matrix, to_structure
from mapcsp.records import Crystal


@dataclass(frozen=True)
class MatchTolerance:
    """Tolerances of a match: lengths (share), sites (share of (V/n)^(1/3)), angles (degrees)."""

    name: str
    ltol: float
    stol: float
    angle_tol_deg: float


LOOSE = MatchTolerance("loose", ltol=0.3, stol=0.5, angle_tol_deg=10.0)
"""What published generative models report on MP-20 (Xie et al., arXiv 2110.06197)."""

STRICT = MatchTolerance("strict", ltol=0.2, stol=0.3, angle_tol_deg=5.0)
"""The matcher's own defaults; DeepRelax uses them."""

ALPHACRYSTAL = MatchTolerance("alphacrystal", ltol=0.6, stol=0.6, angle_tol_deg=20.0)
"""What AlphaCrystal's RMS is computed with: far looser than its defaults."""


@dataclass(frozen=True)
class MatchRate:
    """Share of targets matched within the first k predictions.

    low, high: 95 % Wilson interval. rmse: mean over matched targets of their best match's RMS displacement,
    in units of (V/n)^(1/3); None if none matched.
    """

    k: int
    n: int
    matched: int
    rate: float
    low: float
    high: float
    rmse: float | None


@cache
def _matcher(tolerance: MatchTolerance) -> StructureMatcher:
    return StructureMatcher(ltol=tolerance.ltol, stol=tolerance.stol, angle_tol=tolerance.angle_tol_deg)


def match_rms(predicted: Crystal, true: Crystal, tolerance: MatchTolerance = LOOSE) -> float | None:
    """RMS displacement of the best match, in units of (V/n)^(1/3) of the mean cell; None if there is no match.

    Both are reduced to primitive cells and scaled to one volume; species are respected. Cells of other
    compositions never match.
    """
    if _amounts(predicted) != _amounts(true):
        return None
    found = _matcher(tolerance).get_rms_dist(to_structure(predicted), to_structure(true))
    return None if found is None else float(found[0])


def match_rate_at(k: int, matches: Sequence[Sequence[float | None]]) -> MatchRate:
    """Match rate within the first k predictions.

    matches: for each target, the RMS of each of its predictions in order of rank, None where it is another crystal;
    a target without predictions is not matched. Raises ValueError without targets.
    """
    if not matches:
        raise ValueError("a match rate needs at least one target")
    best = [min((rms for rms in found[:k] if rms is not None), default=None) for found in matches]
    hits = [rms for rms in best if rms is not None]
    low, high = wilson_interval(len(hits), len(matches))
    rate = len(hits) / len(matches)
    return MatchRate(k, len(matches), len(hits), rate, low, high, float(np.mean(hits)) if hits else None)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 209, 1927); raises ValueError for n < 1."""
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def passes_published_filter(crystal: Crystal) -> bool:
    """Whether a crystal counts as valid in published MP-20 figures: smact's test, no pair below 0.5 Å, volume over 0.1 Å³.

    Published match rates count a target only if it and its prediction both pass (Xie et al., arXiv
    2110.06197).
    """
    from pymatgen.core import Composition
    from smact.screening import smact_validity

    own_images = np.linalg.norm(crystal.lattice_ang, axis=1)
    pairs = distance_matrix(crystal)[np.triu_indices(crystal.n_atoms, 1)]
    shortest = min([*pairs.tolist(), *own_images.tolist()])
    if shortest < 0.5 or crystal.volume_ang3 < 0.1:
        return False
    return bool(smact_validity(Composition("".join(crystal.species))))


def _amounts(crystal: Crystal) -> tuple[tuple[str, float], ...]:
    return tuple((s, crystal.species.count(s) / crystal.n_atoms) for s in sorted(set(crystal.species)))
