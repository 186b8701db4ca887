"""Cells of compositions with z and space group given, by random forests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mapcsp.cryspnet.conventional import PARAMETERS, possible_cell
from mapcsp.cryspnet.features import FEATURE_NAMES, cell_features, composition_features
from mapcsp.mlatticeabc.forests import Forest, load_forests
from mapcsp.registry import registered_model
from mapcsp.symmetry.cells import crystal_system, free_cell_indices, impose_crystal_system
from mapcsp.symmetry.wyckoff import space_group

# MLatticeABC leaves out the statistics of the elements' own space groups.
_USED = np.array([i for i, name in enumerate(FEATURE_NAMES) if not name.endswith("SpaceGroupNumber")])

# Lengths that equal a, by crystal system.
_EQUAL_TO_A = {"cubic": (1, 2), "tetragonal": (1,), "trigonal": (1,), "hexagonal": (1,)}


def predictors_of(amounts: Mapping[str, int], z: int, number: int) -> np.ndarray:
    """The 228 predictors of one cell (float32): 223 of the composition, 5 of the conventional cell's content.

    amounts: atoms of each element in one formula unit. z: formula units in the primitive cell. number: space group.
    """
    content = cell_features(amounts, z * len(space_group(number).centring))
    return np.concatenate([composition_features(amounts)[_USED], content]).astype(np.float32)


def forest_name(number: int, parameter: str) -> str:
    """Name of the forest for a cell parameter in the crystal system of a space group, such as `cubic/a`."""
    return f"{crystal_system(number)}/{parameter}"


def free_names(number: int) -> tuple[str, ...]:
    """Cell parameters that a space group leaves free, in the standard setting."""
    return tuple(PARAMETERS[i] for i in free_cell_indices(number))


def predict_cells(
    forests: Mapping[str, Forest], predictors: np.ndarray, numbers: Sequence[int]
) -> np.ndarray:
    """Conventional cells (n, 6), Å and degrees, in the standard setting, of predictors (n, 228) and space groups (n,)."""
    cells = np.tile([1.0, 1.0, 1.0, 90.0, 90.0, 90.0], (len(numbers), 1))
    systems = np.array([crystal_system(n) for n in numbers])
    for system in sorted(set(systems.tolist())):
        rows = np.flatnonzero(systems == system)
        number = int(numbers[rows[0]])
        for index, parameter in zip(free_cell_indices(number), free_names(number)):
            cells[rows, index] = forests[forest_name(number, parameter)](predictors[rows])
        for index in _EQUAL_TO_A.get(system, ()):
            cells[rows, index] = cells[rows, 0]
        cells[rows] = impose_crystal_system(cells[rows], number)
    # Forests give the angles of a triclinic cell one by one, so that nothing keeps them possible.
    return np.array([possible_cell(cell) if n <= 2 else cell for cell, n in zip(cells, numbers)])


def predict_mlatticeabc(
    compositions: Sequence[Mapping[str, int]],
    z: Sequence[int],
    numbers: Sequence[int],
    folder: Path | None = None,
) -> np.ndarray:
    """Conventional cells (n, 6), Å and degrees, of compositions in given space groups.

    compositions: atoms of each element in one formula unit. z: formula units in the primitive cell. folder: of the model.
    Raises UnsupportedElementError beyond H to Pu.
    """
    forests = load_forests(folder or registered_model("mlatticeabc", "mlatticeabc").folder)
    predictors = np.array([predictors_of(c, k, n) for c, k, n in zip(compositions, z, numbers)])
    return predict_cells(forests, predictors, numbers)
