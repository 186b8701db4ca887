"""Pools that the ranking is fitted on: training formulas predicted out of fold, relaxed, rescored and matched."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mapcsp.crystals import without_hand
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.metrics.match import LOOSE, match_rms
from mapcsp.provenance import file_sha256, value_hash
from mapcsp.ranking.domain import Domain
from mapcsp.ranking.features import LARGEST_ERROR_EV_PER_ATOM
from mapcsp.ranking.rank import rank_example
from mapcsp.ranking.symmetry_found import find_symmetry
from mapcsp.records import Crystal, RelaxedPool
from mapcsp.registry import registered_model
from mapcsp.relax.rescore import load_energy_model, rescore_pool
from mapcsp.settings import Settings
from mapcsp.store import read_records, write_records
from mapcsp.training.encoded import EncodedKnown, encoded_tables
from mapcsp.training.geometries import formula_hash
from mapcsp.training.split import is_held_out
from mapcsp.training.symmetry.evaluate import entry_of
from mapcsp.training.symmetry.train_labels import is_known_material
from mapcsp.training.tables import KnownCrystal, read_structures

CHUNK = 4


@dataclass(frozen=True, eq=False)
class RankTarget:
    """A known crystal and what its formula is predicted from."""

    known: KnownCrystal
    encoded: EncodedKnown


@dataclass(frozen=True, eq=False)
class MatchedPool:
    """One pool whose answer is known, as the fit and its baselines need it; (n,) over its relaxed candidates.

    features, log_weight, groups, right: as in `ranking.model.RankExample`. matches: whether the loose matcher calls it the
    known crystal, which is the benchmark's criterion; right where it is also the known crystal's phase (see `same_phase`)
    and no further above the pool's lowest energy than LARGEST_ERROR_EV_PER_ATOM.
    energy_ev_per_atom: by the potential that relaxes; rescored_ev_per_atom: by the second, None where it knows not all
    elements. first_label_right: whether the candidate of the likeliest label, before relaxation, is the known crystal.
    outside: the first of `domain.KINDS` that the formula is of, empty for one like those that were learned from.
    """

    formula_id: str
    formula: str
    features: np.ndarray
    log_weight: np.ndarray
    groups: tuple[int, ...]
    right: tuple[bool, ...]
    matches: tuple[bool, ...]
    energy_ev_per_atom: np.ndarray
    rescored_ev_per_atom: np.ndarray | None
    first_label_right: bool
    outside: str


def choose_targets(
    tables: Sequence[Path], work_dir: Path, max_atoms: int, count: int, seed: int
) -> list[RankTarget]:
    """Draw known materials whose formulas no network was trained on, one crystal a formula."""
    known = [r for t in tables for r in read_structures([t], max_atoms) if is_held_out(r.formula)]
    encoded = {r.material_id: r for r in encoded_tables(tables, work_dir)}
    targets = [
        RankTarget(row, encoded[row.material_id])
        for row in known
        if row.material_id in encoded and set(row.crystal.species) <= SUPPORTED_ELEMENTS
    ]
    targets = [t for t in targets if is_known_material(t.encoded) and len(t.encoded.elements) > 1]
    order = np.random.default_rng(seed).permutation(len(targets))
    chosen: dict[str, RankTarget] = {}
    for index in order:
        chosen.setdefault(targets[index].known.formula, targets[index])
    return list(chosen.values())[:count]


def relaxed_pools(
    targets: Sequence[RankTarget], settings: Settings, folder: Path, processes: int
) -> list[RelaxedPool]:
    """Predict, relax and rescore the pools of all targets, several processes side by side.

    Chunks of formulas are kept in `folder`, by what decides them, so that a run that was stopped goes on, and a ranking with
    other features is fitted on the same pools.
    """
    folder = folder / pools_key(settings)
    chunks = [targets[first : first + CHUNK] for first in range(0, len(targets), CHUNK)]
    # Named by their crystals, so that a chunk of other targets never passes for them.
    paths = [folder / f"{value_hash([t.encoded.material_id for t in chunk])[:16]}.jsonl" for chunk in chunks]
    missing = [(path, chunk) for path, chunk in zip(paths, chunks) if not path.exists()]
    stripes = [missing[i::processes] for i in range(processes) if missing[i::processes]]
    if stripes:
        # Fresh processes: threads of libraries do not survive a fork.
        with ProcessPoolExecutor(len(stripes), mp_context=get_context("spawn")) as executor:
            list(executor.map(_write_stripe, stripes, [settings] * len(stripes)))
    return [pool for path in paths for pool in read_records(path, RelaxedPool)]


def matched_pools(
    targets: Sequence[RankTarget], pools: Sequence[RelaxedPool], symprec_ang: float, domain: Domain
) -> list[MatchedPool]:
    """Compare the pools of targets with their known crystals; a pool of which nothing can be ranked is left out."""
    pairs = tqdm(zip(pools, targets), total=len(targets), desc="matching", mininterval=10)
    matched = [match_pool(pool, target, symprec_ang, domain) for pool, target in pairs]
    return [pool for pool in matched if pool is not None]


def pools_key(settings: Settings) -> str:
    """What decides the pools besides the code: the settings of their stages, and the models."""
    used = (settings.symmetry.model, "symmetry.model"), (settings.maps.model, "maps.model")
    files = [file for name, stage in used for file in registered_model(name, stage).files]
    sections = ("symmetry", "maps", "reconstruct", "pool", "relax", "rescore", "ranking")
    return value_hash(
        [settings.seed]
        + [getattr(settings, name).model_dump(mode="json") for name in sections]
        + [file_sha256(path) for path in files]
    )


def _write_stripe(stripe: Sequence[tuple[Path, Sequence[RankTarget]]], settings: Settings) -> None:
    import torch

    from mapcsp.benchmark.pipeline import load_models, predict_pool, relax_together
    from mapcsp.relax.backends import load_potential

    torch.set_num_threads(1)
    models = load_models(settings)
    potential = load_potential(settings.relax.potential, settings.relax.device, None)
    second = load_energy_model(settings.rescore.second_potential() or "sevennet-l3i5", settings.relax.device)
    for path, targets in tqdm(stripe, desc=f"pools of {CHUNK} formulas", mininterval=10):
        pools = [
            predict_pool(
                entry_of(t.encoded, (t.encoded.z,)), models, settings, formula_hash(t.encoded.formula)
            )
            for t in targets
        ]
        relaxed = relax_together(pools, settings, potential)
        rescored = [rescore_pool(pool, settings.rescore.candidates, second) for pool in relaxed]
        write_records(path, RelaxedPool, rescored)


def match_pool(
    pool: RelaxedPool, target: RankTarget, symprec_ang: float, domain: Domain
) -> MatchedPool | None:
    """Compare a rescored pool with the known crystal; None if nothing of it can be ranked."""
    matches = partial(_matches, target.known.crystal)
    found = rank_example(pool, matches, symprec_ang)
    if found is None:
        return None
    analysed, example = found
    true_group = find_symmetry(target.known.crystal, symprec_ang).space_group
    # A known crystal that lies further above than a potential errs is a polymorph of high pressure or none at all, such as
    # NdAs of the CsCl type, 0.4 eV/atom above rock salt by both potentials: no answer that the ranking should learn to give.
    above = analysed.energies_ev_per_atom - analysed.energies_ev_per_atom.min()
    within = example.right & (above <= LARGEST_ERROR_EV_PER_ATOM)
    right = same_phase(within, [s.space_group for s in analysed.symmetries], true_group)
    first = min(pool.candidates, key=lambda r: (-r.candidate.label_log_prob, -r.candidate.fitness.total))
    outside = domain.outside(pool.formula)
    return MatchedPool(
        pool.formula_id,
        pool.formula,
        example.features,
        example.log_weight,
        tuple(int(g) for g in example.groups),
        tuple(bool(r) for r in right),
        tuple(bool(m) for m in example.right),
        analysed.energies_ev_per_atom,
        analysed.rescored_ev_per_atom,
        matches(first.candidate.crystal),
        outside[0].kind if outside else "",
    )


def same_phase(matches: np.ndarray, space_groups: Sequence[int], true_space_group: int) -> np.ndarray:
    """Which candidates are the known crystal's phase: of those that match, the ones in its space group.

    The loose matcher takes a tilted perovskite for the ideal one, and the ranking has to tell them apart. Where none of
    them is in the space group, all that match count. matches: (n,); returns (n,).
    """
    group = without_hand(true_space_group)
    same = matches & np.array([without_hand(n) == group for n in space_groups], bool)
    return same if same.any() else matches


def _matches(truth: Crystal, predicted: Crystal) -> bool:
    return match_rms(predicted, truth, LOOSE) is not None
