"""Training: structure tables, encoded crystals, and the loops that make the shipped weights."""
