"""What a driver says of a joined cluster's nodes, look after look."""

import asyncio
import socket
from typing import Any

from dermray import node_watch
from dermray.node_watch import Watch
from tests.conftest import free_port


def _nodes(*alive: int, dead: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [
        {"NodeID": f"{n}", "NodeManagerHostname": f"node{n}", "NodeManagerAddress": f"10.0.0.{n}", "Alive": n in alive}
        for n in (*alive, *dead)
    ]


def test_nodes_that_go_and_nodes_that_come_are_named_once() -> None:
    watch = Watch("10.0.0.1:6379")
    assert watch.lines(_nodes(1, 2, 3, dead=(9,)), [], 0) == [], "what was there before is no news"
    assert watch.lines(_nodes(1, 2, 3), [], 5) == []
    [gone] = watch.lines(_nodes(1, 3, dead=(2,)), [], 10)
    assert gone == "nodes gone: node2 (10.0.0.2); Ray does their unfinished work again. 2 remain"
    assert watch.lines(_nodes(1, 3, dead=(2,)), [], 15) == []
    [new] = watch.lines(_nodes(1, 3, 4, dead=(2,)), [], 20)
    assert new == "nodes joined: node4 (10.0.0.4). There are 3 now"


def test_of_many_nodes_a_line_names_a_few() -> None:
    watch = Watch("10.0.0.1:6379")
    watch.lines(_nodes(*range(1, 10)), [], 0)
    [gone] = watch.lines(_nodes(1), [], 5)
    assert gone.count("10.0.0.") == 5 and "and 3 more;" in gone


def test_a_head_that_does_not_answer_is_said_at_its_second_silence_and_what_changed_meanwhile_afterwards() -> None:
    watch = Watch("10.0.0.1:6379")
    watch.lines(_nodes(1, 2), [], 0)
    assert watch.lines(None, [], 5) == [], "one connection may fail"
    [silent] = watch.lines(None, [], 10)
    assert "head 10.0.0.1:6379 does not answer" in silent and "RAY_gcs_rpc_server_reconnect_timeout_s" in silent
    assert watch.lines(None, [], 15) == [], "said once"
    back, gone = watch.lines(_nodes(1, dead=(2,)), [], 20)
    assert back == "the head answers again, after 15 s" and "node2" in gone
    assert watch.lines(None, [], 25) == [] and watch.lines(_nodes(1), [], 30) == []


def test_a_node_that_is_cut_off_is_named_before_ray_takes_it_for_dead() -> None:
    watch = Watch("10.0.0.1:6379")
    watch.lines(_nodes(1, 2), [], 0)
    assert watch.lines(_nodes(1, 2), ["2"], 5) == []
    [silent] = watch.lines(_nodes(1, 2), ["2"], 10)
    assert silent.startswith("nodes do not answer: node2 (10.0.0.2); ")
    assert watch.lines(_nodes(1, 2), ["2"], 15) == []
    assert watch.lines(_nodes(1, 2), [], 30) == ["nodes answer again: node2 (10.0.0.2), after 25 s"]
    watch.lines(_nodes(1, 2), ["2"], 35)
    watch.lines(_nodes(1, 2), ["2"], 40)
    [gone] = watch.lines(_nodes(1, dead=(2,)), [], 45)
    assert gone.startswith("nodes gone: node2"), "and not: answers again"


def test_who_is_silent_is_found_out_by_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {"a": f"127.0.0.1:{server.getsockname()[1]}", "b": f"127.0.0.1:{free_port()}"}
        assert asyncio.run(node_watch._silent(places)) == ["b"]
    assert asyncio.run(node_watch._silent({})) == []
