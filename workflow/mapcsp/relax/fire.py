"""Relaxes many crystals at once: FIRE over cells and positions, on flat arrays.

Source: Bitzek et al., "Structural relaxation made simple", Phys. Rev. Lett. 97, 170201 (2006), with the parameters and
the step rule of ASE's FIRE and the coordinates of its UnitCellFilter (positions in the undeformed cell, and the
deformation gradient weighted by the number of atoms; Tadmor et al., Phys. Rev. B 59, 235 (1999)). Departures: each
structure has its own time step, and it ends by its largest force and stress component, not by the generalised force.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from mapcsp.relax.potential import (
    EV_PER_ANG3_IN_GPA,
    AtomBatch,
    BatchEvaluation,
    Potential,
    evaluate_tolerantly,
)
from mapcsp.symmetry.operations import CrystalSymmetry

TIME_STEP_START, TIME_STEP_MAX = 0.1, 1.0
TIME_STEP_GROWTH, TIME_STEP_CUT = 1.1, 0.5
MIXING_START, MIXING_DECAY = 0.1, 0.99
STEPS_BEFORE_GROWTH = 5
MAX_STEP_ANG = 0.2  # length of the whole step vector of a structure
MAX_STRAIN_STEP = 0.05  # largest entry of the change of the deformation gradient in a step


@dataclass(frozen=True, eq=False)
class Start:
    """One structure to relax.

    lattice_ang: (3, 3), reduced. positions_ang: (n, 3), Cartesian. numbers: (n,). symmetry: kept if given.
    """

    lattice_ang: np.ndarray
    positions_ang: np.ndarray
    numbers: np.ndarray
    symmetry: CrystalSymmetry | None = None


@dataclass(frozen=True)
class Limits:
    """When a relaxation ends. volume_ratio: (smallest, largest) volume allowed on the way, relative to the start."""

    fmax_ev_per_ang: float
    smax_gpa: float
    max_steps: int
    batch_atoms: int
    volume_ratio: tuple[float, float]


@dataclass(frozen=True, eq=False)
class End:
    """Where one relaxation ended. status: `converged`, `unconverged` or `dropped`; the arrays and numbers are finite.

    lattice_ang, positions_ang: as in `Start`. Energies in eV a cell; None if the first evaluation failed.
    """

    status: str
    reason: str
    n_steps: int
    lattice_ang: np.ndarray | None = None
    positions_ang: np.ndarray | None = None
    energy_ev: float | None = None
    initial_energy_ev: float | None = None
    max_force_ev_per_ang: float | None = None
    max_stress_gpa: float | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure at one step, as the potential saw it; arrays as in `Start`, forces (n, 3), eV/Å."""

    lattice_ang: np.ndarray
    positions_ang: np.ndarray
    energy_ev: float
    forces_ev_per_ang: np.ndarray


OnFrame = Callable[[int, Frame], None]


def relax_starts(
    starts: Sequence[Start],
    potential: Potential,
    limits: Limits,
    on_end: Callable[[int, End], None],
    on_frame: OnFrame | None = None,
) -> None:
    """Relax structures through one queue; a finished one makes room for the next.

    `on_end` is called once for each structure, with its index in `starts`, as it ends; `on_frame` at each of its steps.
    """
    waiting = deque(range(len(starts)))
    flight = _launch(starts, [])
    while waiting or len(flight.index):
        boarding: list[int] = []
        free = limits.batch_atoms - len(flight.numbers)
        while waiting and (len(starts[waiting[0]].numbers) <= free or not (boarding or len(flight.index))):
            boarding.append(waiting.popleft())
            free -= len(starts[boarding[-1]].numbers)
        if boarding:
            flight = _join(flight, _launch(starts, boarding))
        flight = _retire_and_step(flight, starts, potential, limits, on_end, on_frame)


@dataclass(eq=False)
class _Flight:
    """The structures being relaxed. Arrays named `atom_…` have one row an atom, all others one a structure."""

    index: np.ndarray  # position in the list of starts
    counts: np.ndarray
    lattices: np.ndarray  # undeformed
    deformation: np.ndarray
    cell_velocity: np.ndarray
    time_step: np.ndarray
    mixing: np.ndarray
    downhill_steps: np.ndarray
    n_steps: np.ndarray
    initial_energy: np.ndarray
    atom_numbers: np.ndarray
    atom_positions: np.ndarray  # in the undeformed frame
    atom_velocity: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        return self.atom_numbers

    def keep(self, mask: np.ndarray) -> _Flight:
        atoms = np.repeat(mask, self.counts)
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return _Flight(**{n: a[atoms if n.startswith("atom_") else mask] for n, a in arrays.items()})


