# What `import shallowda` offers, and where each name is defined: the only list of exports. `__init__.py` reads it and
# imports a name when it is first asked for; type checkers and editors read it as it is. A method that is exported here
# is in the catalogue (`all_methods`), and with it in the tests, the command line, the benchmark and the tables.

from shallowda import core as core
from shallowda import datasets as datasets
from shallowda import diagnosis as diagnosis
from shallowda import domains as domains
from shallowda import drift as drift
from shallowda import features as features
from shallowda import kernels as kernels
from shallowda import methods as methods
from shallowda import metrics as metrics
from shallowda import model_selection as model_selection
from shallowda import persistence as persistence
from shallowda import pipeline as pipeline
from shallowda._version import __version__ as __version__
from shallowda.auto_adapt import AutoAdapt as AutoAdapt
from shallowda.auto_adapt import portfolio as portfolio
from shallowda.core.catalogue import all_methods as all_methods
from shallowda.core.contract import NoTargetWarning as NoTargetWarning
from shallowda.core.enclosing import LearnedMarkWarning as LearnedMarkWarning
from shallowda.core.nearest import OneNearestNeighbor as OneNearestNeighbor
from shallowda.domains import pack_domains as pack_domains
from shallowda.drift import TargetDrift as TargetDrift
from shallowda.methods.alignment.coral import CORAL as CORAL
from shallowda.methods.classifiers.artl import ARTL as ARTL
from shallowda.methods.classifiers.easytl import EasyTL as EasyTL
from shallowda.methods.spectral.bda import BDA as BDA
from shallowda.methods.spectral.jda import JDA as JDA
from shallowda.methods.spectral.jgsa import JGSA as JGSA
from shallowda.methods.spectral.tca import TCAEstimator as TCAEstimator
from shallowda.methods.spectral.tjm import TJM as TJM
from shallowda.methods.subspace.gfk import GFK as GFK
from shallowda.methods.subspace.gfk import rank_of_domains as rank_of_domains
from shallowda.methods.subspace.sda import SDA as SDA
from shallowda.methods.subspace.subspace_alignment import SubspaceAlignment as SubspaceAlignment
from shallowda.methods.weighting.kmm import KMM as KMM
from shallowda.persistence import load as load
from shallowda.persistence import save as save
from shallowda.pipeline import LabeledOnly as LabeledOnly
from shallowda.pipeline import PerDomain as PerDomain
from shallowda.pipeline import make_pipeline as make_pipeline

EXPORTS: dict[str, str]
__all__: list[str]
