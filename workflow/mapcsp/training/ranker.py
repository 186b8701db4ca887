"""Fits the ranking's coefficients on pools of training formulas predicted out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mapcsp.benchmark.pools import Target, pair_targets, relaxed_pools
from mapcsp.metrics.match import LOOSE, match_rms
from mapcsp.ranking.model import fit_ranker, save_ranker
from mapcsp.ranking.rank import rank_example
from mapcsp.records import Crystal
from mapcsp.settings import Settings
from mapcsp.training.split import is_held_out
from mapcsp.training.symmetry import is_known_material
from mapcsp.training.symmetry_run import encoded_table
from mapcsp.training.tables import read_structures

MAX_ATOMS = 20


def choose_targets(
    tables: Sequence[Path], work_dir: Path, max_atoms: int, count: int, seed: int
) -> list[Target]:
    """Draw known materials whose formulas no network was trained on, one crystal a formula."""
    known = [r for t in tables for r in read_structures([t], max_atoms) if is_held_out(r.formula)]
    encoded = [r for t in tables for r in encoded_table(t, work_dir)]
    targets = [
        t
        for t in pair_targets(known, encoded)
        if is_known_material(t.encoded) and len(t.encoded.elements) > 1
    ]
    order = np.random.default_rng(seed).permutation(len(targets))
    chosen: dict[str, Target] = {}
    for index in order:
        chosen.setdefault(targets[index].known.formula, targets[index])
    return list(chosen.values())[:count]


def _is_right(truth: Crystal, predicted: Crystal) -> bool:
    return match_rms(predicted, truth, LOOSE) is not None


def run_train_ranker(
    tables: Sequence[Path], work_dir: Path, output: Path, count: int, settings: Settings
) -> None:
    """Fit on `count` formulas that no network was trained on, with their own crystals hidden, and write the coefficients."""
    targets = choose_targets(tables, work_dir, MAX_ATOMS, count, seed=1)
    pools = relaxed_pools(targets, settings, work_dir / "pools", hidden=True)
    examples = []
    for pool, target in zip(tqdm(pools, desc="match"), targets):
        is_right = partial(_is_right, target.known.crystal)
        example = rank_example(pool, is_right, settings.ranking.symprec_ang)
        if example is not None:
            examples.append(example)
    note = (
        f"Fitted on {len(examples)} training formulas (at most {MAX_ATOMS} atoms, z given) that no network was trained on, "
        "their own crystals hidden from the memory of labels."
    )
    save_ranker(
        output / "coefficients.json", fit_ranker(examples, potential=settings.relax.potential, note=note)
    )
