from pathlib import Path

from dermray.papers.measured import Run
from dermray.papers.stages import counted
from tests.classification import made_rows
from tests.papers.results import finished, lineage, one, run
from tests.vlm.instruct.test_statistics import ROWS
from tests.vlm.instruct.test_statistics import counted as statistics


def test_images_of_a_source_by_label_and_of_all_by_scale(tmp_path: Path) -> None:
    rows = made_rows.phantoms(4, source="ddi", malignant=True, width=130, height=600)
    rows += made_rows.phantoms(3, first=4, source="ddi", malignant=False, width=300, height=256)
    rows += made_rows.phantoms(2, first=7, source="hiba", malignant=None, width=900, height=512)
    rows += made_rows.phantoms(1, first=9, source="hiba", status="rejected", reason="too small")
    for number, row in enumerate(rows):
        row["split"] = "test" if number in (0, 8) else "train"
    result = made_rows.result(f"{tmp_path}/ingest", "ingest", rows)
    result.manifest.config["sources"] = [{"source": "ddi"}, {"source": "hiba"}, {"source": "hiba"}]
    found = list(counted.ingested("ingest", result, Run({"ingest": result})))

    def images(metric: str = "images", **where: str) -> float | None:
        return one(found, metric=metric, **where).value

    assert [images(source="ddi", label=name) for name in ("malignant", "benign", "all")] == [4, 3, 7]
    assert [images(source="hiba", label=name) for name in ("malignant", "benign", "all")] == [0, 0, 2]
    assert [images(source="all", label="all", scale=side) for side in ("128", "256", "512", "all")] == [4, 3, 2, 9]
    learn = "images to learn from"
    assert [images(learn, source="ddi", label=name) for name in ("malignant", "benign", "all")] == [3, 3, 6]
    assert [images(learn, source="all", label="all", scale=side) for side in ("128", "512", "all")] == [3, 1, 7]
    assert one(found, metric=learn, source="all", label="all", scale="128").setting.data == ("ddi", "hiba")
    assert one(found, metric=learn, source="ddi", label="all").setting.data == ("ddi",)


def test_pairs_by_source_and_modality() -> None:
    result = finished("instruct", "p", {"rows": "i"}, instruct={"statistics": statistics(ROWS)})
    found = list(counted.paired("pairs", result, run(**lineage("scin"), instruct=result)))
    at = {"source": "all", "modality": "all"}
    assert [one(found, **at, metric=name).value for name in ("pairs", "images with pairs")] == [4, 3]
    assert one(found, source="scin", modality="clinical", metric="pairs").value == 3
    assert one(found, source="ham10000", modality="unknown", metric="pairs").value == 0
    assert one(found, **at, metric="pairs of self-instruct").value == 0
    assert one(found, **at, metric="pairs").setting.data == ("scin",)


def test_drawn_images_and_samples() -> None:
    results = lineage() | {"tuned": finished("tune-vlm", "v", {"rows": "c"}, ok=4800)}
    [drawn] = counted.drawn("generate", results["generate"], run(**results))
    assert (drawn.value, drawn.setting.generator, drawn.setting.data) == (500, "glide", ("ham10000",))
    [tuned] = counted.tuned("tuned", results["tuned"], run(**results))
    assert (tuned.value, tuned.where["metric"]) == (4800, "samples")
