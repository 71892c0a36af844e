"""Alignment of the moments of the features."""
