"""Projections that bring means together, found by one eigenproblem."""
