"""Gathers encoded crystals into a LabelMemory: labels, who took which role, and the geometries of each label."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from mapcsp.crystals import distance_matrix
from mapcsp.elements import atomic_number
from mapcsp.records import Label
from mapcsp.symmetry.cells import cell_volume_ang3, scale_to_volume
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.labels import AnonymousLabel, role_free_order
from mapcsp.symmetry.memory import MAX_ROLES, LabelMemory, role_symmetries
from mapcsp.symmetry.wyckoff import space_group
from mapcsp.training.encoded import EncodedKnown

# Two crystals share a geometry if their sorted distances, at unit volume per atom, differ by less than this (RMS):
# about 0.1 Å at 15 Å³ an atom.
SAME_GEOMETRY = 0.04
MAX_GEOMETRIES = 12


def formula_hash(formula: str) -> int:
    """Stable 63-bit hash of a reduced formula."""
    return int.from_bytes(hashlib.sha256(formula.encode()).digest()[:8], "little") >> 1


def volume_per_atom_ang3(row: EncodedKnown) -> float:
    """Volume per atom of an encoded crystal, Å³."""
    group = space_group(row.anonymous.space_group)
    return float(cell_volume_ang3(row.cell)) / len(group.centring) / row.n_atoms


def shares(row: EncodedKnown) -> np.ndarray:
    """Share of each element, (95,), by atomic number."""
    share = np.zeros(95)
    for element, count in zip(row.elements, row.anonymous.counts):
        share[atomic_number(element)] += count / row.n_atoms
    return share


def elemental_volumes(rows: Sequence[EncodedKnown]) -> np.ndarray:
    """Volume an atom of each element takes, (95,), Å³: ridge least squares of volume per atom on the shares.

    An element without crystals gets the mean.
    """
    matrix = np.array([shares(r) for r in rows])
    volumes = np.array([volume_per_atom_ang3(r) for r in rows])
    mean = volumes.mean()
    seen = matrix.sum(0) > 0
    # Relative errors count, so rows are divided by their volume.
    weighted = matrix / volumes[:, None]
    gram = weighted.T @ weighted + 1e-4 * np.eye(95)
    fitted = mean + np.linalg.solve(gram, weighted.T @ (1 - mean * weighted.sum(1)))
    return np.where(seen, np.clip(fitted, 2.0, 120.0), mean)


@dataclass(frozen=True, eq=False)
class _Geometry:
    cell: np.ndarray
    free: np.ndarray
    spread: np.ndarray
    members: list[int]


def anonymous_geometry(row: EncodedKnown) -> tuple[np.ndarray, np.ndarray]:
    """Cell (6,) at 1 Å³ an atom, and free coordinates (f,) in the order of the roles, so that elements do not matter."""
    label = Label.from_key(row.label_key)
    cell = scale_to_volume(row.cell, len(space_group(label.space_group).centring) * row.n_atoms)
    return cell, row.free_coords[role_free_order(label, row.elements)]


def _fingerprint(label: Label, cell: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Sorted minimum-image distances by pair of roles, at unit volume per atom."""
    geometry = label_geometry(label)
    distances = distance_matrix(geometry.decode(cell, free))
    species = np.array(geometry.species)
    parts = []
    kinds = sorted(set(geometry.species))
    for i, first in enumerate(kinds):
        for second in kinds[i:]:
            block = distances[np.ix_(species == first, species == second)]
            parts.append(np.sort(block[np.triu_indices(len(block), 1)] if first == second else block.ravel()))
    return np.concatenate([*parts, np.sort(np.log(cell[:3])) * 0.3])


def role_label(anonymous: AnonymousLabel) -> Label:
    """The label with role names R0, R1, … for elements: what anonymous geometries belong to."""
    return Label(
        anonymous.space_group,
        tuple((f"R{i}", w) for i, letters in enumerate(anonymous.roles) for w in letters),
    )


