"""What a user reads when a worker failed, wherever it did."""

import pytest
from ray.exceptions import ActorDiedError, RayTaskError, UserCodeException

from dermray.failures import Failure, plain_cause

FRAMES = """ray::MapBatches(f)() (pid=7, ip=127.0.0.1)
  File "x.py", line 5, in f
    raise error
    ^^^^^^^^^^^
{0}"""
WRAPPED = """

The above exception was the direct cause of the following exception:

ray::MapBatches(f)() (pid=7, ip=127.0.0.1)
  File "site-packages/ray/data/_internal/planner/plan_udf_map_op.py", line 482, in _handle_debugger_exception
    raise UserCodeException("UDF failed to process a data block.") from e
ray.exceptions.UserCodeException: UDF failed to process a data block."""


def of_ray_data(raised: str, before: str = "") -> BaseException:
    """As Ray Data raises at the driver: the cause is in its text and nowhere else."""
    text = before + FRAMES.format(raised) + WRAPPED
    return RayTaskError("f", text, UserCodeException("UDF failed"), proctitle="p", pid=7, ip="127.0.0.1")


@pytest.mark.parametrize("error", [KeyError("dx"), ValueError("t.csv, line 3"), OSError(28, "No space left on device")])
def test_the_cause_of_a_task_is_unwrapped(error: Exception) -> None:
    task = RayTaskError("f", FRAMES.format(repr(error)), error, proctitle="p", pid=7, ip="127.0.0.1")
    for wrapped in (task, task.as_instanceof_cause()):
        cause = plain_cause(wrapped)
        assert cause.kind is type(error) and cause.message == str(error) and 'File "x.py", line 5' in cause.trace


@pytest.mark.parametrize(
    ("raised", "kind", "said", "mendable"),
    [
        (
            "ValueError: t.csv, line 3: expected 4 columns, got 2",
            ValueError,
            "t.csv, line 3: expected 4 columns, got 2",
            1,
        ),
        (
            "OSError: [Errno 28] No space left on device",
            OSError,
            "[Errno 28] No space left on device; make room there or raise its quota, then start the same command "
            "again, which resumes",
            True,
        ),
        ("KeyError: 'dx'", KeyError, "KeyError: 'dx'", False),
        ("AssertionError", AssertionError, "AssertionError: ", False),
        ("NotImplementedError: later", NotImplementedError, "NotImplementedError: later", False),
        ("ValueError: two\nlines: of it", ValueError, "two\nlines: of it", True),
        (
            "ValueError: bad row\nFailed to apply UDF transform after 1/1 attempts (total backoff 0.0s).\nTo change",
            ValueError,
            "bad row",
            True,
        ),
        (
            "OSError: [Errno 28] No space left on device: 'Failed to apply UDF transform after 1/1 attempts (total "
            "backoff 0.0s).\\nTo change retry attempts, configure `ray.data`.'",
            OSError,
            "[Errno 28] No space left on device; make room there or raise its quota, then start the same command "
            "again, which resumes",
            True,
        ),
    ],
)
def test_the_cause_in_ray_data_is_read_from_its_text(raised: str, kind: type, said: str, mendable: bool) -> None:
    cause = plain_cause(of_ray_data(raised))
    assert (cause.kind, str(cause), cause.mendable) == (kind, said, mendable)
    assert 'File "x.py", line 5' in cause.trace and "UDF failed" not in cause.trace


def test_what_was_raised_on_purpose_wins_over_what_it_was_raised_from() -> None:
    between = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    error = of_ray_data("ValueError: a.csv, line 2: not UTF-8", FRAMES.format("UnicodeDecodeError: byte 3") + between)
    assert str(plain_cause(error)) == "a.csv, line 2: not UTF-8"


def test_an_unknown_library_s_error_bears_its_name() -> None:
    cause = plain_cause(of_ray_data("some.lib.OddError: it is odd"))
    assert cause.kind.__name__ == "OddError" and str(cause) == "it is odd" and cause.mendable


def test_an_actor_that_never_started_says_why() -> None:
    task = RayTaskError("f", FRAMES.format("ValueError: no such model"), ValueError(), "p", 7, "127.0.0.1")
    assert str(plain_cause(ActorDiedError(task))) == "no such model"


def test_a_machine_s_failure_is_one_line() -> None:
    cause = plain_cause(ActorDiedError())
    assert cause.mendable and str(cause) == "The actor died unexpectedly before finishing this task."


def test_a_replica_that_never_started_says_why() -> None:
    told = "Deploying application default failed: it failed to start 3 times. Error:\n"
    assert str(plain_cause(RuntimeError(told + FRAMES.format("ValueError: no model")))) == "no model"


def test_a_training_is_asked_for_its_workers_then_for_its_controller() -> None:
    from ray.train import ControllerError, WorkerGroupError

    told = plain_cause(WorkerGroupError("[Rank 1] frames", {1: KeyError("dx")}))
    assert (told.kind, told.mendable) == (KeyError, False) and "[Rank 1] frames" in told.trace
    task = RayTaskError("f", FRAMES.format("RuntimeError: x"), RuntimeError("x"), "p", 7, "127.0.0.1")
    assert str(plain_cause(ControllerError(task))) == "x"


def test_stacks_of_c_are_left_out_and_damaged_weights_named() -> None:
    error = RuntimeError("shapes differ\nException raised from check at a.cpp:3 (most recent call first):\nframe #0: x")
    assert str(plain_cause(error)) == "shapes differ"
    from safetensors import SafetensorError

    cause = plain_cause(SafetensorError("header too large"))
    assert cause.mendable and "a .safetensors file is damaged or is none" in str(cause)


def test_a_defect_of_ours_is_told_from_what_a_user_can_mend() -> None:
    assert [Failure(kind, "x").mendable for kind in (ValueError, KeyError, TypeError, RecursionError)] == [1, 0, 0, 0]
