"""Fits and judges MLatticeABC's forests."""
