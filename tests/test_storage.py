import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dermray import s3, s3_transfers, storage


def test_bytes_round_trip_and_listing(place: str) -> None:
    storage.write_bytes(f"{place}/a/b.txt", b"one")
    storage.write_bytes(f"{place}/a/b.txt", b"two")
    assert storage.read_bytes(f"{place}/a/b.txt") == b"two"
    assert storage.exists(f"{place}/a/b.txt") and not storage.exists(f"{place}/a/c.txt")
    assert storage.list_files(place) == [f"{place}/a/b.txt"]
    storage.delete_tree(f"{place}/a")
    storage.delete_tree(f"{place}/a")
    assert storage.list_files(place) == []


@pytest.mark.parametrize("top", ["/data", "s3://bucket", "s3://bucket/data"])
def test_a_place_is_the_same_as_seen_from_another(top: str) -> None:
    for uri, start, seen in (
        (f"{top}/runs/a", f"{top}/runs/b", "../a"),
        (f"{top}/a", f"{top}/runs/b", "../../a"),
        (f"{top}/runs/b/a", f"{top}/runs/b", "a"),
    ):
        assert storage.relative(uri, start) == seen and storage.resolve(seen, start) == uri
    assert storage.resolve(f"{top}/a", "/else/where") == storage.resolve(f"{top}/a", "s3://else/where") == f"{top}/a"
    assert storage.relative(f"{top}/a", "s3://x/y" if top == "/data" else "/x/y") is None


def test_of_concurrent_creators_exactly_one_wins(place: str) -> None:
    won: list[int] = []
    lost: list[int] = []
    start = threading.Barrier(8)

    def contend(number: int) -> None:
        start.wait()
        try:
            storage.create(f"{place}/manifest.json", str(number).encode())
            won.append(number)
        except storage.OutputTaken:
            lost.append(number)

    threads = [threading.Thread(target=contend, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 7
    assert storage.read_bytes(f"{place}/manifest.json") == str(won[0]).encode()
    assert len(storage.list_files(place)) == 1, "no partial file stays"


def test_a_directory_is_duplicated_where_it_lies(place: str) -> None:
    for name in ("a", "deep/b", "empty"):
        storage.write_bytes(f"{place}/from/{name}", name.encode() if name != "empty" else b"")
    storage.duplicate(f"{place}/from", f"{place}/to")
    storage.write_bytes(f"{place}/from/a", b"changed")
    assert [storage.read_bytes(f"{place}/to/{name}") for name in ("a", "deep/b", "empty")] == [b"a", b"deep/b", b""]
    assert storage.last_written(f"{place}/from") >= storage.last_written(f"{place}/to") - 1 > 0
    assert storage.last_written(f"{place}/none") == 0


def test_a_directory_is_copied_between_any_two_places(place: str, bucket: str, tmp_path: Path) -> None:
    files = {"a": b"1", "deep/b c+d": bytes(3_000_000), "empty": b""}
    for name, data in files.items():
        storage.write_bytes(f"{place}/from/{name}", data)
    storage.copy_directory(f"{place}/from", f"{bucket}/there/to")
    storage.copy_directory(f"{bucket}/there/to", str(tmp_path / "back"))
    for target in (f"{bucket}/there/to", str(tmp_path / "back")):
        assert {n.removeprefix(f"{target}/"): storage.read_bytes(n) for n in storage.list_files(target)} == files
    with pytest.raises(FileNotFoundError, match="none"):
        storage.copy_directory(f"{place}/none", f"{bucket}/there/none")


def test_what_is_downloaded_is_what_was_listed(bucket: str, tmp_path: Path) -> None:
    storage.write_bytes(f"{bucket}/model/w.bin", b"old")
    listed = s3.files(f"{bucket}/model")
    storage.write_bytes(f"{bucket}/model/w.bin", b"new")
    with pytest.raises(OSError, match="changed while it was being copied"):
        s3_transfers.download(f"{bucket}/model", listed, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        s3.stored(f"{bucket}/model/none")


def test_a_name_that_leads_out_of_its_directory_is_refused(bucket: str) -> None:
    import boto3

    boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key="model/../../w.bin", Body=b"w")
    with pytest.raises(ValueError, match="no path below a directory"):
        s3.files(f"{bucket}/model")


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ValueError, match="set AWS_ACCESS_KEY_ID"):
        storage.exists("s3://bucket/x")


def test_unknown_schemes_and_unwritable_places_are_refused(tmp_path: Path) -> None:
    for uri in ("gs://bucket/x", "s3:/bucket/x"):
        with pytest.raises(ValueError, match="s3:// URI"):
            storage.normalise(uri)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose another output"):
        storage.make_directory(str(tmp_path / "file" / "below"))


class Listener(BaseHTTPRequestHandler):
    """Takes any request, and notes how it was signed and where it went."""

    heard: list[dict[str, str]] = []

    def answer(self) -> None:
        signed = re.search(r"Credential=(\w+)/\d+/([\w-]+)/s3/", self.headers["Authorization"])
        assert signed is not None
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("X-Amz-Security-Token", "")
        place = self.headers["Host"] + self.path.partition("?")[0]
        self.heard.append({"key": signed[1], "region": signed[2], "token": token, "place": place})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Thu, 26 Nov 2026 00:00:00 GMT")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An endpoint in an environment without any setting of S3, and an empty home."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Listener.heard.clear()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def both_ways(uri: str) -> list[dict[str, str]]:
    """What the server hears from boto3, which makes conditional requests, and from pyarrow, which makes all others."""
    Listener.heard.clear()
    storage.create(uri, b"")
    through_boto3 = list(Listener.heard)
    Listener.heard.clear()
    assert storage.exists(uri)
    assert len(through_boto3) == len(Listener.heard) == 1
    return through_boto3 + Listener.heard


CONFIG = """
[default]
region = eu-central-1
[profile clinic]
region = ap-southeast-2
endpoint_url = http://{server}
aws_access_key_id = FROMCONFIG
aws_secret_access_key = secret
"""
CREDENTIALS = """
[default]
aws_access_key_id = FROMFILE
aws_secret_access_key = secret
aws_session_token = tokenoffile
"""
VARIABLES = {"AWS_ACCESS_KEY_ID": "FROMVARIABLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "tokenofvariable"}


@pytest.mark.parametrize(
    ("given", "key", "region", "token"),
    [
        ({}, "FROMFILE", "eu-central-1", "tokenoffile"),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, "FROMFILE", "us-west-2", "tokenoffile"),
        ({"AWS_DEFAULT_REGION": "us-west-2", "AWS_REGION": "us-east-2"}, "FROMFILE", "us-east-2", "tokenoffile"),
        ({"AWS_PROFILE": "clinic"}, "FROMCONFIG", "ap-southeast-2", ""),
        (VARIABLES, "FROMVARIABLE", "eu-central-1", "tokenofvariable"),
        ({"AWS_CONFIG_FILE": "/nonexistent"}, "FROMFILE", "us-east-1", "tokenoffile"),
    ],
)
def test_boto3_and_pyarrow_read_the_same_settings(
    listener: str, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], key: str, region: str, token: str
) -> None:
    (Path.home() / ".aws" / "config").write_text(CONFIG.format(server=listener))
    (Path.home() / ".aws" / "credentials").write_text(CREDENTIALS)
    if given.get("AWS_PROFILE") != "clinic":  # whose endpoint stands in its profile
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{listener}/")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    expected = {"key": key, "region": region, "token": token, "place": f"{listener}/bucket/a.txt"}
    assert both_ways("s3://bucket/a.txt") == [expected, expected]


