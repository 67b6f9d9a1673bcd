"""What a model in tuning answers, for people to read beside the curves."""

import torch

from dermray.vlm.tuning.collate import Collator
from dermray.vlm.tuning.conversations import Conversation
from dermray.vlm.tuning.tuned import Tuned


def answered(
    module: Tuned, collator: Collator, conversation: Conversation, most: int, device: torch.device
) -> tuple[str, str]:
    """The name of a sample, and in Markdown its first question, the expected answer and the model's greedy one.

    Args:
        most: tokens of the answer.
    """
    prompt = {name: tensor.to(device) for name, tensor in collator.prompt(conversation).items()}
    tokenizer = collator.processor.tokenizer
    written = module.generate(**prompt, max_new_tokens=most, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    said = tokenizer.decode(written[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    question, expected = conversation.turns[0]
    text = f"**Asked:** {question}\n\n**Expected:** {expected}\n\n**Said:** {said}"
    return f"answers/{conversation.sample_id[:12]}", text
