from dermray.papers.stages.vqa import measured
from tests.papers.results import finished, lineage, one, run


def test_captioners_are_known_by_their_place() -> None:
    cell = {"n": 52, "value": 0.2, "low": 0.1, "high": 0.3, "floor": 0.5}
    measures = {
        "untuned": {"closed questions": cell},
        "tuned": {"BERTScore": {"n": 9, "value": 0.8, "low": None, "high": None}},
    }
    result = finished("vqa", "q", {"rows": "i"}, vqa={"measures": measures})
    found = list(measured("vqa", result, run(**lineage(), vqa=result)))
    closed = one(found, captioner_place="1", metric="closed questions")
    assert (closed.value, closed.low, closed.high, closed.floor, closed.setting.images) == (0.2, 0.1, 0.3, 0.5, 52)
    assert one(found, captioner_place="2", captioner="tuned").floor is None