def _launch(starts: Sequence[Start], chosen: list[int]) -> _Flight:
    counts = np.array([len(starts[i].numbers) for i in chosen], dtype=np.int64)
    b, n = len(chosen), int(counts.sum())
    positions = [starts[i].positions_ang for i in chosen] or [np.empty((0, 3))]
    numbers = [starts[i].numbers for i in chosen] or [np.empty(0)]
    return _Flight(
        index=np.array(chosen, dtype=np.int64),
        counts=counts,
        lattices=np.array([starts[i].lattice_ang for i in chosen], dtype=float).reshape(b, 3, 3),
        deformation=np.tile(np.eye(3), (b, 1, 1)),
        cell_velocity=np.zeros((b, 3, 3)),
        time_step=np.full(b, TIME_STEP_START),
        mixing=np.full(b, MIXING_START),
        downhill_steps=np.zeros(b, dtype=np.int64),
        n_steps=np.zeros(b, dtype=np.int64),
        initial_energy=np.full(b, np.nan),
        atom_numbers=np.concatenate(numbers).astype(np.int64),
        atom_positions=np.concatenate(positions).astype(float),
        atom_velocity=np.zeros((n, 3)),
    )


def _join(first: _Flight, second: _Flight) -> _Flight:
    return _Flight(
        **{f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(first)}
    )


def _retire_and_step(
    flight: _Flight,
    starts: Sequence[Start],
    potential: Potential,
    limits: Limits,
    on_end: Callable[[int, End], None],
    on_frame: OnFrame | None,
) -> _Flight:
    """Evaluate everything in flight, let what is finished leave, and move the rest by one step."""
    deformed = flight.deformation.transpose(0, 2, 1)
    owner = np.repeat(np.arange(len(flight.index)), flight.counts)
    lattices = flight.lattices @ deformed
    positions = np.einsum("ij,ijk->ik", flight.atom_positions, deformed[owner])
    batch = AtomBatch(lattices, positions, flight.atom_numbers, flight.counts)
    result, faults = evaluate_tolerantly(potential, batch)
    _symmetrise(result, batch, [starts[i].symmetry for i in flight.index])
    fresh = flight.n_steps == 0
    flight.initial_energy[fresh] = result.energy_ev[fresh]
    if on_frame is not None:
        for index, frame in zip(flight.index, frames(batch, result)):
            on_frame(int(index), frame)

    verdict = _judge(flight, result, batch.starts, limits)
    for i in np.flatnonzero(verdict.leaving):
        on_end(int(flight.index[i]), _end(flight, int(i), batch, result, verdict, faults.get(int(i))))
    stay = ~verdict.leaving
    volumes = np.abs(np.linalg.det(lattices))[stay]
    flight = flight.keep(stay) if verdict.leaving.any() else flight
    if len(flight.index):
        _step(flight, result.forces_ev_per_ang[stay[owner]], result.stress_gpa[stay], volumes)
    return flight


def frames(batch: AtomBatch, result: BatchEvaluation) -> Iterator[Frame]:
    """The structures of a batch, one by one."""
    for i, (start, count) in enumerate(zip(batch.starts, batch.counts)):
        atoms = slice(int(start), int(start + count))
        yield Frame(
            batch.lattices_ang[i],
            batch.positions_ang[atoms],
            float(result.energy_ev[i]),
            result.forces_ev_per_ang[atoms],
        )


@dataclass(frozen=True, eq=False)
class _Verdict:
    """Where each structure stands, arrays of (b,); volume_ratio: to the start's."""

    force: np.ndarray
    stress: np.ndarray
    volume_ratio: np.ndarray
    finite: np.ndarray
    inside: np.ndarray
    converged: np.ndarray
    leaving: np.ndarray


def _judge(flight: _Flight, result: BatchEvaluation, first_atoms: np.ndarray, limits: Limits) -> _Verdict:
    force = np.maximum.reduceat(np.linalg.norm(result.forces_ev_per_ang, axis=1), first_atoms)
    stress = np.abs(result.stress_gpa).max(axis=(1, 2))
    ratio = np.abs(np.linalg.det(flight.deformation))
    finite = np.isfinite(result.energy_ev) & np.isfinite(force) & np.isfinite(stress)
    inside = (ratio >= limits.volume_ratio[0]) & (ratio <= limits.volume_ratio[1])
    converged = finite & inside & (force <= limits.fmax_ev_per_ang) & (stress <= limits.smax_gpa)
    leaving = ~finite | ~inside | converged | (flight.n_steps >= limits.max_steps)
    return _Verdict(force, stress, ratio, finite, inside, converged, leaving)


