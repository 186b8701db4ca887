"""Relaxation by Bayesian optimisation: a crystal's own free parameters, and energies alone.

Source: Zuo et al., "Accelerating materials discovery with Bayesian optimization and graph deep learning", Materials Today
51, 126 (2021), BOWSR, which AlphaCrystal-II names. As there, lattice parameters and Wyckoff coordinates that symmetry
leaves free are varied within bounds, a Gaussian process learns the energy, and expected improvement picks what to try next.
Departures: the free parameters are the strains and displacements that all symmetry operations leave alone, which is the
same space without a standard cell; the bounds are relative to the start, and the optimum is refined once more in narrower
ones, since the process cannot resolve a minimum to meV over wide ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapcsp.errors import UserError
from mapcsp.relax.fire import End, Frame, Limits, Start, frames
from mapcsp.relax.guards import MIN_DISTANCE_SHARE, nearest_contacts
from mapcsp.relax.potential import AtomBatch, BatchEvaluation, Potential, evaluate_tolerantly
from mapcsp.symmetry.operations import CrystalSymmetry, find_symmetry

MAX_STRAIN = 0.12
MAX_DISPLACEMENT_ANG = 0.5
NARROWER = 0.25  # the second round's bounds, as a share of the first's
RANDOM_SHARE = 0.4  # of a round's evaluations, before the process is asked
SYMMETRY_TOLERANCE_ANG = 0.01
# Energies above the start's by more than this are all alike: the process must not spend itself on repulsion.
CEILING_EV_PER_ATOM = 1.0


@dataclass(frozen=True, eq=False)
class FreeParameters:
    """What symmetry leaves free of a crystal.

    strains: (s, 3, 3), symmetric, largest entry 1. displacements: (d, n, 3), Cartesian, longest atom's 1, none of them
    a rigid shift.
    """

    strains: np.ndarray
    displacements: np.ndarray

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.strains) + len(self.displacements)

    def apply(self, start: Start, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lattices (p, 3, 3) and positions (p, n, 3), Å, at parameters (p, f): strains first, then displacements in Å."""
        s = len(self.strains)
        deformation = np.eye(3) + np.einsum("ps,sij->pij", values[:, :s], self.strains)
        moved = start.positions_ang + np.einsum("pd,dni->pni", values[:, s:], self.displacements)
        return start.lattice_ang @ deformation, moved @ deformation


def free_parameters(start: Start, symmetry: CrystalSymmetry | None) -> FreeParameters:
    """Find the strains and displacements that all operations leave alone; all of them without a symmetry."""
    n = len(start.numbers)
    tensors = np.zeros((6, 3, 3))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        tensors[k, i, j] = tensors[k, j, i] = 1.0
    vectors = np.eye(3 * n).reshape(-1, n, 3)
    if symmetry is not None:
        tensors = np.array([symmetry.average_tensor(start.lattice_ang, t) for t in tensors])
        vectors = np.array([symmetry.average_vectors(start.lattice_ang, v) for v in vectors])
    strains = _basis(tensors.reshape(6, 9)).reshape(-1, 3, 3)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    displacements = _basis(vectors.reshape(-1, 3 * n)).reshape(-1, n, 3)
    return FreeParameters(
        strains / np.abs(strains).max(axis=(1, 2), initial=1e-9, keepdims=True),
        displacements / np.linalg.norm(displacements, axis=2).max(axis=1, initial=1e-9)[:, None, None],
    )


def relax_by_energy(
    start: Start,
    potential: Potential,
    limits: Limits,
    evaluations: int,
    seed: int,
) -> tuple[End, tuple[Frame, ...]]:
    """Lower the energy of one crystal within `evaluations` energies; forces only say at the end how near a minimum it is.

    Returns the end and the geometries on the way, each lower than the one before. Raises UserError if
    `bayesian-optimization` is missing.
    """
    symmetry = start.symmetry or find_symmetry(
        start.lattice_ang,
        start.positions_ang @ np.linalg.inv(start.lattice_ang),
        start.numbers,
        SYMMETRY_TOLERANCE_ANG,
    )
    search = _Search(start, potential, free_parameters(start, symmetry))
    search.try_all(np.zeros((1, search.free.n)))
    if search.best_energy_ev is None or search.initial_energy_ev is None:
        return End("dropped", search.fault, 1), ()
    bounds = np.repeat(
        [MAX_STRAIN, MAX_DISPLACEMENT_ANG], [len(search.free.strains), len(search.free.displacements)]
    )
    if search.free.n:
        half = (evaluations - 1) // 2
        _explore(search, bounds, half, seed)
        _explore(search, bounds * NARROWER, evaluations - 1 - half, seed + 1)
    way, result = search.way_down()
    frame = way[-1]
    force = float(np.linalg.norm(result.forces_ev_per_ang, axis=1).max())
    stress = float(np.abs(result.stress_gpa).max())
    converged = force <= limits.fmax_ev_per_ang and stress <= limits.smax_gpa
    end = End(
        "converged" if converged else "unconverged",
        "" if converged else f"not converged after {search.n_tried} energies of the Bayesian search",
        search.n_tried,
        lattice_ang=frame.lattice_ang,
        positions_ang=frame.positions_ang,
        energy_ev=frame.energy_ev,
        initial_energy_ev=search.initial_energy_ev,
        max_force_ev_per_ang=force,
        max_stress_gpa=stress,
    )
    return end, way


