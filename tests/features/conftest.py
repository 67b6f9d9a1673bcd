"""Weights that several tests read and none changes."""

from pathlib import Path

import pytest
import torch

from tests.features import tiny_networks


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.dinov2(tmp_path_factory.mktemp("dinov2"))


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05-6726825d.pth"
    torch.save(tiny_networks.inception_state(), file)
    return file