def test_a_small_file_is_one_request(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": f"http://{listener}"}.items():
        monkeypatch.setenv(name, value)
    storage.write_bytes("s3://bucket/a", b"bytes")
    assert [heard["place"] for heard in Listener.heard] == [f"{listener}/bucket/a"]


def test_changed_keys_are_read_again(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{listener}")
    file = Path.home() / ".aws" / "credentials"
    file.write_text(CREDENTIALS)
    assert {heard["key"] for heard in both_ways("s3://bucket/a")} == {"FROMFILE"}
    file.write_text(CREDENTIALS.replace("FROMFILE", "RENEWED"))
    os.utime(file, ns=(1, 1))
    assert {heard["key"] for heard in both_ways("s3://bucket/a")} == {"RENEWED"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "AWS_ENDPOINT_URL",
            "http://host:9000/bucket",
            "S3 endpoint http://host:9000/bucket: expected scheme and host",
        ),
        ("AWS_ENDPOINT_URL_S3", "https://host/a/b", "such as https://host; a bucket belongs into the s3:// URI"),
        ("AWS_ENDPOINT_URL", "host:9000", "Invalid endpoint: host:9000; .* such as http://host:9000"),
        ("AWS_ENDPOINT_URL", "host", "Invalid endpoint: host"),
        (
            "AWS_ENDPOINT_URL",
            "http://ann:hunter2@host",
            "S3 endpoint at host: its URL holds a user or password; give A",
        ),
        ("AWS_PROFILE", "clinik", r"s3://b/x: .*profile \(clinik\) could not be found"),
        ("AWS_ACCESS_KEY_ID", "", "s3://b/x: no S3 credentials found"),
    ],
)
def test_settings_that_cannot_be_meant_are_one_sentence(
    listener: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    for variable, given in {**VARIABLES, name: value}.items():
        monkeypatch.setenv(variable, given)
    for use in (storage.exists, lambda uri: storage.create(uri, b"")):
        with pytest.raises(ValueError, match=message) as refused:
            use("s3://b/x")
        assert "\n" not in str(refused.value) and "hunter2" not in str(refused.value)


def test_own_certificates_count_for_both(listener: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("dermray.s3.PatientS3", lambda **options: given.update(options))
    for name, value in {**VARIABLES, "AWS_CA_BUNDLE": f"{tmp_path}/ca.pem"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "ca.pem").write_text("")
    storage.filesystem("s3://bucket/x")
    assert given["tls_ca_file_path"] == f"{tmp_path}/ca.pem" and "endpoint_override" not in given
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")
    (tmp_path / "config").write_text("[default]\ns3 =\n    addressing_style = virtual\nendpoint_url = https://host:1\n")
    storage.filesystem("s3://bucket/x")
    assert given["endpoint_override"] == "host:1" and given["force_virtual_addressing"]
