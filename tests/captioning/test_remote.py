"""A remote endpoint: small servers of errors, and kills. For `vllm serve` itself see test_vllm_engine."""

import contextlib
import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import cloudpickle

from dermray import manifest
from dermray.captioning import remote, replies
from dermray.captioning.cache import AnswerCache
from dermray.captioning.engine import Ask
from dermray.captioning.finish import Finish
from dermray.captioning.ledger import Ledger
from dermray.captioning.run import CaptionConfig, run
from dermray.captioning.settings import RemoteConfig, Sampling
from dermray.config import validate
from dermray.failures import plain_cause
from dermray.records import read_columns
from tests.captioning.endpoint import KEY, Endpoint, ask_all, completion, serving
from tests.classification import made_rows
from tests.conftest import free_port

ROOT = Path(__file__).parent.parent.parent
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in</body></html>"


class Unreliable(Endpoint):
    """Refuses every first try, and images whose question says so for good."""

    def reply(self, body: str) -> None:
        if self.count(body) == 1:
            self.send(429, {"error": {"message": "slow down"}}, {"retry-after": "0"})
        elif int(json.loads(body)["messages"][0]["content"][0]["image_url"]["url"][-12:-4].encode().hex(), 16) % 5 == 0:
            self.send(400, {"error": {"message": "cannot look at this"}})
        else:
            self.send(200, completion("asymmetric lesion, red."))


class Revoked(Endpoint):
    """Takes no key any more; the first rows may have been answered."""

    good_answers: int | None = 0  # None: the key is good again

    def allowed(self) -> bool:
        if self.good_answers is not None and self.tries.total() >= self.good_answers:
            self.send(401, {"error": {"message": "Revoked."}})
            return False
        return True

    def do_GET(self) -> None:  # noqa: N802
        if self.allowed():
            super().do_GET()

    def reply(self, body: str) -> None:
        if self.allowed():
            self.count(json.loads(body)["messages"][0]["content"][0]["image_url"]["url"])
            self.send(200, completion("asymmetric lesion, red."))


