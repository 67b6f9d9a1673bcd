"""What happens around each request of botocore's S3 clients: what will pass is tried again, all else is explained."""

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dermray import patience, store_errors

NOTE = "dermray"  # where a request's note lies in what botocore keeps of it
FOR_GOOD = (501, 507)  # not implemented, no room: another try meets the same
LARGEST_SKEW = 840.0  # seconds: S3 allows 900, and an answer's Date is older than its arrival


@dataclass
class Note:
    """Of one request and all its tries."""

    uri: str
    tries: int = 1
    began: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"{self.tries} tries in {time.monotonic() - self.began:.0f} s"


def attach(client: Any, bears: float | None) -> None:
    """Have these done for a client.

    Args:
        bears: seconds for which what will pass is tried again, with pauses as `patience.pause` says; None leaves it to
            botocore, whose own rules give up after some seconds, or after some hundred failures of a process.
    """
    events = client.meta.events
    events.register("before-parameter-build.s3", _begin)
    events.register_first("needs-retry.s3", partial(_pause, bears=bears or 0.0))
    events.register("after-call.s3", _refused)
    events.register("after-call-error.s3", _unanswered)


def skew(headers: Mapping[str, str]) -> float:
    """Seconds that this machine's clock is ahead of the one in an answer's headers; 0 where these tell none."""
    date = headers.get("date")
    return time.time() - email.utils.parsedate_to_datetime(date).timestamp() if date else 0.0


def _begin(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    place = params.get("Key") or params.get("Prefix") or ""
    context[NOTE] = Note(f"s3://{params.get('Bucket', '')}/{place}".rstrip("/"))


def _pause(
    request_dict: dict[str, Any],
    attempts: int,
    bears: float,
    response: tuple[Any, Any] | None = None,
    caught_exception: Exception | None = None,
    **_: Any,
) -> float | None:
    """botocore asks whether to try again: seconds until then, or None where its own rules shall decide."""
    note = request_dict["context"].get(NOTE)
    if note is None:
        return None
    note.tries = attempts
    passing = _may_pass(response[0].status_code) if response else _is_unanswered(caught_exception)
    return patience.pause(attempts - 1) if passing and time.monotonic() - note.began < bears else None


def _may_pass(status: int) -> bool:
    return status >= 500 and status not in FOR_GOOD


def _is_unanswered(error: Exception | None) -> bool:
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError

    return isinstance(error, NoConnection | HTTPClientError)


def _refused(http_response: Any, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    """Raises OSError for what a user, or time, can mend; what code asks for (404, 409, 412) stays botocore's."""
    status, note = http_response.status_code, context.get(NOTE)
    if status < 400 or note is None:
        return
    told = parsed.get("Error", {})
    said = f"{model.name} was refused with HTTP status {status} ({told.get('Code')}: {told.get('Message')})"
    cause = store_errors.cause_of(said)
    ahead = skew(http_response.headers)
    if status == 403 and abs(ahead) > LARGEST_SKEW:  # an answer to HEAD does not say that it is for this
        cause = store_errors.CLOCK
        said += f"; this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the store's"
    if cause is None:
        return
    if cause.kind is store_errors.Passing:
        said += f" after {note}"
    raise cause.error(note.uri, said)


def _unanswered(exception: Exception, context: dict[str, Any], **_: Any) -> None:
    note = context.get(NOTE)
    if note is not None and _is_unanswered(exception):
        raise store_errors.UNANSWERED.error(note.uri, f"S3 gave no answer ({exception}) to {note}") from None
