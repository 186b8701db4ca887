"""Random forests as they predict: numpy only, all trees of a forest walked at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mapcsp.errors import StoreError
from mapcsp.store import read_tensors, write_tensors

WEIGHTS_FILE = "weights.safetensors"
LEAF = 255
"""In place of a predictor's index: the node is a leaf."""
_FIELDS = ("feature", "number", "right", "start")


@dataclass(frozen=True, eq=False)
class Forest:
    """Regression trees, one after another, each with its root first and every left child right after its parent.

    feature: (n,), uint8, predictor that a node looks at, or LEAF. number: (n,), float32, its threshold (left up to it), or
    a leaf's value. right: (n,), uint16, how many nodes further the right child is. start: (t,), root of each tree.
    """

    feature: np.ndarray
    number: np.ndarray
    right: np.ndarray
    start: np.ndarray

    def __call__(self, predictors: np.ndarray) -> np.ndarray:
        """Mean over the trees (n,), of predictors (n, features), float32."""
        rows = np.arange(len(predictors))[:, None]
        node = np.tile(self.start.astype(np.int64), (len(predictors), 1))
        while True:
            feature = self.feature[node]
            inner = feature != LEAF
            if not inner.any():
                return self.number[node].astype(float).mean(1)
            values = predictors[rows, np.where(inner, feature, 0)]
            step = np.where(values <= self.number[node], 1, self.right[node].astype(np.int64))
            node += np.where(inner, step, 0)


def write_forests(path: Path, forests: Mapping[str, Forest]) -> None:
    """Write forests by name."""
    tensors = {
        f"{name}/{field}": getattr(forests[name], field) for name in sorted(forests) for field in _FIELDS
    }
    write_tensors(path, tensors, {"header": json.dumps({"kind": "MLatticeABC", "forests": sorted(forests)})})


def read_forests(path: Path) -> dict[str, Forest]:
    """Read the forests of a file; raises StoreError, naming it, if it holds none."""
    tensors, metadata = read_tensors(path)
    try:
        names = json.loads(metadata["header"])["forests"]
        return {name: Forest(*(tensors[f"{name}/{field}"] for field in _FIELDS)) for name in names}
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{path} holds no forests ({error}); restore it with git") from None


@lru_cache(maxsize=2)
def load_forests(folder: Path) -> dict[str, Forest]:
    """Read the forests of a model's folder once a process."""
    return read_forests(folder / WEIGHTS_FILE)
