"""The network behind P(label, z | formula).

A formula is a set of elements with amounts; a candidate is a label with an element in each role. The score of a candidate
adds what its roles say of each element, what the label says of the formula, and how alike its known examples are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mapcsp.symmetry.candidates import CandidateClass
from mapcsp.symmetry.encoders import ELEMENT_WIDTH, N_FEATURES, FormulaEncoder, LabelVectors
from mapcsp.symmetry.memory import LabelMemory


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network. table_dropout: chance that a label's or role's own vector is left out in training, so that
    what it shares with others (positions, space group, alike examples) has to do the work.
    """

    width: int = 128
    kernel_width: int = 32
    layers: int = 2
    heads: int = 4
    dropout: float = 0.25
    table_dropout: float = 0.6


@dataclass(frozen=True, eq=False)
class ClassTensors:
    """A CandidateClass as tensors. role: (c, s), global role index. label, z, n_atoms: (c,). Examples: see there."""

    label: torch.Tensor
    z: torch.Tensor
    n_atoms: torch.Tensor
    role: torch.Tensor
    example_candidate: torch.Tensor
    example_index: torch.Tensor
    example_elements: torch.Tensor
    example_formula: torch.Tensor


def class_tensors(memory: LabelMemory, found: CandidateClass) -> ClassTensors:
    """A CandidateClass as tensors for the network."""
    starts = np.concatenate([[0], np.cumsum([len(label.roles) for label in memory.labels])])
    role = starts[found.label][:, None] + found.role_of_slot
    return ClassTensors(
        torch.as_tensor(found.label),
        torch.as_tensor(found.z),
        torch.as_tensor(found.n_atoms),
        torch.as_tensor(role),
        torch.as_tensor(found.example_candidate),
        torch.as_tensor(found.example_index),
        torch.as_tensor(found.example_elements),
        torch.as_tensor(memory.example_formula[found.example_index]),
    )


@dataclass(frozen=True, eq=False)
class FixedPart:
    """What a trained network says of a stoichiometry's candidates whatever the elements, worked out once.

    roles: (c, s, w), labels: (c, w), bias: (c,): of the candidates. distance: (95, 95), of `element_distance`.
    """

    roles: torch.Tensor
    labels: torch.Tensor
    bias: torch.Tensor
    distance: torch.Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """Candidate scores of a batch of formulas of one stoichiometry.

    logits: (b, c), -inf where no example is left.
    support: (b, e), similarity weight of each example, 0 where it was left out.
    """

    logits: torch.Tensor
    support: torch.Tensor


class SymmetryNetwork(nn.Module):
    """Scores candidates; see the module's docstring."""

    def __init__(self, memory: LabelMemory, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.encode = FormulaEncoder(width, shape.layers, shape.heads, shape.dropout)
        self.vectors = LabelVectors(memory, width, shape.table_dropout)
        self.label_bias = nn.Embedding(len(memory.labels), 1)
        nn.init.zeros_(self.label_bias.weight)
        self.ask_role = nn.Linear(width, width)
        self.ask_label = nn.Linear(width, width)
        self.kernel = nn.Linear(ELEMENT_WIDTH + N_FEATURES, shape.kernel_width, bias=False)
        # Weights of the examples' likeness and number, and ln of the likeness below which examples do not count.
        self.mix = nn.Parameter(torch.tensor([1.0, 0.5, -4.0]))

    def element_distance(self) -> torch.Tensor:
        """Squared distances (95, 95) between elements under the learned kernel."""
        points = self.kernel(torch.cat([self.encode.element.weight, self.encode.features], -1))
        return (
            torch.cdist(points, points).square()
            if not self.training
            else (points[:, None] - points[None]).square().sum(-1)
        )

    def fixed_part(self, known: ClassTensors) -> FixedPart:
        """The part of a score that no formula changes; in training, where weights change, not to be kept."""
        return FixedPart(
            self.vectors.roles(known.role),
            self.vectors.labels(known.label),
            self.label_bias(known.label)[:, 0],
            self.element_distance(),
        )

    def score(
        self,
        numbers: torch.Tensor,
        amounts: torch.Tensor,
        known: ClassTensors,
        formula: torch.Tensor | None = None,
        fixed: FixedPart | None = None,
    ) -> Scores:
        """Score the candidates of one stoichiometry.

        numbers: (b, s). formula: (b,), hashes of reduced formulas whose own examples are left out (training).
        fixed: of `fixed_part`, if it is at hand.
        """
        context, slots = self.encode(numbers, amounts)
        scale = self.shape.width**-0.5
        fixed = fixed or self.fixed_part(known)
        by_role = torch.einsum("bsw,csw->bc", self.ask_role(slots), fixed.roles) * scale
        by_label = self.ask_label(context) @ fixed.labels.T * scale
        apart = torch.zeros(len(numbers), len(known.example_candidate))
        for slot in range(numbers.shape[1]):
            apart = apart + fixed.distance[numbers[:, slot]][:, known.example_elements[:, slot]]
        # The floor keeps far examples apart from hidden ones, whose support is exactly 0.
        support = torch.exp(-apart).clamp_min(1e-12)
        keep = torch.ones_like(support)
        if formula is not None:
            keep = (known.example_formula[None] != formula[:, None]).to(support.dtype)
        support = support * keep
        zeros = torch.zeros(len(numbers), len(known.label))
        gathered = zeros.index_add(1, known.example_candidate, support)
        count = zeros.index_add(1, known.example_candidate, keep)
        memory_term = torch.log(gathered + torch.exp(self.mix[2]))
        logits = by_role + by_label + fixed.bias
        logits = logits + self.mix[0] * memory_term + self.mix[1] * torch.log(count.clamp_min(1.0))
        return Scores(logits.masked_fill(count == 0, -torch.inf), support)
