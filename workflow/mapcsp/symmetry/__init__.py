"""Symmetry: Wyckoff positions, labels, their geometry, and the networks that predict them from a formula."""
