"""Relaxes crystals in one pass: networks, then the distance-geometry solver, in batches on a CPU or CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mapcsp.crystals import reduce_lattice, wrap
from mapcsp.deeprelax.ensemble import EnsemblePrediction, predict_ensemble
from mapcsp.deeprelax.graph import crystal_numbers
from mapcsp.deeprelax.model import RelaxModel, input_graphs
from mapcsp.deeprelax.network import GraphTensors
from mapcsp.deeprelax.solver import SolverSettings, solve_positions
from mapcsp.records import Crystal
from mapcsp.symmetry.operations import find_symmetry

SYMMETRY_TOLERANCE_ANG = 0.01


@dataclass(frozen=True, eq=False)
class OnePass:
    """A crystal relaxed in one pass.

    crystal: same axes, atoms in the same order. frac_unwrapped: (n, 3), its coordinates next to those of the unrelaxed one.
    uncertainty_ang: square root of the global uncertainty (equation 24); aleatoric_ang2, epistemic_ang2: its two parts.
    """

    crystal: Crystal
    frac_unwrapped: np.ndarray
    uncertainty_ang: float
    aleatoric_ang2: float
    epistemic_ang2: float


def relax_in_one_pass(
    crystals: Sequence[Crystal],
    model: RelaxModel,
    solver: SolverSettings | None = None,
    batch_atoms: int = 2048,
) -> list[OnePass]:
    """Relax crystals, many in one batch, on the device of the model's weights.

    A crystal keeps its symmetry: what deviates from it is averaged out, since cell offsets, which the network reads, and
    pairs of atoms within one cell do not have it.
    Raises UnsupportedElementError for elements beyond Pu.
    """
    done: list[OnePass] = []
    solver = solver or SolverSettings()
    for part in _batches(crystals, batch_atoms):
        done += _relax_batch(part, model, solver)
    return done


def _batches(crystals: Sequence[Crystal], batch_atoms: int) -> list[list[Crystal]]:
    parts: list[list[Crystal]] = []
    atoms = 0
    for crystal in crystals:
        if not parts or atoms + crystal.n_atoms > batch_atoms:
            parts.append([])
            atoms = 0
        parts[-1].append(crystal)
        atoms += crystal.n_atoms
    return parts


def _relax_batch(crystals: Sequence[Crystal], model: RelaxModel, solver: SolverSettings) -> list[OnePass]:
    reduced = [_reduced(np.asarray(c.lattice_ang, dtype=float)) for c in crystals]
    numbers = [crystal_numbers(c) for c in crystals]
    back = np.linalg.inv(np.array([m for _, m in reduced], dtype=float))
    frac = [c.frac_coords @ inverse for c, inverse in zip(crystals, back)]
    lattice = np.array([found for found, _ in reduced])
    graph = GraphTensors.of(
        input_graphs(
            numbers, lattice, [np.mod(f, 1.0) for f in frac], model.element_volume_ang3, model.graph
        ),
        next(model.members[0].parameters()).device,
    )
    predicted = predict_ensemble(model.members, graph)
    after = relaxed_coordinates(graph, predicted, solver, model.members[0].config.direct).cpu().numpy()
    lattices = predicted.lattice_ang.double().cpu().numpy()
    aleatoric, epistemic = predicted.aleatoric_ang2.cpu().numpy(), predicted.epistemic_ang2.cpu().numpy()
    ends = np.cumsum([c.n_atoms for c in crystals])
    done = []
    for k, crystal in enumerate(crystals):
        transform = reduced[k][1]
        symmetry = find_symmetry(lattice[k], np.mod(frac[k], 1.0), numbers[k], SYMMETRY_TOLERANCE_ANG)
        cell, own = lattices[k], after[ends[k] - crystal.n_atoms : ends[k]]
        if symmetry is not None and len(symmetry.rotations) > 1:
            cell, own = symmetry.average_crystal(cell, own)
        unwrapped = (own + np.floor(frac[k])) @ transform
        relaxed = Crystal(back[k] @ cell, crystal.species, wrap(unwrapped))
        total = float(aleatoric[k] + epistemic[k])
        done.append(OnePass(relaxed, unwrapped, total**0.5, float(aleatoric[k]), float(epistemic[k])))
    return done


def _reduced(lattice_ang: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `reduce_lattice`, at once for a lattice that is reduced already: no vector gets shorter by adding others."""
    squares = ((_COMBINATIONS @ lattice_ang) ** 2).sum(1).reshape(3, -1)
    if (squares >= (lattice_ang**2).sum(1)[:, None] - 1e-9).all():
        return lattice_ang, np.eye(3, dtype=int)
    return reduce_lattice(lattice_ang)


# Each vector with the others added or subtracted.
_COMBINATIONS = np.array(
    [np.roll([1, p, q], i) for i in range(3) for p in (-1, 0, 1) for q in (-1, 0, 1)], dtype=float
)


def relaxed_coordinates(
    graph: GraphTensors, predicted: EnsemblePrediction, solver: SolverSettings, direct: bool
) -> torch.Tensor:
    """Fractional coordinates (n, 3) in the predicted cells: by the solver, or by the displacement vectors alone."""
    inverse = torch.linalg.inv(predicted.lattice_ang)[graph.crystal]
    moved = (graph.frac + (predicted.step_ang[:, None] @ inverse)[:, 0]).double()
    if direct:
        return moved
    return solve_positions(graph, predicted.lattice_ang, predicted.distances, moved, solver)
