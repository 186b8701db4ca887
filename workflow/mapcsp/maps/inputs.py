"""What the default map network sees of one label: its atoms, a likely cell, and the geometries it may have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from mapcsp.elements import atomic_number
from mapcsp.maps.distances import batch_distances
from mapcsp.symmetry.cells import cell_volume_ang3, scale_to_volume
from mapcsp.symmetry.geometry import LabelGeometry
from mapcsp.symmetry.wyckoff import space_group

N_RANDOM = 6
"""Random geometries of a label, whose mean and spread of distances say what symmetry alone fixes."""
GLOBAL_NAMES = (
    "ln_volume_per_atom",
    "ln_atoms",
    "log_volume_spread",
    "shape_spread",
    "has_seed",
    "shortest_lattice_vector",
)


@dataclass(frozen=True, eq=False)
class LabelInput:
    """Input of the default map network for one label.

    numbers: (n,), atomic numbers, atoms of LabelGeometry. orbit_size, orbit_free: (n,), atoms of the atom's orbit and
    free coordinates of it. same_orbit: (n, n), bool. space_group: 1-230.
    distances_ang: (4, n, n), Å: the seed in its own cell, the seed in the predicted cell, mean and standard deviation
    over random geometries in the predicted cell. Without a seed the first two equal the mean.
    globals: (6,), GLOBAL_NAMES; volumes in Å³, vector in Å.
    """

    numbers: np.ndarray
    orbit_size: np.ndarray
    orbit_free: np.ndarray
    same_orbit: np.ndarray
    space_group: int
    distances_ang: np.ndarray
    globals: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Atoms of the map."""
        return len(self.numbers)


@cache
def _random_coords(n_free: int) -> np.ndarray:
    """Free coordinates of the random geometries: (N_RANDOM, f), the same ones always."""
    return np.random.default_rng(n_free).random((N_RANDOM, n_free))


def build_input(
    geometry: LabelGeometry,
    cell: np.ndarray,
    log_volume_spread: float,
    shape_spread: float,
    seed_cell: np.ndarray | None = None,
    seed_free: np.ndarray | None = None,
) -> LabelInput:
    """Gather what is known of a label's geometry.

    cell: (6,), predicted or given, Å and degrees; spreads as in LabelPrediction, 0 where the cell is given.
    seed_cell, seed_free: (6,) and (f,), a known geometry of the label, or None; it is brought to the cell's volume.
    Raises ValueError for a cell that encloses no volume.
    """
    volume = float(cell_volume_ang3(cell))
    if not np.isfinite(volume) or volume <= 0:
        raise ValueError(f"{geometry.label.key}: cell {np.round(cell, 3).tolist()} encloses no volume")
    n_random = N_RANDOM if geometry.n_free else 1
    free = _random_coords(geometry.n_free)[:n_random]
    cells = np.repeat(np.asarray(cell, dtype=float)[None], n_random, axis=0)
    if seed_cell is not None and seed_free is not None:
        free = np.concatenate([seed_free[None], seed_free[None], free])
        cells = np.concatenate([scale_to_volume(seed_cell, volume)[None], cells[:1], cells])
    distances, shortest = batch_distances(*geometry.decode_batch(cells, free))
    random = distances[-n_random:]
    mean = random.mean(0)
    has_seed = len(distances) > n_random
    seeds = distances[:2] if has_seed else np.stack([mean, mean])
    sizes = np.diff(geometry.orbit_starts)
    letters = space_group(geometry.label.space_group).by_letter
    n_free = np.array([letters[w].n_free for _, w in geometry.label.orbits])
    n = geometry.n_atoms
    # The primitive cell's volume; the conventional one is larger by the determinant of the transform.
    primitive = volume * abs(np.linalg.det(geometry.primitive_transform))
    scalars = (
        np.log(primitive / n),
        np.log(n),
        log_volume_spread,
        shape_spread,
        float(has_seed),
        shortest[-1],
    )
    return LabelInput(
        np.array([atomic_number(s) for s in geometry.species]),
        sizes[geometry.orbit_of_atom],
        n_free[geometry.orbit_of_atom],
        geometry.orbit_of_atom[:, None] == geometry.orbit_of_atom[None],
        geometry.label.space_group,
        np.concatenate([seeds, mean[None], random.std(0)[None]]),
        np.array(scalars),
    )


@dataclass(frozen=True, eq=False)
class InputBatch:
    """LabelInputs of equal size, stacked: (b, …) each; numbers and space_group int64, the rest float32."""

    numbers: torch.Tensor
    orbit: torch.Tensor
    same_orbit: torch.Tensor
    space_group: torch.Tensor
    distances_ang: torch.Tensor
    globals: torch.Tensor

    def to(self, device: torch.device) -> InputBatch:
        """The same batch on another device."""
        return InputBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def stack_inputs(inputs: list[LabelInput]) -> InputBatch:
    """Stack inputs with the same number of atoms; raises ValueError if they differ."""
    if len({i.n_atoms for i in inputs}) != 1:
        raise ValueError(f"inputs of {sorted({i.n_atoms for i in inputs})} atoms cannot share a batch")

    def floats(arrays: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float32))

    return InputBatch(
        torch.from_numpy(np.stack([i.numbers for i in inputs]).astype(np.int64)),
        floats([np.stack([i.orbit_size / i.n_atoms, i.orbit_free / 3], -1) for i in inputs]),
        floats([i.same_orbit for i in inputs]),
        torch.tensor([i.space_group for i in inputs]),
        floats([i.distances_ang for i in inputs]),
        floats([i.globals for i in inputs]),
    )
