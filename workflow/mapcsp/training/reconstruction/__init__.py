"""Measures the search: what it rebuilds, from true and from predicted maps."""
