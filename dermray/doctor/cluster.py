"""The cluster that jobs would join: does it answer, and do its nodes have what this machine has?"""

import os
from collections.abc import Iterator

from dermray.doctor.finding import Finding, fault, ok, warning


def findings() -> Iterator[Finding]:
    """Of RAY_ADDRESS, where it is set."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        yield ok("RAY_ADDRESS is not set: jobs start a Ray of their own on this machine")
        return
    from dermray import nodes
    from dermray.cluster import connect

    try:
        ray = connect()
    except (RuntimeError, ValueError, ConnectionError) as error:
        yield fault(
            f"cluster {address}: {error}", "is it up, is its token here (`ray get-auth-token`), has it this dermray?"
        )
        return
    alive = [node for node in ray.nodes() if node["Alive"]]
    resources = ray.cluster_resources()
    yield ok(
        f"cluster {address}: {len(alive)} nodes with the same software, {resources.get('CPU', 0):g} CPUs, "
        f"{resources.get('GPU', 0):g} GPUs"
    )
    if missing := sorted(node for node, there in nodes.ask_all(_has_credentials).items() if there is not True):
        yield warning(
            f"nodes {', '.join(missing)} have no S3 credentials", "export them before `ray start`, or give nodes a role"
        )


def _has_credentials() -> bool:
    from botocore.session import get_session

    return get_session().get_credentials() is not None
