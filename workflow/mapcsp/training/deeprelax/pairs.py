"""Training pairs of DeepRelax: each crystal, and another one of its prototype with its elements replaced, as unrelaxed.

The other crystal is drawn at random among those with the same label and another reduced formula, not the nearest in
chemistry; its cell is scaled by the volume of the atoms' covalent spheres after and before. So the pairs hold no energies
and no private data, as in the X-Mn-O set of the paper (arXiv:2404.00865, section 2.2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from mapcsp.deeprelax.pairs import RelaxPair, align_pair, reduced_crystal
from mapcsp.elements import covalent_radius_ang
from mapcsp.provenance import derive_seed
from mapcsp.records import CandidatePool, Crystal, Label
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.labels import AnonymousLabel
from mapcsp.symmetry.memory import role_symmetries
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.maps.pairs import role_distances

TRIES_A_PAIR = 3
"""Crystals of the label tried for each pair wanted; some are of another prototype within the label."""


def sphere_volume_ang3(species: Sequence[str]) -> float:
    """Volume of the covalent spheres of some atoms, Å³."""
    return float(sum(4 / 3 * np.pi * covalent_radius_ang(s) ** 3 for s in species))


def build_pairs(
    targets: Sequence[EncodedKnown],
    library: Sequence[EncodedKnown],
    seed: int,
    pairs_each: int,
) -> list[RelaxPair]:
    """Pair crystals with randomly drawn ones of their prototype from a library.

    pairs_each: most pairs a crystal. Deterministic in `seed`, whatever the order of the targets. Crystals of one atom and
    those without a partner are left out. Shows progress.
    """
    by_key: dict[str, list[EncodedKnown]] = defaultdict(list)
    for known in library:
        by_key[known.anonymous_key].append(known)
    crystals: dict[str, Crystal] = {}
    pairs = []
    for target in tqdm(targets, desc="pairing crystals", mininterval=10):
        if target.n_atoms < 2:
            continue
        others = [o for o in by_key[target.anonymous_key] if o.formula != target.formula]
        if not others:
            continue
        rng = np.random.default_rng(derive_seed(seed, target.material_id))
        drawn = rng.permutation(len(others))[: TRIES_A_PAIR * pairs_each]
        orders = role_symmetries(AnonymousLabel.from_key(target.anonymous_key))
        _, best = role_distances(target.elements, [others[i].elements for i in drawn], orders)
        found = 0
        for index, order in zip(drawn, best):
            source = others[index]
            pair = _pair(target, source, orders[order], crystals)
            if pair is not None:
                pairs.append(pair)
                found += 1
            if found == pairs_each:
                break
    return pairs


def _pair(
    target: EncodedKnown,
    source: EncodedKnown,
    order: tuple[int, ...],
    crystals: dict[str, Crystal],
) -> RelaxPair | None:
    for row in (target, source):
        if row.material_id not in crystals:
            geometry = label_geometry(Label.from_key(row.label_key))
            crystals[row.material_id] = reduced_crystal(geometry.decode(row.cell, row.free_coords))
    replaced = {old: target.elements[k] for old, k in zip(source.elements, order)}
    template, relaxed = crystals[source.material_id], crystals[target.material_id]
    species = tuple(replaced[s] for s in template.species)
    scale = np.cbrt(sphere_volume_ang3(species) / sphere_volume_ang3(template.species))
    initial = Crystal(template.lattice_ang * scale, species, template.frac_coords)
    return align_pair(f"{target.material_id}<{source.material_id}", target.formula, initial, relaxed)


def candidate_pairs(pools: Sequence[CandidatePool], true: Mapping[str, Crystal]) -> list[RelaxPair]:
    """Pairs from our own reconstruction: each candidate of a pool that is of the true crystal's prototype, and that crystal.

    true: crystals by formula id. Pools of other formulas are left out.
    """
    pairs = []
    for pool in pools:
        if pool.formula_id not in true:
            continue
        relaxed = reduced_crystal(true[pool.formula_id])
        for candidate in pool.candidates:
            if candidate.crystal.n_atoms == relaxed.n_atoms:
                name = f"{pool.formula_id}<{candidate.id}"
                pairs.append(align_pair(name, pool.formula, reduced_crystal(candidate.crystal), relaxed))
    return [p for p in pairs if p is not None]
