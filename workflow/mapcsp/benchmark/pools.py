"""Relaxed pools of known crystals, chunk by chunk, in files: a run that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from mapcsp.benchmark.pipeline import load_models, predict_pool, relax_together
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.records import RelaxedPool
from mapcsp.relax.backends import load_potential
from mapcsp.settings import Settings
from mapcsp.store import read_records, write_records
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.evaluate_symmetry import entry_of
from mapcsp.training.geometries import formula_hash
from mapcsp.training.tables import KnownCrystal

CHUNK = 8


@dataclass(frozen=True, eq=False)
class Target:
    """A known crystal and what its formula is predicted from."""

    known: KnownCrystal
    encoded: EncodedKnown


def pair_targets(known: Sequence[KnownCrystal], encoded: Sequence[EncodedKnown]) -> list[Target]:
    """Join crystals with their encodings by material id, in the order of `known`; others are left out."""
    by_id = {row.material_id: row for row in encoded}
    return [
        Target(row, by_id[row.material_id])
        for row in known
        if row.material_id in by_id and set(row.crystal.species) <= SUPPORTED_ELEMENTS
    ]


def relaxed_pools(
    targets: Sequence[Target], settings: Settings, folder: Path, hidden: bool, z_known: bool = True
) -> list[RelaxedPool]:
    """Predict and relax the pool of each target's formula.

    hidden: leave the formula's own training crystals out. z_known: give the true z, else every z up to the largest cell.
    """
    torch.set_num_threads(1)
    models, potential = (
        load_models(settings),
        load_potential(settings.relax.potential, settings.relax.device, None),
    )
    found: list[RelaxedPool] = []
    for first in tqdm(range(0, len(targets), CHUNK), desc="pools of 8 formulas"):
        path = folder / f"{first:05d}.jsonl"
        if not path.exists():
            pools = []
            for target in targets[first : first + CHUNK]:
                row = target.encoded
                reduced = row.n_atoms // row.z
                zs = (row.z,) if z_known else tuple(range(1, settings.intake.max_atoms // reduced + 1))
                mask = formula_hash(row.formula) if hidden else None
                pools.append(predict_pool(entry_of(row, zs), models, settings, mask))
            write_records(path, RelaxedPool, relax_together(pools, settings, potential))
        found += read_records(path, RelaxedPool)
    return found
