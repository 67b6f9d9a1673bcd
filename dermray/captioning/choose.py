"""Which engine answers: the settings say."""

from dermray.captioning.engine import Answer
from dermray.captioning.settings import RemoteConfig, VllmConfig


def prepared(model: str, engine: VllmConfig | RemoteConfig) -> Answer:
    """What answers, after every check that needs neither Ray nor an engine.

    Raises:
        ValueError, ConnectionError: the model has no chat template, or the endpoint refuses.
    """
    if isinstance(engine, RemoteConfig):
        from dermray.captioning import remote

        return remote.prepared(engine)
    from dermray.captioning import vllm_engine

    return vllm_engine.prepared(model, engine)
