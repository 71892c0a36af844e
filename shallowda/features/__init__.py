"""From images, texts and other raw inputs to a matrix of features, by a pretrained network.

The network is an object that you have loaded, with the library it comes from: nothing here downloads. What it computes
for each sample is pooled to one row, and the rows go on to `shallowda.pack_domains` and the estimators.
"""

from shallowda.features._extract import extract_features
from shallowda.features._samples import image_folder

__all__ = ["extract_features", "image_folder"]
