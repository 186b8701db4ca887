"""Gets the original M3GNet weights: downloads the published source package by its hash and converts its checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from mapcsp.errors import StoreError, UserError
from mapcsp.places import FETCH_COMMAND, check_weights_place
from mapcsp.provenance import file_sha256
from mapcsp.relax.checkpoint import read_checkpoint
from mapcsp.resources import resources_dir
from mapcsp.store import read_tensors, write_tensors

SDIST_REQUIREMENT = "m3gnet==0.2.4"
SDIST_SHA256 = "a7f82b06f48d8fb81f91fb88484177005066cdf708902bf749afaa7f8d117ce8"
MODEL_FOLDER = "pretrained/MP-2021.2.8-EFS"
CONTENT_HASH = "80b2814e2bf8f9e06862078e541ceb68e5dacf1a9476fe4d78ca8e7cc4b56a27"
_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_CONFIG_KEYS = (
    "cutoff",
    "threebody_cutoff",
    "n_blocks",
    "units",
    "max_n",
    "max_l",
    "mean",
    "std",
    "element_refs",
)
_PIP_TIMEOUT_S = 900


@dataclass(frozen=True)
class M3GNetConfig:
    """Settings of the model. Cutoffs in Å; mean, std and element_refs (by atomic number) in eV."""

    cutoff: float
    threebody_cutoff: float
    n_blocks: int
    mean: float
    std: float
    element_refs: list[float]


def default_weights_path() -> Path:
    """Where the converted weights lie unless told otherwise: `resources/potentials/m3gnet.safetensors` of the repository."""
    return resources_dir() / "potentials" / "m3gnet.safetensors"


def fetch_m3gnet(target: Path | None = None, sdist: Path | None = None) -> Path:
    """Put the converted M3GNet weights (MP-2021.2.8-EFS, BSD-3) at `target`, downloading them if they are not there.

    target: default `default_weights_path()`; a good file there is kept. sdist: a copy of the source package that is
    already here (for machines without a network). Returns the path of the weights.
    Raises UserError if the download fails or a hash does not fit.
    """
    target = target or default_weights_path()
    if _is_right(target):
        return target
    check_weights_place(target)
    with tempfile.TemporaryDirectory() as scratch:
        package = sdist or _download(Path(scratch))
        if file_sha256(package) != SDIST_SHA256:
            raise UserError(
                f"{package} is not the published {SDIST_REQUIREMENT}: its SHA-256 differs from {SDIST_SHA256}"
            )
        convert(_extract(package, Path(scratch) / "model"), target)
    load_weights(target)
    return target


def _is_right(path: Path) -> bool:
    try:
        return path.exists() and content_hash(*read_tensors(path)) == CONTENT_HASH
    except StoreError:  # damaged: it is made again
        return False


def convert(model_folder: Path, target: Path) -> None:
    """Write the checkpoint in `model_folder` as safetensors, the model's settings in the file's metadata."""
    variables = read_checkpoint(model_folder / "m3gnet")
    tensors = {
        name.removesuffix(_VALUE_SUFFIX).replace("/", "."): array.astype(np.float32)
        for name, array in variables.items()
        if name.endswith(_VALUE_SUFFIX) and array.dtype.kind == "f"
    }
    # The file is JSON inside a JSON string.
    config = json.loads(json.loads((model_folder / "m3gnet.json").read_text(encoding="utf-8")))["config"]
    metadata = {
        "config": json.dumps({key: config[key] for key in _CONFIG_KEYS}, sort_keys=True),
        "model": "M3GNet MP-2021.2.8-EFS (Chen and Ong, Nature Computational Science 2, 718, 2022), BSD-3-Clause",
        "source": f"{SDIST_REQUIREMENT} sdist, SHA-256 {SDIST_SHA256}",
    }
    write_tensors(target, tensors, metadata)


def content_hash(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """SHA-256 of the tensors and the model's settings, whatever the file's byte layout."""
    digest = hashlib.sha256(metadata.get("config", "").encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def load_weights(path: Path) -> tuple[dict[str, np.ndarray], M3GNetConfig]:
    """Read the converted weights: arrays by variable name, and the model's settings.

    Raises UserError, naming the command that rebuilds the file, if it is missing, damaged or another model.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; run `{FETCH_COMMAND}` to get the M3GNet weights")
    try:
        tensors, metadata = read_tensors(path)
    except StoreError:
        raise UserError(f"{path} is damaged; delete it and run `{FETCH_COMMAND}` to rebuild it") from None
    found = content_hash(tensors, metadata)
    if found != CONTENT_HASH:
        raise UserError(
            f"{path} is not the original M3GNet (content hash {found[:16]}, expected {CONTENT_HASH[:16]}); "
            f"delete it and run `{FETCH_COMMAND}` to rebuild it"
        )
    config = json.loads(metadata["config"])
    return tensors, M3GNetConfig(**{f.name: config[f.name] for f in fields(M3GNetConfig)})


def _download(folder: Path) -> Path:
    """Download the source package with pip, which checks the hash before it runs anything from it."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{SDIST_REQUIREMENT} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "m3gnet"]
    command += ["--require-hashes", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["--dest", str(folder / "sdist"), "--requirement", str(requirements)]
    # pip asks a source package for its metadata, for which it fetches the old build tools that the package names; where
    # those cannot be had, the setuptools that may be installed here will do.
    messages = []
    for extra in ([], ["--no-build-isolation"]):
        done = _run(command + extra)
        found = sorted((folder / "sdist").glob("m3gnet-*.tar.gz"))
        if done.returncode == 0 and found:
            return found[0]
        messages += [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    raise UserError(
        f"pip could not download {SDIST_REQUIREMENT} ({messages[-1] if messages else 'no message'}); check the network, "
        f"or give a copy of its source package: `{FETCH_COMMAND} --sdist FILE`"
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"downloading {SDIST_REQUIREMENT} took more than {_PIP_TIMEOUT_S} s; check the network"
        ) from None


def _extract(package: Path, folder: Path) -> Path:
    """Unpack the model's folder, and nothing else, from the source package."""
    folder.mkdir()
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            if member.isfile() and f"/{MODEL_FOLDER}/" in member.name:
                source = archive.extractfile(member)
                if source is not None:
                    with open(folder / Path(member.name).name, "wb") as destination:
                        shutil.copyfileobj(source, destination)
    return folder
