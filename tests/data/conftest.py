import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data():
    """Folder of the public benchmark files."""
    folder = os.environ.get("SHALLOWDA_DATA")
    if not folder:
        pytest.skip("SHALLOWDA_DATA is not set: it names the folder of the public benchmark files")
    return Path(folder)
