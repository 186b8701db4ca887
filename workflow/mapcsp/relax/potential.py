"""The one door to every potential: crystals in; energies, forces and stresses out, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mapcsp.elements import SYMBOLS, atomic_number
from mapcsp.errors import UnsupportedElementError
from mapcsp.records import Crystal

EV_PER_ANG3_IN_GPA = 160.21766208


@dataclass(frozen=True, eq=False)
class AtomBatch:
    """Several periodic structures in flat arrays; atoms of one structure are contiguous.

    lattices_ang: (b, 3, 3), Å, vectors as rows. positions_ang: (n, 3), Cartesian, Å, not necessarily inside the cell.
    numbers: (n,), atomic numbers. counts: (b,), atoms in each structure, adding up to n.
    """

    lattices_ang: np.ndarray
    positions_ang: np.ndarray
    numbers: np.ndarray
    counts: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """(b,), index of each structure's first atom."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    def take(self, first: int, last: int) -> AtomBatch:
        """The structures `first` to `last - 1`."""
        atoms = slice(int(self.counts[:first].sum()), int(self.counts[:last].sum()))
        return AtomBatch(
            self.lattices_ang[first:last],
            self.positions_ang[atoms],
            self.numbers[atoms],
            self.counts[first:last],
        )


@dataclass(frozen=True, eq=False)
class BatchEvaluation:
    """What a potential says about a batch.

    energy_ev: (b,), eV a cell. forces_ev_per_ang: (n, 3), Cartesian. stress_gpa: (b, 3, 3), GPa, symmetric; negative
    where the cell wants to grow (compressed), the sign of ASE and of the original M3GNet.
    """

    energy_ev: np.ndarray
    forces_ev_per_ang: np.ndarray
    stress_gpa: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a potential says about one crystal.

    energy_ev: eV a cell. forces_ev_per_ang: (n, 3), Cartesian. stress_gpa: (3, 3), sign as in `BatchEvaluation`.
    """

    energy_ev: float
    forces_ev_per_ang: np.ndarray
    stress_gpa: np.ndarray


@runtime_checkable
class Potential(Protocol):
    """A potential energy surface.

    name: as in `settings.relax.potential`. content_hash: identifies its parameters. elements: symbols it was trained
    on. needs_mp2020: True if its energies are raw PBE(+U) of the Materials Project, so that MP2020 corrections apply.
    cutoff_ang: atoms further apart do not interact, unless through others between them; None if that is not known.
    """

    name: str
    content_hash: str
    elements: frozenset[str]
    needs_mp2020: bool
    cutoff_ang: float | None

    def evaluate_batch(self, batch: AtomBatch) -> BatchEvaluation:
        """Evaluate structures together; the input is not changed. Raises UnsupportedElementError."""
        ...


def evaluate(potential: Potential, crystals: Sequence[Crystal]) -> list[Evaluation]:
    """Evaluate crystals in one batch; raises UnsupportedElementError, naming the element and the potential."""
    if not crystals:
        return []
    batch = batch_crystals(crystals)
    result = potential.evaluate_batch(batch)
    forces = np.split(result.forces_ev_per_ang, batch.starts[1:])
    return [Evaluation(float(e), f, s) for e, f, s in zip(result.energy_ev, forces, result.stress_gpa)]


def batch_crystals(crystals: Sequence[Crystal]) -> AtomBatch:
    """Lay crystals out as flat arrays."""
    return AtomBatch(
        np.array([c.lattice_ang for c in crystals], dtype=float).reshape(-1, 3, 3),
        np.concatenate(
            [np.asarray(c.frac_coords, float) @ np.asarray(c.lattice_ang, float) for c in crystals]
        ),
        np.concatenate([[atomic_number(s) for s in c.species] for c in crystals]).astype(np.int64),
        np.array([c.n_atoms for c in crystals], dtype=np.int64),
    )


def check_elements(potential: Potential, numbers: np.ndarray) -> None:
    """Raise UnsupportedElementError, naming the elements, if the potential was not trained on one of `numbers`."""
    unknown = sorted({SYMBOLS[n - 1] for n in np.unique(numbers)} - potential.elements)
    if unknown:
        raise UnsupportedElementError(
            f"{potential.name} was not trained on {', '.join(unknown)}; drop these formulas"
        )


def evaluate_tolerantly(potential: Potential, batch: AtomBatch) -> tuple[BatchEvaluation, dict[int, str]]:
    """Evaluate a batch; if the potential fails on it, one structure at a time.

    Returns the evaluation, NaN for structures on which the potential fails, and what it said about those, by position.
    """
    try:
        return potential.evaluate_batch(batch), {}
    except _POTENTIAL_FAILURES as error:
        if len(batch.counts) == 1:
            return _nothing(batch), {0: f"the potential failed: {type(error).__name__}: {str(error)[:200]}"}
    results, faults = [], {}
    for i in range(len(batch.counts)):
        result, fault = evaluate_tolerantly(potential, batch.take(i, i + 1))
        results.append(result)
        if fault:
            faults[i] = fault[0]
    joined = [
        np.concatenate([getattr(r, name) for r in results])
        for name in ("energy_ev", "forces_ev_per_ang", "stress_gpa")
    ]
    return BatchEvaluation(*joined), faults


# What numerical code raises on input that it cannot bear; torch's out-of-memory error is a RuntimeError.
_POTENTIAL_FAILURES = (
    RuntimeError,
    ValueError,
    ArithmeticError,
    IndexError,
    MemoryError,
    np.linalg.LinAlgError,
)


def _nothing(batch: AtomBatch) -> BatchEvaluation:
    b = len(batch.counts)
    return BatchEvaluation(
        np.full(b, np.nan), np.full(batch.positions_ang.shape, np.nan), np.full((b, 3, 3), np.nan)
    )
