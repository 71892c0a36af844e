"""Small data sets with a real domain shift, made on the spot: nothing is downloaded."""

from shallowda.datasets._printed_digits import make_printed_digits

__all__ = ["make_printed_digits"]
