"""Classical domain adaptation in the scikit-learn API.

Rows of a labelled source domain and of an unlabelled target domain go in together; a classifier for the target comes
out. See the README for a five-line example and `shallowda.domains` for how rows are marked.
"""

import os as _os

if not _os.path.isdir(_os.path.join(__path__[0], "kernels")):  # a source tree: kernels/ stands beside this package
    __path__.append(_os.path.dirname(__path__[0]))

from shallowda._version import __version__
from shallowda.artl import ARTL
from shallowda.auto_adapt import AutoAdapt, portfolio
from shallowda.bda import BDA
from shallowda.coral import CORAL
from shallowda.domains import NoTargetWarning, pack_domains
from shallowda.gfk import GFK, rank_of_domains
from shallowda.jda import JDA
from shallowda.nearest import OneNearestNeighbor
from shallowda.persistence import load, save
from shallowda.pipeline import LabeledOnly, PerDomain, make_pipeline
from shallowda.streaming import TargetDrift
from shallowda.subspace_alignment import SubspaceAlignment
from shallowda.tca import TCAEstimator
from shallowda.tjm import TJM

__all__ = [
    "ARTL",
    "BDA",
    "CORAL",
    "GFK",
    "JDA",
    "TJM",
    "AutoAdapt",
    "LabeledOnly",
    "NoTargetWarning",
    "OneNearestNeighbor",
    "PerDomain",
    "SubspaceAlignment",
    "TCAEstimator",
    "TargetDrift",
    "__version__",
    "load",
    "make_pipeline",
    "pack_domains",
    "portfolio",
    "rank_of_domains",
    "save",
]
