"""The stage `maps`: predicts distance and contact maps for every label of every formula."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mapcsp.errors import StoreError
from mapcsp.maps.models import MapModel, load_model
from mapcsp.maps.predict import predict_content_map, predict_label_maps
from mapcsp.provenance import value_hash
from mapcsp.records import FormulaMaps, LabelPrediction, PredictedMap, SymmetryPrediction
from mapcsp.settings import MapsSettings, read_section
from mapcsp.store import read_json, read_record, read_tensors, shard, write_maps


def run_maps(
    intake_dir: Path, features_dir: Path, symmetry_dir: Path, settings_file: Path, output_dir: Path
) -> None:
    """Write output_dir/<shard>/<id>.safetensors for every formula of the intake: one map for each predicted label.

    The default network reads symmetry_dir; the papers' networks read the composition's features in features_dir and
    give one map for each z, repeated for each label of that z.
    Raises UserError for a model that is not in the registry, StoreError for a file of an earlier stage that is missing.
    """
    # Sums in several threads would round differently from machine to machine.
    torch.set_num_threads(1)
    settings = read_section(settings_file, MapsSettings)
    model = load_model(settings.model)
    provenance = {"settings": value_hash(settings.model_dump(mode="json"))}
    for identifier in tqdm(read_json(intake_dir / "index.json")["ids"], desc="maps", mininterval=5):
        place = f"{shard(identifier)}/{identifier}"
        prediction = read_record(symmetry_dir / f"{place}.jsonl", SymmetryPrediction)
        if model.kind == "refiner":
            maps = predict_label_maps(model, prediction.labels, settings.batch_size)
        else:
            maps = predict_from_features(model, features_dir / f"{place}.safetensors", prediction.labels)
        found = FormulaMaps(identifier, tuple(maps), model.name)
        write_maps(output_dir / f"{place}.safetensors", found, **provenance)


def predict_from_features(
    model: MapModel, features_file: Path, labels: Sequence[LabelPrediction]
) -> list[PredictedMap]:
    """Predict with a network of the papers from a file of padded features (L, 11) a z, for labels of these z."""
    tensors, metadata = read_tensors(features_file)
    try:
        species_of_z = dict(
            zip(tensors["z"].tolist(), json.loads(metadata["features"])["species"], strict=True)
        )
        values_of_z = dict(zip(tensors["z"].tolist(), tensors["values"], strict=True))
        maps = {
            z: predict_content_map(
                model, z, tuple(species_of_z[z]), np.asarray(values_of_z[z])[: len(species_of_z[z])]
            )
            for z in sorted({label.z for label in labels})
        }
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"{features_file} lacks the features of a predicted z ({error}); delete it and run snakemake again to rebuild it"
        ) from None
    return [maps[label.z] for label in labels]
