"""Grows and judges MLatticeABC's random forests; needs scikit-learn (`pip install 'mapcsp[training]'`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapcsp.cryspnet.conventional import bravais_cell, standard_cell
from mapcsp.metrics.lattice import mean_relative_error, r2
from mapcsp.mlatticeabc.forests import LEAF, Forest
from mapcsp.mlatticeabc.predict import forest_name, free_names, predictors_of
from mapcsp.provenance import derive_seed
from mapcsp.symmetry.cells import cell_volume_ang3, crystal_system, free_cell_indices
from mapcsp.training.cryspnet.data import amounts_of
from mapcsp.training.encoded import EncodedKnown


@dataclass(frozen=True)
class ForestTraining:
    """Settings of the forests: its code's, but for fewer trees and leaves of at least least_leaf crystals (size)."""

    trees: int = 50
    max_features: int = 70
    max_depth: int = 32
    min_split: int = 8
    least_leaf: int = 3
    seed: int = 1


def set_cell(number: int, cell: np.ndarray) -> np.ndarray:
    """A conventional cell (6,) in the one setting that figures compare (`cryspnet.conventional`; hR in hexagonal axes)."""
    return standard_cell(number, bravais_cell(number, cell).cell)


def predictors_of_rows(rows: Sequence[EncodedKnown]) -> np.ndarray:
    """Predictors (n, 228) of known crystals."""
    return np.array([predictors_of(amounts_of(r), r.z, r.anonymous.space_group) for r in rows])


def train_forests(
    rows: Sequence[EncodedKnown], settings: ForestTraining, note: Callable[[str], None] = print
) -> dict[str, Forest]:
    """Grow a forest for each free cell parameter of each crystal system."""
    from sklearn.ensemble import RandomForestRegressor

    by_system: dict[str, list[EncodedKnown]] = defaultdict(list)
    for row in rows:
        by_system[crystal_system(row.anonymous.space_group)].append(row)
    forests = {}
    for system, members in sorted(by_system.items()):
        inputs = predictors_of_rows(members)
        cells = np.array([set_cell(r.anonymous.space_group, r.cell) for r in members])
        number = members[0].anonymous.space_group
        for index, parameter in zip(free_cell_indices(number), free_names(number)):
            name = forest_name(number, parameter)
            grown = RandomForestRegressor(
                settings.trees,
                max_features=settings.max_features,
                max_depth=settings.max_depth,
                min_samples_split=settings.min_split,
                min_samples_leaf=settings.least_leaf,
                random_state=derive_seed(settings.seed, name),
            ).fit(inputs, cells[:, index])
            forests[name] = joined([tree.tree_ for tree in grown.estimators_])
        note(f"{system}: {len(members)} crystals")
    return forests


def joined(trees: Sequence[Any]) -> Forest:
    """Write scikit-learn's trees, whose nodes are in depth-first order, as one forest."""
    features, numbers, rights, starts = [], [], [], [0]
    for tree in trees:
        leaf = tree.children_left < 0
        nodes = np.arange(len(leaf))
        if not (leaf | (tree.children_left == nodes + 1)).all():
            raise ValueError(
                "a left child does not follow its parent; scikit-learn changed the order of nodes"
            )
        features.append(np.where(leaf, LEAF, tree.feature).astype(np.uint8))
        numbers.append(np.where(leaf, tree.value[:, 0, 0], _rounded_down(tree.threshold)).astype(np.float32))
        rights.append(np.where(leaf, 0, tree.children_right - nodes).astype(np.uint16))
        starts.append(starts[-1] + len(leaf))
    return Forest(
        np.concatenate(features),
        np.concatenate(numbers),
        np.concatenate(rights),
        np.array(starts[:-1], np.uint32),
    )


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """Thresholds in single precision, never above: predictors are single, so that none changes sides."""
    single = thresholds.astype(np.float32)
    return np.where(single > thresholds, np.nextafter(single, np.float32(-np.inf)), single)


def cell_figures(rows: Sequence[EncodedKnown], cells: np.ndarray) -> dict[str, Any]:
    """R² of each free cell parameter by crystal system, and mean relative errors, of predicted cells (n, 6), `set_cell`."""
    numbers = [r.anonymous.space_group for r in rows]
    truth = np.array([set_cell(n, r.cell) for n, r in zip(numbers, rows)])
    systems = np.array([crystal_system(n) for n in numbers])
    figures: dict[str, Any] = {
        "volume_mre": mean_relative_error(cell_volume_ang3(cells), cell_volume_ang3(truth)),
        "length_mre": float(
            np.mean(
                [
                    np.mean(np.abs(p[free] / t[free] - 1))
                    for p, t, n in zip(cells, truth, numbers)
                    if (free := [i for i in free_cell_indices(n) if i < 3])
                ]
            )
        ),
    }
    for system in sorted(set(systems.tolist())):
        mine = np.flatnonzero(systems == system)
        figures[f"{system}_crystals"] = len(mine)
        number = numbers[mine[0]]
        for index, parameter in zip(free_cell_indices(number), free_names(number)):
            value = r2(cells[mine, index], truth[mine, index])
            if value is not None:
                figures[f"{system}_{parameter}_r2"] = value
    return figures
