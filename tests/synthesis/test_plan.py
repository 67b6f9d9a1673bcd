"""The plan is made in blocks from an index of files; what it must be is written down here without either."""

import hashlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.config import validate
from dermray.records import CAPTIONED, conform
from dermray.synthesis.cells import cells_of
from dermray.synthesis.deal import Deal
from dermray.synthesis.plan import KEPT, Captions, Spoken, captions_of, indexed, requests, sizes_of
from dermray.synthesis.settings import SynthesisConfig
from dermray.synthesis.survey import Settled, Survey, settle
from dermray.where import value

Row = dict[str, Any]
TONES = ["A", "B", None]


def row(number: int, malignant: bool | None, skin_tone: str | None, usable: bool = True) -> Row:
    return {
        "sample_id": hashlib.sha256(str(number).encode()).hexdigest(), "caption": f"caption {number}",
        "malignant": malignant, "skin_tone": skin_tone, "diagnosis": f"d{number}", "entity": "other",
        "skin_tone_source": skin_tone and "metadata",
        "modality": "dermoscopic", "sex": ["female", "male", None][number // 2 % 3], "site": None,
        "age": None if number % 5 == 0 else 3.0 * number, "status": "ok" if usable else "failed", "split": "train",
    }  # fmt: skip


def config_of(count: int | None = None, seed: int = 0, **plan: Any) -> SynthesisConfig:
    given = {"output": "o", "generator": "g", "rows": "r", "count": count, "seed": seed, "images_per_caption": 10**6}
    return validate(SynthesisConfig, given | ({"plan": plan} if plan else {}))


CAPTIONS = [row(i, [True, False, False][i % 3], ["A", "A", "B", None][i % 4]) for i in range(24)]


def naive(captions: list[Row], count: int, seed: int) -> list[Row]:
    """As the plan is defined: all captions in memory, request after request."""
    usable = [row for row in captions if row["status"] == "ok" and row["malignant"] is not None]
    cells: dict[Any, list[Row]] = {}
    for one in sorted(usable, key=lambda one: (one["malignant"], one["skin_tone"] or "", one["sample_id"])):
        cells.setdefault((one["malignant"], one["skin_tone"]), []).append(one)
    plan = []
    for number in range(count):
        rng, of_cell = np.random.default_rng((seed, number)), list(cells.values())[number % len(cells)]
        drawn = of_cell[int(rng.integers(len(of_cell)))]
        kept = {name: drawn[name] for name in KEPT}
        plan.append(
            {"plan_id": f"{number:010d}", **kept, "prompt": drawn["caption"], "prompt_sample_id": drawn["sample_id"],
             "seed": int(rng.integers(1 << 62))}
        )  # fmt: skip
    return plan


def index(files: list[str], per_scan: int, config: SynthesisConfig) -> Captions:
    scans, cells = range(0, len(files), per_scan), cells_of(config.plan)
    return indexed([captions_of(files[i : i + per_scan], i, [], cells) for i in scans])


def write(directory: Path, parts: list[list[Row]]) -> list[str]:
    files = [str(directory / f"{i}.parquet") for i in range(len(parts))]
    for file, rows in zip(files, parts, strict=True):
        pq.write_table(conform(rows, CAPTIONED), file, row_group_size=3)
    return files


def settled(captions: Captions, config: SynthesisConfig) -> Settled:
    return settle(config, Survey.of(captions), ("malignant", "skin_tone"))


def in_blocks(directory: Path, parts: list[list[Row]], config: SynthesisConfig, block: int, per_scan: int = 2) -> Any:
    """The plan of captions that lie in so many files, made in blocks of so many requests, the last one first."""
    files = write(directory, parts)
    found = index(files, per_scan, config)
    deal = settled(found, config).deal
    numbers = range(len(deal))
    blocks = [
        requests(found.cells, files, deal, numbers[first : first + block], config.seed)
        for first in numbers[::block][::-1]
    ]
    return pa.concat_tables(blocks[::-1]).to_pylist()


def plan(tmp_path: Path, captions: list[Row], count: int, seed: int) -> list[Row]:
    made: list[Row] = in_blocks(tmp_path, [captions], config_of(count, seed), count)
    return made


@settings(deadline=None, max_examples=25)
@given(data=st.data(), count=st.integers(1, 60), seed=st.integers(0, 1000), block=st.integers(1, 70))
def test_blocks_make_the_plan_whatever_files_the_captions_lie_in(
    data: st.DataObject, count: int, seed: int, block: int
) -> None:
    cells = st.tuples(st.sampled_from([True, False, None]), st.sampled_from(TONES), st.booleans())
    drawn = data.draw(st.lists(cells, min_size=1, max_size=30))
    captions = [row(i, *cell) for i, cell in enumerate([(True, "A", True), *drawn])]
    order = data.draw(st.permutations(captions))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    with tempfile.TemporaryDirectory() as directory:
        config = config_of(count, seed)
        made = in_blocks(Path(directory), parts, config, block, per_scan=data.draw(st.integers(1, 5)))
    assert made == naive(captions, count, seed)
    known = {(one["malignant"], one["skin_tone"]) for one in captions if one["status"] == "ok"}
    counts = Counter((one["malignant"], one["skin_tone"]) for one in made)
    possible = {cell for cell in known if cell[0] is not None}
    assert max(counts.values()) - min(counts[cell] for cell in possible) <= 1


MODES = st.one_of(
    st.fixed_dictionaries({"mode": st.sampled_from(["as_data", "balanced"])}),
    st.fixed_dictionaries({"mode": st.just("fill_up"), "to": st.integers(30, 40)}),
)
OVER = st.lists(st.sampled_from(["malignant", "skin_tone", "sex", "age_band", "entity"]), min_size=1, unique=True)


@settings(deadline=None, max_examples=40)
@given(
    mode=MODES, over=OVER, data=st.data(), count=st.integers(1, 90), seed=st.integers(0, 99), block=st.integers(1, 70)
)
def test_cells_get_what_the_mode_says_in_any_blocks(
    mode: Row, over: list[str], data: st.DataObject, count: int, seed: int, block: int
) -> None:
    known = data.draw(st.none() | st.lists(st.sampled_from(over), unique=True))
    fills = mode["mode"] == "fill_up"
    config = config_of(None if fills else count, seed, over=over, must_be_known=known, **mode)
    with tempfile.TemporaryDirectory() as directory:
        parts = [CAPTIONS[::2], CAPTIONS[1::2]]
        made = in_blocks(Path(directory), parts, config, block)
        assert made == in_blocks(Path(directory), [CAPTIONS[::-1]], config, 1000)
    left_out = ["malignant"] if known is None else known
    cells = [tuple(value(one, name) for name in over) for one in CAPTIONS]
    real = Counter(c for c in cells if not any(v is None and n in left_out for n, v in zip(over, c, strict=True)))
    drawn = Counter(tuple(value(one, name) for name in over) for one in made)
    assert set(drawn) <= set(real) and len({one["plan_id"] for one in made}) == len(made)
    if fills:
        assert drawn == Counter({cell: mode["to"] - there for cell, there in real.items()})
        return
    assert len(made) == count
    share = {c: there / real.total() if mode["mode"] == "as_data" else 1 / len(real) for c, there in real.items()}
    assert all(abs(drawn[cell] - count * share[cell]) < 1 for cell in real)


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any), seed=st.integers(0, 9))
def test_every_request_has_a_place_of_its_own_whatever_the_blocks(counts: list[int], seed: int) -> None:
    deal, sizes = Deal(np.array(counts), False, seed), (128, 256, 512)
    cell, rank = deal.places(range(len(deal)))
    places = sorted(zip(cell.tolist(), rank.tolist(), strict=True))
    assert places == [(c, r) for c, count in enumerate(counts) for r in range(count)]
    half = len(deal) // 2
    assert (deal.places(range(half, len(deal)))[0] == cell[half:]).all()
    per_size = Counter(zip(cell.tolist(), sizes_of(range(len(deal)), deal, sizes), strict=True))
    assert all(abs(per_size[c, size] - counts[c] / 3) < 1 for c in range(len(counts)) for size in sizes)


