"""The original M3GNet potential (MP-2021.2.8-EFS) in plain torch.

Source: Chen and Ong, "A universal graph deep learning interatomic potential for the periodic table", Nature
Computational Science 2, 718 (2022). One departure in form, none in value: the three-body sum over pairs of bonds
around an atom is taken per atom with real spherical harmonics (the addition theorem for l <= 2), so that no
triplets are listed.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from scipy.special import spherical_jn
from torch import Tensor
from torch.nn.functional import silu

from mapcsp.elements import SYMBOLS
from mapcsp.relax.fetch import CONTENT_HASH, default_weights_path, load_weights
from mapcsp.relax.gated_bonds import SIDES, EdgeGate, dense_weights
from mapcsp.relax.neighbours import NeighbourList, find_neighbours
from mapcsp.relax.potential import (
    EV_PER_ANG3_IN_GPA,
    AtomBatch,
    BatchEvaluation,
    check_elements,
)

# Zeros of the spherical Bessel functions j_0, j_1 and j_2 (Abramowitz and Stegun, table 10.6), three of each.
BESSEL_ROOTS = (
    (math.pi, 2 * math.pi, 3 * math.pi),
    (4.493409457909064, 7.725251836937707, 10.904121659428899),
    (5.763459196894550, 9.095011330476355, 12.322940970566582),
)
_N_RADIAL = 3
# Edges per network call: on a CPU the arrays of a call should stay in its cache, on a GPU calls should be few.
_EDGES_PER_CALL_CPU = 3000
_EDGES_PER_CALL_CUDA = 400_000


class M3GNet:
    """The potential; see `mapcsp.relax.potential.Potential`."""

    name = "m3gnet"
    content_hash = CONTENT_HASH
    needs_mp2020 = True

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        """Load the weights (default: `default_weights_path()`). Raises UserError if they are missing or damaged."""
        tensors, config = load_weights(weights or default_weights_path())
        self.device = torch.device(device)
        refs = np.array(config.element_refs)
        # Elements without training data kept a reference of zero (1e-16): Po, At, Rn, Fr, Ra. Entry 0 is padding.
        self.elements = frozenset(SYMBOLS[int(z) - 1] for z in np.flatnonzero(np.abs(refs) > 1e-9))
        self._refs_ev, self._scale_ev, self._shift_ev = refs, config.std, config.mean
        self.cutoff_ang: float | None = config.cutoff
        self._cutoff, self._inner_cutoff = config.cutoff, config.threebody_cutoff
        self._network = _Network(tensors, self._cutoff, self._inner_cutoff, config.n_blocks, self.device)
        self._edges_per_call = _EDGES_PER_CALL_CUDA if self.device.type == "cuda" else _EDGES_PER_CALL_CPU

    def evaluate_batch(self, batch: AtomBatch) -> BatchEvaluation:
        """Energies, forces and stresses of structures; cut into network calls of a size that suits the device."""
        check_elements(self, batch.numbers)
        pairs = find_neighbours(batch, self._cutoff)
        energy = np.add.reduceat(self._refs_ev[batch.numbers], batch.starts) + self._shift_ev
        forces, stress = np.zeros_like(batch.positions_ang), np.zeros_like(batch.lattices_ang)
        volumes = np.abs(np.linalg.det(batch.lattices_ang))
        edge_ends = np.cumsum(pairs.structure_edges)
        atom_ends = np.cumsum(batch.counts)
        first = 0
        while first < len(batch.counts):
            begin = edge_ends[first] - pairs.structure_edges[first]
            last = max(first + 1, int(np.searchsorted(edge_ends, begin + self._edges_per_call, side="right")))
            edges = slice(int(begin), int(edge_ends[last - 1]))
            atoms = slice(int(atom_ends[first] - batch.counts[first]), int(atom_ends[last - 1]))
            part = self._call(pairs, batch, edges, atoms, slice(first, last))
            energy[first:last] += part.energy_ev
            forces[atoms] = part.forces_ev_per_ang
            stress[first:last] = part.stress_gpa / volumes[first:last, None, None]
            first = last
        return BatchEvaluation(energy, forces, stress)

    def _call(
        self, pairs: NeighbourList, batch: AtomBatch, edges: slice, atoms: slice, structures: slice
    ) -> BatchEvaluation:
        """One network call; its "stress" is still the virial times the unit, not divided by the volume."""
        device, n_structures = self.device, structures.stop - structures.start
        vectors = torch.as_tensor(pairs.vectors_ang[edges], dtype=torch.float32, device=device)
        centres = torch.as_tensor(pairs.centres[edges] - atoms.start, device=device)
        neighbours = torch.as_tensor(pairs.neighbours[edges] - atoms.start, device=device)
        numbers = torch.as_tensor(batch.numbers[atoms], device=device)
        vectors.requires_grad_(True)
        per_atom = self._network.atomic_energies(vectors, centres, neighbours, numbers)
        (gradient,) = torch.autograd.grad(per_atom.sum(), vectors)
        gradient = gradient * self._scale_ev
        forces = torch.zeros(len(numbers), 3, device=device)
        forces.index_add_(0, centres, gradient).index_add_(0, neighbours, gradient, alpha=-1)
        counts = torch.as_tensor(pairs.structure_edges[structures], device=device)
        owner = torch.repeat_interleave(torch.arange(n_structures, device=device), counts)
        products = vectors.detach()[:, :, None] * gradient[:, None, :]
        virial = torch.zeros(n_structures, 3, 3, device=device).index_add_(0, owner, products)
        virial = 0.5 * (virial + virial.transpose(1, 2)) * EV_PER_ANG3_IN_GPA
        starts = batch.starts[structures] - atoms.start
        energy = np.add.reduceat(per_atom.detach().double().cpu().numpy(), starts) * self._scale_ev
        return BatchEvaluation(energy, forces.double().cpu().numpy(), virial.double().cpu().numpy())


class _Network:
    """The graph network: bond vectors and atomic numbers in, dimensionless atomic energies out."""

    def __init__(
        self,
        tensors: dict[str, np.ndarray],
        cutoff_ang: float,
        inner_cutoff_ang: float,
        n_blocks: int,
        device: torch.device,
    ) -> None:
        def constant(values: np.ndarray) -> Tensor:
            return torch.as_tensor(np.array(values), dtype=torch.float32, device=device)

        weights = {name: constant(array) for name, array in tensors.items()}
        self._inner_cutoff = inner_cutoff_ang
        self._embedding = weights["featurizer.atom_network.embedding.embeddings"]
        self._first_bond = weights["feature_adjust.update_func.pipe.layers.0.kernel"]
        self._blocks = [_Block(weights, i) for i in range(n_blocks)]
        final = "final.layers.0.atom_network.update_func."
        self._readout = [
            [dense_weights(weights, f"{final}{side}.layers.{i}.") for i in range(3)] for side in SIDES
        ]
        self._radial_coefficients = constant(smooth_radial_coefficients(cutoff_ang))
        self._radial_frequencies = constant(np.arange(1, _N_RADIAL + 2) * (math.pi / cutoff_ang))
        self._roots = constant(np.array(BESSEL_ROOTS) / cutoff_ang)
        self._bessel_norms = constant(bessel_norms(cutoff_ang))
        # Each of the nine functions (l, n) meets the 2 l + 1 harmonics of its l: 27 columns.
        columns = [(3 * l + n, l * l + m) for l in range(3) for n in range(3) for m in range(2 * l + 1)]  # noqa: E741
        self._radial_column = torch.tensor([c[0] for c in columns], device=device)
        self._harmonic_column = torch.tensor([c[1] for c in columns], device=device)
        self._contract = torch.nn.functional.one_hot(self._radial_column, 9).float()

    def atomic_energies(
        self, vectors: Tensor, centres: Tensor, neighbours: Tensor, numbers: Tensor
    ) -> Tensor:
        """Energy of each atom in units of the model's scale.

        vectors: (e, 3), Å. centres, neighbours: (e,), atom indices. numbers: (n,), atomic numbers. Returns (n,).
        """
        distance = vectors.norm(dim=1, keepdim=True)
        radial = self._smooth_radial(distance)
        # The three-body terms vanish beyond their own, shorter cutoff, so they are taken over the inner pairs alone.
        inner = torch.nonzero(distance.detach()[:, 0] <= self._inner_cutoff)[:, 0]
        d_inner = distance.index_select(0, inner)
        smooth = cutoff_polynomial(d_inner / self._inner_cutoff)
        bessel = self._spherical_bessel(d_inner) * smooth
        harmonics = real_harmonics(vectors.index_select(0, inner) / d_inner).index_select(
            1, self._harmonic_column
        )
        inner_centres, inner_neighbours = centres.index_select(0, inner), neighbours.index_select(0, inner)

        atoms = self._embedding.index_select(0, numbers)
        bonds = silu(radial @ self._first_bond)
        for block in self._blocks:
            gates = torch.sigmoid(torch.addmm(block.three_bias, atoms, block.three_kernel))
            weighted = bessel * gates.index_select(0, inner_neighbours)
            terms = weighted.index_select(1, self._radial_column) * harmonics
            moments = torch.zeros(len(atoms), terms.shape[1], device=terms.device).index_add(
                0, inner_centres, terms
            )
            # The bond's pair with itself is no three-body term; its value is P_l(1) = 1.
            triples = (moments.index_select(0, inner_centres) * harmonics) @ self._contract - weighted
            triples = triples * smooth
            update = silu(triples @ block.three_pipe) * torch.sigmoid(triples @ block.three_gate)
            bonds = bonds.index_add(0, inner, update)
            bonds = bonds + block.bond(atoms, bonds, radial @ block.bond_radial, centres, neighbours)
            messages = block.atom(atoms, bonds, silu(radial @ block.atom_radial), centres, neighbours)
            atoms = atoms.index_add(0, centres, messages)
        return self._read_out(atoms)

    def _read_out(self, atoms: Tensor) -> Tensor:
        value, gate = atoms, atoms
        for i in range(3):
            value = torch.addmm(self._readout[0][i][1], value, self._readout[0][i][0])
            gate = torch.addmm(self._readout[1][i][1], gate, self._readout[1][i][0])
            value, gate = (silu(value), silu(gate)) if i < 2 else (value, torch.sigmoid(gate))
        return (value * gate)[:, 0]

    def _smooth_radial(self, distance: Tensor) -> Tensor:
        """The radial basis of the bonds: (e, 1) to (e, 3)."""
        argument = distance * self._radial_frequencies
        return (torch.sin(argument) / argument) @ self._radial_coefficients

    def _spherical_bessel(self, distance: Tensor) -> Tensor:
        """Normalised j_l(root r / cutoff) for l = 0, 1, 2 and three roots each: (e, 1) to (e, 9)."""
        x = distance[:, :, None] * self._roots
        sine, cosine = torch.sin(x), torch.cos(x)
        j0 = sine[:, 0] / x[:, 0]
        j1 = sine[:, 1] / x[:, 1] ** 2 - cosine[:, 1] / x[:, 1]
        j2 = (3 / x[:, 2] ** 2 - 1) * sine[:, 2] / x[:, 2] - 3 * cosine[:, 2] / x[:, 2] ** 2
        return (torch.stack([j0, j1, j2], dim=1) * self._bessel_norms).flatten(1)


class _Block:
    """The weights of one round of messages."""

    def __init__(self, weights: dict[str, Tensor], i: int) -> None:
        three, graph = f"three_interactions.{i}.", f"graph_layers.{i}."
        self.three_kernel, self.three_bias = dense_weights(weights, three + "update_network.pipe.layers.0.")
        self.three_pipe = weights[three + "update_network2.pipe.layers.0.kernel"]
        self.three_gate = weights[three + "update_network2.gate.layers.0.kernel"]
        self.bond = EdgeGate(weights, graph + "bond_network.update_func.")
        self.bond_radial = weights[graph + "bond_network.weight_func.kernel"]
        self.atom = EdgeGate(weights, graph + "atom_network.bond_dense.")
        self.atom_radial = weights[graph + "atom_network.weight_update.kernel"]


def real_harmonics(unit: Tensor) -> Tensor:
    """Real spherical harmonics up to l = 2, scaled so that sum_m Y_lm(u) Y_lm(v) = P_l(u . v): (e, 3) to (e, 9)."""
    x, y, z = unit.unbind(1)
    root = math.sqrt(3.0)
    quadratic = [root * x * y, root * y * z, root * z * x, 0.5 * root * (x * x - y * y), 1.5 * z * z - 0.5]
    return torch.stack([torch.ones_like(x), x, y, z, *quadratic], dim=1)


def cutoff_polynomial(ratio: Tensor) -> Tensor:
    """1 - 6 t^5 + 15 t^4 - 10 t^3 for t = distance / cutoff in [0, 1]: smooth to zero at t = 1."""
    return 1 - ratio**3 * (ratio * (6 * ratio - 15) + 10)


def smooth_radial_coefficients(cutoff_ang: float) -> np.ndarray:
    """Coefficients (4, 3) of the radial basis over sinc(m pi r / cutoff), m = 1..4.

    Source: Kocer, Mason and Erturk, AIP Advances 10, 015021 (2020), with the sums of sincs collected by m.
    """
    n = np.arange(_N_RADIAL)
    amplitude = (-1.0) ** n * math.sqrt(2) * math.pi / cutoff_ang**1.5
    amplitude *= (n + 1) * (n + 2) / np.sqrt((n + 1) ** 2 + (n + 2) ** 2)
    raw = np.zeros((_N_RADIAL, _N_RADIAL + 1))
    raw[n, n] = raw[n, n + 1] = amplitude
    overlap = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)
    basis, norm = raw.copy(), np.ones(_N_RADIAL)
    for i in range(1, _N_RADIAL):
        norm[i] = 1 - overlap[i] / norm[i - 1]
        basis[i] = (raw[i] + math.sqrt(overlap[i] / norm[i - 1]) * basis[i - 1]) / math.sqrt(norm[i])
    return basis.T


def bessel_norms(cutoff_ang: float) -> np.ndarray:
    """Normalisation (3, 3) of j_l(root_ln r / cutoff) on the ball, times that of Y_l0."""
    norms = np.empty((3, 3))
    for order, roots in enumerate(BESSEL_ROOTS):
        norms[order] = np.abs(spherical_jn(order + 1, np.array(roots)))
    angular = np.sqrt((2 * np.arange(3) + 1) / (4 * math.pi))
    return math.sqrt(2 / cutoff_ang**3) / norms * angular[:, None]
