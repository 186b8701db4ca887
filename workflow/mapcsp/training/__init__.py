"""Training: structure tables, encoded crystals, and the loops that make the shipped weights."""

from mapcsp.places import name_writable_places

# Before numba and matplotlib are imported, which read these variables.
name_writable_places()
