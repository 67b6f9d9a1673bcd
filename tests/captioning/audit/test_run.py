"""The audit on results made by hand: phantoms with answers whose faults are known."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dermray import cli, manifest
from dermray.captioning.answers import Attributes, phrase
from dermray.captioning.audit.experts import order
from dermray.captioning.audit.run import compare_page
from dermray.captioning.run import CaptionConfig
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.manifest import Rows
from dermray.records import CAPTIONED, conform, sample_id

IMAGES = 120


def caption_result(directory: Path, prompt_set: str, labelled: bool) -> str:
    """As the caption stage leaves it: true answers, which say the label where `labelled`."""
    rows: list[dict[str, Any]] = []
    for i in range(IMAGES):
        row = phantom_row(i, SourceConfig(count=IMAGES, size=16, broken=0, duplicates=0))
        said = Attributes(
            row["true_asymmetry"], row["true_border_irregular"], tuple(row["true_colours"]), row["skin_tone"]
        )
        text = phrase(said) + (f" It is {'malignant' if row['malignant'] else 'benign'}." if labelled else "")
        rows.append(row | {
            "sample_id": sample_id(row["image"]), "status": "ok", "split": "test", "leak_group": f"g{i}",
            "answer": text, "caption": text, "said_asymmetry": said.asymmetry,
            "said_border_irregular": said.border_irregular, "said_colours": list(said.colours),
            "said_skin_tone": said.skin_tone,
        })  # fmt: skip
    config = CaptionConfig(output=str(directory), rows="r", captioner="c", prompt_set=prompt_set)
    with manifest.work("caption", str(directory), config, {}) as work:
        Path(work.data, "rows").mkdir(parents=True)
        pq.write_table(conform(rows, CAPTIONED), Path(work.data, "rows", "a.parquet"))
        work.commit(Rows(rows_in=IMAGES, ok=IMAGES, rejected=0, failed=0), IMAGES)
    return str(directory)


def test_two_captioners_from_audit_to_kappa(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = caption_result(tmp_path / "plain", "abc", labelled=False)
    labelled = caption_result(tmp_path / "labelled", "abc-label", labelled=True)
    base = ["audit-captions", "--config", "audit-captions/default", f"captions=[{plain}, {labelled}]", "images=30"]
    cli.main([*base, f"output={tmp_path}/audit"])
    found = manifest.read(f"{tmp_path}/audit")
    first, second = found.manifest.metrics["captioners"].values()
    assert second["label_leak"]["auc"] > 0.99 and second["names_a_diagnosis"] == 1.0
    assert first["label_leak"]["auc"] < second["label_leak"]["low"] and first["names_a_diagnosis"] == 0.0
    assert first["phantom_accuracy"]["mean"] == 1.0 and first["diversity"]["coverage"]["all three"] == 1.0
    assert first["metadata"]["skin_tone"] == {
        "known": IMAGES, "mentioned": IMAGES, "contradicted": 0, "contradiction_rate": 0.0, "echoed": 1.0,
    }  # fmt: skip
    page = Path(found.data, "audit.html").read_text()
    assert "labelled (abc-label)" in page and "above the floor" in page and "Send <a" in page

    compare = Path(found.data, "compare.html").read_text()
    assert compare.count("<section") == 30 and "abc-label" not in compare, "experts do not see which is which"
    samples = [part.split('"')[0] for part in compare.split('data-id="')[1:]]
    rng = np.random.default_rng(0)
    for expert in ("ada", "bob"):
        grades = {s: [0 if c == 1 else int(rng.integers(1, 3)) for c in order(s, 2, 0)] for s in samples}
        (tmp_path / f"{expert}.json").write_text(json.dumps({"expert": expert, "seed": 0, "grades": grades}))
    answers = f"expert_answers=[{tmp_path}/ada.json, {tmp_path}/bob.json]"
    cli.main([*base, answers, f"output={tmp_path}/agreed"])
    agreed = manifest.read(f"{tmp_path}/agreed").manifest.metrics["experts"]
    assert agreed["mean_grade"]["ada"]["labelled (abc-label)"] == 0.0
    assert agreed["agreement"][0]["captions"] == 60 and 0 < agreed["agreement"][0]["kappa"] < 1
    assert f"page: {tmp_path}/agreed/data-" in capsys.readouterr().out


def test_an_audit_needs_caption_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(
            ["audit-captions", "--config", "audit-captions/default", f"captions=[{tmp_path}]", f"output={tmp_path}/o"]
        )
    assert "no manifest.json" in capsys.readouterr().err


def test_pages_of_other_answers_do_not_share_what_a_browser_keeps() -> None:
    images = [{"sample_id": "a", "url": "data:,", "answers": ["Red.", "Black."]}]
    others = [images[0] | {"answers": ["Red.", "Blue."]}]
    keys = [
        re.findall(r'key = "(dermray-compare-\w{12})"', compare_page(shown, 0)) for shown in (images, images, others)
    ]
    assert keys[0] == keys[1] != keys[2] and all(len(key) == 1 for key in keys)
