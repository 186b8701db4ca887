"""Fits and judges the ranking."""