class Scripted(Endpoint):
    """Answers as the question says: a status, or what is wrong with the reply."""

    def reply(self, body: str) -> None:
        question = json.loads(body)["messages"][0]["content"][1]["text"]
        if self.count(question) == 2 and question.startswith("once "):
            self.send(200, completion("Red."))
        else:
            self.misbehave(question.removeprefix("once "))

    def misbehave(self, what: str) -> None:
        whole = json.dumps(completion("Red."))
        if what.isdecimal():
            self.send(int(what), {"error": {"message": "As asked for."}})
        elif what == "page":
            self.send(200, PAGE, kind="text/html")
        elif what == "page of 502":
            self.send(502, "<html><title>502 Bad Gateway</title></html>", kind="text/html")
        elif what == "cut":
            self.send(200, whole[:80])
        elif what == "string":
            self.send(200, '"Red."')
        elif what == "plain":
            self.send(200, whole, kind="text/plain")
        elif what == "reset":
            self.send(200, whole[:20], {"Content-Length": str(len(whole))})
            self.close_connection = True
        elif what == "slow":
            time.sleep(0.8)
            self.send(200, whole)
        elif what == "overloaded":
            self.send(200, {"error": {"message": "Overloaded", "code": 529}})
        elif what == "error":
            self.send(200, {"error": {"message": "Your image is forbidden.", "code": "content_policy_violation"}})
        elif what == "empty":
            self.send(200, {"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 0}})
        elif what == "parts":
            self.send(200, completion([{"type": "text", "text": "Red."}]))
        else:
            raise AssertionError(what)


@pytest.fixture
def unreliable() -> Iterator[str]:
    with serving(Unreliable) as address:
        yield address


GOOD = {"text": "Red.", "tokens_in": 70, "tokens_out": 6, "finish_reason": "stop", "engine_error": None}
CASES = {
    **{status: (1, f"{status}: As asked for.") for status in ("400", "401", "403", "404", "422")},
    **{status: (2, f"{status}: As asked for.") for status in ("408", "409", "425", "429", "500", "503", "529")},
    "page": (2, "no whole reply: the reply is no JSON: an HTML page: Sign in"),
    "page of 502": (2, "502: an HTML page: 502 Bad Gateway"),
    "cut": (2, 'no whole reply: the reply is no JSON: {"id": "x", "object": "chat.completion"'),
    "string": (2, "no whole reply: the reply is no JSON object: Red."),
    "reset": (2, "no whole reply: peer closed connection without sending complete message body"),
    "overloaded": (2, "no whole reply: an error in a reply of status 200: Overloaded"),
    "error": (1, "an error in a reply of status 200: Your image is forbidden."),
    "empty": (1, "no choices in the reply"),
    "plain": (1, None),
    "parts": (1, None),
    **{f"once {what}": (2, None) for what in ("429", "425", "500", "page", "cut", "string", "reset", "overloaded")},
}  # fmt: skip


def test_each_bad_reply_is_a_row_with_a_reason_and_is_asked_again_where_that_may_help(tmp_path: Path) -> None:
    with serving(Scripted) as address:
        rows = ask_all(address, list(CASES), tmp_path)
    for (what, (requests, reason)), row in zip(CASES.items(), rows, strict=True):
        assert Scripted.tries[what] == row.pop("requests") == requests, what
        if reason is None:
            assert row == GOOD, what
        else:
            assert row["engine_error"].startswith(reason) and row["text"] is None, (what, row)


def test_a_reply_that_is_late_is_a_row_with_a_reason(tmp_path: Path) -> None:
    with serving(Scripted) as address:
        (row,) = ask_all(address, ["slow"], tmp_path, timeout=0.3)
    assert row["engine_error"] == "no reply in time (remote.timeout)" and row["requests"] == 2


def test_rows_are_not_written_off_for_a_server_that_went_or_a_key_that_was_revoked(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="no answer"):
        ask_all(f"http://127.0.0.1:{free_port()}/v1", ["slow"], tmp_path)
    with serving(Revoked) as address, pytest.raises(ValueError, match="401: Revoked.; is ENDPOINT_KEY right"):
        ask_all(address, ["one"], tmp_path)


@pytest.mark.parametrize("rows", [32, 33, 40])
def test_an_engine_with_too_many_errors_ends_its_job(rows: int, tmp_path: Path) -> None:
    """Of the last 64 answers half may be errors; the server itself says that all is well."""
    with serving(Scripted) as address:
        if rows == 32:
            assert {row["engine_error"] for row in ask_all(address, ["400"] * rows, tmp_path)} == {"400: As asked for."}
            return
        with pytest.raises(RuntimeError, match="33 of the engine's last 33 answers .* max_engine_errors=0.5 .* As ask"):
            ask_all(address, ["400"] * rows, tmp_path)


def test_a_key_is_read_where_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    config = RemoteConfig(base_url="http://127.0.0.1:1/v1", model="m", key_variable="NO_SUCH_KEY")
    ask = Ask("m", Sampling(), None, 1, Ledger(str(tmp_path)), AnswerCache(str(tmp_path)))
    with pytest.raises(ValueError, match="key_variable=NO_SUCH_KEY: not set on .*before `ray start` on every node"):
        remote.Client(ask, config)
    monkeypatch.setenv("NO_SUCH_KEY", "a-secret")
    monkeypatch.setattr(remote, "check", lambda config, key: None)
    assert b"a-secret" not in cloudpickle.dumps(remote.prepared(config)), "it travels to no actor"


def test_a_refusal_by_the_servers_own_word_is_no_caption() -> None:
    said = replies.columns({"choices": [{"message": {"refusal": "That would be a diagnosis."}}]})
    row = Finish("attributes-2", (), {}).row({"question": "?", "unreadable": None, **said})
    assert (row["status"], row["reason"]) == ("rejected", "refusal")


def test_tries_count_against_the_rate_as_requests_do(tmp_path: Path) -> None:
    with serving(Scripted) as address:
        start = time.monotonic()
        rows = ask_all(address, ["once 500", "once 503"], tmp_path, requests_per_minute=120.0)
    assert [row["requests"] for row in rows] == [2, 2] and time.monotonic() - start > 1.45, "four, half a second apart"


def test_what_was_paid_for_is_not_asked_again_and_what_failed_is(tmp_path: Path) -> None:
    asked = ["plain", "empty", "parts", "400", "page"]
    with serving(Scripted) as address:
        first = ask_all(address, asked, tmp_path)
        before = dict(Scripted.tries)
        assert ask_all(address, asked, tmp_path) == first
        again = {what for what in asked if Scripted.tries[what] > before[what]}
        assert again == {"400", "page"}, "no answers, so nothing was kept of them"
        assert {f.name for f in tmp_path.glob("answers/blocks/*")} and Ledger(f"{tmp_path}/ledger").notes("block")
        counted = [note.rows for note in Ledger(f"{tmp_path}/ledger").notes("block")]
        assert counted == [5, 2], "the ledger notes what is sent"


def test_what_an_endpoint_lacks_is_said_before_anything_starts(
    unreliable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = RemoteConfig(base_url=unreliable, model="m", max_retries=0)
    with pytest.raises(ValueError, match="OPENAI_API_KEY: not set"):
        remote.api_key(config)
    with pytest.raises(ValueError, match="401.*is OPENAI_API_KEY right"):
        remote.check(config, "wrong")
    with pytest.raises(ValueError, match="remote.model='other': not served at .*there are \\['m'\\]"):
        remote.check(config.model_copy(update={"model": "other"}), KEY)
    with pytest.raises(ConnectionError, match="no answer"):
        remote.check(config.model_copy(update={"base_url": f"http://127.0.0.1:{free_port()}/v1"}), KEY)
    remote.check(config, KEY)


@pytest.mark.parametrize(
    ("models", "message"), [(PAGE, "HTML page: Sign in; does .* lack its /v1"), ('"m"', "no JSON obj")]
)
def test_an_address_that_is_no_endpoint_is_refused(
    unreliable: str, monkeypatch: pytest.MonkeyPatch, models: str, message: str
) -> None:
    monkeypatch.setattr(Endpoint, "models", models)
    with pytest.raises(ValueError, match=f"remote.base_url={unreliable}: .*{message}"):
        remote.check(RemoteConfig(base_url=unreliable, model="m", max_retries=0), KEY)


@pytest.mark.parametrize("models", [{"data": []}, {"data": None}, {"data": [None]}, {}])
def test_a_gateway_that_lists_no_models_may_have_them(
    unreliable: str, monkeypatch: pytest.MonkeyPatch, models: Any
) -> None:
    monkeypatch.setattr(Endpoint, "models", models)
    remote.check(RemoteConfig(base_url=unreliable, model="m", max_retries=0), KEY)


def test_gemini_s_models_may_be_named_as_it_lists_them_or_short(
    unreliable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "models", {"data": [{"id": "models/m"}]})
    for name in ("m", "models/m"):
        remote.check(RemoteConfig(base_url=unreliable, model=name, max_retries=0), KEY)
    with pytest.raises(ValueError, match="remote.model='models/other': not served"):
        remote.check(RemoteConfig(base_url=unreliable, model="models/other", max_retries=0), KEY)


def ingested(directory: Path, count: int) -> str:
    return made_rows.result(f"{directory}/ingest", "ingest", made_rows.phantoms(count, seed=11)).uri


@pytest.mark.slow
def test_retries_are_counted_and_refusals_fail_alone(
    local_ray: None, unreliable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    config = {
        "output": f"{tmp_path}/caption", "rows": ingested(tmp_path, 60),
        "remote": {"base_url": unreliable, "model": "m", "max_retries": 2, "price_in": 2.0, "price_out": 10.0,
                   "requests_per_minute": 60_000},
    }  # fmt: skip
    result = run(validate(CaptionConfig, config))
    rows = result.manifest.rows
    assert rows.rows_in == rows.ok + rows.failed and rows.ok > 20 and rows.failed > 2
    assert all("engine: 400: cannot look at this" in reason for reason in rows.reasons)
    told = result.manifest.metrics["captioning"]
    assert told["tokens_in"] == 70 * rows.ok and told["cost"] == pytest.approx(rows.ok * (70 * 2 + 6 * 10) / 1e6)
    table = read_columns(f"{result.data}/rows", ["status", "attempts", "captioner", "tokens_out"]).to_pylist()
    assert {row["attempts"] for row in table if row["status"] == "ok"} == {2}
    assert {row["captioner"] for row in table} == {"m"}


DRIVER = """
import sys
from dermray.captioning import run
from dermray.config import load
run.run(load(run.CaptionConfig, sys.argv[1]))
"""


class Patient(Endpoint):
    """Takes its time, and counts by image."""

    def reply(self, body: str) -> None:
        self.count(json.loads(body)["messages"][0]["content"][0]["image_url"]["url"])
        time.sleep(0.1)
        self.send(200, completion("asymmetric lesion, red."))


@pytest.mark.slow
def test_a_killed_job_asks_again_only_what_was_under_way(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver and all of its Ray are killed among blocks of which some are written, some begun."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows, answers = ingested(tmp_path, 120), f"{tmp_path}/caption/data-*/answers/**/*.jsonl"
    with serving(Patient) as address:
        config = {
            "output": f"{tmp_path}/caption", "rows": rows, "rows_per_block": 16,
            "remote": {"base_url": address, "model": "m", "concurrency": 3, "replicas": 2},
        }  # fmt: skip
        (tmp_path / "caption.yaml").write_text(json.dumps(config))
        command = [sys.executable, "-c", DRIVER, str(tmp_path / "caption.yaml")]
        with subprocess.Popen(
            command, cwd=ROOT, env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        ) as job:
            while not list(tmp_path.glob("caption/data-*/rows/*.parquet")) and job.poll() is None:
                time.sleep(0.05)
            its = psutil.Process(job.pid).children(recursive=True)
            for process in [psutil.Process(job.pid), *its]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        psutil.wait_procs(its, timeout=30)
        before = Patient.tries.total()
        kept = sum(Path(file).read_bytes().count(b"\n") for file in glob.glob(answers, recursive=True))
        assert 0 < kept <= before <= kept + 2 * 3, "all but what the two clients had under way"
        result = run(validate(CaptionConfig, config))
    total = result.manifest.rows.ok
    assert total == len(Patient.tries) > 100 and result.manifest.metrics["captioning"]["starts"] == 2
    assert Patient.tries.total() - total == before - kept and max(Patient.tries.values()) <= 2
    assert not glob.glob(f"{tmp_path}/caption/data-*/answers"), "the rows hold them now"


@pytest.mark.slow
def test_a_key_that_workers_lack_is_told_in_one_sentence(
    local_ray: None, unreliable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster whose nodes were started without it: this process has it, Ray's do not."""
    monkeypatch.setenv("KEY_OF_THE_DRIVER", KEY)
    given = {"base_url": unreliable, "model": "m", "key_variable": "KEY_OF_THE_DRIVER"}
    config = {"output": f"{tmp_path}/caption", "rows": ingested(tmp_path, 12), "remote": given}
    with pytest.raises(Exception, match="KEY_OF_THE_DRIVER") as refused:
        run(validate(CaptionConfig, config))
    said = str(plain_cause(refused.value))
    assert said.startswith("remote.key_variable=KEY_OF_THE_DRIVER: not set on ") and "\n" not in said


@pytest.mark.slow
def test_a_key_revoked_in_mid_job_costs_no_row(local_ray: None, tmp_path: Path) -> None:
    """The job ends with one sentence. With a good key the next one asks only what has no answer, and nothing failed."""
    rows = ingested(tmp_path, 120)
    total = manifest.read(rows).manifest.rows.ok
    with serving(Revoked) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Revoked, "good_answers", 50)
        config = {
            "output": f"{tmp_path}/caption", "rows": rows, "rows_per_block": 16,
            "remote": {"base_url": address, "model": "m", "concurrency": 4},
        }  # fmt: skip
        with pytest.raises(Exception, match="Revoked") as ended:
            run(validate(CaptionConfig, config))
        sentence = str(plain_cause(ended.value))
        assert sentence == f"remote.base_url={address}: 401: Revoked.; is OPENAI_API_KEY right?"
        written = read_columns(glob.glob(f"{tmp_path}/caption/data-*/rows")[0], ["status"])["status"].to_pylist()
        assert written and set(written) == {"ok"} and not Path(f"{tmp_path}/caption/manifest.json").exists()
        assert 50 <= Revoked.tries.total() < total
        patch.setattr(Revoked, "good_answers", None)
        counts = run(validate(CaptionConfig, config)).manifest.rows
    assert counts.ok == counts.rows_in == total == len(Revoked.tries)
    assert Revoked.tries.total() - total <= 4, "all but what was under way as the first client ended was asked once"
