"""`dermray reader-study codes` and `answers`, as an operator types them."""

import csv
from pathlib import Path

import pytest

from dermray import cli
from dermray.config import ConfigError, validate
from dermray.serving.app import build
from dermray.serving.reading.book import Sent
from dermray.serving.reading.command import answers
from dermray.serving.settings import ServiceConfig
from tests.conftest import call_cli
from tests.serving.reading.conftest import Shown, study_config


@pytest.fixture
def config(shown_study: Path, tmp_path: Path) -> Path:
    """A file for `dermray serve --config`."""
    file = tmp_path / "serve.yaml"
    file.write_text(
        f"reader_studies:\n  - {{name: skin, study: {shown_study}}}\njobs: {{database: sqlite:///{tmp_path}/below/jobs.db}}\n"
    )
    return file


def test_codes_are_printed_once_and_open_the_page(
    shown: Shown, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["reader-study", "codes", "--config", str(config), "--study", "skin", "--readers"]
    code, said, _ = call_cli(capsys, *given, "ann", "bob")
    assert code == 0 and "Fourteen lesions: study-" in said and "page /reader-study/skin" in said
    codes = dict(line.split() for line in said.splitlines() if line.startswith("  "))
    assert codes.keys() == {"ann", "bob"}
    shown.codes |= codes
    shown.put(shown.begin("ann"), 1)
    code, _, wrong = call_cli(capsys, *given, "ann", "cid")
    assert code == 2 and "readers: ann has a code for this study already; leave the name out, or give --renew" in wrong
    code, said, _ = call_cli(capsys, *given, "ann", "--renew")
    assert code == 0
    shown.codes |= dict(line.split() for line in said.splitlines() if line.startswith("  "))
    assert len(shown.reading(shown.begin("ann"))["answers"]) == 1


def test_answers_are_files_as_analyse_reads_them_and_a_log(
    shown: Shown, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jane = shown.begin()
    shown.put(jane, 1, seconds=2.26)
    shown.put(jane, 2, said={"entity": "nv"})
    shown.put(jane, 1, said={"entity": "nv", "origin": "AI", "origin_confidence": 0}, replaces=1, sent_as="b" * 8)
    given = ["reader-study", "answers", "--config", str(config), "--study", "skin", "--to", f"{tmp_path}/out"]
    code, said, _ = call_cli(capsys, *given)
    assert code == 0 and said.splitlines() == [
        f"{tmp_path}/out/jane.csv: 1 of 14 images answered, not finished",
        f"{tmp_path}/out/joe.csv: 0 of 14 images answered, not finished",
    ]
    operator = {"Authorization": "Bearer operator"}
    served = shown.client.get("answers/jane.csv", headers=operator).content
    assert (tmp_path / "out" / "jane.csv").read_bytes() == served
    with (tmp_path / "out" / "log" / "jane.csv").open(encoding="utf-8-sig", newline="") as file:
        log = list(csv.DictReader(file))
    assert [(line["place"], line["revision"], line["seconds"], line["entity"]) for line in log] == [
        ("1", "1", "2.3", "mel"), ("2", "1", "", "nv"), ("1", "2", "", "nv"),
    ]  # fmt: skip
    assert log[2]["origin_confidence"] == "0" and log[0]["answered"].endswith("+00:00")
    assert [line["answered"] for line in log] == sorted(line["answered"] for line in log)
    code, said, _ = call_cli(capsys, *given[:-1], f"{tmp_path}/one", "--readers", "joe")
    assert code == 0 and sorted(path.name for path in (tmp_path / "one").iterdir()) == ["joe.csv", "log"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--study", "none", "--readers", "ann"], "study=none: not in reader_studies; there are: skin"),
        (["--study", "skin", "--readers", "../ann"], "readers='../ann': expected up to 64 letters"),
        (["--study", "skin", "--readers", "ann", "jobs.days=3"], "stand before --readers"),
        (["--study", "skin", "--readers", "ann", "Ann"], "readers: ann is there twice"),
        (["--study", "skin", "--readers", "Jane"], "readers: jane has a code"),
    ],
)
def test_codes_say_what_is_wrong(
    shown: Shown, config: Path, given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = call_cli(capsys, "reader-study", "codes", "--config", str(config), *given)
    assert code == 2 and words in said
    assert [reader.name for reader in shown.book.register.all(shown.study.id)] == ["jane", "joe"]


def test_answers_of_nobody_are_refused(shown: Shown, shown_study: Path, tmp_path: Path) -> None:
    config = study_config(shown_study, f"sqlite:///{tmp_path}/below/jobs.db")
    with pytest.raises(ConfigError, match="readers: 'ann' has no code for this study; there are: jane, joe"):
        answers(config, "skin", ["ann"], str(tmp_path / "out"))
    empty = study_config(shown_study, f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(ConfigError, match="nobody has a code for study-"):
        answers(empty, "skin", None, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_none_is_told_before_ray_starts(shown_study: Path, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/jobs.db"
    with pytest.raises(FileNotFoundError, match="does not exist; run the reader-study build stage first"):
        build(study_config(tmp_path / "none", database))
    about = next(shown_study.glob("data-*")) / "readers" / "study.json"
    whole = about.read_text()
    for damaged in (
        "{}",
        "",
        whole.replace('"study": "study-', '"study": "study-0'),
        whole.replace("images/0", "../0"),
    ):
        about.write_text(damaged)
        with pytest.raises(ValueError, match=r"study.json: "):
            build(study_config(shown_study, database))
    about.unlink()
    with pytest.raises(FileNotFoundError, match="give a whole result of `dermray reader-study build`"):
        build(study_config(shown_study, database))
    with pytest.raises(ConfigError, match="reader_studies: expected a name of its own for each, got skin twice"):
        validate(ServiceConfig, {"reader_studies": [{"name": "skin", "study": "a"}, {"name": "skin", "study": "b"}]})


def test_a_service_of_a_study_alone_needs_no_model(shown_study: Path, tmp_path: Path) -> None:
    config = study_config(shown_study, f"sqlite:///{tmp_path}/jobs.db")
    assert build(config) is not None
    with pytest.raises(ConfigError, match="models: none; expected at least one"):
        validate(ServiceConfig, {})


def test_an_answer_that_others_never_read_is_not_lost_by_its_export(
    shown: Shown, shown_study: Path, tmp_path: Path
) -> None:
    """An image that was answered in an earlier revision and emptied later counts as empty."""
    token = shown.begin()["Authorization"].removeprefix("Bearer ")
    image = shown.study.images[0]
    shown.book.write(shown.study.id, token, Sent(image, 1, 0, "a" * 8, {"entity": "mel", "origin": "AI"}, None))
    shown.book.write(shown.study.id, token, Sent(image, 1, 1, "b" * 8, {}, None))
    said = answers(study_config(shown_study, f"sqlite:///{tmp_path}/below/jobs.db"), "skin", ["jane"], str(tmp_path))
    assert "0 of 14 images answered" in said


def test_help_names_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["reader-study", "--help"])
    said = capsys.readouterr().out
    assert "codes" in said and "answers" in said
