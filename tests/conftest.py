from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images that may lie beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real images in {SHARED.name}/ of a folder 'shared' beside the repository")
    return SHARED
