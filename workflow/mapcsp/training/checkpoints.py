"""Everything that a training by epochs needs to go on after a kill: safetensors and JSON, which run no code when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mapcsp.errors import StoreError
from mapcsp.store import read_tensors, write_tensors

# The one metadata key: safetensors writes several in an order that changes from process to process.
_STATE = "state"


@dataclass(frozen=True, eq=False)
class Reached:
    """How far a training is: epochs and optimiser steps done, the best figure so far and the weights that gave it."""

    epoch: int
    steps: int
    best: float
    best_network: dict[str, torch.Tensor]


def write_checkpoint(
    path: Path,
    key: str,
    reached: Reached,
    networks: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Write a checkpoint, torch's random numbers included.

    key: hash of what the training is of. Raises StoreError if a weight is not finite.
    """
    steps = optimiser.state_dict()
    tensors = {f"best/{name}": value for name, value in reached.best_network.items()}
    for prefix, network in networks.items():
        tensors |= {f"{prefix}/{name}": value for name, value in network.state_dict().items()}
    for index, state in steps["state"].items():
        tensors |= {f"optimiser/{index}/{name}": value for name, value in state.items()}
    tensors["rng"] = torch.get_rng_state()
    state = {
        "key": key,
        "epoch": reached.epoch,
        "steps": reached.steps,
        "best": reached.best,
        "param_groups": steps["param_groups"],
        "schedule": schedule.state_dict(),
    }
    arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
    write_tensors(path, arrays, {_STATE: json.dumps(state, sort_keys=True)})


def read_checkpoint(
    path: Path,
    key: str,
    networks: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> Reached | None:
    """Put networks, optimiser, schedule and random numbers back to where a checkpoint left them.

    Returns None, and changes nothing, without a checkpoint or with one of another training (another key). Raises StoreError
    for a file that is damaged or no checkpoint.
    """
    if not path.exists():
        return None
    arrays, metadata = read_tensors(path)
    if _STATE not in metadata:
        raise StoreError(f"{path} is no checkpoint of a training; delete it to start anew")
    state: dict[str, Any] = json.loads(metadata[_STATE])
    if state["key"] != key:
        print(f"{path} is of another training; starting anew", flush=True)
        return None
    tensors = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}

    def part(prefix: str) -> dict[str, torch.Tensor]:
        start = f"{prefix}/"
        return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}

    for prefix, network in networks.items():
        network.load_state_dict(part(prefix))
    by_index: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in part("optimiser").items():
        index, _, field = name.partition("/")
        by_index.setdefault(int(index), {})[field] = value
    optimiser.load_state_dict({"state": by_index, "param_groups": state["param_groups"]})
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(tensors["rng"])
    return Reached(int(state["epoch"]), int(state["steps"]), float(state["best"]), part("best"))
