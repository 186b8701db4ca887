"""A trained ensemble of PaEGNN in one safetensors file, and how crystals become its inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from mapcsp.deeprelax.graph import GraphBatch, GraphSettings, build_graphs
from mapcsp.deeprelax.network import NetworkConfig, PaEGNN
from mapcsp.elements import SYMBOLS
from mapcsp.errors import UserError
from mapcsp.store import read_tensors, write_tensors

WEIGHTS = "weights.safetensors"
N_NUMBERS = len(SYMBOLS) + 1


@dataclass(frozen=True, eq=False)
class RelaxModel:
    """Members of an ensemble (equal networks from different seeds) and the graphs that they read.

    element_volume_ang3: (95,), by atomic number: every input is first scaled to the sum of its elements' volumes, so that
    the answer does not depend on the volume that an unrelaxed crystal happens to have.
    """

    name: str
    members: tuple[PaEGNN, ...]
    graph: GraphSettings

    @property
    def element_volume_ang3(self) -> np.ndarray:
        """Mean volume of each element, (95,), Å³."""
        return self.members[0].element_volume.cpu().numpy().astype(float)


def scaled_lattices(
    numbers: Sequence[np.ndarray], lattice_ang: np.ndarray, element_volume_ang3: np.ndarray
) -> np.ndarray:
    """Lattices (b, 3, 3) scaled so that each volume is the sum of its elements' volumes."""
    wanted = np.array([element_volume_ang3[n].sum() for n in numbers])
    return lattice_ang * np.cbrt(wanted / np.abs(np.linalg.det(lattice_ang)))[:, None, None]


def input_graphs(
    numbers: Sequence[np.ndarray],
    lattice_ang: np.ndarray,
    frac: Sequence[np.ndarray],
    element_volume_ang3: np.ndarray,
    settings: GraphSettings,
) -> GraphBatch:
    """Graphs of unrelaxed crystals, scaled to the volumes that the network starts from."""
    return build_graphs(numbers, scaled_lattices(numbers, lattice_ang, element_volume_ang3), frac, settings)


def save_model(path: Path, model: RelaxModel) -> None:
    """Write weights with everything needed to load them."""
    header = {
        "network": asdict(model.members[0].config),
        "graph": asdict(model.graph),
        "members": len(model.members),
    }
    tensors = {
        f"{i}/{k}": v.detach().cpu().numpy()
        for i, member in enumerate(model.members)
        for k, v in member.state_dict().items()
    }
    write_tensors(path, tensors, {"header": json.dumps(header, sort_keys=True)})


def load_model(path: Path, name: str, device: torch.device | str = "cpu") -> RelaxModel:
    """Load an ensemble, ready to predict; raises UserError if the file does not fit."""
    tensors, metadata = read_tensors(path)
    try:
        header = json.loads(metadata["header"])
        members = []
        for index in range(header["members"]):
            network = PaEGNN(NetworkConfig(**header["network"]), np.zeros(N_NUMBERS))
            own = {
                k.partition("/")[2]: torch.from_numpy(v.copy())
                for k, v in tensors.items()
                if k.startswith(f"{index}/")
            }
            network.load_state_dict(own)
            members.append(network.to(device).eval())
        return RelaxModel(name, tuple(members), GraphSettings(**header["graph"]))
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{path} holds no DeepRelax network of this version ({error}); train it again"
        ) from None
