"""A round: a stage is started, faults hit it, it is started again until it is done, and its result is compared."""

import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dermray import storage
from tests.conftest import s3_environment
from tests.soak import results
from tests.soak.faults import FAULTS, Machine, wait
from tests.soak.stages import STAGES, Stage
from tests.soak.watch import Watch

Process = subprocess.Popen
ROOT = Path(__file__).parent.parent.parent
STARTS = 5  # without a fault, after which a stage must be done
SLOWEST = 300.0  # seconds that a start may take, beside ten times those of the undisturbed one
LASTS = (
    11.0,
    20.0,
)  # seconds of a fault that lasts: a writer renews its claim every ten, so that one meets it at least
CLAIMED = "wait for it, or"  # what a start says that meets a claim not yet run out
TAKEN_OVER = 75.0  # seconds until it is


@dataclass(frozen=True)
class Plan:
    """What the seed decides of a round. When a fault hits is a share of the seconds that an undisturbed stage works."""

    number: int
    stage: Stage
    in_s3: bool
    faults: tuple[tuple[str, float, float], ...]  # kind, share, seconds that it lasts
    waits: bool  # whether a killed writer's claim is waited for, or removed by who knows that it is dead
    seed: str

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} at {share:.2f}" for kind, share, _ in self.faults)
        return f"round {self.number}: {self.stage.name} {'in S3' if self.in_s3 else 'on disk'}, {kinds or 'no fault'}"


@dataclass
class Told:
    """What came of a round."""

    plan: Plan
    done: list[tuple[str, str]] = field(default_factory=list)  # faults that hit, and what they met
    late: list[str] = field(default_factory=list)  # faults for which the stage was too quick
    starts: int = 0
    failures: list[str] = field(default_factory=list)  # last words of starts that ended by themselves, and badly
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def plans(seed: int, stages: Iterable[str], machine: Machine, kinds: Iterable[str] = FAULTS) -> Iterator[Plan]:
    """Rounds without end. Each fault comes once before any comes again, with one of the stages that came least and have
    not met it yet. Up to two more faults come along."""
    stages, kinds, number = tuple(stages), tuple(kinds), 0
    dice, came = random.Random(seed), Counter[str]()
    left: dict[str, list[str]] = {kind: [] for kind in kinds}
    while True:
        for kind in dice.sample(kinds, len(kinds)):
            able = left[kind] or [name for name in stages if _able(machine, kind, STAGES[name])]
            if not able:
                continue
            least = min(came[name] for name in able)
            name = dice.choice([name for name in able if came[name] == least])
            left[kind] = [other for other in able if other != name]
            came[name] += 1
            number += 1
            yield _plan(f"{seed}/{number}", number, kind, STAGES[name], kinds, machine)


def _able(machine: Machine, kind: str, stage: Stage) -> bool:
    return any(machine.possible(kind, stage.engine, in_s3) for in_s3 in (False, True))


def _plan(seed: str, number: int, first: str, stage: Stage, kinds: tuple[str, ...], machine: Machine) -> Plan:
    dice = random.Random(seed)
    in_s3 = dice.choice([place for place in (False, True) if machine.possible(first, stage.engine, place)])
    others = [kind for kind in kinds if machine.possible(kind, stage.engine, in_s3)]
    chosen = [first, *dice.choices(others, k=dice.choices((0, 1, 2), (5, 3, 2))[0])]
    when = sorted(dice.uniform(0, 0.9) for _ in chosen)
    faults = tuple((kind, share, dice.uniform(*LASTS)) for kind, share in zip(dice.sample(chosen, len(chosen)), when,
                                                                          strict=True))  # fmt: skip
    return Plan(number, stage, in_s3, faults, dice.random() < 0.3, seed)


@dataclass(frozen=True)
class Reference:
    """An undisturbed result."""

    held: dict[str, str]
    seconds: float  # that it took


