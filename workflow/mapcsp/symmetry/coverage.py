"""The space groups to run: the smallest set that is likely to hold the right one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapcsp.records import LabelPrediction
from mapcsp.settings import SymmetrySettings


def space_groups_to_run(
    labels: Sequence[LabelPrediction], settings: SymmetrySettings
) -> tuple[tuple[int, float], ...]:
    """Space groups of ranked labels with their probability, likeliest first, until `coverage` or `max_space_groups`."""
    mass: dict[int, float] = {}
    for p in labels:
        mass[p.label.space_group] = mass.get(p.label.space_group, 0.0) + float(np.exp(p.log_prob))
    ranked = sorted(mass.items(), key=lambda m: (-m[1], m[0]))
    chosen, reached = [], 0.0
    for number, probability in ranked[: settings.max_space_groups]:
        chosen.append((number, probability))
        reached += probability
        if reached >= settings.coverage:
            break
    return tuple(chosen)
