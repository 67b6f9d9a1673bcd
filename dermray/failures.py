"""What went wrong, in a user's words: what Ray's workers raise arrives wrapped, or as text alone."""

import builtins
import re
import sys
from dataclasses import dataclass, replace

from dermray import store_errors

# What a user can mend or a machine brings about. All else (KeyError, TypeError, AssertionError) is a defect of ours.
MENDABLE = (ValueError, OSError, RuntimeError, ImportError, MemoryError)
DEFECTS = (NotImplementedError, RecursionError)  # these are RuntimeErrors too
# Libraries whose own errors tell of files, networks and machines.
OUTSIDE = ("ray", "safetensors", "botocore", "openai", "httpx", "pyarrow")
HINTS = {"SafetensorError": "a .safetensors file is damaged or is none; copy or download it again"}

CHAINED = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception|"
    r"During handling of the above exception, another exception occurred):\n\n"
)
RAISED = re.compile(r"([A-Za-z_][\w.]*)(?:: ?(.*))?")
# Behind some messages: stacks of C++, and what Ray Data says of its tries (in an OSError, for the name of a file).
BEHIND = re.compile(
    r"\n\s*(?:Exception raised from |C\+\+ CapturedTraceback|frame #\d+:|Failed to .* after \d+/\d+ attempts)"
    r"|: ['\"]Failed to .* after \d+/\d+ attempts"
)


@dataclass(frozen=True)
class Failure:
    """One exception, wherever it was raised."""

    kind: type[BaseException]
    message: str
    trace: str = ""  # of the worker that raised it; empty for what was raised in this process

    def __str__(self) -> str:
        text = self.message
        if self.mendable and not issubclass(self.kind, ValueError):
            text = store_errors.advised(text)
        if text == self.message and (hint := HINTS.get(self.kind.__name__)):
            text = f"{hint} ({text})"
        return text if self.mendable and text else f"{self.kind.__name__}: {text}"

    @property
    def mendable(self) -> bool:
        """Whether the message is enough: a defect needs its traceback."""
        outside = self.kind.__module__.partition(".")[0] in OUTSIDE
        return outside or (issubclass(self.kind, MENDABLE) and not issubclass(self.kind, DEFECTS))


def plain_cause(error: BaseException) -> Failure:
    """What was raised first, out of the wrappings that Ray Core, Data, Train and Tune put around it."""
    inner = _inner(error)
    # Ray Data and Serve keep the text of a cause and not the exception
    if (inner is None or (_of_ray(error) and _of_ray(inner))) and (told := _from_text(str(error))):
        return told
    if inner is None:
        return Failure(type(error), _words(error))
    cause = plain_cause(inner)
    return cause if cause.trace else replace(cause, trace=str(error) if _of_ray(error) else "")


def _inner(error: BaseException) -> BaseException | None:
    workers: dict[int, BaseException] = getattr(error, "worker_failures", None) or {}  # Ray Train's, by rank
    inner = next(iter(workers.values()), None)
    inner = inner or getattr(error, "controller_failure", None) or getattr(error, "cause", None)
    inner = inner or (error.__cause__ if _of_ray(error) else None)
    return inner if isinstance(inner, BaseException) and inner is not error else None


def _of_ray(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "ray"


def _words(error: BaseException) -> str:
    """Its message without what is behind it; of Ray's own errors the first line, identifiers follow it."""
    text = BEHIND.split(str(error))[0].strip()
    return text.partition("\n")[0] if _of_ray(error) else text


def _from_text(text: str) -> Failure | None:
    """The last exception in a printed chain that is not Ray's own."""
    told = [failure for block in CHAINED.split(text) if (failure := _from_traceback(block))]
    own = [failure for failure in told if failure.kind.__module__.partition(".")[0] != "ray"]
    return own[-1] if own else None


def _from_traceback(block: str) -> Failure | None:
    """What one printed traceback ends with: the first line behind its frames that is not indented."""
    _, _, behind = block.partition("\n  File ")
    if not behind:
        return None
    lines = behind.splitlines()
    number = next((i for i, line in enumerate(lines) if i and line and not line.startswith(" ")), None)
    raised = RAISED.fullmatch(lines[number]) if number is not None else None
    if raised is None or number is None:
        return None
    message = "\n".join([raised[2] or "", *lines[number + 1 :]])
    return Failure(_class(raised[1]), BEHIND.split(message)[0].strip(), block.strip())


def _class(name: str) -> type[BaseException]:
    """The exception's class, where this process knows it; otherwise a RuntimeError that bears its name."""
    module, _, short = name.rpartition(".")
    known = getattr(sys.modules.get(module or "builtins", builtins), short, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        return known
    return type(short, (RuntimeError,), {"__module__": module})
