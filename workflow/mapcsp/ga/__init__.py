"""Reconstruction: a genetic search for coordinates and cells under predicted maps, and the pool of its candidates."""
