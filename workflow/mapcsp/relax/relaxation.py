"""Relaxes crystals one record each, whatever they are: guards before and after, one queue between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.crystals import reduce_lattice, wrap
from mapcsp.elements import atomic_number
from mapcsp.provenance import derive_seed
from mapcsp.records import Crystal
from mapcsp.relax.fire import End, Limits, OnFrame, Start, relax_starts
from mapcsp.relax.guards import check_end, check_start
from mapcsp.relax.potential import Potential
from mapcsp.settings import RelaxSettings
from mapcsp.symmetry.operations import find_symmetry

Progress = Callable[[int], None]
SYMMETRY_TOLERANCE_ANG = 0.01


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What became of one crystal.

    status: `converged`, `unconverged` or `dropped`; reason says why, or what was done before the first step.
    crystal: relaxed, same atoms in the same order, None if dropped. Energies are the potential's, None if there is none.
    max_force_ev_per_ang, max_stress_gpa: at the last step. volume_change: ratio after/before - 1.
    """

    status: str
    reason: str = ""
    crystal: Crystal | None = None
    energy_ev_per_atom: float | None = None
    initial_energy_ev_per_atom: float | None = None
    max_force_ev_per_ang: float | None = None
    max_stress_gpa: float | None = None
    volume_change: float | None = None
    n_steps: int = 0


def relax_crystals(
    crystals: Sequence[Crystal],
    settings: RelaxSettings,
    potential: Potential,
    progress: Progress | None = None,
    on_frame: OnFrame | None = None,
) -> list[Relaxation]:
    """Relax cells and positions of crystals together; bad input and diverging relaxations become records, never errors.

    progress: called with 1 for each crystal that is finished. on_frame: called with a crystal's place and each step of its
    relaxation (in a reduced cell). Returns one record a crystal, in order. Raises UserError if `settings.method` needs a
    package that is not installed.
    """
    done: list[Relaxation | None] = [None] * len(crystals)
    starts: list[Start] = []
    prepared: list[_Prepared] = []
    report = progress or (lambda _: None)
    for i, crystal in enumerate(crystals):
        verdict = check_start(crystal, potential)
        if verdict.crystal is None:
            done[i] = Relaxation("dropped", verdict.reason)
            report(1)
        else:
            start, transform = _start(verdict.crystal, settings.keep_symmetry)
            starts.append(start)
            prepared.append(_Prepared(i, crystal, transform, verdict.reason))

    def finish(k: int, end: End) -> None:
        done[prepared[k].index] = _relaxation(prepared[k], end, settings, potential)
        report(1)

    shown = None if on_frame is None else _by_place(on_frame, prepared)
    if settings.method == "bayesian":
        _relax_by_energy(starts, potential, settings, finish, shown)
    else:
        relax_starts(starts, potential, _limits(settings), finish, shown)
    return [record for record in done if record is not None]


def _by_place(on_frame: OnFrame, prepared: Sequence[_Prepared]) -> OnFrame:
    """`on_frame` called with the place in the caller's list, not in the queue."""
    return lambda k, frame: on_frame(prepared[k].index, frame)


def _relax_by_energy(
    starts: Sequence[Start],
    potential: Potential,
    settings: RelaxSettings,
    on_end: Callable[[int, End], None],
    on_frame: OnFrame | None,
) -> None:
    from mapcsp.relax.bayesian import relax_by_energy

    for k, start in enumerate(starts):
        # The same crystal is searched alike wherever it stands.
        seed = derive_seed("bayesian", start.numbers.tolist(), start.lattice_ang.round(6).tolist())
        end, way = relax_by_energy(start, potential, _limits(settings), settings.bayesian_evaluations, seed)
        if on_frame is not None:
            for frame in way:
                on_frame(k, frame)
        on_end(k, end)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What is needed to turn the end of a relaxation back into the caller's cell; transform: reduced = M @ lattice."""

    index: int
    crystal: Crystal
    transform: np.ndarray
    note: str


def _start(crystal: Crystal, keep_symmetry: bool) -> tuple[Start, np.ndarray]:
    reduced, transform = reduce_lattice(np.asarray(crystal.lattice_ang, dtype=float))
    numbers = np.array([atomic_number(s) for s in crystal.species])
    frac = crystal.frac_coords @ np.linalg.inv(transform)
    symmetry = None
    if keep_symmetry:
        symmetry = find_symmetry(reduced, frac, numbers, SYMMETRY_TOLERANCE_ANG)
        if symmetry is not None:
            reduced, frac = symmetry.average_crystal(reduced, frac)
    return Start(reduced, frac @ reduced, numbers, symmetry), transform


def _limits(settings: RelaxSettings) -> Limits:
    # On the way a volume may overshoot what is allowed at the end, but not by much.
    largest = 1 + 1.5 * settings.max_volume_change
    smallest = max(0.1, 1 - 1.5 * settings.max_volume_change)
    return Limits(
        settings.fmax_ev_per_ang,
        settings.smax_gpa,
        settings.max_steps,
        settings.batch_atoms,
        (smallest, largest),
    )


def _relaxation(prepared: _Prepared, end: End, settings: RelaxSettings, potential: Potential) -> Relaxation:
    n = prepared.crystal.n_atoms
    initial = None if end.initial_energy_ev is None else end.initial_energy_ev / n
    notes = [prepared.note] if prepared.note else []
    if end.lattice_ang is None or end.positions_ang is None or end.energy_ev is None:
        reason = "; ".join([*notes, end.reason])
        return Relaxation("dropped", reason, initial_energy_ev_per_atom=initial, n_steps=end.n_steps)
    lattice = np.linalg.inv(prepared.transform) @ end.lattice_ang
    relaxed = Crystal(lattice, prepared.crystal.species, wrap(end.positions_ang @ np.linalg.inv(lattice)))
    change = relaxed.volume_ang3 / prepared.crystal.volume_ang3 - 1
    verdict = check_end(relaxed, change, settings.max_volume_change, potential)
    fault = verdict.fault or _no_forces(end)
    reason = "; ".join(filter(None, [*notes, fault or end.reason, verdict.caution]))
    return Relaxation(
        "dropped" if fault else end.status,
        reason,
        None if fault else relaxed,
        end.energy_ev / n,
        initial,
        end.max_force_ev_per_ang,
        end.max_stress_gpa,
        change,
        end.n_steps,
    )


def _no_forces(end: End) -> str:
    """Why a relaxation that ended without any force tells nothing, or an empty text.

    Rounding alone leaves more force and stress than none where atoms interact, at any minimum.
    """
    if end.max_force_ev_per_ang == 0 and end.max_stress_gpa == 0:
        return "atoms do not interact: the potential gives no force and no stress at all, which is no minimum"
    return ""
