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


def tilted_perovskite(displacement_ang: float, a_ang: float = 3.905) -> Crystal:
    """SrTiO3 with octahedra turned about c in turn (a0a0c-, I4/mcm): four oxygen atoms in six move by `displacement_ang`."""
    shift = displacement_ang / (2 * a_ang)
    sites = [("Sr", x, y, z) for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)]
    for i, j, k in np.ndindex(2, 2, 2):
        x, y, z = (0.25 + 0.5 * n for n in (i, j, k))
        turn = shift * (-1) ** (i + j + k)
        sites += [
            ("Ti", x, y, z),
            ("O", x, y, z + 0.25),
            ("O", x + 0.25, y + turn, z),
            ("O", x - turn, y + 0.25, z),
        ]
    cell = Structure(Lattice.cubic(2 * a_ang), [s[0] for s in sites], [s[1:] for s in sites])
    return from_structure(cell.get_primitive_structure(tolerance=0.01))


def quartz(alpha: bool = True) -> Crystal:
    """Quartz, P3_221 at room temperature (Levien, Prewitt, Weidner 1980), or its ideal high form P6_222 in the same cell."""
    lattice = Lattice.hexagonal(4.916, 5.4054)
    x, oxygen = (0.4697, (0.4135, 0.2669, 0.7858)) if alpha else (0.5, (0.4149, 0.2075, 0.8333))
    return from_structure(Structure.from_spacegroup("P3_221", lattice, ["Si", "O"], [[x, 0, 2 / 3], oxygen]))


def mirrored(crystal: Crystal) -> Crystal:
    """The crystal's mirror image."""
    return Crystal(crystal.lattice_ang * np.array([-1.0, 1.0, 1.0]), crystal.species, crystal.frac_coords)


def close_packed_sodium() -> list[Crystal]:
    """The same layers stacked ABC (fcc) and AB (ideal hcp)."""
    a = 3.7
    fcc = Structure(face_centred(a * np.sqrt(2)), ["Na"], [[0, 0, 0]])
    hcp = Structure(
        Lattice.hexagonal(a, a * np.sqrt(8 / 3)), ["Na", "Na"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    )
    return [from_structure(fcc), from_structure(hcp)]


def zinc_sulphides() -> list[Crystal]:
    """Zinc blende, and wurtzite with ideal tetrahedra of the same size."""
    a = 5.41
    blende = Structure(face_centred(a), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    edge = a / np.sqrt(2)
    sites = [[1 / 3, 2 / 3, 0.0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.375], [2 / 3, 1 / 3, 0.875]]
    wurtzite = Structure(Lattice.hexagonal(edge, edge * np.sqrt(8 / 3)), ["Zn", "Zn", "S", "S"], sites)
    return [from_structure(blende), from_structure(wurtzite)]


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
                "blende-1", shaken(rocksalt(), 0.002, 3), BLENDE, -3.3999, log_prob=-3.0, label_rank=2
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
