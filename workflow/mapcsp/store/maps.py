"""The predicted maps of one formula as one safetensors file."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from mapcsp.errors import StoreError
from mapcsp.records import FormulaMaps, PredictedMap
from mapcsp.store.files import rebuild_advice
from mapcsp.store.records import SCHEMA_VERSION
from mapcsp.store.tensors import read_tensors, write_tensors

_MAP_FIELDS = ("distance_ang", "spread_ang", "contact_prob")


def write_maps(path: Path, maps: FormulaMaps, **provenance: str) -> None:
    """Write the maps of one formula as safetensors, in single precision, maps of equal size stacked.

    Raises StoreError for a map that is no map: wrong shape, not finite, not symmetric, a spread that is not positive.
    """
    stacks: dict[str, list[np.ndarray]] = defaultdict(list)
    entries = []
    for index, predicted in enumerate(maps.maps):
        fault = _map_fault(predicted)
        if fault:
            raise StoreError(f"{path}: map {index} ({predicted.label_key}): {fault}; it was not written")
        n = len(predicted.species)
        place = len(stacks[f"{n}/{_MAP_FIELDS[0]}"])
        for name in _MAP_FIELDS:
            stacks[f"{n}/{name}"].append(getattr(predicted, name).astype(np.float32))
        entry = {
            "z": predicted.z,
            "label": predicted.label_key,
            "species": list(predicted.species),
            "place": place,
        }
        entries.append(entry)
    header = {
        "kind": "FormulaMaps",
        "schema": SCHEMA_VERSION,
        "id": maps.id,
        "model": maps.model,
        "maps": entries,
    }
    tensors = {name: np.stack(arrays) for name, arrays in stacks.items()} or {
        "empty": np.zeros(0, np.float32)
    }
    # One metadata key only: safetensors writes several in an order that changes from process to process.
    write_tensors(path, tensors, {"header": json.dumps({**header, **provenance}, sort_keys=True)})


def read_maps(path: Path) -> FormulaMaps:
    """Read the maps of one formula; raises StoreError, naming the file, if it holds none of this version."""
    tensors, metadata = read_tensors(path)
    try:
        header = json.loads(metadata["header"])
        if (header["kind"], header["schema"]) != ("FormulaMaps", SCHEMA_VERSION):
            raise ValueError(f"{header['kind']} of schema {header['schema']}")
        maps = []
        for entry in header["maps"]:
            n = len(entry["species"])
            arrays = (tensors[f"{n}/{name}"][entry["place"]].astype(float) for name in _MAP_FIELDS)
            maps.append(PredictedMap(entry["z"], entry["label"], tuple(entry["species"]), *arrays))
        faults = [fault for predicted in maps if (fault := _map_fault(predicted))]
        if faults:
            raise ValueError(faults[0])
        return FormulaMaps(header["id"], tuple(maps), header["model"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise StoreError(
            f"{path} holds no maps of schema {SCHEMA_VERSION} ({error}); {rebuild_advice(path)}"
        ) from None


def _map_fault(predicted: PredictedMap) -> str | None:
    """What is wrong with a map, in words, or None."""
    n = len(predicted.species)
    other = ~np.eye(n, dtype=bool)
    for name in _MAP_FIELDS:
        array = getattr(predicted, name)
        if array.shape != (n, n):
            return f"{name} has the shape {array.shape}, expected {(n, n)}"
        if not np.isfinite(array).all():
            return f"{name} is not finite"
        if not np.array_equal(array, array.T) or np.diag(array).any():
            return f"{name} is not symmetric with a zero diagonal"
    if (predicted.spread_ang[other] <= 0).any() or (predicted.distance_ang[other] <= 0).any():
        return "a distance or spread is not positive"
    if (predicted.contact_prob < 0).any() or (predicted.contact_prob > 1).any():
        return "a contact probability is outside 0 to 1"
    return None
