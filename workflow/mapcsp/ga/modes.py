"""The papers' searches as modes of the same genetic algorithm."""

from __future__ import annotations

from typing import Literal

from mapcsp.settings import ReconstructSettings


def paper_settings(mode: Literal["cmcrystal", "dmcrystal"]) -> ReconstructSettings:
    """Settings of CMCrystal (contact Dice x bond validity) or DMCrystal (distance-matrix error), as published.

    The figures are `settings.PAPER_SEARCH`. Departures: Wyckoff positions come from the task's labels, where the originals
    draw templates at random; tied coordinates stay tied; variation is differential and blend crossover beside mutation; and
    a search ends early where two runs ended at the same optimum.
    """
    return ReconstructSettings(mode=mode)
