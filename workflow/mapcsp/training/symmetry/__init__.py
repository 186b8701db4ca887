"""Trains and judges the symmetry model: labels and cells."""