def test_blocks_mix_cells() -> None:
    deal = Deal(np.array([5000, 3000, 1900, 100]), False)
    for first in range(0, 10_000, 500):
        cells = np.bincount(deal.places(range(first, first + 500))[0], minlength=4)
        assert (abs(cells - [250, 150, 95, 5]) <= 3).all(), "as often as in the whole plan"


def test_the_largest_plan_is_dealt_without_overflow() -> None:
    counts = [2**30, 2**30 - 1]
    cell, rank = Deal(np.array(counts), False, 3).places(range(sum(counts) - 3, sum(counts)))
    first, step = int(np.random.default_rng(3).integers(sum(counts))), 1_327_217_884  # the golden section
    places = [(first + number * step) % sum(counts) for number in range(sum(counts) - 3, sum(counts))]
    assert cell.tolist() == [int(place >= counts[0]) for place in places]
    assert rank.tolist() == [place - counts[0] * (place >= counts[0]) for place in places]


def test_every_cell_has_each_size_equally_often() -> None:
    deal, sizes = Deal(np.full(5, 12), True), (128, 256, 512)
    counts = Counter(zip(deal.places(range(60))[0].tolist(), sizes_of(range(60), deal, sizes), strict=True))
    assert len(counts) == 15 and set(counts.values()) == {4}
    assert sizes_of(range(20, 60), deal, sizes) == sizes_of(range(60), deal, sizes)[20:], "whatever the blocks"


