"""Classifiers fitted on both domains, without a map of the features."""
