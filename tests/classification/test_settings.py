import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.classification.settings import TrainingSettings
from dermray.config import ConfigError, validate


@given(st.integers(1, 500), st.integers(1, 300))
def test_steps_are_the_same_whatever_the_number_of_images(steps: int, images: int) -> None:
    rounds = TrainingSettings(steps=steps).rounds(images)
    assert sum(rounds) == steps and min(rounds) >= 1 and max(rounds) - min(rounds) <= 1


@given(st.integers(1, 9), st.integers(1, 300))
def test_an_epoch_is_a_pass_over_the_images(epochs: int, images: int) -> None:
    rounds = TrainingSettings(epochs=epochs, batch_size=32).rounds(images)
    assert len(rounds) == epochs and all(32 * (each - 1) < images <= 32 * each for each in rounds)


@pytest.mark.parametrize("given", [{}, {"epochs": 2, "steps": 3}])
def test_either_epochs_or_steps(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="steps=.*: give epochs or steps, not both or neither; null leaves"):
        validate(TrainingSettings, given)
