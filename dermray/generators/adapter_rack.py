"""Adapters of others beside a generator's own, of any rank and on any of its linear layers; one of them draws.

What an adapter draws here it draws alone, to the bit: each layer computes W x + alpha / rank * B A x with one adapter's
matrices, whatever else hangs beside it.
"""

import itertools
import re
import warnings
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dermray.generators import adapter_file, adapters
from dermray.generators.adapter_file import Layer, some
from dermray.generators.base import Generator

# Of metadata that kohya's scripts, AI-toolkit, OneTrainer and others write.
NAMES_OF_BASES = ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture", "base_model")
Layers = Mapping[str, Layer]  # by `<prefix>.<module>`


class AdapterRack:
    """Adapters of a generator in evaluation mode. `hang`, `take_away` and `use` are for the thread that draws.

    Raises:
        ValueError: its family takes no adapters.
    """

    def __init__(self, generator: Generator) -> None:
        self._parts = generator.adaptable()
        if not self._parts:
            raise ValueError(f"{type(generator).__name__} takes no adapters")
        self._shapes = {prefix: _linear_layers(part) for prefix, part in self._parts.items()}
        self._place = generator.adapter_place(self._shapes)
        self._numbers, self._in_use = itertools.count(), adapters.NAME
        self.slots: set[str] = set()

    def read(self, data: bytes, name: str) -> dict[str, Layer]:
        """A file's adapters, as they fit this generator, on its device; for any thread.

        Args:
            name: what an error calls it.

        Raises:
            ValueError: damaged, another method than plain LoRA, or made for another base.
        """
        try:
            layers = self._placed(adapter_file.read_layers(data))
        except ValueError as error:
            raise ValueError(f"{name}: {error}{_made_for(data)}") from None
        device = next(next(iter(self._parts.values())).parameters()).device
        # in full precision, as the adapter of a generator that was loaded by itself
        return {
            module: Layer(layer.down.to(device, torch.float32), layer.up.to(device, torch.float32), layer.alpha)
            for module, layer in layers.items()
        }

    def hang(self, layers: Layers) -> str:
        """Put an adapter beside the others; by what `use` calls it."""
        slot = f"slot{next(self._numbers)}"
        self.slots.add(slot)
        try:
            for prefix, part in self._parts.items():
                own = {n.removeprefix(f"{prefix}."): la for n, la in layers.items() if n.startswith(f"{prefix}.")}
                if own:
                    _hang(part, slot, own)
        except BaseException:
            self.take_away(slot)
            raise
        self._switch(self._in_use)  # peft switches to what is new
        return slot

    def take_away(self, slot: str) -> None:
        """Its memory is free again."""
        from peft.functional import delete_adapter

        if self._in_use == slot:
            self._in_use = adapters.NAME
        self._switch(self._in_use)  # or peft would choose another one, and warn
        for part in self._parts.values():
            delete_adapter(part, slot, "lora_")
            getattr(part, "peft_config", {}).pop(slot, None)
        self.slots.discard(slot)

    def use(self, slot: str | None) -> None:
        """Draw with one of them, or with what the generator has learned itself."""
        name = slot or adapters.NAME
        if name != self._in_use:
            self._switch(name)
            self._in_use = name

    def _switch(self, name: str) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        for part in self._parts.values():
            for module in part.modules():
                if isinstance(module, BaseTunerLayer):
                    module.set_adapter(name, inference_mode=True)  # a layer without this adapter adds nothing

    def _placed(self, layers: Layers) -> dict[str, Layer]:
        shapes = {f"{prefix}.{module}": shape for prefix, own in self._shapes.items() for module, shape in own.items()}
        placed: dict[str, Layer] = {}
        strange = []
        for name, layer in layers.items():
            pieces = self._place(name, layer)
            if not pieces:
                strange.append(name)
            if twice := placed.keys() & pieces.keys():
                raise ValueError(f"two adapters for {some(twice)}, one of them {name}; expected one for each layer")
            placed |= pieces
        if strange:
            raise ValueError(
                f"made for another base: {len(strange)} of its {len(layers)} layers are none of the served base's: "
                f"{some(strange)}"
            )
        sizes = {name: (layer.down.shape[1], len(layer.up)) for name, layer in placed.items()}
        if wrong := [name for name in sorted(sizes) if sizes[name] != shapes[name]]:
            raise ValueError(
                f"made for another base: {wrong[0]} has {sizes[wrong[0]]} (in, out) channels in the file and "
                f"{shapes[wrong[0]]} in the served base ({len(wrong)} layers differ)"
            )
        return placed


def _linear_layers(part: nn.Module) -> dict[str, tuple[int, int]]:
    """(in, out) of each; one that has adapters goes by its own name."""
    return {
        name.removesuffix(".base_layer"): (module.in_features, module.out_features)
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    }


def _hang(part: nn.Module, slot: str, layers: Layers) -> None:
    """Layers of a file may have ranks and alphas of their own."""
    from peft import LoraConfig
    from peft.functional import inject_adapter_in_model, set_peft_model_state_dict

    scales = {
        module: (layer.rank, layer.rank if layer.alpha is None else layer.alpha) for module, layer in layers.items()
    }
    [((rank, alpha), _)] = Counter(scales.values()).most_common(1)
    others = {f"^{re.escape(module)}": scale for module, scale in scales.items() if scale != (rank, alpha)}
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules="|".join(re.escape(module) for module in layers),
        rank_pattern={module: scale[0] for module, scale in others.items()},
        alpha_pattern={module: scale[1] for module, scale in others.items()},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are what this is for
        inject_adapter_in_model(config, part, slot, low_cpu_mem_usage=True)  # matrices come with their values
    weights: dict[str, Tensor] = {}
    for module, layer in layers.items():
        weights |= {f"{module}.lora_A.weight": layer.down, f"{module}.lora_B.weight": layer.up}
    set_peft_model_state_dict(part, weights, slot, low_cpu_mem_usage=True)
    part.requires_grad_(False)


def _made_for(data: bytes) -> str:
    """The base that a file's metadata names, where they do."""
    metadata = adapter_file.metadata(data)
    said = [metadata[name] for name in NAMES_OF_BASES if metadata.get(name)]
    return f"; its metadata say that it was made for {', '.join(dict.fromkeys(said))}" if said else ""