def _end(
    flight: _Flight, i: int, batch: AtomBatch, result: BatchEvaluation, verdict: _Verdict, fault: str | None
) -> End:
    """The record of the structure in place `i`, which leaves."""
    n_steps, ratio = int(flight.n_steps[i]), float(verdict.volume_ratio[i])
    initial = float(flight.initial_energy[i]) if np.isfinite(flight.initial_energy[i]) else None
    if not verdict.finite[i]:
        reason = fault or "energy, force or stress is not finite"
        return End("dropped", reason, n_steps, initial_energy_ev=initial)
    if not verdict.inside[i]:
        verb = "exploded" if ratio > 1 else "collapsed"
        reason = f"the cell {verb}: its volume reached {ratio:.2f} of the start's"
        return End("dropped", reason, n_steps, initial_energy_ev=initial)
    first = int(batch.starts[i])
    return End(
        "converged" if verdict.converged[i] else "unconverged",
        "" if verdict.converged[i] else f"not converged after {n_steps} steps",
        n_steps,
        lattice_ang=batch.lattices_ang[i],
        positions_ang=batch.positions_ang[first : first + int(batch.counts[i])],
        energy_ev=float(result.energy_ev[i]),
        initial_energy_ev=initial,
        max_force_ev_per_ang=float(verdict.force[i]),
        max_stress_gpa=float(verdict.stress[i]),
    )


def _step(flight: _Flight, forces: np.ndarray, stress_gpa: np.ndarray, volumes: np.ndarray) -> None:
    """One FIRE step of every structure, in place. forces: (n, 3), Cartesian. stress_gpa: (b, 3, 3). volumes: (b,), Å³."""
    owner = np.repeat(np.arange(len(flight.index)), flight.counts)
    first_atoms = np.concatenate([[0], np.cumsum(flight.counts)[:-1]])
    weight = flight.counts[:, None, None].astype(float)

    def dot(atoms_a: np.ndarray, cells_a: np.ndarray, atoms_b: np.ndarray, cells_b: np.ndarray) -> np.ndarray:
        atomic = np.add.reduceat(np.einsum("ij,ij->i", atoms_a, atoms_b), first_atoms)
        return atomic + np.einsum("ijk,ijk->i", cells_a, cells_b)

    virial = -volumes[:, None, None] * stress_gpa / EV_PER_ANG3_IN_GPA
    f_atom = np.einsum("ij,ijk->ik", forces, flight.deformation[owner])
    f_cell = np.linalg.solve(flight.deformation, virial.transpose(0, 2, 1)).transpose(0, 2, 1) / weight

    power = dot(f_atom, f_cell, flight.atom_velocity, flight.cell_velocity)
    downhill, moving = power > 0, flight.n_steps > 0
    speed = np.sqrt(
        dot(flight.atom_velocity, flight.cell_velocity, flight.atom_velocity, flight.cell_velocity)
    )
    norm = np.sqrt(dot(f_atom, f_cell, f_atom, f_cell))
    keep = np.where(downhill, 1 - flight.mixing, 0.0)
    pull = np.where(downhill, flight.mixing * speed / np.maximum(norm, np.finfo(float).tiny), 0.0)
    flight.atom_velocity = keep[owner, None] * flight.atom_velocity + pull[owner, None] * f_atom
    flight.cell_velocity = keep[:, None, None] * flight.cell_velocity + pull[:, None, None] * f_cell

    grow = downhill & (flight.downhill_steps > STEPS_BEFORE_GROWTH)
    uphill = ~downhill & moving
    flight.time_step = np.where(
        grow, np.minimum(flight.time_step * TIME_STEP_GROWTH, TIME_STEP_MAX), flight.time_step
    )
    flight.time_step = np.where(uphill, flight.time_step * TIME_STEP_CUT, flight.time_step)
    flight.mixing = np.where(
        grow, flight.mixing * MIXING_DECAY, np.where(uphill, MIXING_START, flight.mixing)
    )
    flight.downhill_steps = np.where(downhill, flight.downhill_steps + 1, 0)

    flight.atom_velocity += flight.time_step[owner, None] * f_atom
    flight.cell_velocity += flight.time_step[:, None, None] * f_cell
    move = flight.time_step[owner, None] * flight.atom_velocity
    strain = flight.time_step[:, None, None] * flight.cell_velocity
    length = np.sqrt(dot(move, strain, move, strain))
    largest = np.abs(strain / weight).max(axis=(1, 2))
    shrink = np.minimum(1.0, MAX_STEP_ANG / np.maximum(length, MAX_STEP_ANG))
    shrink = np.minimum(shrink, MAX_STRAIN_STEP / np.maximum(largest, MAX_STRAIN_STEP))
    flight.atom_positions = flight.atom_positions + shrink[owner, None] * move
    flight.deformation = flight.deformation + shrink[:, None, None] * strain / weight
    flight.n_steps = flight.n_steps + 1


def _symmetrise(
    result: BatchEvaluation, batch: AtomBatch, symmetries: Sequence[CrystalSymmetry | None]
) -> None:
    """Average forces and stress over each structure's operations, in place."""
    for i, (start, count, symmetry) in enumerate(zip(batch.starts, batch.counts, symmetries)):
        if symmetry is not None and np.isfinite(result.energy_ev[i]):
            atoms = slice(int(start), int(start + count))
            result.forces_ev_per_ang[atoms] = symmetry.average_vectors(
                batch.lattices_ang[i], result.forces_ev_per_ang[atoms]
            )
            result.stress_gpa[i] = symmetry.average_tensor(batch.lattices_ang[i], result.stress_gpa[i])
