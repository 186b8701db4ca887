"""The rank stage: from relaxed pools to the ranking table, CIF files and one outcome for every formula."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.io.cif import CifWriter

from mapcsp.crystals import to_structure
from mapcsp.errors import StoreError
from mapcsp.provenance import file_sha256, value_hash, versions
from mapcsp.ranking.model import default_ranker_file, load_ranker
from mapcsp.ranking.rank import rank_pool
from mapcsp.ranking.symmetry_found import FoundSymmetry
from mapcsp.records import (
    CandidatePool,
    CandidateSummary,
    FormulaOutcome,
    RankedStructure,
    RelaxedPool,
    SymmetryPrediction,
)
from mapcsp.settings import RankingSettings, read_section
from mapcsp.store import (
    read_header,
    read_json,
    read_record,
    read_records,
    shard,
    write_csv,
    write_records,
    write_text,
)
from mapcsp.untried import NOTHING_UNTRIED, Untried

# The standard cell is exactly symmetric, so that a far tighter tolerance than the search's finds the same
# group.
CIF_SYMPREC_ANG = 0.005
G_PER_CM3_OF_U_PER_ANG3 = 1.66053906660

RANKING_COLUMNS = (
    "id",
    "formula",
    "rank",
    "z",
    "space_group",
    "space_group_symbol",
    "also_space_groups",
    "probability",
    "score",
    "energy_ev_per_atom",
    "formation_energy_ev_per_atom",
    "energy_above_best_ev_per_atom",
    "energy_above_hull_ev_per_atom",
    "rescored_energy_ev_per_atom",
    "rescored_above_best_ev_per_atom",
    "energy_uncertainty_ev_per_atom",
    "prerelax_uncertainty_ang",
    "n_atoms_primitive",
    "volume_ang3_per_atom",
    "density_g_per_cm3",
    "a_ang",
    "b_ang",
    "c_ang",
    "alpha_deg",
    "beta_deg",
    "gamma_deg",
    "label",
    "label_rank",
    "label_log_prob",
    "origin",
    "prototype_count",
    "merged",
    "not_tried",
    "not_tried_probability",
    "status",
    "max_force_ev_per_ang",
    "potential",
    "rescored_by",
    "outside_domain",
    "candidate_id",
    "cif",
)
NO_SECOND_POTENTIAL = (
    "Ranked without a second potential. Energies of SevenNet order polymorphs better: install it with "
    "`pip install 'mapcsp[sevennet]'` and leave rescore.potential at auto, then run snakemake again."
)
FAILED_COLUMNS = (
    "id",
    "formula",
    "reason",
    "n_candidates",
    "n_relaxed",
    "not_tried",
    "not_tried_probability",
)


def run_rank(
    relaxed_files: Sequence[Path],
    pool_files: Sequence[Path],
    intake_index: Path,
    settings_file: Path,
    output_dir: Path,
    ranker_file: Path | None = None,
    symmetry_dir: Path | None = None,
) -> None:
    """Rank every formula and write the final answer.

    relaxed_files: RelaxedPool records, with second energies or without; pool_files: CandidatePool records;
    intake_index: the intake's index.json, which names all accepted formulas. symmetry_dir: what the symmetry stage wrote,
    which says what was not tried; None if nothing is to be said of it. Writes, in `output_dir`:
    ranking.csv, failed.csv, outcomes.jsonl (FormulaOutcome), candidates.jsonl (CandidateSummary),
    cif/<shard>/<id>_<rank>.cif. Raises StoreError if an accepted formula has no relaxed pool or two, or a
    pool's formula was not accepted.
    """
    settings = read_section(settings_file, RankingSettings)
    ranker_file = ranker_file or default_ranker_file()
    ranker = load_ranker(ranker_file)
    accepted: list[str] = read_json(intake_index)["ids"]
    relaxed = {pool.formula_id: pool for pool in _unique(relaxed_files, RelaxedPool)}
    searched = {pool.formula_id: pool for pool in _unique(pool_files, CandidatePool)}
    _check_complete(accepted, relaxed)

    (output_dir / "cif").mkdir(parents=True, exist_ok=True)
    outcomes: list[FormulaOutcome] = []
    summaries: list[CandidateSummary] = []
    rows: list[list[Any]] = []
    for identifier in accepted:
        pool = relaxed[identifier]
        untried = NOTHING_UNTRIED if symmetry_dir is None else _untried(symmetry_dir, identifier)
        outcome, of_pool, symmetries = rank_pool(pool, settings, ranker, searched.get(identifier), untried)
        structures = []
        for structure, symmetry in zip(outcome.structures, symmetries):
            path = f"cif/{shard(identifier)}/{identifier}_{structure.rank}.cif"
            write_text(output_dir / path, cif_text(symmetry))
            structures.append(dataclasses.replace(structure, cif=path))
            rows.append(_row(structures[-1], symmetry, outcome))
        outcomes.append(dataclasses.replace(outcome, structures=tuple(structures)))
        summaries.extend(of_pool)
    _delete_stale_cifs(output_dir, {s.cif for o in outcomes for s in o.structures})

    asked = {c.rescored_by for pool in relaxed.values() for c in pool.candidates if c.rescored_by}
    provenance = {
        "settings": value_hash(settings.model_dump(mode="json")),
        "ranker": file_sha256(ranker_file),
        "second_potential": ", ".join(sorted(asked)) or "none",
        "versions": versions(headers=map(read_header, relaxed_files)),
    }
    if not asked:
        print(NO_SECOND_POTENTIAL, file=sys.stderr)
    write_records(output_dir / "candidates.jsonl", CandidateSummary, summaries, **provenance)
    write_records(output_dir / "outcomes.jsonl", FormulaOutcome, outcomes, **provenance)
    write_csv(output_dir / "ranking.csv", RANKING_COLUMNS, rows)
    failed = [o for o in outcomes if o.status == "failed"]
    write_csv(
        output_dir / "failed.csv",
        FAILED_COLUMNS,
        [
            (
                *(o.formula_id, o.formula, o.reason, o.n_candidates, o.n_relaxed),
                *(o.untried.text, o.untried.probability),
            )
            for o in failed
        ],
    )


def cif_text(symmetry: FoundSymmetry) -> str:
    """The symmetrised conventional cell as CIF text with its operations; plain P1 where none was found."""
    structure = to_structure(symmetry.conventional)
    if not symmetry.symmetrised:
        return str(CifWriter(structure))
    return str(CifWriter(structure, symprec=CIF_SYMPREC_ANG))


def _untried(symmetry_dir: Path, identifier: str) -> Untried:
    file = symmetry_dir / shard(identifier) / f"{identifier}.jsonl"
    return read_record(file, SymmetryPrediction).untried


def _unique(files: Sequence[Path], kind: type[Any]) -> Iterator[Any]:
    seen: dict[str, Path] = {}
    for file in sorted(files):
        for pool in read_records(file, kind):
            if pool.formula_id in seen:
                raise StoreError(
                    f"{file}: formula {pool.formula_id} is also in {seen[pool.formula_id]}; delete one"
                )
            seen[pool.formula_id] = file
            yield pool


def _check_complete(accepted: Sequence[str], relaxed: dict[str, RelaxedPool]) -> None:
    """Nothing is lost on the way from the list to the ranking, and nothing comes from elsewhere."""
    missing = [identifier for identifier in accepted if identifier not in relaxed]
    if missing:
        named = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise StoreError(
            f"{len(missing)} of {len(accepted)} accepted formulas have no relaxed pool: {named}; "
            "run snakemake again to build it"
        )
    foreign = sorted(set(relaxed) - set(accepted))
    if foreign:
        raise StoreError(
            f"relaxed pools of formulas that the list does not hold: {', '.join(foreign[:10])}; delete them"
        )


def _delete_stale_cifs(output_dir: Path, written: set[str]) -> None:
    """A smaller top K, or a formula taken from the list, must not leave files that look like results."""
    for path in sorted((output_dir / "cif").glob("*/*.cif")):
        if str(path.relative_to(output_dir)) not in written:
            path.unlink()


def _row(structure: RankedStructure, symmetry: FoundSymmetry, outcome: FormulaOutcome) -> list[Any]:
    relaxed, candidate = structure.relaxed, structure.relaxed.candidate
    primitive = symmetry.primitive
    conventional = to_structure(symmetry.conventional)
    lengths, angles = conventional.lattice.abc, conventional.lattice.angles
    mass_u = float(conventional.composition.weight)
    values: dict[str, Any] = {
        "id": structure.formula_id,
        "formula": structure.formula,
        "rank": structure.rank,
        "z": structure.z,
        "space_group": structure.space_group,
        "space_group_symbol": symmetry.symbol,
        "also_space_groups": " ".join(map(str, structure.also_space_groups)) or None,
        "probability": structure.probability,
        "score": structure.score,
        "energy_ev_per_atom": structure.energy_ev_per_atom,
        "formation_energy_ev_per_atom": structure.formation_energy_ev_per_atom,
        "energy_above_best_ev_per_atom": structure.energy_above_best_ev_per_atom,
        "energy_above_hull_ev_per_atom": relaxed.energy_above_hull_ev_per_atom,
        "rescored_energy_ev_per_atom": relaxed.rescored_energy_ev_per_atom,
        "rescored_above_best_ev_per_atom": structure.rescored_above_best_ev_per_atom,
        "energy_uncertainty_ev_per_atom": structure.energy_uncertainty_ev_per_atom,
        "prerelax_uncertainty_ang": candidate.prerelax_uncertainty_ang,
        "n_atoms_primitive": primitive.n_atoms,
        "volume_ang3_per_atom": primitive.volume_ang3 / primitive.n_atoms,
        "density_g_per_cm3": mass_u / conventional.lattice.volume * G_PER_CM3_OF_U_PER_ANG3,
        **dict(zip(("a_ang", "b_ang", "c_ang"), map(float, lengths))),
        **dict(zip(("alpha_deg", "beta_deg", "gamma_deg"), map(float, angles))),
        "label": candidate.label.key,
        "label_rank": candidate.label_rank,
        "label_log_prob": candidate.label_log_prob,
        "origin": candidate.origin,
        "prototype_count": candidate.prototype_count,
        "merged": structure.merged,
        "not_tried": outcome.untried.text,
        "not_tried_probability": outcome.untried.probability,
        "status": relaxed.status,
        "max_force_ev_per_ang": relaxed.max_force_ev_per_ang,
        "potential": relaxed.potential,
        "rescored_by": relaxed.rescored_by,
        "outside_domain": "; ".join(outcome.outside_domain) or None,
        "candidate_id": candidate.id,
        "cif": structure.cif,
    }
    return [
        float(v) if isinstance(v, np.floating) else v for v in (values[column] for column in RANKING_COLUMNS)
    ]
