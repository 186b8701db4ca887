"""The shipped symmetry model: memory, network and what is enumerated, loaded from one folder of resources/models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mapcsp.errors import UserError
from mapcsp.store import atomic_path
from mapcsp.symmetry.cell_network import CellNetwork, CellShape
from mapcsp.symmetry.enumeration import LetterPrior, letter_prior
from mapcsp.symmetry.memory import LabelMemory, read_memory, write_memory
from mapcsp.symmetry.network import NetworkShape, SymmetryNetwork
from mapcsp.symmetry.prior import memory_priors

MEMORY_FILE, WEIGHTS_FILE = "memory.safetensors", "weights.safetensors"


@dataclass(frozen=True, eq=False)
class SymmetryModel:
    """Everything a prediction needs."""

    name: str
    memory: LabelMemory
    network: SymmetryNetwork
    cells: CellNetwork
    priors: torch.Tensor
    letters: LetterPrior


def save_model(folder: Path, memory: LabelMemory, network: SymmetryNetwork, cells: CellNetwork) -> None:
    """Write memory and weights (half precision: the error in a log-probability is below 0.01)."""
    write_memory(folder / MEMORY_FILE, memory)
    parts = {"labels": network, "cells": cells}
    weights = {
        f"{p}.{k}": v.detach().half().contiguous()
        for p, n in parts.items()
        for k, v in n.state_dict().items()
    }
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, str(temporary))


@lru_cache(maxsize=2)
def load_model(folder: Path) -> SymmetryModel:
    """Load a model; raises UserError or StoreError, naming the file, if it is missing or does not fit."""
    memory = read_memory(folder / MEMORY_FILE)
    path = folder / WEIGHTS_FILE
    if not path.exists():
        raise UserError(f"{path} is missing; restore it with `git checkout resources` or run `make train`")
    weights = {k: v.float() for k, v in load_file(str(path)).items()}
    network, cells = SymmetryNetwork(memory, NetworkShape()), CellNetwork(CellShape())
    try:
        for prefix, module in (("labels.", network), ("cells.", cells)):
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            )
            module.eval()
    except RuntimeError as error:
        raise UserError(f"{path} does not fit {folder / MEMORY_FILE}: {str(error).splitlines()[0]}") from None
    return SymmetryModel(folder.name, memory, network, cells, memory_priors(memory), letter_prior(memory))
