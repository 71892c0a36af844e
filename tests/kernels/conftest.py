import pytest

from shallowda.kernels import eigen


@pytest.fixture
def krylov_everywhere(monkeypatch):
    """Krylov spaces for problems of any order, and LAPACK never in their stead."""
    monkeypatch.setattr(eigen, "solver_for", lambda order, k: "block krylov")
    monkeypatch.setattr(eigen, "_DENSE_SHARE", 0)
