"""A node is killed, its cable is cut for half a minute, the head is replaced: nothing is lost, and it is said."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dermray import manifest, storage
from tests.network.cluster import RUN, Cluster, cluster, ids
from tests.network.nodes import HEAD
from tests.quickstart import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(3000)]
ROWS = 360
SECONDS = 0.5  # a caption: 45 s of work for both engines


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """With a head whose state outlives it."""
    with cluster(tmp_path, monkeypatch, keeps_state=True) as made:
        yield made


def _captioning(nodes: Cluster) -> bool:
    return any("/caption/" in file and "/rows/" in file for file in storage.list_files(RUN, ".parquet"))


def _all_captioned_once() -> None:
    ingested, captioned = manifest.read(f"{RUN}/ingest"), manifest.read(f"{RUN}/caption")
    assert captioned.manifest.rows.ok == ROWS
    assert ids(captioned) == ids(ingested)


def test_a_node_that_is_killed_in_the_midst_of_captions_costs_no_row(nodes: Cluster) -> None:
    driver = nodes.begin(ROWS, SECONDS, "ingest", "caption")
    wait_for(lambda: _captioning(nodes) or driver.poll() is not None, 400)
    victim = nodes.node_of("MapBatches(_Engine)")
    nodes.nodes.kill(victim)
    assert driver.wait(600) == 0, nodes.said[-5000:]
    _all_captioned_once()
    assert f"nodes gone: node{victim} ({nodes.nodes.address(victim)})" in nodes.said
    assert "3 remain" in nodes.said


def test_a_cable_cut_for_half_a_minute_costs_no_row(nodes: Cluster) -> None:
    driver = nodes.begin(ROWS, SECONDS, "ingest", "caption")
    wait_for(lambda: _captioning(nodes) or driver.poll() is not None, 400)
    victim = nodes.node_of("MapBatches(_Engine)")
    nodes.nodes.set("cut", victim)
    time.sleep(30)
    nodes.nodes.set("restore", victim)
    assert driver.wait(900) == 0, nodes.said[-5000:]
    _all_captioned_once()


def test_a_head_that_is_killed_and_started_again_costs_no_row(nodes: Cluster) -> None:
    driver = nodes.begin(ROWS, SECONDS, "ingest", "caption")
    wait_for(lambda: _captioning(nodes) or driver.poll() is not None, 400)
    nodes.nodes.kill(HEAD)
    wait_for(lambda: "does not answer" in nodes.said, 60)
    nodes.start(HEAD)
    assert driver.wait(600) == 0, nodes.said[-5000:]
    _all_captioned_once()
    assert "the head answers again, after" in nodes.said
