"""Each fault of a disk or an S3 server reaches who uses it, and is over afterwards."""

import errno
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port, s3_environment
from tests.faulty_s3 import FaultyS3, faulty
from tests.soak.faults import OF_S3, Machine, answers, mountable, server_process, wait

REACHED = {
    "s3_500": "InternalError",
    "s3_503": "SlowDown",
    "s3_full": "XMinioStorageFull",
    "s3_slow": "ReadTimeoutError",
    "s3_lost": "ConnectionClosedError",
    "s3_cut_off": "ConnectionClosedError",
    "s3_refused": "EndpointConnectionError",
    "s3_stopped": "ReadTimeoutError",
}


@pytest.fixture(scope="module")
def broken() -> Iterator[Machine]:
    """A machine without its nodes."""
    machine, port = Machine.__new__(Machine), free_port()
    machine.server = server_process(port)
    with faulty(f"http://127.0.0.1:{port}") as machine.proxy:
        assert wait(lambda: answers(machine.proxy.upstream_url), 90)
        yield machine
    machine.server.kill()
    machine.server.wait()


def client_of(proxy: FaultyS3) -> Any:
    """One that tries once, and not for long."""
    import boto3
    from botocore.config import Config

    keys = s3_environment(proxy.endpoint)
    once = Config(retries={"total_max_attempts": 1}, read_timeout=0.4, connect_timeout=2)
    return boto3.client(
        "s3", endpoint_url=proxy.endpoint, aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], config=once,
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"], region_name=keys["AWS_REGION"],
    )  # fmt: skip


def outcome(ask: Callable[[], Any]) -> str:
    """What a request ended with."""
    try:
        ask()
    except Exception as error:  # botocore makes its classes as it goes
        response = getattr(error, "response", None) or {}
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return "answered"


def test_every_fault_of_s3_has_a_way_to_be_met() -> None:
    assert REACHED.keys() == set(OF_S3)


@pytest.mark.parametrize("kind", OF_S3)
def test_a_fault_of_s3_is_met_and_passes(broken: Machine, kind: str) -> None:
    client, bucket = client_of(broken.proxy), kind.replace("_", "-")
    assert wait(lambda: outcome(lambda: client.create_bucket(Bucket=bucket)) == "answered", 30)
    met = set[str]()
    driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    hold = threading.Thread(target=lambda: broken.break_(kind, driver, 1.5, None))  # type: ignore[arg-type]  # kills nobody
    hold.start()
    while hold.is_alive() and REACHED[kind] not in met:
        met.add(outcome(lambda: client.put_object(Bucket=bucket, Key="k", Body=b"v")))
    hold.join()
    driver.communicate(b"\n")
    assert REACHED[kind] in met
    assert wait(lambda: outcome(lambda: client.put_object(Bucket=bucket, Key="k", Body=b"w")) == "answered", 30)


def test_a_full_disk_has_no_room_until_it_has(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mountable(disk):
        pytest.skip("mounting a disk in memory is not allowed here: it takes root")
    machine = Machine.__new__(Machine)
    machine.disk = disk
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
    try:
        driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        hold = threading.Thread(target=lambda: machine.break_("disk_full", driver, 60, None))  # type: ignore[arg-type]
        hold.start()
        assert wait(lambda: _full(disk / "file"), 30)
        driver.communicate(b"\n")  # a driver that has ended holds nothing up
        hold.join(10)
        assert not hold.is_alive() and not _full(disk / "file")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _full(file: Path) -> bool:
    try:
        file.write_bytes(bytes(5000))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return True
    return False
