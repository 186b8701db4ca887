"""All ways to put a formula's elements into the roles of known labels, gathered by stoichiometry."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from mapcsp.elements import atomic_number
from mapcsp.symmetry.memory import MAX_ROLES, LabelMemory


@dataclass(frozen=True, eq=False)
class Stoichiometry:
    """A formula's elements in slots: ascending amounts, then atomic number; what candidates refer to.

    elements: symbols by slot. amounts: reduced, ascending. numbers: (s,), atomic numbers.
    """

    elements: tuple[str, ...]
    amounts: tuple[int, ...]

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers by slot, (s,)."""
        return np.array([atomic_number(e) for e in self.elements])


def slot_elements(amounts: tuple[tuple[str, int], ...]) -> Stoichiometry:
    """Sort (element, amount in the reduced formula) into slots."""
    ordered = sorted(amounts, key=lambda p: (p[1], atomic_number(p[0])))
    return Stoichiometry(tuple(e for e, _ in ordered), tuple(a for _, a in ordered))


@dataclass(frozen=True, eq=False)
class CandidateClass:
    """Every (label, assignment) that fits one tuple of amounts.

    label: (c,), index into the memory. z: (c,). role_of_slot: (c, s). n_atoms: (c,).
    example_candidate, example_index: (e,), which example supports which candidate.
    example_elements: (e, s), atomic numbers of that example by slot. example_role: (e, s), role of each slot in it.
    """

    amounts: tuple[int, ...]
    label: np.ndarray
    z: np.ndarray
    n_atoms: np.ndarray
    role_of_slot: np.ndarray
    example_candidate: np.ndarray
    example_index: np.ndarray
    example_elements: np.ndarray
    example_role: np.ndarray


def candidate_class(memory: LabelMemory, amounts: tuple[int, ...], max_atoms: int) -> CandidateClass | None:
    """Gather the candidates of one tuple of ascending reduced amounts; None if no known label fits."""
    n_slots = len(amounts)
    label_index: list[int] = []
    zs, roles = [], []
    example_candidate, example_index, example_elements, example_role = [], [], [], []
    for index in memory.labels_of_stoichiometry.get(amounts, []):
        counts = np.array(memory.labels[index].counts)
        z = int(counts.sum() // sum(amounts))
        if counts.sum() > max_atoms or n_slots > MAX_ROLES:
            continue
        examples = memory.examples_of_label[index]
        seen: set[tuple[int, ...]] = set()
        for order in permutations(range(n_slots)):
            if any(counts[role] != z * amount for role, amount in zip(order, amounts)):
                continue
            # Assignments that differ by a symmetry of the label are one candidate, supported by examples under each of them.
            equivalent = sorted({tuple(p[role] for role in order) for p in memory.symmetric_roles[index]})
            if equivalent[0] in seen:
                continue
            seen.add(equivalent[0])
            candidate = len(label_index)
            label_index.append(index)
            zs.append(z)
            roles.append(equivalent[0])
            for assignment in equivalent:
                example_candidate.append(np.full(len(examples), candidate))
                example_index.append(examples)
                example_elements.append(memory.example_elements[examples][:, list(assignment)])
                example_role.append(np.tile(assignment, (len(examples), 1)))
    if not label_index:
        return None
    z_array = np.array(zs)
    return CandidateClass(
        amounts,
        np.array(label_index),
        z_array,
        z_array * sum(amounts),
        np.array(roles),
        np.concatenate(example_candidate),
        np.concatenate(example_index),
        np.concatenate(example_elements).astype(np.int64),
        np.concatenate(example_role),
    )
