"""The prerelax stage: candidate pools in, the same pools with their crystals relaxed in one pass out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mapcsp.deeprelax.model import WEIGHTS, RelaxModel, load_model
from mapcsp.deeprelax.predict import OnePass, relax_in_one_pass
from mapcsp.devices import choose_device
from mapcsp.provenance import file_sha256, value_hash, versions
from mapcsp.records import Candidate, CandidatePool
from mapcsp.registry import registered_model
from mapcsp.settings import RelaxSettings, read_section
from mapcsp.store import read_header, read_records, write_records


def default_weights(name: str) -> Path:
    """Weights of a DeepRelax model of the registry; raises UserError for a name that is none."""
    return registered_model(name, "relax.prerelax").folder / WEIGHTS


def prerelax_pools(
    pools: Sequence[CandidatePool], settings: RelaxSettings, model: RelaxModel
) -> list[CandidatePool]:
    """Relax the candidates of all pools in one pass.

    Every candidate gets its uncertainty; one above `settings.prerelax_max_uncertainty_ang` keeps its crystal.
    """
    crystals = [c.crystal for pool in pools for c in pool.candidates]
    found = iter(relax_in_one_pass(crystals, model, batch_atoms=settings.batch_atoms))
    return [
        dataclasses.replace(pool, candidates=tuple(_moved(c, next(found), settings) for c in pool.candidates))
        for pool in pools
    ]


def _moved(candidate: Candidate, found: OnePass, settings: RelaxSettings) -> Candidate:
    certain = found.uncertainty_ang <= settings.prerelax_max_uncertainty_ang
    return dataclasses.replace(
        candidate,
        crystal=found.crystal if certain else candidate.crystal,
        prerelax_uncertainty_ang=found.uncertainty_ang,
    )


def prerelaxed(pools: Sequence[CandidatePool], settings: RelaxSettings) -> list[CandidatePool]:
    """The pools as the potential gets them, after one pass where the settings ask for one; UserError without weights."""
    if settings.prerelax == "none":
        return list(pools)
    weights = default_weights(settings.prerelax)
    return prerelax_pools(
        pools, settings, load_model(weights, settings.prerelax, choose_device(settings.device))
    )


def run_prerelax(pool_file: Path, settings_file: Path, output: Path) -> None:
    """Read candidate pools, relax them in one pass and write them; `none` writes them as they are.

    Raises UserError for missing weights, settings or pools.
    """
    settings = read_section(settings_file, RelaxSettings)
    pools = read_records(pool_file, CandidatePool)
    weights = "" if settings.prerelax == "none" else file_sha256(default_weights(settings.prerelax))
    write_records(
        output,
        CandidatePool,
        prerelaxed(pools, settings),
        settings=value_hash(settings.model_dump()),
        inputs={pool_file.name: file_sha256(pool_file)},
        weights=weights,
        versions=versions(headers=[read_header(pool_file)]),
    )
