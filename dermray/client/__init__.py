"""The service from Python: `Client` and `AsyncClient`. Neither imports torch or Ray."""

from dermray.client.answers import (
    Captions,
    Classification,
    Generation,
    ImageCaption,
    ImageScores,
    Job,
    JobImage,
    Model,
    SyntheticImage,
)
from dermray.client.asynchronous import AsyncClient
from dermray.client.errors import ServiceError, Unreachable
from dermray.client.patience import Patience
from dermray.client.synchronous import Client

__all__ = [
    "AsyncClient", "Captions", "Classification", "Client", "Generation", "ImageCaption", "ImageScores", "Job",
    "JobImage", "Model", "Patience", "ServiceError", "SyntheticImage", "Unreachable",
]  # fmt: skip
