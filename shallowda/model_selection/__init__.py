"""Choosing without target labels: splitters, scores and the means to combine them.

Splitters keep the target in training and split the labelled source rows. Scores say how well a fitted model may do on
the target; none of them needs a target label, each fails somewhere, and each says where.
"""

from shallowda.model_selection.scorers import (
    CircularValidation,
    ClusterValidity,
    DeepEmbeddedValidation,
    EmbeddingDiscrepancy,
    ImportanceWeightedAccuracy,
    InformationMaximization,
    MixVal,
    PredictionEntropy,
    RankEnsemble,
    SoftNeighborhoodDensity,
    SourceAccuracy,
    SourceScore,
    source_accuracy,
    source_score,
    target_accuracy_scorer,
)
from shallowda.model_selection.splitters import (
    LeaveOneSourceOut,
    SourceTargetKFold,
    SourceTargetShuffleSplit,
    StratifiedSourceTargetKFold,
    StratifiedSourceTargetShuffleSplit,
)

__all__ = [
    "CircularValidation",
    "ClusterValidity",
    "DeepEmbeddedValidation",
    "EmbeddingDiscrepancy",
    "ImportanceWeightedAccuracy",
    "InformationMaximization",
    "LeaveOneSourceOut",
    "MixVal",
    "PredictionEntropy",
    "RankEnsemble",
    "SoftNeighborhoodDensity",
    "SourceAccuracy",
    "SourceScore",
    "SourceTargetKFold",
    "SourceTargetShuffleSplit",
    "StratifiedSourceTargetKFold",
    "StratifiedSourceTargetShuffleSplit",
    "source_accuracy",
    "source_score",
    "target_accuracy_scorer",
]
