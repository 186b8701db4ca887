"""Small pools of real crystals, by hand from the literature's lattice constants, for ranking and report."""

from __future__ import annotations

import numpy as np
from mapcsp.crystals import from_structure
from mapcsp.records import (
    Candidate,
    CandidatePool,
    Crystal,
    FitnessTerms,
    Label,
    RelaxedCandidate,
    RelaxedPool,
)
from pymatgen.core import Lattice, Structure

ROCKSALT = Label(225, (("Cl", "b"), ("Na", "a")))
CESIUM = Label(221, (("Cl", "b"), ("Na", "a")))
BLENDE = Label(216, (("Cl", "c"), ("Na", "a")))


def face_centred(a_ang: float) -> Lattice:
    return Lattice(a_ang / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))


def rocksalt(a_ang: float = 5.64) -> Crystal:
    return from_structure(Structure(face_centred(a_ang), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))


def cesium_chloride_type(a_ang: float = 3.35) -> Crystal:
    return from_structure(Structure(Lattice.cubic(a_ang), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))


def zinc_blende_type(a_ang: float = 6.1) -> Crystal:
    return from_structure(Structure(face_centred(a_ang), ["Na", "Cl"], [[0, 0, 0], [0.25, 0.25, 0.25]]))


def perovskite(a_ang: float = 3.905) -> Crystal:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return from_structure(Structure(Lattice.cubic(a_ang), ["Sr", "Ti", "O", "O", "O"], sites))


def shaken(crystal: Crystal, amount_ang: float, seed: int) -> Crystal:
    """The crystal with every atom displaced by a normal deviate, in another cell of the same lattice."""
    rng = np.random.default_rng(seed)
    transform = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    lattice = transform @ crystal.lattice_ang
    frac = crystal.frac_coords @ np.linalg.inv(transform)
    frac = frac + rng.normal(scale=amount_ang, size=frac.shape) @ np.linalg.inv(lattice) + rng.random(3)
    order = rng.permutation(crystal.n_atoms)
    return Crystal(lattice, tuple(crystal.species[i] for i in order), np.mod(frac, 1.0)[order])


def relaxed_candidate(
    name: str,
    crystal: Crystal | None,
    label: Label,
    energy_ev_per_atom: float | None,
    *,
    formula: str = "NaCl",
    formula_id: str = "NaCl",
    log_prob: float = -1.0,
    label_rank: int = 0,
    status: str = "converged",
    reason: str = "",
    prototype_count: int = 3,
) -> RelaxedCandidate:
    start = crystal if crystal is not None else rocksalt()
    candidate = Candidate(
        id=name,
        task_id=f"{formula_id}-{label.space_group}",
        formula_id=formula_id,
        formula=formula,
        z=1,
        label=label,
        label_rank=label_rank,
        label_log_prob=log_prob,
        origin="prototype" if prototype_count else "search",
        crystal=start,
        cell=np.array([5.6, 5.6, 5.6, 90.0, 90.0, 90.0]),
        free_coords=np.zeros(0),
        fitness=FitnessTerms(total=1.0, map_log_likelihood=-0.5, contact_dice=0.9, short_distance=0.0),
        seed=1,
        prototype_count=prototype_count,
    )
    return RelaxedCandidate(
        candidate=candidate,
        status=status,
        reason=reason,
        crystal=crystal,
        energy_ev_per_atom=energy_ev_per_atom,
        initial_energy_ev_per_atom=None if energy_ev_per_atom is None else energy_ev_per_atom + 0.05,
        formation_energy_ev_per_atom=None if energy_ev_per_atom is None else energy_ev_per_atom + 1.2,
        max_force_ev_per_ang=0.01,
        max_stress_gpa=0.1,
        volume_change=0.02,
        n_steps=20,
        potential="m3gnet",
    )


def salt_pool() -> RelaxedPool:
    """NaCl: rock salt three times (once from another label), two other types, and one that was dropped."""
    return RelaxedPool(
        "NaCl",
        "NaCl",
        (
            relaxed_candidate("salt-0", rocksalt(), ROCKSALT, -3.40, log_prob=-0.4),
            relaxed_candidate("salt-1", shaken(rocksalt(5.65), 0.003, 7), ROCKSALT, -3.3995, log_prob=-0.4),
            relaxed_candidate("cesium-0", cesium_chloride_type(), CESIUM, -3.37, log_prob=-2.0, label_rank=1),
            relaxed_candidate(
                "blende-0", zinc_blende_type(), BLENDE, -3.30, log_prob=-3.0, label_rank=2, prototype_count=0
            ),
            relaxed_candidate(
                "blende-1", shaken(rocksalt(), 0.002, 3), BLENDE, -3.4001, log_prob=-3.0, label_rank=2
            ),
            relaxed_candidate("lost-0", None, CESIUM, None, status="dropped", reason="volume collapsed"),
        ),
    )


def oxide_pool() -> RelaxedPool:
    label = Label(221, (("O", "c"), ("Sr", "a"), ("Ti", "b")))
    relaxed = relaxed_candidate(
        "sto-0", perovskite(), label, -8.0, formula="SrTiO3", formula_id="SrTiO3", log_prob=-0.2
    )
    return RelaxedPool("SrTiO3", "SrTiO3", (relaxed,))


def empty_pool() -> RelaxedPool:
    return RelaxedPool("XeF2", "XeF2", ())


IDS = ["NaCl", "SrTiO3", "XeF2"]


def candidate_pools() -> list[CandidatePool]:
    pools = [
        CandidatePool(p.formula_id, p.formula, tuple(r.candidate for r in p.candidates))
        for p in (salt_pool(), oxide_pool())
    ]
    failed = CandidatePool(
        "XeF2", "XeF2", (), (("atoms too close", 12),), "failed", "all searches ended without a valid crystal"
    )
    return [*pools, failed]
