"""The multi-layer perceptrons of CRYSPNet, as they predict: numpy only, batch norm and dropout folded into the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mapcsp.errors import StoreError
from mapcsp.store import read_tensors, write_tensors

WEIGHTS_FILE = "weights.safetensors"
CLIP = 3.0
"""Standardised predictors of cell networks stay within this many standard deviations."""


@dataclass(frozen=True, eq=False)
class Perceptron:
    """Layers of one trained network; ReLU between them, nothing after the last.

    weights: each (outputs, inputs); biases: each (outputs,). The first layer takes raw predictors: their normalisation
    and every batch norm are part of the weights.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs (n, outputs) of standardised predictors (n, inputs)."""
        values = inputs
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            if index:
                values = np.maximum(values, 0)
            values = values @ weight.T + bias
        return values


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks that answer one question and vote (Appendix D: vertical voting).

    kind: `classes` (softmax over `classes`) or `cell` (free parameters of a Bravais lattice).
    classes: names of the outputs: Bravais lattices, space groups or parameters.
    inputs: indices of the predictors used. mean, scale: (inputs,), of the training compositions.
    target_mean, target_scale: (k,), of the natural logs of the parameters; low, high: (k,), their range, standardised.
    """

    kind: str
    classes: tuple[str, ...]
    inputs: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    members: tuple[Perceptron, ...]
    target_mean: np.ndarray
    target_scale: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def standardise(self, predictors: np.ndarray) -> np.ndarray:
        """Predictors (n, 228 or 233) as the networks take them: (n, inputs).

        Departure: cell networks see them clipped. An element that is rare in a lattice has a fraction dozens of standard
        deviations from the mean, and from there the sigmoid saturates: the cell was the smallest or largest of all.
        """
        scaled = (predictors[:, self.inputs] - self.mean) / self.scale
        return np.clip(scaled, -CLIP, CLIP) if self.kind == "cell" else scaled

    def probabilities(self, predictors: np.ndarray) -> np.ndarray:
        """Mean over members of their softmax: (n, classes)."""
        return self.member_probabilities(predictors).mean(0)

    def member_probabilities(self, predictors: np.ndarray) -> np.ndarray:
        """Softmax of each member: (members, n, classes)."""
        inputs = self.standardise(predictors)
        logits = np.stack([member(inputs) for member in self.members])
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    def parameters(self, predictors: np.ndarray) -> np.ndarray:
        """Free cell parameters (n, k), Å and degrees: geometric mean over members."""
        return np.exp(self.member_logs(predictors).mean(0))

    def member_logs(self, predictors: np.ndarray) -> np.ndarray:
        """Natural logs of the free cell parameters of each member: (members, n, k).

        A sigmoid keeps them within the range of the training crystals (section II.C).
        """
        inputs = self.standardise(predictors)
        raw = np.stack([member(inputs) for member in self.members])
        standardised = self.low + (self.high - self.low) * (0.5 + 0.5 * np.tanh(raw / 2))
        return standardised * self.target_scale + self.target_mean


_NUMBERS = ("inputs", "mean", "scale", "target_mean", "target_scale", "low", "high")


def write_ensembles(path: Path, ensembles: Mapping[str, Ensemble], **provenance: str) -> None:
    """Write ensembles by name, networks in half precision; raises StoreError for a weight that does not fit into it."""
    tensors: dict[str, np.ndarray] = {}
    header = {}
    for name, ensemble in sorted(ensembles.items()):
        header[name] = {
            "kind": ensemble.kind,
            "classes": list(ensemble.classes),
            "members": len(ensemble.members),
            "layers": len(ensemble.members[0].weights),
        }
        for field in _NUMBERS:
            values = getattr(ensemble, field)
            tensors[f"{name}/{field}"] = values.astype(np.uint8 if field == "inputs" else np.float32)
        for index, member in enumerate(ensemble.members):
            for layer, (weight, bias) in enumerate(zip(member.weights, member.biases)):
                tensors[f"{name}/{index}/{layer}/weight"] = weight.astype(np.float16)
                tensors[f"{name}/{index}/{layer}/bias"] = bias.astype(np.float16)
    # One metadata key only: safetensors writes several in an order that changes from process to process.
    header_text = json.dumps({"kind": "CryspNet", "ensembles": header, **provenance}, sort_keys=True)
    write_tensors(path, tensors, {"header": header_text})


def read_ensembles(path: Path) -> dict[str, Ensemble]:
    """Read the ensembles of a file; raises StoreError, naming it, if it holds none."""
    tensors, metadata = read_tensors(path)
    try:
        header = json.loads(metadata["header"])
        return {name: _ensemble(tensors, name, entry) for name, entry in header["ensembles"].items()}
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{path} holds no CRYSPNet ensembles ({error}); restore it with git") from None


def _ensemble(tensors: Mapping[str, np.ndarray], name: str, entry: Mapping) -> Ensemble:
    def layers(member: int, part: str) -> Iterable[np.ndarray]:
        return (tensors[f"{name}/{member}/{i}/{part}"].astype(np.float32) for i in range(entry["layers"]))

    members = tuple(
        Perceptron(tuple(layers(m, "weight")), tuple(layers(m, "bias"))) for m in range(entry["members"])
    )
    numbers = {field: tensors[f"{name}/{field}"] for field in _NUMBERS}
    numbers["inputs"] = numbers["inputs"].astype(int)
    return Ensemble(entry["kind"], tuple(entry["classes"]), members=members, **numbers)


@lru_cache(maxsize=2)
def load_ensembles(folder: Path) -> dict[str, Ensemble]:
    """Read the weights of a model's folder once a process."""
    return read_ensembles(folder / WEIGHTS_FILE)