class Round:
    """One stage under fire.

    Args:
        inputs: where the results of all stages lie, on disk and in S3, by `in_s3`.
        output: where this one's goes.
        log: what its starts say is appended.
    """

    def __init__(
        self, plan: Plan, machine: Machine, reference: Reference, inputs: dict[bool, str], output: str, log: Path
    ) -> None:
        self.plan, self.machine, self.reference, self.output, self.log = plan, machine, reference, output, log
        self.command = plan.stage.command(inputs[plan.in_s3], output)
        self.told, self.dice = Told(plan), random.Random(plan.seed + "/victims")
        self.begun_at = 0.0

    def run(self) -> Told:
        """All of it. What is wrong is told, not raised."""
        start = time.monotonic()
        watch = Watch(self.output, lambda: self._wrong(final=False))
        driver = self._start()
        try:
            driver = self._under_fire(driver, watch)
            self._until_done(driver)
        finally:
            self.told.wrong += watch.end()
            self._driver.kill()  # where the soak itself is ended
            self._driver.wait()
        self.told.looks = watch.looks
        self.told.wrong += [line for line in self._wrong() if not any(line in known for known in self.told.wrong)]
        self.told.seconds = time.monotonic() - start
        return self.told

    def _under_fire(self, driver: "Process[bytes]", watch: Watch) -> "Process[bytes]":
        for kind, share, seconds in self.plan.faults:
            _ended(driver, self._limit, or_=watch.begun)
            self.begun_at = self.begun_at or time.monotonic()
            pause = self.begun_at + share * self.reference.seconds - time.monotonic()
            _ended(driver, max(pause, 0))
            if driver.poll() == 0:
                self.told.late.append(kind)
                continue
            if driver.poll() is not None:  # of an earlier fault
                driver = self._again(driver)
            met = None
            while met is None and driver.poll() is None and time.monotonic() < self.begun_at + self._limit:
                met = self.machine.break_(kind, driver, seconds, self.dice)
                time.sleep(0.1)
            if met is None:
                self.told.late.append(kind)
                continue
            self.told.done.append((kind, met))
            if kind == "driver":
                driver = self._again(driver)
        return driver

    def _until_done(self, driver: "Process[bytes]") -> None:
        left, deadline = STARTS, time.monotonic() + TAKEN_OVER
        while True:
            if not _ended(driver, self._limit):
                self.told.wrong.append(f"still at work after {self._limit:.0f} s, and ended: {self._stack(driver)}")
                driver.kill()
                driver.wait()
            if driver.returncode == 0:
                return
            left -= not (self._refused(driver) and time.monotonic() < deadline)
            if not left:
                break
            driver = self._again(driver)
        self.told.wrong.append(f"not done after {STARTS} starts without a fault: {self._last_words()}")

    def _again(self, driver: "Process[bytes]") -> "Process[bytes]":
        """Another start, of a driver that is dead or has failed."""
        if self._refused(driver):
            time.sleep(5)
            return self._start(counts=False)
        if driver.returncode > 0:
            words = self._last_words()
            self.told.failures.append(words)
            if not words.startswith("dermray: ") or "a defect of dermray" in words:
                self.told.wrong.append(f"a start ended without saying why: {words}")
        elif self.plan.in_s3 and not self.plan.waits:
            storage.delete_file(f"{self.output}/claim")
        return self._start()

    def _refused(self, driver: "Process[bytes]") -> bool:
        """Whether it met the claim of a writer that was killed."""
        return driver.returncode > 0 and CLAIMED in self._last_words()

    def _start(self, counts: bool = True) -> "Process[bytes]":
        self.told.starts += counts
        environment = os.environ | {"RAY_ADDRESS": self.machine.cluster.address, "PYTHONPATH": str(ROOT)}
        if self.plan.in_s3:
            environment |= s3_environment(self.machine.proxy.endpoint)
        with self.log.open("a") as log:
            log.write(f"--- {self.plan}, start {self.told.starts}\n")
            log.flush()
            self._driver = Process(self.command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        return self._driver

    def _wrong(self, final: bool = True) -> list[str]:
        """What is wrong with the result; at the end also what else lies there, which is tidied up after a manifest."""
        expected = self.reference.held
        try:
            result = results.finished(self.output)
            if result is None:
                return ["no manifest"]
            found = results.held(result, None if final else expected)
        except Exception as error:  # whatever reading a bad result may raise: it is what is looked for here
            return [f"it cannot be read: {type(error).__name__}: {error}"]
        left = [f"{name}: beside the result" for name in results.beside(self.output, result)] if final else []
        return [*results.differences(expected, found), *left]

    @property
    def _limit(self) -> float:
        return SLOWEST + 10 * self.reference.seconds

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if line.startswith("dermray: ") and ": warning:" not in line), "")
        return (said or lines[-1])[:600]

    def _stack(self, driver: "Process[bytes]") -> str:
        """Where it stands, if py-spy is here."""
        try:
            spy: Any = ["py-spy", "dump", "--pid", str(driver.pid)]
            return subprocess.run(spy, capture_output=True, text=True, timeout=60, check=False).stdout[-3000:]
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)


def _ended(driver: "Process[bytes]", seconds: float, or_: threading.Event | None = None) -> bool:
    """Wait at most so long for a driver's end, or for an event; whether it came."""
    return wait(lambda: driver.poll() is not None or (or_ is not None and or_.is_set()), seconds)
