"""How good predictions of known crystals were: match rates by variant, and where the right answer was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapcsp.benchmark.pools import Target
from mapcsp.metrics.calibration import expected_calibration_error
from mapcsp.metrics.match import LOOSE, STRICT, MatchTolerance, first_match, match_rate_at
from mapcsp.ranking.model import RankerCoefficients
from mapcsp.ranking.rank import rank_pool
from mapcsp.records import Crystal, Label, RelaxedPool
from mapcsp.settings import RankingSettings
from mapcsp.symmetry.labels import canonical_label

DEPTH = 20
RANKS = (1, 5, 10, 20)
VARIANTS = ("probability", "energy", "unrelaxed")
"""Orders of the answers: the calibrated probability, the potential's energy alone, and candidates as they were pooled."""


@dataclass(frozen=True)
class Judged:
    """One known crystal and how its prediction fared.

    matches: per variant and tolerance, the RMS displacement of each answer in order, None where it is another crystal.
    claimed: probability of the first answer. cause: `found`, or the stage that lost the right answer.
    """

    material_id: str
    formula: str
    n_atoms: int
    on_hull: bool | None
    space_group_found: bool
    claimed: float
    cause: str
    matches: dict[str, dict[str, tuple[float | None, ...]]]


def judge_pool(
    pool: RelaxedPool, target: Target, ranker: RankerCoefficients, settings: RankingSettings
) -> Judged:
    """Rank one relaxed pool in each order and match it against the known crystal.

    Matches count against the target itself, as published figures do.
    """
    truth = target.known.crystal
    answers: dict[str, list[Crystal]] = {"unrelaxed": [r.candidate.crystal for r in pool.candidates]}
    claimed, groups = 0.0, []
    for order in ("probability", "energy"):
        outcome, _, _ = rank_pool(
            pool, settings.model_copy(update={"top_k": DEPTH, "rank_by": order}), ranker
        )
        answers[order] = [s.relaxed.crystal for s in outcome.structures if s.relaxed.crystal is not None]
        if order == "probability" and outcome.structures:
            claimed, groups = (
                outcome.structures[0].probability or 0.0,
                [s.space_group for s in outcome.structures],
            )
    matches = {
        variant: {t.name: tuple(first_match(crystals, [truth], t, DEPTH)) for t in (LOOSE, STRICT)}
        for variant, crystals in answers.items()
    }
    energy = target.known.energy_above_hull_ev_per_atom
    true_label = Label.from_key(target.encoded.label_key)
    return Judged(
        target.known.material_id,
        target.known.formula,
        truth.n_atoms,
        None if energy is None else energy < 1e-3,
        true_label.space_group in groups[:1],
        claimed,
        _cause(pool, true_label, matches),
        matches,
    )


def _cause(pool: RelaxedPool, truth: Label, matches: dict[str, dict[str, tuple[float | None, ...]]]) -> str:
    """The first stage at which the right answer was lost."""
    ranked = matches["probability"][LOOSE.name]
    if ranked and ranked[0] is not None:
        return "found"
    if any(rms is not None for rms in ranked):
        return "ranked low"
    if any(rms is not None for rms in matches["unrelaxed"][LOOSE.name]):
        return "relaxed away"
    if any(canonical_label(r.candidate.label) == canonical_label(truth) for r in pool.candidates):
        return "label right, coordinates wrong"
    return "label not in the pool"


def summarise(judged: Sequence[Judged]) -> dict[str, Any]:
    """Match rates with 95 % Wilson intervals by variant, tolerance and rank, and the causes of failure.

    Raises ValueError without crystals.
    """
    figures: dict[str, Any] = {"crystals": len(judged)}
    for variant in VARIANTS:
        for tolerance in (LOOSE, STRICT):
            figures[f"{variant}_{tolerance.name}"] = _rates(judged, variant, tolerance)
    on_hull = [j for j in judged if j.on_hull]
    if on_hull:
        figures["on_hull_crystals"] = len(on_hull)
        figures["on_hull_probability_loose"] = _rates(on_hull, "probability", LOOSE)
    first = [
        bool(j.matches["probability"][LOOSE.name][:1] and j.matches["probability"][LOOSE.name][0] is not None)
        for j in judged
    ]
    figures["space_group_found_first"] = round(float(np.mean([j.space_group_found for j in judged])), 4)
    figures["expected_calibration_error"] = round(
        expected_calibration_error([j.claimed for j in judged], first), 4
    )
    figures["causes"] = dict(sorted(Counter(j.cause for j in judged).items()))
    return figures


def _rates(judged: Sequence[Judged], variant: str, tolerance: MatchTolerance) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    for k in RANKS:
        rate = match_rate_at(k, [j.matches[variant][tolerance.name] for j in judged])
        rates[f"match_rate_at_{k}"] = round(rate.rate, 4)
        rates[f"match_rate_at_{k}_interval"] = [round(rate.low, 4), round(rate.high, 4)]
        rates[f"rmse_at_{k}"] = None if rate.rmse is None else round(rate.rmse, 4)
    return rates
