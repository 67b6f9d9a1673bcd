"""Which lesions are drawn, and in which versions."""

from pathlib import Path

import pytest

from dermray.classification.audit import lesions
from dermray.classification.audit.painters import by_renderer
from dermray.classification.audit.wording import Attribute
from dermray.generators.coverage import WordReader
from dermray.generators.text import Words
from dermray.row_files import RowFiles
from tests.classification import made_rows

TONE, SEX = Attribute.of("skin_tone", "ABC"), Attribute.of("sex", ("female", "male"))


def captions(place: Path, text: str) -> RowFiles:
    """Of 60 phantoms, 12 of them of the test split; {tone} and {sex} are the rows' own."""
    rows = made_rows.phantoms(60)
    rows = [row | {"caption": text.format(tone=row["skin_tone"], sex=row["sex"])} for row in rows]
    return made_rows.result(str(place / "caption"), "caption", rows).row_files()


def reader(text: str, length: int = 16) -> WordReader:
    return WordReader("words", Words.from_captions([text], length, 100))


def test_prompts_are_captions_of_the_test_split_that_name_every_attribute(tmp_path: Path) -> None:
    rows = captions(tmp_path, "skin tone {tone}, {sex}: border")
    plan = lesions.from_captions(rows, [TONE, SEX], [reader("")], 10, 0)
    again = lesions.from_captions(rows, [TONE, SEX], [reader("")], 10, 0)
    held_out = {row["sample_id"]: row for row in made_rows.phantoms(60) if row["split"] == "test"}
    assert plan.equals(again) and len(set(plan["lesion"].to_pylist())) == 10
    for line in plan.to_pylist():
        row = held_out[line["prompt_sample_id"]]
        assert line["prompt"] == f"skin tone {row['skin_tone']}, {row['sex']}: border"
        assert line["leak_group"] == row["leak_group"] and line["seed"] != line["other_seed"]


def test_each_version_differs_in_one_thing() -> None:
    line = {"prompt": "skin tone B, male: border", "seed": 1, "other_seed": 2}
    made = lesions.versions(line, [TONE, SEX])
    assert [(v.attribute, v.value, v.prompt, v.seed) for v in made] == [
        (None, None, "skin tone B, male: border", 1),
        (None, None, "skin tone B, male: border", 2),
        ("skin_tone", "A", "skin tone A, male: border", 1),
        ("skin_tone", "C", "skin tone C, male: border", 1),
        ("sex", "female", "skin tone B, female: border", 1),
    ]


@pytest.mark.parametrize(
    ("text", "length", "message"),
    [
        ("{sex}: border", 16, "only 0 captions can be prompts; of 12 captions of the test split 0 name one skin_tone"),
        ("skin tone {tone}: border", 16, "12 name one skin_tone of A, B, C, 0 name one sex of female, male"),
        ("skin tone {tone}, {sex}: border", 3, "12 name one skin_tone of A, B, C, 0 name one sex"),
    ],
)
def test_captions_that_do_not_name_it_or_too_late_are_no_prompts(
    tmp_path: Path, text: str, length: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lesions.from_captions(captions(tmp_path, text), [TONE, SEX], [reader("", length)], 10, 0)


def test_a_generator_that_does_not_read_it_is_refused() -> None:
    lesions.require_read([TONE], [reader("skin tone a b c")])
    with pytest.raises(ValueError, match=r"attributes.skin_tone: C: .* does not know c, so it would draw the same"):
        lesions.require_read([TONE], [reader("skin tone a b")])
    with pytest.raises(ValueError, match="reads no text"):
        lesions.require_read([TONE], [])


def test_the_renderers_lesion_keeps_its_truth_on_other_skin() -> None:
    plan = lesions.from_truths(6, 3).to_pylist()
    for line in plan:
        wanted = lesions.versions(line, [TONE])
        own, other, *changed = by_renderer(3, 32)([line], [wanted])
        assert line["prompt"].endswith(f"skin tone {lesions.truth_of(line['lesion'], 3).skin_tone}.")
        assert (own != other).any()
        for version, picture in zip(wanted[2:], changed, strict=True):
            lighter = str(version.value) < str(TONE.value_in(line["prompt"]))
            corner = (slice(0, 4), slice(0, 4))
            assert (picture[corner].mean() > own[corner].mean()) == lighter, "the skin changes"
            centre = (slice(15, 17), slice(15, 17))
            assert abs(picture[centre].mean() - own[centre].mean()) < 3, "and the lesion does not"
