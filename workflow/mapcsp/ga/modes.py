"""The papers' searches as presets of the same genetic algorithm."""

from __future__ import annotations

from typing import Literal

from mapcsp.settings import ReconstructSettings

# AlphaCrystal, section "3D crystal structure reconstruction algorithm": 100,000 evaluations as 1000 generations of 100,
# mutation rate 0.001, no known geometry. AlphaCrystal-II gives no figures of its own for DMCrystal. Neither gives a
# crossover rate, nor ends a search early.
PAPER_SEARCH = {
    "population": 100,
    "max_evaluations": 100_000,
    "mutation_rate": 0.001,
    "seed_fraction": 0.0,
    "patience": 1000,
}


def paper_settings(mode: Literal["cmcrystal", "dmcrystal"]) -> ReconstructSettings:
    """Settings of CMCrystal (contact Dice x bond validity) or DMCrystal (distance-matrix error), as published.

    Departures: Wyckoff positions come from the task's labels, where the originals draw templates at random; tied
    coordinates stay tied; variation is differential and blend crossover beside mutation; and a search ends early
    where two runs ended at the same optimum.
    """
    return ReconstructSettings.model_validate({"mode": mode, **PAPER_SEARCH})
