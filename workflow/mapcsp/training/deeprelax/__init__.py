"""Trains and judges DeepRelax."""
