"""Adapters of a config, looked at before anything starts."""

from dermray import storage
from dermray.serving.adapters.base import base_of, require_base
from dermray.serving.adapters.place import place_of_adapter
from dermray.serving.opening import Place
from dermray.serving.settings import ServedAdapter, ServedGenerator, ServedModel


def with_adapters(model: ServedModel, place: Place) -> ServedModel:
    """A model with the places of its adapters as replicas find them, who may work elsewhere.

    Raises:
        FileNotFoundError, ValueError: an adapter or its gate is not there, is damaged or was made for another base; or
            the model's family takes none.
    """
    if not isinstance(model, ServedGenerator) or not model.takes_adapters:
        return model
    base = base_of(model.name, place)
    for name, adapter in model.adapters.items():
        try:
            require_base(base, place_of_adapter(name, adapter))
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"models.{model.name}.adapters.{name}: {error}") from None
    if model.adapters_from and not storage.exists(storage.normalise(model.adapters_from)):
        raise FileNotFoundError(
            f"models.{model.name}.adapters_from={model.adapters_from}: no such directory; make it, or leave it out"
        )
    settled = {"adapters": {name: _absolute(adapter) for name, adapter in model.adapters.items()}}
    place_from = storage.normalise(model.adapters_from) if model.adapters_from else None
    return model.model_copy(update=settled | {"adapters_from": place_from})


def _absolute(adapter: ServedAdapter) -> ServedAdapter:
    gate = storage.normalise(adapter.gate) if adapter.gate else None
    return adapter.model_copy(update={"place": storage.normalise(adapter.place), "gate": gate})
