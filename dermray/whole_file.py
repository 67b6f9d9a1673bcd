"""Files that are there when they are whole, however large: writers that are killed, or fail, leave none."""

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermray import s3, storage, store_errors

PART = 16 << 20  # bytes of an upload's part: S3 takes 5 MiB to 5 GiB, and 10,000 parts


@contextlib.contextmanager
def whole_file(uri: str) -> Iterator[Any]:
    """A binary file to write into, from its start to its end. It is at `uri`, or replaces what was there, once the body
    has ended; not where the body raises."""
    if storage.is_s3(uri):
        upload = _Upload(uri)
        try:
            yield upload
            upload.complete()
        except BaseException:
            upload.abort()
            raise
        return
    path, partial = Path(uri), f"{uri}.{uuid.uuid4().hex}.partial"
    with store_errors.explained(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                yield file
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)


class _Upload(io.RawIOBase):
    """An S3 object in the making. pyarrow's own streams complete it when they are closed, after an error too."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client, bucket, key = s3.client_of(uri)
        self.where = {"Bucket": bucket, "Key": key}
        self.upload: str | None = None
        self.parts: list[dict[str, Any]] = []
        self.waiting, self.sent = bytearray(), 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Takes all of it."""
        self.waiting += data
        if len(self.waiting) >= PART:
            self._send()
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.sent + len(self.waiting)

    def complete(self) -> None:
        """From now on the object is there: what fits into a part in one request."""
        if self.upload is None:
            self.client.put_object(**self.where, Body=bytes(self.waiting))
            return
        if self.waiting:
            self._send()
        try:
            whole = {"Parts": self.parts}
            self.client.complete_multipart_upload(**self.where, UploadId=self.upload, MultipartUpload=whole)
        except self.client.exceptions.NoSuchUpload:  # a request whose answer was lost is sent again
            if not storage.exists(self.uri):
                raise

    def abort(self) -> None:
        """Give up what was sent."""
        if self.upload is not None:
            with contextlib.suppress(Exception):  # what made the writer give up is what matters
                self.client.abort_multipart_upload(**self.where, UploadId=self.upload)

    def _send(self) -> None:
        if self.upload is None:
            self.upload = str(self.client.create_multipart_upload(**self.where)["UploadId"])
        body, number = bytes(self.waiting), len(self.parts) + 1
        told = self.client.upload_part(**self.where, UploadId=self.upload, PartNumber=number, Body=body)
        self.parts.append({"ETag": told["ETag"], "PartNumber": number})
        self.sent += len(body)
        self.waiting.clear()
