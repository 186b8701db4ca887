"""Figures of a benchmark: match rates with intervals, distances, costs and causes of failure, by variant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median
from typing import Any

from mapcsp.benchmark.judge import CAUSES, AnswerMatches, Judged
from mapcsp.benchmark.records import KnownTarget, PredictionCost, RescoreCost
from mapcsp.metrics.calibration import brier_score, calibration_noise_floor, expected_calibration_error
from mapcsp.metrics.match import match_rate_at, wilson_interval
from mapcsp.metrics.structures import StructureDistances

RANKS = (1, 5, 10, 20)
TOLERANCES = ("loose", "strict")
EIGHT = (
    "energy_ev",
    "superpose_ang",
    "sinkhorn_ang",
    "fingerprint",
    "ofm",
    "wyckoff_mse",
    "wyckoff_rmse",
    "distance_overlap",
)
"""The metrics of AlphaCrystal-II, names of `StructureDistances`."""


@dataclass(frozen=True)
class Outcome:
    """Everything about one known crystal and one variant; rescore is None where no second potential was asked."""

    target: KnownTarget
    judged: Judged
    cost: PredictionCost
    rescore: RescoreCost | None
    relaxed: bool

    @property
    def core_s(self) -> float:
        """Seconds of one core, all that the variant needs."""
        relax = self.cost.relax_core_s if self.relaxed else 0.0
        return self.cost.search_core_s + relax + (self.rescore.core_s if self.rescore else 0.0)


def counted_matches(outcome: Outcome, counting: str, tolerance: str) -> tuple[float | None, ...]:
    """Which answers count as right, by their RMS displacement.

    counting: `target`, `polymorph` (any crystal of the formula in the table), or `published_filter` (the target, if both it
    and the answer pass the filter of published MP-20 figures). tolerance: `loose` or `strict`.
    """
    judged = outcome.judged
    matches: AnswerMatches = judged.polymorph if counting == "polymorph" else judged.target
    row: tuple[float | None, ...] = getattr(matches, tolerance)
    if counting == "published_filter":
        return tuple(rms if ok and judged.target_valid else None for rms, ok in zip(row, judged.valid))
    return row


COUNTINGS: dict[str, tuple[str, Callable[[Outcome], bool]]] = {
    "target": ("target", lambda o: True),
    "any_polymorph": ("polymorph", lambda o: True),
    "on_hull": ("target", lambda o: bool(o.target.on_hull)),
    "published_filter": ("published_filter", lambda o: True),
    "untrained_formulas": ("target", lambda o: not o.target.trained),
}
"""How matches are counted: against what, and on which crystals."""


def summarise_variant(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures of one variant over some crystals; raises ValueError without crystals."""
    if not outcomes:
        raise ValueError("a summary needs at least one crystal")
    figures: dict[str, Any] = {"crystals": len(outcomes)}
    for name, (counting, belongs) in COUNTINGS.items():
        chosen = [o for o in outcomes if belongs(o)]
        if name in ("on_hull", "untrained_formulas") and len(chosen) in (0, len(outcomes)):
            continue
        figures[name] = {"crystals": len(chosen)} | {
            tolerance: match_rates([counted_matches(o, counting, tolerance) for o in chosen])
            for tolerance in TOLERANCES
        }
    found = sum(o.judged.space_group_found for o in outcomes)
    low, high = wilson_interval(found, len(outcomes))
    figures["space_group_found"] = round(found / len(outcomes), 4)
    figures["space_group_found_interval"] = [round(low, 4), round(high, 4)]
    figures["causes"] = {
        cause: n for cause in CAUSES if (n := Counter(o.judged.cause for o in outcomes)[cause])
    }
    figures["distances_of_first"] = summarise_distances([o.judged.distances for o in outcomes])
    claimed = [o.judged.probability for o in outcomes if o.judged.probability is not None]
    if len(claimed) == len(outcomes):
        right = [o.judged.cause == "found" for o in outcomes]
        figures["expected_calibration_error"] = round(expected_calibration_error(claimed, right), 4)
        by_chance, by_chance_95 = calibration_noise_floor(claimed)
        figures["calibration_error_by_chance"] = round(by_chance, 4)
        figures["calibration_error_by_chance_95"] = round(by_chance_95, 4)
        figures["mean_claim"] = round(fmean(claimed), 4)
        figures["brier_score"] = round(brier_score(claimed, right), 4)
    figures["answers_per_formula"] = round(fmean(len(o.judged.valid) for o in outcomes), 2)
    return figures


def match_rates(matches: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Match rates (fractions), their 95 % Wilson intervals and RMSE at each rank of RANKS."""
    rates: dict[str, Any] = {}
    for k in RANKS:
        rate = match_rate_at(k, matches)
        rates[f"match_rate_at_{k}"] = round(rate.rate, 4)
        rates[f"match_rate_at_{k}_interval"] = [round(rate.low, 4), round(rate.high, 4)]
        rates[f"rmse_at_{k}"] = None if rate.rmse is None else round(rate.rmse, 4)
    return rates


def summarise_distances(rows: Sequence[StructureDistances | None]) -> dict[str, Any]:
    """Median and mean of each distance over the first answers that have it, and how many those are."""
    found: dict[str, Any] = {}
    for field in fields(StructureDistances):
        values = [v for row in rows if row is not None and isinstance(v := getattr(row, field.name), float)]
        if values:
            found[field.name] = {
                "median": round(median(values), 5),
                "mean": round(fmean(values), 5),
                "crystals": len(values),
            }
    return found


def summarise_costs(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means a formula: seconds of one core, by stage, and evaluations; what a variant does without costs it nothing."""
    relaxed = [o.cost for o in outcomes if o.relaxed]
    rescored = [o.rescore for o in outcomes if o.rescore]

    def mean(values: Iterable[float], digits: int) -> float:
        return round(sum(values) / len(outcomes), digits)

    return {
        "core_s_per_formula": mean((o.core_s for o in outcomes), 2),
        "search_core_s_per_formula": mean((o.cost.search_core_s for o in outcomes), 2),
        "relax_core_s_per_formula": mean((c.relax_core_s for c in relaxed), 2),
        "rescore_core_s_per_formula": mean((r.core_s for r in rescored), 2),
        "fitness_evaluations_per_formula": mean((o.cost.fitness_evaluations for o in outcomes), 0),
        "energy_evaluations_per_formula": mean((c.energy_evaluations for c in relaxed), 0),
        "second_energies_per_formula": mean((r.energies for r in rescored), 2),
    }
