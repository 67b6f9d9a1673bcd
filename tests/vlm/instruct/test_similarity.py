"""Likeness of questions: held to the Jaccard index itself, and to transformers' own states."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.question_sets import QUESTIONS
from dermray.config import validate
from dermray.vlm.instruct.similarity import (
    JACCARD,
    Meaning,
    SimilarityConfig,
    Spelling,
    embedded,
    plain,
    revision_of,
    similarity,
)

EDITED = [(question.first, other) for question in QUESTIONS for other in question.edited]


def jaccard(one: str, other: str) -> float:
    """Of the letters in fours, by counting."""
    sets = [{f" {plain(text)} "[i : i + 4] for i in range(len(plain(text)) - 1)} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def near(measure: Any, one: str, other: str) -> float:
    pool = measure.pool()
    pool.add(measure.features([one])[0])
    found = pool.nearest(measure.features([other])[0])
    return found[1] if found else 0.0


def test_minhash_estimates_the_jaccard_index() -> None:
    """128 hashes: a standard error of at most 0.044; of 60 estimates none is five of them away."""
    errors = [near(Spelling(), *pair) - jaccard(*pair) for pair in EDITED]
    assert max(map(abs, errors)) < 5 * 0.044 and abs(np.mean(errors)) < 0.03


def test_the_default_takes_edits_for_the_same_and_different_questions_for_others() -> None:
    measure = similarity(SimilarityConfig())
    assert measure.threshold == JACCARD
    assert all(near(measure, *pair) >= JACCARD for pair in EDITED)
    firsts = [question.first for question in QUESTIONS]
    assert not any(near(measure, one, two) >= JACCARD for i, one in enumerate(firsts) for two in firsts[:i])
    assert near(measure, "What colour is it?", "what COLOUR... is it") == 1


def test_a_pool_finds_the_nearest_by_its_number() -> None:
    measure, firsts = Spelling(), [question.first for question in QUESTIONS]
    pool = measure.pool()
    assert pool.nearest(measure.features(["anything"])[0]) is None
    for feature in measure.features(firsts):
        pool.add(feature)
    for number, question in enumerate(QUESTIONS):
        found = pool.nearest(measure.features([question.edited[0]])[0])
        assert found is not None and found[0] == number


def test_features_do_not_depend_on_the_texts_beside_them() -> None:
    texts = [question.first for question in QUESTIONS] + ["", "ä", "?!"]
    together = Spelling().features(texts)
    assert together == [Spelling().features([text])[0] for text in texts] and Spelling().features([]) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights that knows a few words."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    place = tmp_path_factory.mktemp("bert")
    words = sorted({word for question in QUESTIONS for word in plain(question.first).split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(place)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(place)
    return place


def test_an_embedding_is_the_mean_over_tokens_as_transformers_states_them(tiny: Path) -> None:
    """Sentence-transformers' mean pooling, of a padded batch with its mask."""
    from transformers import AutoModel, AutoTokenizer

    texts = [question.first for question in QUESTIONS]
    tokens = AutoTokenizer.from_pretrained(tiny)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(tiny).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    torch.testing.assert_close(torch.from_numpy(embedded(str(tiny), None, texts)), expected, atol=1e-5, rtol=0)


def test_embeddings_are_compared_by_cosine_with_all_that_were_taken(tiny: Path) -> None:
    config = validate(SimilarityConfig, {"embedding": str(tiny), "threshold": 0.9})
    measure = similarity(config, revision_of(config))
    assert isinstance(measure, Meaning) and measure.threshold == 0.9
    texts = [question.first for question in QUESTIONS] * 20  # more than there are places at first
    features, pool = measure.features(texts), measure.pool()
    assert pool.nearest(features[0]) is None
    for feature in features:
        pool.add(feature)
    vectors = embedded(str(tiny), None, texts[: len(QUESTIONS)])
    for number, feature in enumerate(features[: len(QUESTIONS)]):
        found = pool.nearest(feature)
        assert found is not None and found[0] == number and found[1] == pytest.approx(1, abs=1e-5)
    other = measure.pool()
    for feature in features[1 : len(QUESTIONS)]:
        other.add(feature)
    found = other.nearest(features[0])
    assert found is not None and found[1] == pytest.approx(float((vectors[1:] @ vectors[0]).max()), abs=2e-3)


def test_an_embedding_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="embedding=none: no such directory"):
        revision_of(SimilarityConfig(embedding="none"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(FileNotFoundError, match="no tokenizer_config.json there; give the directory of a sentence-emb"):
        revision_of(SimilarityConfig(embedding=str(tmp_path)))
    assert revision_of(SimilarityConfig()) is None