def test_exact_counts_of_cells_that_share_captions(tmp_path: Path) -> None:
    dark, female = {"skin_tone": ["B", "unknown"]}, {"sex": ["female"], "malignant": [False]}
    config = config_of(mode="exact", cells=[{"where": dark, "count": 7}, {"where": female, "count": 20}])
    made = in_blocks(tmp_path, [CAPTIONS], config, 4)
    files = [str(tmp_path / "0.parquet")]
    found = index(files, 1, config)
    told = settled(found, config).cells
    assert [cell.name for cell in told] == ["skin tone B or skin tone unknown", "female, benign"]
    assert [(c.real, c.captions, c.asked) for c in told] == [
        (sum(one["skin_tone"] != "A" for one in CAPTIONS),) * 2 + (7,),
        (sum(one["sex"] == "female" and one["malignant"] is False for one in CAPTIONS),) * 2 + (20,),
    ]
    deal = settled(found, config).deal
    for one, cell in zip(made, deal.places(range(27))[0], strict=True):
        assert one["skin_tone"] in ("B", None) if cell == 0 else one["sex"] == "female" and one["malignant"] is False
    assert Counter(deal.places(range(27))[0].tolist()) == {0: 7, 1: 20}


def test_prompts_from_attributes_say_the_row_in_the_words_of_captions(tmp_path: Path) -> None:
    metadata: Spoken = ("malignant", "skin_tone", "sex", "age")
    config = config_of(40, mode="balanced", over=["sex"])
    files = write(tmp_path, [CAPTIONS])
    found = indexed([captions_of(files, 0, [], cells_of(config.plan), metadata)])
    made = requests(found.cells, files, settled(found, config).deal, range(40), 0, metadata).to_pylist()
    by_id = {row["sample_id"]: row for row in CAPTIONS}
    for one in made:
        source = by_id[one["prompt_sample_id"]]
        label = {True: "malignant", False: "benign", None: None}[source["malignant"]]
        age = source["age"] and f"age {int(source['age'] // 10 * 10)} to {int(source['age'] // 10 * 10 + 9)}"
        tone = source["skin_tone"] and f"skin tone {source['skin_tone']}"
        assert one["prompt"] == ", ".join(word for word in (label, tone, source["sex"], age) if word)
    assert found.unsaid == len(CAPTIONS), "captions of this test say nothing of their rows"


def test_prompts_come_from_captions_of_their_own_cell(tmp_path: Path) -> None:
    by_id = {row["sample_id"]: row for row in CAPTIONS}
    for request in plan(tmp_path, CAPTIONS, 60, 0):
        source = by_id[request["prompt_sample_id"]]
        assert request["prompt"] == source["caption"]
        assert (request["malignant"], request["skin_tone"]) == (source["malignant"], source["skin_tone"])


def test_a_plan_depends_on_its_seed_and_a_longer_one_begins_with_it(tmp_path: Path) -> None:
    assert plan(tmp_path, CAPTIONS, 30, 1) != plan(tmp_path, CAPTIONS, 30, 2)
    longer = plan(tmp_path, CAPTIONS, 200, 1)
    assert longer[:30] == plan(tmp_path, CAPTIONS, 30, 1)
    assert len({request["seed"] for request in longer}) == len({request["plan_id"] for request in longer}) == 200


def test_ids_that_are_no_hashes_have_an_order_too(tmp_path: Path) -> None:
    captions = [one | {"sample_id": f"s{i}"} for i, one in enumerate(CAPTIONS)]
    parts = [captions[::-2], captions[::2]]
    assert plan(tmp_path, captions, 30, 1) == in_blocks(tmp_path, parts, config_of(30, 1), 7)


def test_the_index_takes_16_bytes_a_caption(tmp_path: Path) -> None:
    plan(tmp_path, CAPTIONS, 1, 0)
    found = index([str(tmp_path / "0.parquet")], 1, config_of()).cells
    assert sum(entries.nbytes for entries in found.values()) == 16 * len(CAPTIONS)


def test_a_tone_that_was_estimated_stays_so_in_what_is_drawn_from_it(tmp_path: Path) -> None:
    guessed = [one | {"skin_tone_source": one["skin_tone"] and "estimated"} for one in CAPTIONS[::2]]
    by_id = {one["sample_id"]: one for one in [*guessed, *CAPTIONS[1::2]]}
    made = plan(tmp_path, list(by_id.values()), 60, 0)
    assert {one["skin_tone_source"] for one in made} == {"metadata", "estimated", None}
    assert all(one["skin_tone_source"] == by_id[one["prompt_sample_id"]]["skin_tone_source"] for one in made)
