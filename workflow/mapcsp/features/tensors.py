"""Builds the padded feature tensors of each formula, and reads and writes their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mapcsp.elements import cell_species, element_features, feature_names
from mapcsp.errors import StoreError, UserError
from mapcsp.provenance import value_hash, versions
from mapcsp.records import FeatureTensor, FormulaEntry
from mapcsp.settings import FeaturesSettings, read_section
from mapcsp.store import read_json, read_record, read_tensors, shard, write_tensors

METADATA_KEY = "features"


def build_features(entry: FormulaEntry, length: int) -> list[FeatureTensor]:
    """Features of the atoms of each allowed cell content (AlphaCrystal-II, section 2.2 and Table 1).

    length: L, rows of the padded tensors; rows without an atom are zero. Returns one record for each allowed z, ascending.
    Raises UserError if a cell has more than L atoms.
    """
    tensors = []
    for z in entry.z_allowed:
        species = cell_species(entry.amounts, z)
        if len(species) > length:
            raise UserError(
                f"{entry.id}: {len(species)} atoms in a cell, expected at most features.length = {length}; "
                "raise it to intake.max_atoms in config.yaml"
            )
        values = np.zeros((length, len(feature_names())))
        values[: len(species)] = element_features(species)
        tensors.append(FeatureTensor(entry.id, z, species, values, np.arange(length) < len(species)))
    return tensors


def run_features(index_dir: Path, settings_file: Path, output_dir: Path) -> None:
    """Write the features of every entry of an intake folder: output_dir/<shard>/<id>.safetensors."""
    settings = read_section(settings_file, FeaturesSettings)
    for identifier in read_json(index_dir / "index.json")["ids"]:
        entry = read_record(index_dir / "entries" / shard(identifier) / f"{identifier}.jsonl", FormulaEntry)
        write_features(
            features_path(output_dir, identifier), build_features(entry, settings.length), settings
        )


def features_path(output_dir: Path, identifier: str) -> Path:
    """File of one formula's features in the folder that `run_features` wrote."""
    return output_dir / shard(identifier) / f"{identifier}.safetensors"


def write_features(path: Path, tensors: list[FeatureTensor], settings: FeaturesSettings) -> None:
    """Write one formula's tensors, stacked over z: values (Z, L, 11), mask (Z, L) and z (Z,)."""
    header = {
        "id": tensors[0].id,
        "species": [list(t.species) for t in tensors],
        "columns": list(feature_names()),
        "settings": value_hash(settings.model_dump(mode="json")),
        "versions": versions(()),
    }
    arrays = {
        "values": np.stack([t.values for t in tensors]),
        "mask": np.stack([t.mask for t in tensors]),
        "z": np.array([t.z for t in tensors], dtype=np.int64),
    }
    # One metadata key only: safetensors writes several in an order that changes from process to process.
    write_tensors(path, arrays, {METADATA_KEY: json.dumps(header, sort_keys=True)})


def read_features(path: Path) -> list[FeatureTensor]:
    """Read one formula's tensors, ascending in z; raises StoreError, naming the file, if it is not such a
    file."""
    arrays, metadata = read_tensors(path)
    try:
        header = json.loads(metadata[METADATA_KEY])
        values, mask, z = arrays["values"], arrays["mask"], arrays["z"]
        species = [tuple(symbols) for symbols in header["species"]]
        if header["columns"] != list(feature_names()):
            raise ValueError(f"columns {header['columns']}, expected {list(feature_names())}")
        if values.shape != (len(z), mask.shape[1], len(feature_names())) or mask.shape[0] != len(z):
            raise ValueError(f"shapes {values.shape}, {mask.shape} and {z.shape} do not fit together")
        if [len(s) for s in species] != mask.sum(axis=1).tolist() or not np.isfinite(values).all():
            raise ValueError("the mask does not count the atoms, or a value is not finite")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise StoreError(
            f"{path} holds no features ({error}); delete it and run snakemake again to rebuild it"
        ) from None
    return [FeatureTensor(header["id"], int(z[i]), species[i], values[i], mask[i]) for i in range(len(z))]
