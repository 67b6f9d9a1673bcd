"""A node is killed, its cable is cut for half a minute, the head is replaced: nothing is lost, and it is said."""

import time
from collections.abc import Callable, Iterator

import pytest

from dermray import manifest, storage
from tests.network.cluster import BUCKET, Cluster, cluster, ids
from tests.network.nodes import HEAD
from tests.quickstart import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(3000)]
RUN = f"s3://{BUCKET}/run"
ROWS = 360
SECONDS = 0.5  # a caption
CUT = 30  # seconds
SILENT = "the cluster's head"
ENGINE = "MapBatches(_Engine)"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With a head whose state outlives it, and rows."""
    with pytest.MonkeyPatch.context() as patch, cluster(tmp_path_factory.mktemp("nodes"), patch, True) as made:
        assert made.begin(RUN, ROWS, 0, "ingest").wait(600) == 0, made.said[-5000:]
        yield made


def _said_meanwhile(nodes: Cluster, name: str, seconds: float, fault: Callable[[], None]) -> str:
    """What a driver says while captions are written, from the start on; `fault` comes in their midst."""
    before = len(nodes.said)
    driver = nodes.begin(RUN, ROWS, seconds, f"caption:{name}")
    wait_for(lambda: _under_way(name) or driver.poll() is not None, 400)
    fault()
    assert driver.wait(900) == 0, nodes.said[-5000:]
    ingested, captioned = manifest.read(f"{RUN}/ingest"), manifest.read(f"{RUN}/{name}")
    assert captioned.manifest.rows.ok == ROWS
    assert ids(captioned) == ids(ingested)
    return nodes.said[before:]


def _under_way(name: str) -> bool:
    return any("/rows/" in file for file in storage.list_files(f"{RUN}/{name}", ".parquet"))


def test_a_head_that_is_killed_and_started_again_costs_no_row(nodes: Cluster) -> None:
    def replace() -> None:
        before = nodes.said.count(SILENT)
        nodes.nodes.kill(HEAD)
        wait_for(lambda: nodes.said.count(SILENT) > before, 60)
        nodes.start(HEAD)

    said = _said_meanwhile(nodes, "head", SECONDS, replace)
    assert "the head answers again, after" in said


def test_a_cable_cut_for_half_a_minute_costs_no_row(nodes: Cluster) -> None:
    victims = []

    def cut() -> None:
        victims.append(nodes.node_of(ENGINE))
        nodes.nodes.set("cut", victims[0])
        time.sleep(CUT)
        nodes.nodes.set("restore", victims[0])

    said = _said_meanwhile(nodes, "cut", 2 * SECONDS, cut)
    nodes.nodes.kill(victims[0])  # Ray may have given it up, and may not: what follows needs all of them
    nodes.start(victims[0])
    assert "nodes do not answer: node" in said and "nodes answer again: node" in said


def test_a_node_that_is_killed_costs_no_row(nodes: Cluster) -> None:
    victims = []

    def kill() -> None:
        victims.append(nodes.node_of(ENGINE))
        nodes.nodes.kill(victims[0])

    said = _said_meanwhile(nodes, "kill", SECONDS, kill)
    assert f"nodes gone: node{victims[0]} ({nodes.nodes.address(victims[0])})" in said and "3 remain" in said
