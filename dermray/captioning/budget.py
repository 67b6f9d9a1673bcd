"""How many errors of its engine a job bears before it ends: they must not be written off as failures of rows."""

from collections import deque

ANSWERS = 64  # the share is taken over so many last ones: a good engine with a few bad rows never comes near a half


class ErrorBudget:
    """Counts what came of an engine's last requests.

    The error that it raises fails the block of rows under way, which then has no checkpoint: the next start asks these
    rows again.

    Args:
        most: share of the last ANSWERS requests that may be errors; 1 bears all.
    """

    def __init__(self, most: float) -> None:
        self.most, self.failed = most, deque[bool](maxlen=ANSWERS)

    def note(self, error: str | None) -> None:
        """An answer came, or the error instead of it.

        Raises:
            RuntimeError: too many were errors.
        """
        self.failed.append(bool(error))
        if error and (number := sum(self.failed)) > self.most * ANSWERS:
            raise RuntimeError(
                f"{number} of the engine's last {len(self.failed)} answers were errors, more than "
                f"max_engine_errors={self.most:g} allows; the last one: {error[:200]}. Start again when the engine is "
                "mended: what is captioned is kept, and the rest is asked again"
            )
