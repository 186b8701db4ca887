"""Arrays as safetensors, with a checksum."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from mapcsp.errors import StoreError
from mapcsp.store.files import atomic_path, rebuild_advice

# A tensor of its own, since safetensors writes several metadata keys in an order that changes from process to process.
_CHECKSUM = "crc32"


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write arrays as safetensors, with a checksum; raises StoreError if one is not finite."""
    from safetensors.numpy import save_file

    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StoreError(f"{path}: tensor {name} holds NaN or infinity; it was not written")
    arrays = {k: np.ascontiguousarray(v) for k, v in sorted(tensors.items())}
    arrays[_CHECKSUM] = _tensor_checksum(arrays, metadata or {})
    with atomic_path(path) as temporary:
        save_file(arrays, str(temporary), metadata)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read arrays and metadata of a safetensors file; raises StoreError, naming the file."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise StoreError(f"{path} does not exist; run snakemake to build it")
    try:
        with safe_open(str(path), framework="numpy") as handle:
            tensors = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118
            metadata = dict(handle.metadata() or {})
    except SafetensorError as error:
        raise StoreError(f"{path} is not a safetensors file ({error}); {rebuild_advice(path)}") from None
    # Weights shipped before there was a checksum have none.
    checksum = tensors.pop(_CHECKSUM, None)
    if checksum is not None and not np.array_equal(checksum, _tensor_checksum(tensors, metadata)):
        raise StoreError(f"{path} is corrupt (its checksum does not fit); {rebuild_advice(path)}")
    return tensors, metadata


def _tensor_checksum(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> np.ndarray:
    checksum = zlib.crc32(repr(sorted(metadata.items())).encode())
    for name, array in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), checksum)
        checksum = zlib.crc32(array.tobytes(), checksum)
    return np.array([checksum], dtype=np.uint32)
