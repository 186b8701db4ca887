"""Trains and judges CRYSPNet's networks."""
