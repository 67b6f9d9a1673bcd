"""What a disk or a store says when it cannot do what it should, and what to do about it."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dermray import patience

RESUME = "then start the same command again, which resumes"


class Passing(OSError):
    """A fault of a store that may be over by the next try."""


class Unanswered(Passing, ConnectionError):
    """Nobody answered."""


@dataclass(frozen=True)
class Cause:
    """A kind of fault."""

    words: str  # a regular expression of what botocore, pyarrow, Python, torch or safetensors say
    advice: str
    kind: type[OSError]

    def error(self, uri: str, said: str, errno: int | None = None) -> OSError:
        """To be raised about `uri`."""
        error = self.kind(f"{uri}: {said.rstrip('.')}; {self.advice}, {RESUME}")
        error.errno = errno
        return error


# The first that fits counts: a quota is told as 403 too. Names in capitals are pyarrow's. PermissionError is kept for
# what may be of one object alone, and fails its row; all else ends the job.
CLOCK = Cause(
    r"TimeTooSkewed|TIME_TOO_SKEWED",
    "set this machine's clock (NTP), because S3 refuses requests that are 15 minutes off",
    OSError,
)
PASSING = Cause(
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|REQUEST_TIMEOUT)"
    r"|HTTP status 5(?!01)\d\d|S3 gave no answer",
    f"see whether the store is up and can be reached ({patience.VARIABLE}=seconds is how long its faults are borne)",
    Passing,
)
UNANSWERED = replace(PASSING, advice=f"check AWS_ENDPOINT_URL and the network; {PASSING.advice}", kind=Unanswered)
CAUSES = (
    CLOCK,
    Cause(
        r"InvalidAccessKeyId|INVALID_ACCESS_KEY_ID|SignatureDoesNotMatch|SIGNATURE_DOES_NOT_MATCH",
        "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        OSError,
    ),
    Cause(r"ExpiredToken|TokenRefreshRequired", "renew the credentials", OSError),
    Cause(r"NoSuchBucket|NO_SUCH_BUCKET", "create the bucket or correct the address", FileNotFoundError),
    Cause(
        r"(?i)\[errno (28|122)\]|os error (28|122)|no space left on device|disk quota exceeded|StorageFull"
        r"|InsufficientStorage|QuotaExceeded|HTTP status 507|PytorchStreamWriter failed"
        r"|unexpected pos \d+ vs \d+",  # torch.save, whose first complaint is lost behind its second
        "make room there or raise its quota",
        OSError,
    ),
    Cause(
        r"AccessDenied|ACCESS_DENIED|HTTP status 403",
        "give these credentials the right to read, write, list and delete there",
        PermissionError,
    ),
    Cause(
        r"(?i)\[errno (1|13|30)\]|os error (1|13|30)\b",
        "give this user the right to write there or choose another output",
        PermissionError,
    ),
    PASSING,
)


def cause_of(said: str) -> Cause | None:
    """The kind of fault that a message tells of, if it is one of a store's."""
    return next((cause for cause in CAUSES if re.search(cause.words, said)), None)


def may_pass(error: Exception) -> bool:
    """Whether another try may meet another answer: of no fault that a user must mend first."""
    cause = cause_of(str(error))
    return cause is None or cause.kind is Passing


def advised(said: str) -> str:
    """A message with what to do about it, where it is a store's and does not say so yet."""
    cause = cause_of(said)
    return said if cause is None or RESUME in said else f"{said.rstrip('.')}; {cause.advice}, {RESUME}"


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Faults of a store in what is done with `uri`: with its name, and what to do. Other errors are as they are."""
    began = time.monotonic()
    try:
        yield
    except OSError as error:
        said = str(error)
        cause = cause_of(said)
        if cause is None or RESUME in said:
            raise
        if cause.kind is Passing:
            said += f" (tried for {time.monotonic() - began:.0f} s)"
        raise cause.error(uri, said, error.errno) from None
