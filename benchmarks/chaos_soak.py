"""Random faults over all stages, on small data: is any row lost, doubled or changed, and is any start stuck?

    python -m benchmarks.chaos_soak MINUTES [--seed N] [--stages ingest,train] [--faults node,s3_500] [--rounds 3-5]

Round by round, a stage is started on two Ray nodes, over an S3 server or on a disk, after it has once been run
undisturbed; up to three faults hit it (tests/soak/faults.py has them all); it is started again until it is done; and
its result is compared with the undisturbed one: the same rows and statuses, no id twice, the same bits of weights,
nothing missing, nothing left over. A thread looks at the output all the while.

The seed decides stages, places, faults and their order. When a fault hits, it decides as a share of the stage's work,
and whom it kills depends on who is there: machines are not equally fast, so the moments differ from run to run. Disks
are filled where a small one can be mounted, which takes root. Ends with 1 where anything was wrong.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import free_port, s3_environment
from tests.faulty_s3 import faulty
from tests.soak import results
from tests.soak.faults import FAULTS, Machine, answers, mountable, server_process, wait
from tests.soak.rounds import ROOT, Reference, Round, Told, plans
from tests.soak.stages import STAGES

MEBIBYTES = 64  # of the small disk
BUCKET = "soak"


@contextlib.contextmanager
def machine(directory: Path) -> Iterator[Machine]:
    """All that a soak needs, ended afterwards. This process itself reads past the proxy."""
    import boto3

    port, disk = free_port(), directory / "disk"
    disk.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(server_process(port))
        stack.callback(server.kill)
        proxy = stack.enter_context(faulty(f"http://127.0.0.1:{port}"))
        os.environ.update(s3_environment(proxy.upstream_url))
        os.environ["RAY_TMPDIR"] = stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="ray"))
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        if not wait(lambda: answers(proxy.upstream_url), 60):
            raise RuntimeError("the S3 server did not start within 60 s")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
        small = disk if mountable(disk) else None
        if small is None:
            print("no disk can be mounted here (that takes root): none is filled", flush=True)
        ready = Machine(proxy, server, small, MEBIBYTES)
        stack.callback(ready.close)
        yield ready


class References:
    """Undisturbed results below `base` and a copy of them in S3, each made when it is first needed."""

    def __init__(self, ready: Machine, base: Path) -> None:
        self.ready, self.base, self.made = ready, base, dict[str, Reference]()
        self.places = {False: str(base), True: f"s3://{BUCKET}/base"}  # by whether that is in S3

    def of(self, name: str) -> Reference:
        """A stage's, after those of all that it reads.

        Raises:
            RuntimeError: the stage fails undisturbed.
        """
        if name not in self.made:
            for other in STAGES[name].reads.values():
                self.of(other)
            self.made[name] = self._make(name)
        return self.made[name]

    def _make(self, name: str) -> Reference:
        from dermray import manifest, storage

        place = f"{self.base}/{name}"
        if results.finished(place) is None:  # of an earlier soak
            storage.delete_tree(place)  # what a soak left that was ended
            environment = os.environ | {"RAY_ADDRESS": self.ready.cluster.address, "PYTHONPATH": str(ROOT)}
            command = STAGES[name].command(str(self.base), place)
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{name} fails undisturbed: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        result = manifest.read(place)
        storage.copy_directory(place, f"{self.places[True]}/{name}")
        print(f"undisturbed: {name} in {result.manifest.seconds:.0f} s", flush=True)
        return Reference(results.held(result), result.manifest.seconds)


def soak(minutes: float, seed: int, names: list[str], kinds: list[str], rounds: range, directory: Path) -> list[Told]:
    """Rounds for so long; a line for each."""
    from dermray import storage

    told = list[Told]()
    with machine(directory) as ready:
        references, end = References(ready, directory / "base"), time.monotonic() + 60 * minutes
        for plan in plans(seed, names, ready, kinds):
            if time.monotonic() > end or plan.number >= rounds.stop:
                break
            if plan.number not in rounds:
                continue
            place = f"s3://{BUCKET}" if plan.in_s3 else str(ready.disk or directory)
            output = f"{place}/round-{plan.number}"
            reference, log = references.of(plan.stage.name), directory / f"{plan.number}.log"
            told.append(Round(plan, ready, reference, references.places, output, log).run())
            print(line(told[-1]), flush=True)
            if told[-1].wrong and storage.exists(output):
                storage.copy_directory(output, str(directory / f"{plan.number}-wrong"))
            storage.delete_tree(output)
    return told


def line(of: Told) -> str:
    """A round in words."""
    hit = "; ".join(f"{kind} ({met})" for kind, met in of.done) or "nothing hit it"
    late = f"; too late: {', '.join(of.late)}" if of.late else ""
    failures = "".join(f"\n    a start ended: {words}" for words in of.failures)
    wrong = "".join(f"\n    WRONG: {what}" for what in of.wrong)
    return f"{of.plan} -> {hit}{late}; {of.starts} starts, {of.seconds:.0f} s{failures}{wrong}"


def table(told: list[Told], kinds: list[str]) -> str:
    """Stages by faults: how often each hit, and in brackets how often a round with it had something wrong."""
    hits, wrong = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for each in told:
        for kind in [kind for kind, _ in each.done]:
            hits[each.plan.stage.name, kind] += 1
            wrong[each.plan.stage.name, kind] += bool(each.wrong)
    stages = [name for name in STAGES if any(each.plan.stage.name == name for each in told)]
    lines = [["stage", "rounds", *kinds, "starts", "wrong"], ["---"] * (len(kinds) + 4)]
    for name in stages:
        own = [each for each in told if each.plan.stage.name == name]
        cells = [_cell(hits[name, kind], wrong[name, kind]) for kind in kinds]
        lines.append(
            [name, str(len(own)), *cells, str(sum(t.starts for t in own)), str(sum(bool(t.wrong) for t in own))]
        )
    sums = [str(sum(hits[name, kind] for name in stages)) for kind in kinds]
    starts, bad = sum(t.starts for t in told), sum(bool(t.wrong) for t in told)
    lines.append(["all", str(len(told)), *sums, str(starts), str(bad)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_json(told: list[Told], seed: int, minutes: float, load: float) -> dict[str, Any]:
    """All of it."""
    rounds = [
        {
            "round": each.plan.number, "stage": each.plan.stage.name, "in_s3": each.plan.in_s3,
            "planned": [[kind, round(share, 3), round(lasts, 1)] for kind, share, lasts in each.plan.faults],
            "done": each.done, "late": each.late, "starts": each.starts, "failures": each.failures,
            "looks": each.looks, "wrong": each.wrong, "seconds": round(each.seconds, 1),
        }
        for each in told
    ]  # fmt: skip
    faults = sum(len(each.done) for each in told)
    return {
        "seed": seed, "minutes": minutes, "cpus": os.cpu_count(), "processor": platform.processor(), "load": load,
        "faults": faults, "wrong": sum(len(each.wrong) for each in told), "rounds": rounds,
    }  # fmt: skip


def _cell(hits: int, wrong: int) -> str:
    return (f"{hits} ({wrong})" if wrong else str(hits)) if hits else ""


def main(argv: list[str]) -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", type=float, help="of rounds and of the undisturbed results before them")
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat its order of faults")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--rounds", default="1-1000000", metavar="FIRST-LAST", help="only these")
    parser.add_argument("--json", type=Path, help="file for all that happened")
    parser.add_argument("--keep", type=Path, help="directory for logs and undisturbed results, used again")
    given = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    first, _, last = given.rounds.partition("-")
    kinds = given.faults.split(",")
    directory = given.keep or Path(tempfile.mkdtemp(prefix="soak", dir="/tmp"))
    directory.mkdir(exist_ok=True)
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nodes are ended, and the disk is taken away
    began = time.monotonic()
    try:
        rounds = range(int(first), int(last or first) + 1)
        told = soak(given.minutes, seed, given.stages.split(","), kinds, rounds, directory)
    finally:
        if given.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    took = (time.monotonic() - began) / 60
    print(table(told, kinds))
    if given.json:
        given.json.write_text(json.dumps(as_json(told, seed, round(took, 1), os.getloadavg()[2]), indent=1))
    wrong = sum(len(each.wrong) for each in told)
    print(f"seed {seed}: {len(told)} rounds, {sum(len(each.done) for each in told)} faults, {wrong} wrong")
    return 1 if wrong or not told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
