from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import bert_score, rouge_score, sacre_bleu_score

from dermray.vlm.vqa.bert import BertScore
from dermray.vlm.vqa.texts import bleu, bleu_counts, rouge

ANSWERS = ["An asymmetric, flat lesion with an irregular border.", "The border is smooth.",
           "Several shades of brown, and a blue-gray veil in the middle of it."]  # fmt: skip
REFERENCES = ["A flat, asymmetric lesion with an irregular border.", "The border of the lesion is smooth and round.",
              "Several shades of brown, with a blue-gray veil."]  # fmt: skip


def test_summed_counts_give_the_corpus_bleu() -> None:
    counts = np.array([bleu_counts(a, r) for a, r in zip(ANSWERS, REFERENCES, strict=True)], float)
    theirs = sacre_bleu_score(ANSWERS, [[r] for r in REFERENCES])
    assert float(bleu(counts.sum(0))) == pytest.approx(float(theirs), abs=1e-6) and float(theirs) > 0.3
    twice = sacre_bleu_score([*ANSWERS, ANSWERS[1]], [[r] for r in [*REFERENCES, REFERENCES[1]]])
    assert float(bleu(np.array([1, 2, 1]) @ counts)) == pytest.approx(float(twice), abs=1e-6)


def test_tokens_of_numbers_marks_and_entities() -> None:
    said = ["It is 3.5 mm, 2-3 colours (red/brown) &amp; flat.", "A 5,000-fold (1.2) view: 100%, e.g. this;\nthat one."]
    true = ["It is 3.5 mm, with 2-3 colours (red/brown) & flat!", "A 5,000-fold (1.2) view; 100%, e.g. this: that one."]
    counts = np.array([bleu_counts(a, r) for a, r in zip(said, true, strict=True)], float)
    for i in range(2):
        assert float(bleu(counts[i])) == pytest.approx(float(sacre_bleu_score([said[i]], [[true[i]]])), abs=1e-6)
    theirs = rouge_score(said, true, rouge_keys=("rouge2", "rougeL"))
    ours = [rouge(a, r) for a, r in zip(said, true, strict=True)]
    for name in ("rouge2", "rougeL"):
        assert np.mean([score[name] for score in ours]) == pytest.approx(float(theirs[f"{name}_fmeasure"]), abs=1e-6)


def test_papineni_s_example_of_clipped_counts() -> None:
    counts = bleu_counts("the the the the the the the", "The cat is on the mat")  # section 2.1: here cased, so 1 of 7
    assert (counts[0], counts[4], counts[8], counts[9]) == (1, 7, 7, 6)
    assert bleu(np.array(counts, float)) == 0.0


def test_nothing_said_is_worth_nothing() -> None:
    assert bleu(np.array(bleu_counts("", "The border is smooth."), float)) == 0.0
    assert rouge("", "The border is smooth.") == {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}


def test_rouge_of_one_pair_and_of_lin_s_example() -> None:
    theirs = rouge_score(ANSWERS, REFERENCES, rouge_keys=("rouge1", "rouge2", "rougeL"))
    ours = [rouge(a, r) for a, r in zip(ANSWERS, REFERENCES, strict=True)]
    for name in ("rouge1", "rouge2", "rougeL"):
        assert np.mean([score[name] for score in ours]) == pytest.approx(float(theirs[f"{name}_fmeasure"]), abs=1e-6)
    # Lin 2004, section 3.1: S1 is the reference, S2 and S3 share two, and S2 and S3 differ by order alone
    assert rouge("police kill the gunman", "police killed the gunman")["rougeL"] == pytest.approx(0.75)
    assert rouge("the gunman kill police", "police killed the gunman")["rougeL"] == pytest.approx(0.5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT with random weights and the words of these texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = sorted(
        {word for text in [*ANSWERS, *REFERENCES] for word in text.replace(",", "").replace(".", "").split()}
    )
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    place = str(tmp_path_factory.mktemp("encoder"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(place)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), initializer_range=1.0, **size)).save_pretrained(place)
    return place


def test_bertscore_is_torchmetrics_of_each_pair_alone(encoder: str) -> None:
    ours = BertScore(encoder)([*ANSWERS, " "], [*REFERENCES, "The border is smooth."])
    theirs = [
        float(bert_score([a], [r], model_name_or_path=encoder, num_layers=2, truncation=True)["f1"])
        for a, r in zip(ANSWERS, REFERENCES, strict=True)
    ]
    np.testing.assert_allclose(ours[:3], theirs, atol=1e-5)
    assert ours[3] == 0.0 and Path(encoder, "config.json").is_file()
    np.testing.assert_allclose(BertScore(encoder)(ANSWERS, ANSWERS), 1, atol=1e-5)
