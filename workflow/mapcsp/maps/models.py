"""Loads and saves map networks: weights and sizes in one safetensors file, named in `resources/models/registry.yaml`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mapcsp.errors import UserError
from mapcsp.maps.labels import DistanceGroups
from mapcsp.maps.refiner import MapRefiner, RefinerConfig
from mapcsp.maps.resnet import ResidualNetwork, ResnetConfig
from mapcsp.registry import registered_model
from mapcsp.store import read_tensors, write_tensors

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class MapModel:
    """A map network ready to predict.

    kind: `refiner` (default), `contact` (AlphaCrystal) or `groups` (AlphaCrystal-II). groups: of the last one.
    spread_scale: what the refiner's spreads are multiplied with so that errors on held-out crystals have that spread.
    """

    name: str
    kind: Literal["refiner", "contact", "groups"]
    network: MapRefiner | ResidualNetwork
    groups: DistanceGroups | None = None
    spread_scale: float = 1.0


def save_model(path: Path, model: MapModel) -> None:
    """Write weights in half precision (rounding moves distances by less than 0.01 Å) with everything needed to load them."""
    header = {
        "kind": model.kind,
        "network": asdict(model.network.config),
        "groups": None if model.groups is None else asdict(model.groups),
        "spread_scale": model.spread_scale,
    }
    tensors = {k: v.detach().cpu().numpy().astype(np.float16) for k, v in model.network.state_dict().items()}
    write_tensors(path, tensors, {"header": json.dumps(header, sort_keys=True)})


def load_weights(path: Path, name: str) -> MapModel:
    """Load a network, ready to predict on the CPU; raises UserError if the file does not fit."""
    tensors, metadata = read_tensors(path)
    try:
        header = json.loads(metadata["header"])
        network: MapRefiner | ResidualNetwork
        if header["kind"] == "refiner":
            network = MapRefiner(RefinerConfig(**header["network"]))
        else:
            network = ResidualNetwork(ResnetConfig(**header["network"]))
        network.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in tensors.items()})
        groups = None if header["groups"] is None else DistanceGroups(**header["groups"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} does not fit this version of mapcsp ({error}); restore it with `git checkout resources` or train anew"
        ) from None
    network.eval()
    return MapModel(name, header["kind"], network, groups, header["spread_scale"])


@lru_cache(maxsize=4)
def load_model(name: str) -> MapModel:
    """Load a map network by its name in the registry; raises UserError for a name that is not there or is no map network."""
    return load_weights(registered_model(name, "maps.model").folder / WEIGHTS, name)
