"""LoRA adapters by request: found where config says, held by replicas as requests name them."""
