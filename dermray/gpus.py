"""The memory of a cluster's GPUs, asked of its nodes. The asked processes import torch and nothing else of ours."""

from dermray.nodes import ask_all


def gpu_memories() -> list[int]:
    """Bytes of each GPU that Ray knows; of the nodes that answer. No GPU is held for it, busy ones are counted too."""
    import ray

    with_gpus = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("GPU")]
    answers = ask_all(memories_here, among=with_gpus).values() if with_gpus else []
    return [memory for answer in answers if isinstance(answer, list) for memory in answer]


def memories_here() -> list[int]:
    """Of this machine, without opening a context on any GPU."""
    import torch

    return [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
