"""Both rounds as a stage, with an engine that stands in: what is asked, kept and rejected is the question here, and not
whether a model asks well."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from benchmarks.question_sets import QUESTIONS
from benchmarks.stand_in_engine import StandIn, model_directory
from dermray import manifest
from dermray.captioning import choose
from dermray.config import validate
from dermray.manifest import Result
from dermray.records import AT, INSTRUCTED, kind, read_columns
from dermray.vlm.instruct import second_round, whole_set
from dermray.vlm.instruct.repeated import EQUAL
from dermray.vlm.instruct.run import run
from dermray.vlm.instruct.self_instruct import KIND, SelfInstructConfig, seeds
from dermray.vlm.instruct.settings import InstructConfig
from dermray.vlm.instruct.similarity import Spelling
from dermray.vlm.instruct.taken import SIMILAR, Taken
from tests.classification import made_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
IMAGES = 90
FORMS = [text for question in QUESTIONS for text in (question.first, *question.edited)]
WORDS = ("brown", "round", "even", "sharp", "flat", "small", "dark", "smooth", "oval", "pale", "dotted", "ringed")


def said(key: str, sample_id: str) -> str:
    """Answers and questions of chance, but always the same of an image."""
    digits = hashlib.sha256(f"{key} {sample_id}".encode()).digest()
    if key.startswith("question"):
        return FORMS[int.from_bytes(digits[:4]) % len(FORMS)]
    if key == "general":
        return ("A brown patch.", "A round, dark spot.")[digits[0] % 2]
    return f"It is {', '.join(WORDS[digit % len(WORDS)] for digit in digits[:8])} here."


class Talking(StandIn):
    """Answers as guided decoding would have it: a string for each key of the schema."""

    def answer(self, rows: Any, ask: Any) -> Any:
        assert ask.schema is not None
        keys = list(ask.schema["properties"])

        def talk(row: dict[str, Any]) -> dict[str, Any]:
            return row | {"text": json.dumps({key: said(key, row["sample_id"]) for key in keys})}

        return super().answer(rows, ask).map(talk)


@pytest.fixture(scope="module")
def ingested(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("second_round")
    model_directory(str(root))
    made_rows.result(f"{root}/ingest", "ingest", made_rows.phantoms(IMAGES))
    return root


def asked(root: Path, output: str, **more: Any) -> Result:
    base = {"output": output, "rows": f"{root}/ingest", "captioner": f"{root}/model", "rows_per_block": 16}
    return run(validate(InstructConfig, base | more))


@pytest.fixture(scope="module")
def both(ingested: Path) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "prepared", Talking().prepared)
        return asked(ingested, f"{ingested}/both", self_instruct={})


def pairs_of(result: Result) -> dict[str, list[dict[str, Any]]]:
    rows = read_columns(result.row_files(), ["sample_id", "pairs"]).to_pylist()
    found = {row["sample_id"]: row["pairs"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_each_new_question_is_unlike_all_before_it_in_the_order_of_ids(both: Result) -> None:
    """Held to a loop over the images' ids."""
    measure = Spelling()
    judge = Taken(measure, seeds(SelfInstructConfig()), 10**6)
    found, counts = pairs_of(both), Counter[str]()
    for sample_id in sorted(found):
        own = [pair for pair in found[sample_id] or () if pair["kind"] == KIND]
        for number, pair in enumerate(own, 1):
            assert pair["question"] == said(f"question {number}", sample_id)
            reason = judge.judge(pair["question"], measure.features([pair["question"]])[0])
            assert pair["reason"] == reason and pair["status"] == ("rejected" if reason else "ok")
            counts[pair["status"]] += 1
    assert 10 < counts["ok"] < 2 * len(QUESTIONS) and counts["rejected"] > 100
    told = both.manifest.metrics["instruct"]["over_all"]
    assert told["taken"] == counts["ok"] and told["candidates"] == counts.total()
    assert told["similarity"] == "MinHash, from 0.4 on"


