"""The relaxation stage: pools of candidates in, relaxed pools out, one record a candidate whatever happens to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mapcsp.finished import FinishedResults
from mapcsp.provenance import code_id, file_sha256, imported_modules, value_hash, versions
from mapcsp.records import Candidate, CandidatePool, RelaxedCandidate, RelaxedPool
from mapcsp.relax.backends import load_potential
from mapcsp.relax.fire import Frame
from mapcsp.relax.guards import MIN_FORMATION_ENERGY_EV_PER_ATOM
from mapcsp.relax.hull import PhaseSource, choose_phases, energies_above_hull
from mapcsp.relax.potential import Potential
from mapcsp.relax.references import (
    References,
    formation_energy_ev_per_atom,
    read_references,
    references_path,
)
from mapcsp.relax.relaxation import Progress, Relaxation, relax_crystals
from mapcsp.relax.trajectory import write_trajectory
from mapcsp.settings import RelaxSettings, read_section
from mapcsp.store import read_header, read_records, to_plain, write_records
from mapcsp.symmetry.detect import space_group_or_p1
from mapcsp.unused_code import unused_by_relax

# Of `symmetry_kept`, whatever tolerance a space group is reported at (`ranking.symprec_ang`): that which the ranking was
# fitted with.
KEPT_TOLERANCE_ANG = 0.1


def relax_pools(
    pools: Sequence[CandidatePool],
    settings: RelaxSettings,
    potential: Potential,
    progress: Progress | None = None,
    references: References | None = None,
    trajectories_dir: Path | None = None,
) -> list[RelaxedPool]:
    """Relax the candidates of each pool, one pool after another: a formula's result does not depend on its neighbours.

    progress: called with 1 for each finished candidate. references: default the stored table of the potential; without
    one, formation energies are absent. trajectories_dir: gets <formula id>/<candidate id>.extxyz if settings.trajectory.
    Returns one pool a formula and one record a candidate, in the given order.
    """
    references = references or read_references(potential)
    label = f"{potential.name} {potential.content_hash[:12]}"
    relaxed = []
    for pool in pools:
        ways: dict[int, list[Frame]] = {}
        keep_ways = settings.trajectory and trajectories_dir is not None

        def remember(i: int, frame: Frame, ways: dict[int, list[Frame]] = ways) -> None:
            ways.setdefault(i, []).append(frame)

        ends = relax_crystals(
            [c.crystal for c in pool.candidates],
            settings,
            potential,
            progress,
            remember if keep_ways else None,
        )
        for i, frames in ways.items():
            candidate = pool.candidates[i]
            if trajectories_dir is not None:
                path = trajectories_dir / pool.formula_id / f"{candidate.id}.extxyz"
                write_trajectory(path, candidate.crystal.species, frames)
        records = tuple(_record(c, e, references, label) for c, e in zip(pool.candidates, ends))
        relaxed.append(RelaxedPool(pool.formula_id, pool.formula, records))
    return relaxed


def run_relax(
    pool_files: Sequence[Path],
    settings_file: Path,
    weights: Path | None,
    output: Path,
    progress: Progress | None = None,
    finished_dir: Path | None = None,
    trajectories_dir: Path | None = None,
    phases_dir: Path | None = None,
) -> str:
    """Read candidate pools, relax them and write one file of relaxed pools, in the order of `pool_files`.

    weights: of m3gnet; None for the default place. progress: as in `relax_pools`; a bar if not given. finished_dir: where
    each formula is kept as soon as it is there, so that a killed or repeated job does only what is missing; None keeps
    nothing. trajectories_dir: as in `relax_pools`. phases_dir: where phases of the Materials Project are kept; None asks
    for none. Returns a line that says what energies above the hull are measured from, or why there are none.
    Raises UserError for missing weights, settings, pools or phases.
    """
    from tqdm import tqdm

    settings = read_section(settings_file, RelaxSettings)
    potential = load_potential(settings.potential, settings.device, weights)
    references, table = read_references(potential), references_path(potential)
    phases, hull = choose_phases(settings.hull_table, phases_dir)
    pools = [pool for path in pool_files for pool in read_records(path, CandidatePool)]
    # Phases decide no relaxation, and of their table what it holds counts, not where it lies.
    asked = settings.model_dump(mode="json", exclude={"hull_table"})
    base = [
        code_id(*imported_modules("relax/relax", without=unused_by_relax(settings))),
        asked,
        potential.content_hash,
        file_sha256(table) if references is not None else "",
    ]
    finished = FinishedResults(finished_dir, RelaxedPool)
    relaxed = []
    with tqdm(
        total=sum(len(p.candidates) for p in pools), desc="relax", unit="candidate", mininterval=5
    ) as bar:
        for pool in pools:
            key = value_hash([*base, to_plain(pool)])
            found = finished.get(pool.formula_id, key)
            if found is None:
                (found,) = relax_pools(
                    [pool], settings, potential, progress or bar.update, references, trajectories_dir
                )
                finished.add(pool.formula_id, key, found)
            relaxed.append(found if phases is None else with_hull(found, phases))
    write_records(
        output,
        RelaxedPool,
        relaxed,
        settings=value_hash(asked),
        inputs={path.name: file_sha256(path) for path in pool_files},
        potential=potential.content_hash,
        hull="" if phases is None else phases.name,
        versions=versions(headers=map(read_header, pool_files)),
    )
    return hull


def with_hull(pool: RelaxedPool, phases: PhaseSource) -> RelaxedPool:
    """Give every candidate that has a formation energy its energy above the hull of `phases`."""
    formation = [c.formation_energy_ev_per_atom if c.crystal is not None else None for c in pool.candidates]
    if not any(energy is not None for energy in formation):
        return pool
    above = energies_above_hull(phases, pool.formula, formation)
    candidates = (replace(c, energy_above_hull_ev_per_atom=e) for c, e in zip(pool.candidates, above))
    return replace(pool, candidates=tuple(candidates))


def _record(
    candidate: Candidate, outcome: Relaxation, references: References | None, label: str
) -> RelaxedCandidate:
    status, reason, crystal, formation = outcome.status, outcome.reason, outcome.crystal, None
    if crystal is not None and references is not None and outcome.energy_ev_per_atom is not None:
        formation = formation_energy_ev_per_atom(crystal, outcome.energy_ev_per_atom, references)
        if formation is not None and formation < MIN_FORMATION_ENERGY_EV_PER_ATOM:
            fault = f"a formation energy of {formation:.1f} eV/atom is not physical: the potential fails on this crystal"
            status, crystal, reason = "dropped", None, "; ".join(filter(None, [reason, fault]))
        elif formation is not None:
            reason = "; ".join(filter(None, [reason, references.doubt(crystal.species)]))
    kept = None
    if crystal is not None:
        kept = space_group_or_p1(crystal, KEPT_TOLERANCE_ANG) == candidate.label.space_group
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
        symmetry_kept=kept,
    )
