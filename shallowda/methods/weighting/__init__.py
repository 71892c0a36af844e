"""Weights of the source rows."""
