import pytest


@pytest.fixture(scope="session")
def smoke_captioner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The override by which graphs at smoke scale share a captioner: the first trains it, others find it finished."""
    return f"stages.captioner.output={tmp_path_factory.mktemp('captioner')}"
