"""What a user sees who got something wrong: a message, an exit code, nothing half-written."""

from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from dermray import cli


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as error:
        cli.main(list(arguments))
    return int(error.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--config", "train/pixel_dermdit_nano", "loop.steps=0"], 2, "loop.steps=0: expected at least 1"),
        (["train", "--config", "nothing"], 2, "preset 'nothing' not found"),
        (["train", "--config", "missing.yaml"], 2, "missing.yaml: no such file"),
        (["run", "--config", "pipeline/smoke", "stages.train.familly=x"], 2, "familly='x': unknown key"),
        (["run", "--config", "pipeline/smoke", "stages.sweeep.x=1"], 2, "stages.sweeep: no stage is named so"),
    ],
)
def test_configs_are_checked_before_anything_starts(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    found, text = fails(capsys, *arguments)
    assert found == code and message in text


def test_settings_may_stand_before_and_after_options(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ("sweep", "seeds=1", "--config", "sweep/nano", "real_images=3", "--extend", "runs/earlier", "image_size=1")
    code, text = fails(capsys, *sweep)
    assert code == 2 and all(f"{wrong}: " in text for wrong in ("seeds=1", "real_images=3", "image_size=1"))
    code, text = fails(capsys, *sweep, "--extent", "x")
    assert code == 2 and "unrecognized arguments: --extent" in text
    classify = ("classify", "--config", "classify/nano", "--search", "0")
    assert "search.trials=0: Input should be greater" in fails(capsys, *classify)[1]
    for number in ("0", "x", "1.5"):
        preview = fails(capsys, "generate", "--config", "generate/nano", "--preview", number)[1]
        assert f"--preview: {number}: expected a whole number of at least 1" in preview
    assert "unrecognized arguments: more" in fails(capsys, "key", "ann", "more")[1]


def test_missing_inputs_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = f"rows={tmp_path}/nowhere"
    for preset in ("caption/nano", "train/pixel_dermdit_nano", "evaluate/nano", "sweep/nano"):
        stage = preset.partition("/")[0]
        code, text = fails(capsys, stage, "--config", preset, rows, f"output={tmp_path}/{stage}")
        assert code == 1 and "does not exist; run the" in text
    assert list(tmp_path.iterdir()) == []


def test_unknown_family_and_its_wrong_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = ["train", "--config", "train/pixel_dermdit_nano", f"output={tmp_path}/t"]
    assert "family='gan': expected one of ['dermdit', 'flux2_klein_lora', " in fails(capsys, *base, "family=gan")[1]
    assert "image_size=33" in fails(capsys, *base, "model.image_size=33")[1]


def test_serving_an_unfinished_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, text = fails(capsys, "serve", "--run", str(tmp_path))
    assert code == 1 and "no finished stage of train, sweep, classify" in text


FRAMES = 'ray::f()\n  File "x.py", line 5, in f\n    row["dx"]\nKeyError: \'dx\''


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("t.csv, line 3: 2 columns"), "dermray: t.csv, line 3: 2 columns\n"),
        (RayTaskError("f", "frames", OSError("disk full"), "p", 7, "::1"), "dermray: disk full\n"),
        (
            RayTaskError("f", FRAMES, KeyError("dx"), "p", 7, "::1"),
            f"{FRAMES}\ndermray: KeyError: 'dx' (a defect of dermray; the lines above say where)\n",
        ),
    ],
)
def test_the_last_line_says_what_went_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def failing(arguments: object) -> None:
        raise error

    monkeypatch.delenv("DERMRAY_WORKER_LOGS", raising=False)
    monkeypatch.setattr(cli, "_run", failing)
    assert fails(capsys, "quickstart") == (1, said)


def test_a_defect_at_the_driver_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(arguments: object) -> None:
        raise KeyError("dx")

    monkeypatch.setattr(cli, "_run", failing)
    with pytest.raises(KeyError):
        cli.main(["quickstart"])
