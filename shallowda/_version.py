"""The version, in the only place that states it: ``setup.py`` reads this file without importing the package."""

__version__ = "0.1.0.dev0"
