"""Draws training samples of the default map network: a likely geometry with a likely cell, and the true map beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mapcsp.maps.distances import batch_distances
from mapcsp.maps.inputs import InputBatch, LabelInput, build_input, stack_inputs
from mapcsp.symmetry.cells import (
    cell_volume_ang3,
    free_cell_indices,
    impose_crystal_system,
    lattice_from_cell,
    scale_to_volume,
)
from mapcsp.symmetry.geometry import LabelGeometry
from mapcsp.training.maps.pairs import MapTarget


@dataclass(frozen=True)
class SampleConfig:
    """How doubtful the drawn inputs are.

    p_no_seed: share without a seed. p_near: share of seeds among the nearest in chemistry. p_given: share
    with the true cell. p_seed_shape: share of the others that take the seed's shape. p_unknown_shape: share
    of the others without a seed that take the plainest cell of their crystal system, as an enumerated label
    has it. volume_spread, shape_spread: ranges, of ln V and of ln length ratios or radians; the error of a
    sample has the drawn spread, and the network is told it.
    """

    p_no_seed: float = 0.12
    p_unknown_shape: float = 0.4
    p_near: float = 0.75
    p_given: float = 0.25
    p_seed_shape: float = 0.5
    volume_spread: tuple[float, float] = (0.01, 0.12)
    shape_spread: tuple[float, float] = (0.005, 0.1)


UNKNOWN_SHAPE_SPREAD = 0.35
"""Spread that the symmetry stage gives to shapes of which nothing is known."""
_PLAIN_CELL = np.array([1.0, 1.0, 1.0, 90.0, 90.0, 90.0])


@dataclass(frozen=True, eq=False)
class PreparedTarget:
    """A target with what does not change from draw to draw: its geometry and its map (n, n), Å."""

    target: MapTarget
    geometry: LabelGeometry
    distance_ang: np.ndarray


def prepare(target: MapTarget) -> PreparedTarget:
    """Work out a target's geometry and true map."""
    geometry = target.geometry()
    own, _ = batch_distances(*geometry.decode_batch(target.cell[None], target.free_coords[None]))
    return PreparedTarget(target, geometry, own[0])


def deal_maps(prepared: Sequence[PreparedTarget], seed: int) -> list[PreparedTarget]:
    """Deal maps out anew among crystals with the same atom counts (y-scrambling), atoms of one element staying together.

    Deterministic in `seed`. Labels, cells and seeds stay where they are.
    """
    rows = [_rows_by_count(p.geometry.species) for p in prepared]
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, (counts, _) in enumerate(rows):
        alike[counts].append(index)
    rng = np.random.default_rng(seed)
    dealt = [*prepared]
    for members in alike.values():
        for index, other in zip(members, rng.permutation(members)):
            own, theirs = rows[index][1], rows[other][1]
            moved = np.empty_like(prepared[other].distance_ang)
            moved[np.ix_(own, own)] = prepared[other].distance_ang[np.ix_(theirs, theirs)]
            dealt[index] = replace(prepared[index], distance_ang=moved)
    return dealt


def _rows_by_count(species: Sequence[str]) -> tuple[tuple[int, ...], np.ndarray]:
    """Atom counts of the elements, ascending, and the rows (n,) in that order of elements."""
    counts = {s: list(species).count(s) for s in species}
    elements = sorted(counts, key=lambda e: (counts[e], e))
    order = np.argsort([elements.index(s) for s in species], kind="stable")
    return tuple(counts[e] for e in elements), order


def perturb_cell(
    cell: np.ndarray, number: int, shape_spread: float, log_volume_error: float, rng: np.random.Generator
) -> np.ndarray:
    """A cell (6,) with errors of shape (spread of ln lengths, of angles in radians) and volume, exact for its
    space group."""
    noisy = np.array(cell)
    free = free_cell_indices(number)
    lengths, angles = [i for i in free if i < 3], [i for i in free if i >= 3]
    noisy[lengths] *= np.exp(rng.normal(0, shape_spread, len(lengths)))
    noisy[angles] += np.degrees(rng.normal(0, shape_spread, len(angles)))
    noisy = impose_crystal_system(noisy, number)
    if not np.isfinite(lattice_from_cell(noisy)).all():
        noisy = np.array(cell)
    return scale_to_volume(noisy, float(cell_volume_ang3(cell)) * np.exp(log_volume_error))


def shape_difference(cell: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of two cells' shapes: ln length ratios and angles in radians."""
    lengths = np.log(cell[:3] / other[:3])
    return float(
        np.sqrt(np.mean(np.concatenate([lengths - lengths.mean(), np.radians(cell[3:] - other[3:])]) ** 2))
    )


def draw_sample(
    prepared: PreparedTarget, config: SampleConfig, rng: np.random.Generator
) -> tuple[LabelInput, np.ndarray]:
    """Draw one input and its true map, atoms in the order that fits the input."""
    target, geometry = prepared.target, prepared.geometry
    number = geometry.label.space_group
    seed, truth = None, prepared.distance_ang
    if target.seeds and rng.random() >= config.p_no_seed:
        near, rest = range(target.n_near), range(target.n_near, len(target.seeds))
        options = near if near and (not rest or rng.random() < config.p_near) else rest
        seed = target.seeds[int(rng.choice(np.array(options)))]
        truth = truth[seed.order][:, seed.order]
    volume_spread = shape_spread = 0.0
    cell = target.cell
    if rng.random() >= config.p_given:
        volume_spread = rng.uniform(*config.volume_spread)
        error = rng.normal(0, volume_spread)
        if seed is not None and rng.random() < config.p_seed_shape:
            cell = scale_to_volume(seed.cell, float(cell_volume_ang3(cell)) * np.exp(error))
            shape_spread = shape_difference(cell, target.cell) * np.exp(rng.normal(0, 0.5))
        elif seed is None and rng.random() < config.p_unknown_shape:
            plain = impose_crystal_system(_PLAIN_CELL, number)
            cell = scale_to_volume(plain, float(cell_volume_ang3(cell)) * np.exp(error))
            shape_spread = UNKNOWN_SHAPE_SPREAD
        else:
            shape_spread = rng.uniform(*config.shape_spread)
            cell = perturb_cell(cell, number, shape_spread, error, rng)
    seeded = (None, None) if seed is None else (seed.cell, seed.free_coords)
    return build_input(geometry, cell, volume_spread, shape_spread, *seeded), truth


@dataclass(frozen=True, eq=False)
class SampleBatch:
    """Inputs of equal size and their true maps (b, n, n), Å."""

    inputs: InputBatch
    distance_ang: torch.Tensor


def stack_samples(samples: Sequence[tuple[LabelInput, np.ndarray]], device: torch.device) -> SampleBatch:
    """Stack samples of equal size on a device."""
    truth = torch.from_numpy(np.stack([t for _, t in samples]).astype(np.float32))
    return SampleBatch(stack_inputs([i for i, _ in samples]).to(device), truth.to(device))


def size_batches(
    sizes: Sequence[int], max_pairs: int, max_crystals: int, rng: np.random.Generator | None
) -> list[np.ndarray]:
    """Deal crystals into batches of equal size, at most max_pairs matrix entries each; shuffled if rng is given."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, n in enumerate(sizes):
        by_size[n].append(index)
    batches: list[np.ndarray] = []
    for n in sorted(by_size):
        members = np.array(by_size[n])
        if rng is not None:
            members = rng.permutation(members)
        step = max(1, min(max_crystals, max_pairs // (n * n)))
        batches += [members[i : i + step] for i in range(0, len(members), step)]
    return [batches[i] for i in rng.permutation(len(batches))] if rng is not None else batches
