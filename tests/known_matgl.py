"""A small potential of matgl, saved as matgl saves its models: with random weights, or fitted to a few crystals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mapcsp.records import Crystal
from mapcsp.relax.potential import batch_crystals

ELEMENTS = ("Na", "Cl", "Mg", "O", "Cu", "Au", "Al", "Ni")
SODIUM_CHLORIDE_ANG = 5.64
_STEPS, _LEARNING_RATE = 200, 0.02


def binary(cation: str, anion: str, place: float, constant_ang: float) -> Crystal:
    """Rock salt (place 0.5) or zinc blende (0.25)."""
    half = constant_ang / 2
    lattice = np.array([[0, half, half], [half, 0, half], [half, half, 0]])
    return Crystal(lattice, (cation, anion), np.array([[0.0] * 3, [place] * 3]))


def save_untrained(folder: Path) -> Path:
    """Save a potential with random weights."""
    _potential(0).save(folder)
    return folder


def save_fitted(folder: Path, more: Sequence[Crystal] = ()) -> Path:
    """Save a potential fitted to rock salt and zinc blende at 9 sizes, and to `more` crystals, lowest as they are given."""
    import torch

    potential = _potential(0)
    crystals, energies = _scans(more)
    graph = _graph(potential, crystals)
    wanted = torch.tensor(energies, dtype=torch.float32)
    counts = torch.tensor([c.n_atoms for c in crystals])
    optimiser = torch.optim.Adam(potential.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=_STEPS)
    for _ in range(_STEPS):
        loss = ((potential.model(g=graph) / counts - wanted) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    potential.save(folder)
    return folder


def _potential(seed: int):
    import torch
    from matgl.apps.pes import Potential
    from matgl.models import M3GNet

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width = {"dim_node_embedding": 16, "dim_edge_embedding": 16, "units": 16, "nblocks": 1}
        return Potential(M3GNet(element_types=ELEMENTS, is_intensive=False, **width))


def _scans(more: Sequence[Crystal]) -> tuple[list[Crystal], list[float]]:
    """Crystals at several sizes with Morse-like energies, eV/atom; zinc blende is .3 eV above rock salt."""
    scans = []
    for cation, anion, constant in (("Na", "Cl", SODIUM_CHLORIDE_ANG), ("Mg", "O", 4.21)):
        scans.append((binary(cation, anion, 0.5, constant), 1.0))
        scans.append((binary(cation, anion, 0.25, 1.09 * constant), 0.7))
    scans += [(crystal, 1.0) for crystal in more]
    crystals, energies = [], []
    for crystal, depth_ev in scans:
        for size in np.linspace(0.85, 1.15, 9):
            crystals.append(Crystal(crystal.lattice_ang * size, crystal.species, crystal.frac_coords))
            energies.append(depth_ev * ((1 - np.exp(-6 * (size - 1))) ** 2 - 1))
    return crystals, energies


def _graph(potential, crystals: Sequence[Crystal]):
    import torch
    from ase import Atoms
    from matgl.ext.ase import Atoms2Graph
    from torch_geometric.data import Batch

    converter = Atoms2Graph(potential.model.element_types, potential.model.cutoff)
    graphs = [
        converter.get_graph(
            Atoms(list(c.species), scaled_positions=c.frac_coords, cell=c.lattice_ang, pbc=True)
        )[0]
        for c in crystals
    ]
    graph = Batch.from_data_list(graphs)
    batch = batch_crystals(crystals)
    lattices = torch.tensor(batch.lattices_ang, dtype=torch.float32)
    graph.pos = torch.tensor(batch.positions_ang, dtype=torch.float32)
    of_edge = lattices[graph.batch[graph.edge_index[0]]]
    graph.pbc_offshift = (graph.pbc_offset.unsqueeze(-1) * of_edge).sum(1)
    return graph
