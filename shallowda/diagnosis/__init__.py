"""What separates two domains, before anything is adapted: a report, figures, and a command line.

`DomainShiftReport` needs only what shallowda needs. Figures and HTML pages need ``pip install "shallowda[report]"``.
"""

from shallowda.diagnosis.displays import AdaptationHistoryDisplay, EmbeddingDisplay, ShiftDisplay
from shallowda.diagnosis.report import RULES, Advice, DomainShiftReport, Rule
from shallowda.diagnosis.single_features import FeatureShift, feature_shift

__all__ = [
    "RULES",
    "AdaptationHistoryDisplay",
    "Advice",
    "DomainShiftReport",
    "EmbeddingDisplay",
    "FeatureShift",
    "Rule",
    "ShiftDisplay",
    "feature_shift",
]
