"""The network behind P(label, z | formula) and the cell of each label.

A formula is a set of elements with amounts; a candidate is a label with an element in each role. The score of a candidate
adds what its roles say of each element, what the label says of the formula, and how alike its known examples are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from mapcsp.elements import SYMBOLS, scaled_element_features
from mapcsp.symmetry.candidates import CandidateClass
from mapcsp.symmetry.memory import LabelMemory
from mapcsp.symmetry.wyckoff import space_group


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


N_SHAPE = 5
"""Cell shape: ln(b/a), ln(c/a), cos alpha, cos beta, cos gamma."""


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
class Scores:
    """Candidate scores of a batch of formulas of one stoichiometry.

    logits: (b, c), -inf where no example is left. context: (b, w). slots: (b, s, w).
    support: (b, e), similarity weight of each example, 0 where it was left out.
    """

    logits: torch.Tensor
    context: torch.Tensor
    slots: torch.Tensor
    support: torch.Tensor


class SymmetryNetwork(nn.Module):
    """Scores candidates and predicts cells; see the module's docstring."""

    features: torch.Tensor
    role_start: torch.Tensor
    site_index: torch.Tensor
    site_start: torch.Tensor
    role_table: torch.Tensor
    label_table: torch.Tensor
    label_group: torch.Tensor

    def __init__(self, memory: LabelMemory, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        features = torch.zeros(len(SYMBOLS) + 1, 11)
        features[1:] = torch.as_tensor(scaled_element_features(SYMBOLS), dtype=torch.float32)
        self.register_buffer("features", features, persistent=False)
        self.element = nn.Embedding(len(SYMBOLS) + 1, 64)
        self.enter = nn.Linear(64 + 11 + 3, width)
        layer = nn.TransformerEncoderLayer(
            width, shape.heads, 2 * width, shape.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.pool = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self._register_labels(memory)
        n_labels, n_roles = len(memory.labels), int(self.role_start[-1])
        self.role = nn.Embedding(n_roles, width)
        self.site = nn.EmbeddingBag(int(self.site_index.max()) + 1, width, mode="mean")
        self.role_numbers = nn.Linear(4, width)
        self.label = nn.Embedding(n_labels, width)
        self.group = nn.Embedding(231, width)
        self.label_numbers = nn.Linear(5, width)
        self.label_bias = nn.Embedding(n_labels, 1)
        for embedding in (self.role, self.label, self.group, self.site):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.zeros_(self.label_bias.weight)
        self.ask_role = nn.Linear(width, width)
        self.ask_label = nn.Linear(width, width)
        self.kernel = nn.Linear(64 + 11, shape.kernel_width, bias=False)
        self.mix = nn.Parameter(torch.tensor([1.0, 0.5, -4.0]))
        self.cell = nn.Sequential(
            nn.Linear(3 * width + N_SHAPE + 1, width),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.cell_out = nn.Linear(width, 2 + N_SHAPE + 1)
        nn.init.zeros_(self.cell_out.weight)
        with torch.no_grad():
            self.cell_out.bias.copy_(torch.tensor([0.0, -2.5, *[0.0] * N_SHAPE, -3.0]))

    def _register_labels(self, memory: LabelMemory) -> None:
        starts, sites, site_starts, numbers, label_numbers = [0], [], [0], [], []
        position_index = {
            (n, p.letter): i
            for i, (n, p) in enumerate((n, p) for n in range(1, 231) for p in space_group(n).positions)
        }
        for label in memory.labels:
            positions = space_group(label.space_group).by_letter
            free = 0
            for letters in label.roles:
                sites += [position_index[label.space_group, w] for w in letters]
                site_starts.append(len(sites))
                n_free = sum(positions[w].n_free for w in letters)
                atoms = sum(positions[w].multiplicity for w in letters)
                numbers.append([np.log(atoms), len(letters) / 3, n_free / 6, atoms / len(letters) / 6])
                free += n_free
            starts.append(len(site_starts) - 1)
            orbits = sum(len(w) for w in label.roles)
            label_numbers.append(
                [
                    orbits / 6,
                    free / 10,
                    np.log(sum(label.counts)),
                    len(space_group(label.space_group).rotations) / 96,
                    0.0,
                ]
            )
        support = np.array([len(memory.examples_of_label.get(i, ())) for i in range(len(memory.labels))])
        table = torch.tensor(np.array(label_numbers), dtype=torch.float32)
        table[:, 4] = torch.as_tensor(np.log1p(support), dtype=torch.float32)
        self.register_buffer("role_start", torch.tensor(starts), persistent=False)
        self.register_buffer("site_index", torch.tensor(sites), persistent=False)
        self.register_buffer("site_start", torch.tensor(site_starts[:-1]), persistent=False)
        self.register_buffer(
            "role_table", torch.tensor(np.array(numbers), dtype=torch.float32), persistent=False
        )
        self.register_buffer("label_table", table, persistent=False)
        groups = torch.tensor([label.space_group for label in memory.labels])
        self.register_buffer("label_group", groups, persistent=False)

    def encode(self, numbers: torch.Tensor, amounts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode formulas of one stoichiometry.

        numbers: (b, s), atomic numbers. amounts: (s,). Returns context (b, w) and slots (b, s, w).
        """
        share = (amounts / amounts.sum()).expand(numbers.shape)
        count = amounts.log().expand(numbers.shape)
        total = amounts.sum().log().expand(numbers.shape)
        raw = torch.cat(
            [self.element(numbers), self.features[numbers], torch.stack([share, count, total], -1)], -1
        )
        slots = self.encoder(self.enter(raw))
        weighted = (slots * share[..., None]).sum(1) + slots.mean(1)
        return self.pool(weighted), slots

    def role_vectors(self, role: torch.Tensor) -> torch.Tensor:
        """Vectors (…, w) of global role indices (…)."""
        unique, inverse = torch.unique(role, return_inverse=True)
        starts = self.site_start[unique]
        ends = torch.cat([self.site_start, torch.tensor([len(self.site_index)])])[unique + 1]
        lengths = ends - starts
        offsets = torch.cumsum(lengths, 0) - lengths
        flat = torch.arange(int(lengths.sum())) - torch.repeat_interleave(offsets - starts, lengths)
        vectors = (
            self._own(self.role(unique))
            + self.site(self.site_index[flat], offsets)
            + self.role_numbers(self.role_table[unique])
        )
        return vectors[inverse]

    def _own(self, vectors: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return vectors
        keep = torch.rand(len(vectors), 1) >= self.shape.table_dropout
        return vectors * keep / (1 - self.shape.table_dropout)

    def label_vectors(self, label: torch.Tensor) -> torch.Tensor:
        """Vectors (…, w) of label indices (…)."""
        return (
            self._own(self.label(label))
            + self.group(self.label_group[label])
            + self.label_numbers(self.label_table[label])
        )

    def element_distance(self) -> torch.Tensor:
        """Squared distances (95, 95) between elements under the learned kernel."""
        points = self.kernel(torch.cat([self.element.weight, self.features], -1))
        return (
            torch.cdist(points, points).square()
            if not self.training
            else (points[:, None] - points[None]).square().sum(-1)
        )

    def score(
        self,
        numbers: torch.Tensor,
        amounts: torch.Tensor,
        known: ClassTensors,
        formula: torch.Tensor | None = None,
    ) -> Scores:
        """Score the candidates of one stoichiometry.

        numbers: (b, s). formula: (b,), hashes of reduced formulas whose own examples are left out (training).
        """
        context, slots = self.encode(numbers, amounts)
        scale = self.shape.width**-0.5
        role_vectors = self.role_vectors(known.role)
        by_role = torch.einsum("bsw,csw->bc", self.ask_role(slots), role_vectors) * scale
        by_label = self.ask_label(context) @ self.label_vectors(known.label).T * scale
        distance = self.element_distance()
        apart = torch.zeros(len(numbers), len(known.example_candidate))
        for slot in range(numbers.shape[1]):
            apart = apart + distance[numbers[:, slot]][:, known.example_elements[:, slot]]
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
        logits = by_role + by_label + self.label_bias(known.label)[:, 0]
        logits = logits + self.mix[0] * memory_term + self.mix[1] * torch.log(count.clamp_min(1.0))
        return Scores(logits.masked_fill(count == 0, -torch.inf), context, slots, support)

    def predict_cell(
        self,
        context: torch.Tensor,
        slots: torch.Tensor,
        role: torch.Tensor,
        label: torch.Tensor,
        prior: torch.Tensor,
    ) -> torch.Tensor:
        """Predict cells of (formula, label) pairs.

        context: (p, w), slots: (p, s, w), role: (p, s), label: (p,). prior: (p, 1 + N_SHAPE): ln of the volume ratio and
        the shape of alike examples. Returns (p, 2 + N_SHAPE + 1): mean and ln sd of ln(volume ratio), shape, ln sd of shape.
        """
        pooled = (slots * self.role_vectors(role)).mean(1)
        out = self.cell_out(self.cell(torch.cat([context, pooled, self.label_vectors(label), prior], -1)))
        return torch.cat(
            [out[:, :1] + prior[:, :1], out[:, 1:2], out[:, 2 : 2 + N_SHAPE] + prior[:, 1:], out[:, -1:]], -1
        )

    def settings(self) -> dict[str, str]:
        """The sizes as text, for the weights' metadata."""
        return {k: str(v) for k, v in asdict(self.shape).items()}
