"""The relaxation stage: pools of candidates in, relaxed pools out, one record a candidate whatever happens to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mapcsp.provenance import file_sha256, value_hash
from mapcsp.records import Candidate, CandidatePool, RelaxedCandidate, RelaxedPool
from mapcsp.relax.backends import load_potential
from mapcsp.relax.guards import MIN_FORMATION_ENERGY_EV_PER_ATOM
from mapcsp.relax.potential import Potential
from mapcsp.relax.references import References, formation_energy_ev_per_atom, read_references
from mapcsp.relax.relaxation import Progress, Relaxation, relax_crystals
from mapcsp.settings import RelaxSettings, read_section
from mapcsp.store import read_records, write_records


def relax_pools(
    pools: Sequence[CandidatePool],
    settings: RelaxSettings,
    potential: Potential,
    progress: Progress | None = None,
    references: References | None = None,
) -> list[RelaxedPool]:
    """Relax all candidates of all pools through one queue.

    progress: called with 1 for each finished candidate. references: default the stored table of the potential; without
    one, formation energies are absent. Returns one pool a formula and one record a candidate, in the given order.
    """
    references = references or read_references(potential)
    candidates = [candidate for pool in pools for candidate in pool.candidates]
    relaxations = relax_crystals([c.crystal for c in candidates], settings, potential, progress)
    label = f"{potential.name} {potential.content_hash[:12]}"
    records = iter([_record(c, r, references, label) for c, r in zip(candidates, relaxations)])
    return [RelaxedPool(p.formula_id, p.formula, tuple(next(records) for _ in p.candidates)) for p in pools]


def run_relax(
    pool_files: Sequence[Path],
    settings_file: Path,
    weights: Path | None,
    output: Path,
    progress: Progress | None = None,
) -> None:
    """Read candidate pools, relax them together and write one file of relaxed pools, in the order of `pool_files`.

    weights: of m3gnet; None for the default place. Raises UserError for missing weights, settings or pools.
    """
    settings = read_section(settings_file, RelaxSettings)
    potential = load_potential(settings.potential, settings.device, weights)
    pools = [pool for path in pool_files for pool in read_records(path, CandidatePool)]
    relaxed = relax_pools(pools, settings, potential, progress)
    write_records(
        output,
        RelaxedPool,
        relaxed,
        settings=value_hash(settings.model_dump()),
        inputs={path.name: file_sha256(path) for path in pool_files},
        potential=potential.content_hash,
    )


def _record(
    candidate: Candidate, outcome: Relaxation, references: References | None, label: str
) -> RelaxedCandidate:
    status, reason, crystal, formation = outcome.status, outcome.reason, outcome.crystal, None
    if crystal is not None and references is not None and outcome.energy_ev_per_atom is not None:
        formation = formation_energy_ev_per_atom(crystal, outcome.energy_ev_per_atom, references)
        if formation is not None and formation < MIN_FORMATION_ENERGY_EV_PER_ATOM:
            fault = f"a formation energy of {formation:.1f} eV/atom is not physical: the potential fails on this crystal"
            status, crystal, reason = "dropped", None, "; ".join(filter(None, [reason, fault]))
    return RelaxedCandidate(
        candidate=candidate,
        status=status,
        reason=reason,
        crystal=crystal,
        energy_ev_per_atom=outcome.energy_ev_per_atom,
        initial_energy_ev_per_atom=outcome.initial_energy_ev_per_atom,
        formation_energy_ev_per_atom=formation,
        max_force_ev_per_ang=outcome.max_force_ev_per_ang,
        max_stress_gpa=outcome.max_stress_gpa,
        volume_change=outcome.volume_change,
        n_steps=outcome.n_steps,
        potential=label,
    )
