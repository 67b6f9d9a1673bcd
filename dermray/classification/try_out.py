"""Whether a backbone can be trained at a size, before there are images."""

import torch

from dermray.backbones.networks import Backbone, Classifier, input_of, network_of
from dermray.classification.training import loss_of


def try_out(backbone: Backbone, size: int, outputs: int = 1) -> None:
    """One step of training and one score at `size` px, with random weights.

    Raises:
        ValueError: it cannot work at that size, and what would.
    """
    error = _failure(backbone, size, outputs)
    if error is None:
        return
    sized = backbone.model_copy(update={"arguments": backbone.arguments | {"img_size": size}})
    if backbone.arguments.get("img_size") != size and _failure(sized, size, outputs) is None:
        remedy = f"give this backbone arguments={{img_size: {size}}}"
    elif (usual := _usual_size(backbone)) != size and _failure(backbone, usual, outputs) is None:
        remedy = f"it works at {usual} px: take images of that size, or another backbone"
    else:
        remedy = "take another backbone, such as test_resnet or resnet18"
    raise ValueError(f"backbone {backbone.name}: cannot be trained at {size} px ({error}); {remedy}")


def _usual_size(backbone: Backbone) -> int:
    return input_of(backbone.model_copy(update={"weights": "random", "arguments": {}})).size


def _failure(backbone: Backbone, size: int, outputs: int) -> str | None:
    """Why it fails. Shapes alone are computed first, which takes neither memory nor time; a failure is then confirmed.

    Some models ask for values, which torch's meta device does not have.
    """
    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
                model = Classifier(network_of(backbone, outputs), (0.5,) * 3, (0.5,) * 3)
                labels = torch.zeros(2, dtype=torch.int64)
                loss_of(model.train()(images), labels, torch.ones(max(2, outputs))).backward()
                model.eval()(images)
            return None
        except Exception as error:  # whatever a model raises, it is told of by name
            told = f"{type(error).__name__}: {error}".splitlines()[0]
    return told