class _Search:
    """Energies of one crystal's geometries by their parameters, and the lowest so far."""

    def __init__(self, start: Start, potential: Potential, free: FreeParameters) -> None:
        self.start, self.potential, self.free = start, potential, free
        self.best_energy_ev: float | None = None
        self.way: list[np.ndarray] = []
        self.initial_energy_ev: float | None = None
        self.fault = ""
        self.n_tried = 0

    def try_all(self, values: np.ndarray) -> np.ndarray:
        """Scores (p,) of parameters (p, f): minus the energy above the start's, eV/atom, within the ceiling."""
        result, faults = self._evaluate(values)
        self.n_tried += len(values)
        n = len(self.start.numbers)
        energies = np.where([self._sound(v) for v in values], result.energy_ev, np.nan)
        if self.initial_energy_ev is None:
            if not np.isfinite(energies[0]):
                self.fault = faults.get(0, "the energy is not finite")
                return np.full(len(values), -CEILING_EV_PER_ATOM)
            self.initial_energy_ev = float(energies[0])
        for energy, row in zip(energies, values):
            if np.isfinite(energy) and (self.best_energy_ev is None or energy < self.best_energy_ev):
                self.best_energy_ev = float(energy)
                self.way.append(row.copy())
        rise = (energies - self.initial_energy_ev) / n
        return -np.minimum(np.where(np.isfinite(rise), rise, CEILING_EV_PER_ATOM), CEILING_EV_PER_ATOM)

    def way_down(self) -> tuple[tuple[Frame, ...], BatchEvaluation]:
        """The geometries that lowered the energy, and what the potential says of the last."""
        batch = self._batch(np.array(self.way))
        steps = tuple(frames(batch, evaluate_tolerantly(self.potential, batch)[0]))
        last = batch.take(len(self.way) - 1, len(self.way))
        return steps, evaluate_tolerantly(self.potential, last)[0]

    def _sound(self, values: np.ndarray) -> bool:
        from mapcsp.elements import SYMBOLS
        from mapcsp.records import Crystal

        lattice, positions = (x[0] for x in self.free.apply(self.start, values[None]))
        species = tuple(SYMBOLS[z - 1] for z in self.start.numbers)
        return (
            nearest_contacts(Crystal(lattice, species, positions @ np.linalg.inv(lattice)))[1]
            >= MIN_DISTANCE_SHARE
        )

    def _evaluate(self, values: np.ndarray) -> tuple[BatchEvaluation, dict[int, str]]:
        return evaluate_tolerantly(self.potential, self._batch(values))

    def _batch(self, values: np.ndarray) -> AtomBatch:
        lattices, positions = self.free.apply(self.start, values)
        n = len(self.start.numbers)
        return AtomBatch(
            lattices,
            positions.reshape(-1, 3),
            np.tile(self.start.numbers, len(values)),
            np.full(len(values), n, dtype=np.int64),
        )


def _explore(search: _Search, bounds: np.ndarray, evaluations: int, seed: int) -> None:
    """One round around the best so far: random parameters within `bounds` (f,), then expected improvement."""
    try:
        from bayes_opt import BayesianOptimization
        from bayes_opt.acquisition import ExpectedImprovement
    except ImportError:
        raise UserError(
            "relax.method: bayesian needs the package bayesian-optimization; install it with "
            "`pip install 'mapcsp[bayesian]'`, or set relax.method to fire"
        ) from None
    names = [f"p{k:03d}" for k in range(len(bounds))]
    centre = search.way[-1]
    optimizer = BayesianOptimization(
        f=None,
        acquisition_function=ExpectedImprovement(xi=0.0, random_state=seed),
        pbounds={name: (-1.0, 1.0) for name in names},
        random_state=seed,
        verbose=0,
        allow_duplicate_points=True,
    )
    n_random = max(1, round(RANDOM_SHARE * evaluations))
    rng = np.random.default_rng(seed)
    points = np.vstack([np.zeros(len(bounds)), rng.uniform(-1, 1, (n_random - 1, len(bounds)))])
    for point, score in zip(points, search.try_all(centre + points * bounds)):
        optimizer.register(params=dict(zip(names, point)), target=float(score))
    for _ in range(evaluations - n_random):
        suggestion = optimizer.suggest()
        point = np.array([suggestion[name] for name in names])
        (score,) = search.try_all((centre + point * bounds)[None])
        optimizer.register(params=suggestion, target=float(score))


def _basis(rows: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span the rows given."""
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > 1e-6]
