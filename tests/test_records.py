import hashlib

import pyarrow as pa
import pytest

from dermray.records import CAPTIONED, IMAGES, SYNTHETIC, about, conform, sample_id, skin_tone_of


def test_sample_id_is_sha256() -> None:
    assert sample_id(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_later_stages_only_add_columns() -> None:
    assert CAPTIONED.names[: len(IMAGES.names)] == IMAGES.names
    assert SYNTHETIC.names[: len(CAPTIONED.names)] == CAPTIONED.names


def test_conform_fills_nulls_and_keeps_the_schema() -> None:
    table = conform([{"sample_id": "a", "sex": "female"}], IMAGES)
    assert table.schema == IMAGES
    assert table["age"].to_pylist() == [None]


@pytest.mark.parametrize("row", [{"colour": "red"}, {"sex": "F"}, {"skin_tone": "D"}, {"split": "dev"}])
def test_conform_refuses_what_the_contract_does_not_know(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        conform([row], IMAGES)


def test_conform_refuses_wrong_types() -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        conform([{"width": "wide"}], IMAGES)


def test_skin_tones_are_ddi_groups() -> None:
    assert [skin_tone_of(f) for f in (1, 2, 3, 4, 5, 6, None)] == ["A", "A", "B", "B", "C", "C", None]


def test_about_so_many_rows_are_always_the_same_ones() -> None:
    ids = [sample_id(str(i).encode()) for i in range(4000)]
    table = pa.table({"sample_id": ids})
    drawn = table.filter(about(400, 4000))["sample_id"].to_pylist()
    assert 320 < len(drawn) < 480 and drawn == table.filter(about(400, 4000))["sample_id"].to_pylist()
    assert len(table.filter(about(4000, 4000))) == 4000