def _cluster(anonymous: AnonymousLabel, cells: np.ndarray, frees: list[np.ndarray]) -> list[_Geometry]:
    """Group geometries of one label: take the one with most others near it, remove those, repeat."""
    label = role_label(anonymous)
    prints = np.array([_fingerprint(label, c, f) for c, f in zip(cells, frees)])
    left = np.arange(len(cells))
    if len(left) > 400:  # a label with many examples has few geometries; a sample finds their centres
        step = np.linspace(0, len(left) - 1, 400).astype(int)
        sample = left[step]
    else:
        sample = left
    groups: list[_Geometry] = []
    centres: list[int] = []
    pool = list(sample)
    while pool and len(groups) < MAX_GEOMETRIES:
        block = prints[pool]
        apart = np.sqrt(((block[:, None] - block[None]) ** 2).mean(-1))
        near = apart < SAME_GEOMETRY
        best = int(np.argmax(near.sum(1) - 1e-3 * apart.mean(1)))
        centres.append(int(pool[best]))
        groups.append(_Geometry(cells[pool[best]], frees[pool[best]], np.zeros_like(frees[pool[best]]), []))
        pool = [p for p, n in zip(pool, near[best]) if not n]
    apart = np.sqrt(((prints[:, None] - prints[None, centres]) ** 2).mean(-1))
    owner = apart.argmin(1)
    finished = []
    for index, group in enumerate(groups):
        members = np.flatnonzero(owner == index)
        delta = np.array([frees[m] - group.free for m in members]).reshape(len(members), -1)
        delta -= np.rint(delta)
        # Equivalent choices of a free coordinate differ by more than a spread does; they say nothing about it.
        close = (np.abs(delta) < 0.08).all(1)
        spread = np.sqrt((delta[close] ** 2).mean(0)) if close.sum() > 1 else np.zeros_like(group.free)
        finished.append(_Geometry(group.cell, group.free, spread, [int(m) for m in members]))
    return finished


def build_memory(rows: Sequence[EncodedKnown]) -> LabelMemory:
    """Build the memory of training crystals."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if len(row.elements) <= MAX_ROLES:
            by_label[row.anonymous_key].append(index)
    keys = sorted(by_label)
    volumes = elemental_volumes(rows)
    labels = tuple(AnonymousLabel.from_key(k) for k in keys)
    example_label, example_elements, example_mode, example_formula = [], [], [], []
    mode_label: list[int] = []
    mode_count, mode_cell, mode_log_volume, frees, spreads = [], [], [], [], []
    for label_index, key in enumerate(tqdm(keys, desc="geometries", mininterval=10)):
        members = by_label[key]
        found = [anonymous_geometry(rows[m]) for m in members]
        cells = np.array([c for c, _ in found])
        ratios = np.array(
            [np.log(volume_per_atom_ang3(rows[m]) / (shares(rows[m]) @ volumes)) for m in members]
        )
        for group in _cluster(labels[label_index], cells, [f for _, f in found]):
            if not group.members:
                continue
            mode = len(mode_label)
            mode_label.append(label_index)
            mode_count.append(len(group.members))
            mode_cell.append(group.cell)
            mode_log_volume.append(ratios[group.members].mean())
            frees.append(group.free)
            spreads.append(group.spread)
            for member in group.members:
                row = rows[members[member]]
                numbers = [atomic_number(e) for e in row.elements]
                example_label.append(label_index)
                example_mode.append(mode)
                example_elements.append(numbers + [0] * (MAX_ROLES - len(numbers)))
                example_formula.append(formula_hash(row.formula))
    return LabelMemory(
        labels,
        tuple(role_symmetries(label) for label in labels),
        np.array(example_label, dtype=np.int32),
        np.array(example_elements, dtype=np.uint8),
        np.array(example_mode, dtype=np.int32),
        np.array(example_formula, dtype=np.int64),
        np.array(mode_label, dtype=np.int32),
        np.array(mode_count, dtype=np.int32),
        np.array(mode_cell, dtype=np.float32),
        np.array(mode_log_volume, dtype=np.float32),
        np.concatenate(frees).astype(np.float32),
        np.concatenate(spreads).astype(np.float32),
        np.concatenate([[0], np.cumsum([len(f) for f in frees])]).astype(np.int32),
        volumes.astype(np.float32),
    )
