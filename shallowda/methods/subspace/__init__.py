"""Alignment of the principal subspaces of the domains."""
