"""The default map network: corrects the distances of likely geometries, pair by pair, and says how sure it is.

It sees atoms as a set (no order enters), exchanges information between pairs through atoms and triangles, and
predicts for each pair an expected distance, its spread, and the probability of a bond.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mapcsp.elements import SYMBOLS, element_table, feature_names, scaled_element_features
from mapcsp.maps.inputs import GLOBAL_NAMES, InputBatch

N_ELEMENTS = len(SYMBOLS) + 1
N_SPACE_GROUPS = 231


@dataclass(frozen=True)
class RefinerConfig:
    """Sizes of the network. n_rbf: Gaussians on distances up to max_ang; n_bond_rbf: on distance less bond length."""

    atom_width: int = 64
    pair_width: int = 48
    triangle_width: int = 16
    n_heads: int = 4
    n_blocks: int = 3
    n_rbf: int = 20
    max_ang: float = 9.0
    n_bond_rbf: int = 16


@dataclass(frozen=True, eq=False)
class RefinerOutput:
    """Maps of a batch, (b, n, n) each, symmetric; the diagonal means nothing.

    distance_ang: expected, Å. log_scale: ln of the Laplace scale in Å. contact_logit: log-odds of a bond.
    """

    distance_ang: torch.Tensor
    log_scale: torch.Tensor
    contact_logit: torch.Tensor


class RefinerBlock(nn.Module):
    """One exchange of information: atoms attend to atoms through pairs, then pairs through atoms and triangles."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        d, c, t, h = config.atom_width, config.pair_width, config.triangle_width, config.n_heads
        self.n_heads = h
        self.atom_norm, self.pair_norm = nn.LayerNorm(d), nn.LayerNorm(c)
        self.query_key_value = nn.Linear(d, 3 * d)
        self.pair_bias = nn.Linear(c, h)
        self.attended = nn.Linear(d + h * c, d)
        self.atom_mlp = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))
        self.to_pair = nn.Linear(d, 2 * c)
        self.triangle = nn.Linear(c, 2 * t)
        self.pair_in = nn.Linear(c + t, 2 * c)
        self.pair_out = nn.Linear(2 * c, c)

    def forward(self, atoms: torch.Tensor, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """atoms: (b, n, d); pairs: (b, n, n, c), symmetric. Returns both, updated."""
        b, n, d = atoms.shape
        normed = self.pair_norm(pairs)
        q, k, v = self.query_key_value(self.atom_norm(atoms)).view(b, n, 3, self.n_heads, -1).unbind(2)
        logits = torch.einsum("bihx,bjhx->bhij", q, k) / (d // self.n_heads) ** 0.5
        weights = (logits + self.pair_bias(normed).permute(0, 3, 1, 2)).softmax(-1)
        from_atoms = torch.einsum("bhij,bjhx->bihx", weights, v).reshape(b, n, d)
        from_pairs = torch.einsum("bhij,bijc->bihc", weights, normed).reshape(b, n, -1)
        atoms = atoms + self.attended(torch.cat([from_atoms, from_pairs], -1))
        atoms = atoms + self.atom_mlp(atoms)
        first, second = self.triangle(normed).chunk(2, -1)
        triangles = torch.einsum("bikt,bjkt->bijt", first, second) / n**0.5
        triangles = triangles + triangles.transpose(1, 2)
        sums = self.to_pair(atoms)
        hidden = self.pair_in(torch.cat([normed, triangles], -1)) + sums[:, :, None] + sums[:, None]
        return atoms, pairs + self.pair_out(nn.functional.silu(hidden))


class MapRefiner(nn.Module):
    """Network from a label, its cell and its likely geometry to a map."""

    features: torch.Tensor
    radii: torch.Tensor
    centres: torch.Tensor
    bond_centres: torch.Tensor

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        d, c = config.atom_width, config.pair_width
        scaled = torch.tensor(scaled_element_features(SYMBOLS), dtype=torch.float32)
        radius = torch.tensor(element_table().features[:, feature_names().index("covalent_radius_ang")])
        # Row 0 is no element, so that atomic numbers index directly.
        self.register_buffer("features", nn.functional.pad(scaled, (0, 0, 1, 0)), persistent=False)
        self.register_buffer("radii", nn.functional.pad(radius.float(), (1, 0)), persistent=False)
        centres = torch.linspace(0, config.max_ang, config.n_rbf)
        self.register_buffer("centres", centres, persistent=False)
        bond_centres = torch.linspace(-1.0, 2.0, config.n_bond_rbf)
        self.register_buffer("bond_centres", bond_centres, persistent=False)
        self.element = nn.Embedding(N_ELEMENTS, d)
        self.space_group = nn.Embedding(N_SPACE_GROUPS, 16)
        nn.init.normal_(self.element.weight, std=0.1)
        nn.init.normal_(self.space_group.weight, std=0.1)
        self.atom_in = nn.Linear(scaled.shape[1] + 2 + len(GLOBAL_NAMES) + 16, d)
        n_pair = 3 * (config.n_rbf + config.n_bond_rbf) + 7
        self.pair_in = nn.Sequential(nn.Linear(n_pair, c), nn.SiLU(), nn.Linear(c, c))
        self.atom_to_pair = nn.Linear(d, c)
        self.blocks = nn.ModuleList(RefinerBlock(config) for _ in range(config.n_blocks))
        self.head = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, c), nn.SiLU(), nn.Linear(c, 6))

    def _pair_features(self, batch: InputBatch) -> torch.Tensor:
        likely, spread = batch.distances_ang[:, :3], batch.distances_ang[:, 3]
        radii = self.radii[batch.numbers]
        bond = radii[:, :, None] + radii[:, None]
        width = self.config.max_ang / (self.config.n_rbf - 1)
        rbf = torch.exp(-(((likely[..., None] - self.centres) / width) ** 2))
        excess = (likely - bond[:, None])[..., None] - self.bond_centres
        bond_rbf = torch.exp(-((excess / (3.0 / (self.config.n_bond_rbf - 1))) ** 2))
        known = torch.cat([rbf, bond_rbf], -1).permute(0, 2, 3, 1, 4).flatten(3)
        same_element = (batch.numbers[:, :, None] == batch.numbers[:, None]).to(bond.dtype)
        itself = torch.eye(bond.shape[1], dtype=bond.dtype, device=bond.device).expand_as(bond)
        fixed = (spread < 1e-3).to(bond.dtype)
        scalars = [
            bond - 2.5,
            batch.same_orbit,
            same_element,
            itself,
            spread,
            fixed,
            likely[:, 0] - likely[:, 1],
        ]
        return torch.cat([known, torch.stack(scalars, -1)], -1)

    def forward(self, batch: InputBatch) -> RefinerOutput:
        """Predict the maps of a batch."""
        n = batch.numbers.shape[1]
        shared = torch.cat([batch.globals, self.space_group(batch.space_group)], -1)[:, None].expand(
            -1, n, -1
        )
        known = torch.cat([self.features[batch.numbers], batch.orbit, shared], -1)
        atoms = self.element(batch.numbers) + self.atom_in(known)
        from_atoms = self.atom_to_pair(atoms)
        pairs = self.pair_in(self._pair_features(batch)) + from_atoms[:, :, None] + from_atoms[:, None]
        for block in self.blocks:
            atoms, pairs = block(atoms, pairs)
        out = self.head(pairs).float()
        gate = out[..., :3].softmax(-1)
        base = (gate * batch.distances_ang[:, :3].permute(0, 2, 3, 1)).sum(-1)
        return RefinerOutput(base + out[..., 3], out[..., 4].clamp(-5, 2) - 1.5, out[..., 5])


def n_parameters(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in model.parameters())
