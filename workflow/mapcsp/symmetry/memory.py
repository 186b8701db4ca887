"""What the training crystals say about labels: which elements took which role, and the geometries they had.

A geometry is the most central crystal of a group with one label, at unit volume per atom and without its elements. Most
groups hold one crystal, whose coordinates and cell shape are then kept as they are; its elements are among the examples.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path

import numpy as np

from mapcsp.store import read_tensors, write_tensors
from mapcsp.symmetry.cells import cell_shape
from mapcsp.symmetry.labels import AnonymousLabel
from mapcsp.symmetry.normaliser import letter_exchanges

MAX_ROLES = 8


@dataclass(frozen=True, eq=False)
class LabelMemory:
    """Labels seen in training, the compositions that took them, and the geometries they had.

    labels: (l,). symmetric_roles: per label, the permutations of roles that a change of origin or axes undoes.
    example_label, example_mode, example_formula: (m,), index of label, of geometry, hash of the reduced formula.
    example_elements: (m, MAX_ROLES), atomic numbers by role, 0 where the label has fewer roles.
    mode_label, mode_count: (k,). mode_cell: (k, 6), conventional, scaled to 1 Å³ an atom. mode_log_volume: (k,), mean of
    ln(volume per atom / sum of elemental volumes). mode_free, mode_spread: (sum f,), flat; mode_start: (k + 1,).
    element_volume_ang3: (95,), volume an atom of each element takes, least squares over the training crystals.
    """

    labels: tuple[AnonymousLabel, ...]
    symmetric_roles: tuple[tuple[tuple[int, ...], ...], ...]
    example_label: np.ndarray
    example_elements: np.ndarray
    example_mode: np.ndarray
    example_formula: np.ndarray
    mode_label: np.ndarray
    mode_count: np.ndarray
    mode_cell: np.ndarray
    mode_log_volume: np.ndarray
    mode_free: np.ndarray
    mode_spread: np.ndarray
    mode_start: np.ndarray
    element_volume_ang3: np.ndarray

    @cached_property
    def examples_of_label(self) -> dict[int, np.ndarray]:
        """Indices of each label's examples."""
        order = np.argsort(self.example_label, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(self.example_label[order])) + 1)
        return {int(self.example_label[g[0]]): g for g in groups if len(g)}

    @cached_property
    def labels_of_stoichiometry(self) -> dict[tuple[int, ...], list[int]]:
        """Labels by their reduced, ascending atom counts, such as (1, 1, 3) for perovskites of any z."""
        found: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, label in enumerate(self.labels):
            counts = np.sort(label.counts)
            found[tuple(int(c) for c in counts // np.gcd.reduce(counts))].append(index)
        return dict(found)

    @cached_property
    def mode_shape(self) -> np.ndarray:
        """Shapes (k, 5) of the geometries' cells."""
        return cell_shape(self.mode_cell.astype(float))

    def free_coords(self, mode: int) -> tuple[np.ndarray, np.ndarray]:
        """Free coordinates and their spread, (f,) each, of one geometry."""
        part = slice(self.mode_start[mode], self.mode_start[mode + 1])
        return self.mode_free[part], self.mode_spread[part]


def role_symmetries(label: AnonymousLabel) -> tuple[tuple[int, ...], ...]:
    """Permutations p of a label's roles such that role i with p[i]'s atoms is the same label; the identity is one."""
    found = set()
    for exchange in letter_exchanges(label.space_group):
        images = ["".join(sorted(exchange.letters[w] for w in letters)) for letters in label.roles]
        if sorted(images) != list(label.roles):
            continue
        for order in permutations(range(len(label.roles))):
            if all(images[i] == label.roles[order[i]] for i in range(len(order))):
                found.add(order)
    return tuple(sorted(found))


_ARRAYS = (
    "example_label",
    "example_elements",
    "example_mode",
    "example_formula",
    "mode_label",
    "mode_count",
    "mode_cell",
    "mode_log_volume",
    "mode_free",
    "mode_spread",
    "mode_start",
    "element_volume_ang3",
)


def write_memory(path: Path, memory: LabelMemory) -> None:
    """Write a memory as safetensors, labels in its metadata."""
    names = json.dumps([label.key for label in memory.labels])
    symmetric = json.dumps(memory.symmetric_roles, separators=(",", ":"))
    arrays = {n: getattr(memory, n) for n in _ARRAYS}
    write_tensors(path, arrays, {"labels": names, "symmetric_roles": symmetric})


def read_memory(path: Path) -> LabelMemory:
    """Read a memory; raises StoreError, naming the file."""
    arrays, metadata = read_tensors(path)
    labels = tuple(AnonymousLabel.from_key(k) for k in json.loads(metadata["labels"]))
    symmetric = tuple(tuple(tuple(p) for p in s) for s in json.loads(metadata["symmetric_roles"]))
    return LabelMemory(labels, symmetric, **{n: arrays[n] for n in _ARRAYS})
