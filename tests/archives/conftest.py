from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Indexes of these tests are kept for them alone."""
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "archives"
