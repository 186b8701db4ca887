"""The variants that a benchmark compares: where their candidates come from, and in which order they are answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mapcsp.settings import Settings

Order = Literal["probability", "one_potential", "energy", "rescored_energy", "pool"]


@dataclass(frozen=True)
class Variant:
    """One row of the benchmark.

    source: whose candidates. relaxed: whether its answers are relaxed crystals. order: by calibrated probability, by the
    same without second energies, by the energy of the potential that relaxes or of the second one, or as they were pooled.
    """

    name: str
    source: str
    relaxed: bool
    order: Order
    meaning: str

    @property
    def rescored(self) -> bool:
        """Whether its order needs second energies, where there is a second potential."""
        return self.order in ("probability", "rescored_energy")


VARIANTS = {
    v.name: v
    for v in (
        Variant("full", "full", True, "probability", "everything, by probability"),
        Variant(
            "one_potential", "full", True, "one_potential", "the same pool, without the second potential"
        ),
        Variant(
            "second_energy", "full", True, "rescored_energy", "the same pool, by the second energy alone"
        ),
        Variant(
            "energy", "full", True, "energy", "the same pool, by M3GNet's energy alone (as in the papers)"
        ),
        Variant("unrelaxed", "full", False, "pool", "the same pool before relaxation, by label"),
        Variant("cmcrystal", "cmcrystal", True, "probability", "search on contact maps alone (AlphaCrystal)"),
        Variant("dmcrystal", "dmcrystal", True, "probability", "search on distances alone (AlphaCrystal-II)"),
        Variant(
            "prototype", "prototype", True, "probability", "coordinates of the labels' prototypes, no search"
        ),
        Variant("random", "random", True, "energy", "random symmetric crystals, as many relaxed, by energy"),
        Variant(
            "template", "template", False, "pool", "labels filled from the nearest known crystal, not relaxed"
        ),
    )
}
"""By name, in the order of the tables."""


def left_out(settings: Settings) -> dict[str, str]:
    """Variants that were asked for and cannot run with these settings, with the reason."""
    reasons: dict[str, str] = {}
    if not settings.benchmark.templates:
        reasons["template"] = "benchmark.templates names no structure table to take known crystals from"
    if settings.rescore.second_potential() is None:
        for name in ("one_potential", "second_energy"):
            reasons[name] = "this run has no second potential (rescore.potential)"
    return {name: reason for name, reason in reasons.items() if name in settings.benchmark.variants}


def runnable(settings: Settings) -> list[str]:
    """Variants that were asked for and can run, in the order of the tables."""
    skipped = left_out(settings)
    return [name for name in VARIANTS if name in settings.benchmark.variants and name not in skipped]


def sources_of(variants: Sequence[str]) -> list[str]:
    """Sources whose candidates some variants need, each once; random crystals are as many as the full pool's."""
    sources = list(dict.fromkeys(VARIANTS[name].source for name in variants))
    return ["full", *sources] if "random" in sources and "full" not in sources else sources
