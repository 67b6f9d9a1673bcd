from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dermray.records import INSTRUCTED, conform
from dermray.vlm.instruct.statistics import PairCounts, spread, text


def row(
    source: str, modality: str | None, *pairs: tuple[str, str, str | None], status: str = "ok"
) -> dict[str, object]:
    told = [
        {
            "question": "What is it?",
            "answer": answer,
            "kind": kind,
            "status": "rejected" if why else "ok",
            "reason": why,
        }
        for kind, answer, why in pairs
    ]
    return {"source": source, "modality": modality, "status": status, "pairs": told or None,
            "reason": None if status == "ok" else "no image"}  # fmt: skip


ROWS = [
    row("scin", "clinical", ("general", "One two three.", None), ("specific", "I cannot.", "refusal")),
    row("scin", "clinical", ("general", "One.", None), ("specific", "One two\nthree  four five", None)),
    row("ham10000", "dermoscopic", ("general", "x", "truncated answer"), ("specific", "one two", None)),
    row("ham10000", None, status="rejected"),
]


def counted(*parts: list[dict[str, object]]) -> dict[str, object]:
    counts = PairCounts()
    for part in parts:
        for batch in conform(part, INSTRUCTED).to_batches():
            counts.add(batch.select(["status", "reason", "source", "modality", "pairs"]))
    return counts.numbers()


def test_the_paper_s_table() -> None:
    told = counted(ROWS)
    assert told["by_source"] == [
        {"source": "ham10000", "modality": None, "images": 1, "images_with_pairs": 0, "pairs": 0, "pairs_ok": 0,
         "by_kind": {}},
        {"source": "ham10000", "modality": "dermoscopic", "images": 1, "images_with_pairs": 1, "pairs": 2,
         "pairs_ok": 1, "by_kind": {"specific": 1}},
        {"source": "scin", "modality": "clinical", "images": 2, "images_with_pairs": 2, "pairs": 4, "pairs_ok": 3,
         "by_kind": {"general": 2, "specific": 1}},
    ]  # fmt: skip
    assert told["by_kind"] == {"general": {"pairs": 3, "pairs_ok": 2}, "specific": {"pairs": 3, "pairs_ok": 2}}
    assert told["rejected"] == {"refusal": 1, "truncated answer": 1}
    assert (told["images"], told["images_with_pairs"], told["pairs"], told["pairs_ok"]) == (4, 3, 6, 4)
    assert told["words"] == {
        "question": {"mean": 3.0, "median": 3, "p95": 3, "most": 3},
        "answer": {"mean": 2.8, "median": 2, "p95": 5, "most": 5},
    }
    printed = text(told).splitlines()
    assert printed[3].split() == ["scin,", "clinical", "2", "2", "4", "3"]
    assert "rejected pairs: 1 refusal, 1 truncated answer" in printed


@given(st.lists(st.sampled_from(ROWS), max_size=8), st.integers(0, 8))
def test_parts_add_up_to_the_whole(rows: list[dict[str, object]], cut: int) -> None:
    assert counted(rows) == counted(rows[:cut], rows[cut:])


@given(st.lists(st.integers(0, 60), min_size=1))
def test_the_spread_is_that_of_the_values(values: list[int]) -> None:
    told = spread(Counter(values))
    assert told is not None and told["most"] == max(values)
    assert abs(told["mean"] - sum(values) / len(values)) <= 0.05 + 1e-9
    assert told["median"] == sorted(values)[(len(values) - 1) // 2]
    assert spread(Counter()) is None