def test_the_statistics_count_the_round_and_rows_lose_nothing(both: Result, ingested: Path) -> None:
    numbers = both.manifest.metrics["instruct"]["statistics"]
    kinds = numbers["by_kind"]
    assert kinds[KIND]["pairs"] == 2 * kinds["general"]["pairs"] and kinds[KIND]["pairs_ok"] < 2 * len(QUESTIONS)
    assert numbers["rejected"][SIMILAR] == kinds[KIND]["pairs"] - kinds[KIND]["pairs_ok"]
    usable = pc.field("status") == "ok"
    before = read_columns(manifest.read(f"{ingested}/ingest").row_files(), ["sample_id", "image", "status"], usable)
    after = read_columns(both.row_files(), INSTRUCTED.names)
    assert dict(zip(*before.select(["sample_id", "image"]).to_pydict().values(), strict=True)) == dict(
        zip(*after.select(["sample_id", "image"]).to_pydict().values(), strict=True)
    )
    assert after.schema.equals(INSTRUCTED) and set(after["attempts"].to_pylist()) == {2}
    assert {entry.name for entry in Path(both.data).iterdir()} == {"rows", "page.html", "summary.json"}
    assert all(kind(pair["reason"]) == SIMILAR and AT in pair["reason"]
               for pairs in pairs_of(both).values() for pair in pairs if pair["status"] != "ok")  # fmt: skip


def test_a_job_that_is_cut_off_again_and_again_comes_to_the_same_pairs(
    both: Result, ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the second round, and when one part of the rows is written; each time with blocks of another size."""
    (tmp_path / "record").mkdir()
    monkeypatch.setattr(choose, "prepared", Talking(record=f"{tmp_path}/record").prepared)
    monkeypatch.setattr(whole_set, "FILES_PER_PART", 2)

    def killed(*given: Any) -> Any:
        raise KeyboardInterrupt

    def one_part(task: Any, parts: Any, *more: Any) -> Any:
        task(parts[0], *more)
        yield parts[0], None
        killed()

    cuts = ((second_round, "ask", killed), (whole_set, "each_in_ray", one_part))
    for number, (module, name, instead) in enumerate(cuts):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, instead)
            with pytest.raises(KeyboardInterrupt):
                asked(ingested, f"{tmp_path}/out", self_instruct={}, rows_per_block=7 + 9 * number)
    again = asked(ingested, f"{tmp_path}/out", self_instruct={}, rows_per_block=40)
    assert pairs_of(again) == pairs_of(both)
    asked_about = Counter(line for file in (tmp_path / "record").iterdir() for line in file.read_text().splitlines())
    assert set(asked_about.values()) == {2}, "once a round, whatever was cut off"


def test_some_images_few_questions_and_equal_pairs(
    both: Result, ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "prepared", Talking().prepared)
    few = {"images": 30, "questions": 1, "most_questions": 4}
    some = asked(ingested, f"{tmp_path}/some", self_instruct=few, most_equal_pairs=1)
    found = pairs_of(some)
    again = {name for name, pairs in found.items() if any(pair["kind"] == KIND for pair in pairs)}
    assert 10 < len(again) < 60 and max(again) < min(set(found) - again), "those with small ids"
    new = Counter(pair["status"] for pairs in found.values() for pair in pairs if pair["kind"] == KIND)
    assert new["ok"] == 4 and new.total() == len(again)
    seen, rejected = set[tuple[str, str]](), 0
    for name, pairs in sorted(found.items()):
        for pair, before in zip(pairs[:2], pairs_of(both)[name][:2], strict=True):
            repeats = (pair["question"], pair["answer"]) in seen
            assert pair == (before | {"status": "rejected", "reason": EQUAL} if repeats else before)
            seen.add((pair["question"], pair["answer"]))
            rejected += repeats
    assert some.manifest.metrics["instruct"]["over_all"]["equal_pairs_rejected"] == rejected > 5
