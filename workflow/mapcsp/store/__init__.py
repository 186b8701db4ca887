"""Reads and writes every file between stages; the only place that knows their formats.

Files are written under a temporary name and renamed, so that a reader never meets half a file. Same records, same bytes.
"""

from mapcsp.store.files import atomic_path, rebuild_advice, shard, write_text
from mapcsp.store.maps import read_maps, write_maps
from mapcsp.store.plain import from_plain, to_plain
from mapcsp.store.records import SCHEMA_VERSION, read_header, read_record, read_records, write_records
from mapcsp.store.tables import read_csv, read_json, write_csv, write_json, write_parquet
from mapcsp.store.tensors import read_tensors, write_tensors

__all__ = [
    "SCHEMA_VERSION",
    "atomic_path",
    "from_plain",
    "read_csv",
    "read_header",
    "read_json",
    "read_maps",
    "read_record",
    "read_records",
    "read_tensors",
    "rebuild_advice",
    "shard",
    "to_plain",
    "write_csv",
    "write_json",
    "write_maps",
    "write_parquet",
    "write_records",
    "write_tensors",
    "write_text",
]
