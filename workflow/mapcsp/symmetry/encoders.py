"""Parts that the symmetry networks share: an encoder of formulas, and vectors of labels and their roles."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mapcsp.elements import SYMBOLS, scaled_element_features
from mapcsp.symmetry.memory import LabelMemory
from mapcsp.symmetry.wyckoff import space_group

ELEMENT_WIDTH = 64
N_FEATURES = 11


class FormulaEncoder(nn.Module):
    """Encodes a formula as a set of elements with amounts, so that their order does not matter."""

    features: torch.Tensor

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        features = torch.zeros(len(SYMBOLS) + 1, N_FEATURES)
        features[1:] = torch.as_tensor(scaled_element_features(SYMBOLS), dtype=torch.float32)
        self.register_buffer("features", features, persistent=False)
        self.element = nn.Embedding(len(SYMBOLS) + 1, ELEMENT_WIDTH)
        self.enter = nn.Linear(ELEMENT_WIDTH + N_FEATURES + 3, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pool = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, numbers: torch.Tensor, amounts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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


class LabelVectors(nn.Module):
    """Vectors of labels and of their roles: what each shares with others, and a part of its own.

    dropout: chance that the own part is left out in training, so that what is shared has to do the work.
    """

    role_start: torch.Tensor
    site_index: torch.Tensor
    site_start: torch.Tensor
    role_table: torch.Tensor
    label_table: torch.Tensor
    label_group: torch.Tensor

    def __init__(self, memory: LabelMemory, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self._register_labels(memory)
        self.role = nn.Embedding(int(self.role_start[-1]), width)
        self.site = nn.EmbeddingBag(int(self.site_index.max()) + 1, width, mode="mean")
        self.role_numbers = nn.Linear(4, width)
        self.label = nn.Embedding(len(memory.labels), width)
        self.group = nn.Embedding(231, width)
        self.label_numbers = nn.Linear(5, width)
        for embedding in (self.role, self.label, self.group, self.site):
            nn.init.normal_(embedding.weight, std=0.02)

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

    def roles(self, role: torch.Tensor) -> torch.Tensor:
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
        keep = torch.rand(len(vectors), 1) >= self.dropout
        return vectors * keep / (1 - self.dropout)

    def labels(self, label: torch.Tensor) -> torch.Tensor:
        """Vectors (…, w) of label indices (…)."""
        return (
            self._own(self.label(label))
            + self.group(self.label_group[label])
            + self.label_numbers(self.label_table[label])
        )
