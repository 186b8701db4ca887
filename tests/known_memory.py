"""A memory of seven labels, small enough to work its predictions out by hand, and a model whose networks only count.

Of AB: rock salt (three examples), CsCl, zincblende (one each); with two formula units wurtzite (two examples, two
geometries) and NiAs (one). Of AB2: fluorite (one) and, with two formula units, rutile (eight examples, eight geometries).
"""

from __future__ import annotations

import numpy as np
import torch
from mapcsp.elements import atomic_number
from mapcsp.symmetry.cell_network import CellNetwork, CellShape
from mapcsp.symmetry.enumeration import letter_prior
from mapcsp.symmetry.labels import AnonymousLabel
from mapcsp.symmetry.memory import MAX_ROLES, LabelMemory, role_symmetries
from mapcsp.symmetry.model import SymmetryModel
from mapcsp.symmetry.network import NetworkShape, SymmetryNetwork
from mapcsp.symmetry.prior import memory_priors

LABELS = ("225:a|b", "221:a|b", "216:a|c", "186:b|b", "194:a|c", "225:a|c", "136:a|f")
# (label, elements by role, geometry)
EXAMPLES = [
    (0, ("Cl", "Na"), 0), (0, ("F", "Na"), 0), (0, ("Cl", "K"), 0), (1, ("Cl", "Cs"), 1), (2, ("S", "Zn"), 2),
    (3, ("S", "Zn"), 3), (3, ("O", "Zn"), 4), (4, ("Ni", "As"), 5), (5, ("Ca", "F"), 6),
    *((6, (metal, "O"), 7 + k) for k, metal in enumerate(("Ti", "Sn", "Pb", "Mn", "Ru", "Ir", "Ge", "Si"))),
]  # fmt: skip
# (label, c / a, ln(volume / sum of elemental volumes), free coordinates, their spread)
GEOMETRIES = [
    (0, 1.0, 0.10, (), ()),
    (1, 1.0, -0.05, (), ()),
    (2, 1.0, 0.30, (), ()),
    (3, 1.6, 0.20, (0.375, 0.0), (0.0, 0.0)),
    (3, 1.7, 0.40, (0.382, 0.02), (0.01, 0.03)),
    (4, 1.4, 0.00, (), ()),
    (5, 1.0, -0.20, (), ()),
    *((6, 0.64, 0.0, (0.300 + 0.001 * k,), (0.0,)) for k in range(8)),
]
VOLUME_ANG3 = {"S": 25.0, "Zn": 15.0, "Ca": 30.0, "F": 12.0, "Ti": 10.0, "O": 8.0, "Na": 20.0, "Cl": 28.0}


def small_memory() -> LabelMemory:
    labels = tuple(AnonymousLabel.from_key(key) for key in LABELS)
    elements = np.zeros((len(EXAMPLES), MAX_ROLES), dtype=int)
    for row, (_, symbols, _) in zip(elements, EXAMPLES):
        row[: len(symbols)] = [atomic_number(s) for s in symbols]
    volumes = np.full(95, 20.0)
    for symbol, volume in VOLUME_ANG3.items():
        volumes[atomic_number(symbol)] = volume
    hexagonal = [labels[g[0]].space_group in (186, 194) for g in GEOMETRIES]
    return LabelMemory(
        labels,
        tuple(role_symmetries(label) for label in labels),
        example_label=np.array([label for label, _, _ in EXAMPLES]),
        example_elements=elements,
        example_mode=np.array([mode for _, _, mode in EXAMPLES]),
        example_formula=np.arange(len(EXAMPLES)),
        mode_label=np.array([g[0] for g in GEOMETRIES]),
        mode_count=np.array([3, *range(11, 10 + len(GEOMETRIES))]),
        mode_cell=np.array([(1, 1, g[1], 90, 90, 120 if h else 90) for g, h in zip(GEOMETRIES, hexagonal)]),
        mode_log_volume=np.array([g[2] for g in GEOMETRIES]),
        mode_free=np.concatenate([g[3] for g in GEOMETRIES]),
        mode_spread=np.concatenate([g[4] for g in GEOMETRIES]),
        mode_start=np.cumsum([0, *(len(g[3]) for g in GEOMETRIES)]),
        element_volume_ang3=volumes,
    )


def small_model(log_volume: float = 0.0, log_c_over_a: float = 0.0) -> SymmetryModel:
    """Untrained networks; the one for cells corrects every mean cell by the given amounts.

    It expects spreads of e^-2.5 in ln(volume) and e^-3 in the shape. The one for labels counts examples: a label's score is
    their number, each taken once for every equal way to put the elements into its roles.
    """
    memory = small_memory()
    torch.manual_seed(0)
    network = SymmetryNetwork(memory, NetworkShape(width=8, kernel_width=4, layers=1, heads=2))
    cells = CellNetwork(CellShape(width=8, layers=1, heads=2))
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
        network.mix.copy_(torch.tensor([1.0, 0.0, -60.0]))
        cells.correct[-1].bias.copy_(torch.tensor([log_volume, -2.5, 0, log_c_over_a, 0, 0, 0, -3.0]))
    return SymmetryModel(
        "small", memory, network.eval(), cells.eval(), memory_priors(memory), letter_prior(memory)
    )
