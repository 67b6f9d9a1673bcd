"""Images of jobs, in a directory for each, and links to them that expire."""

import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from dermray import s3, storage


class BadLink(Exception):
    """A link that was changed, or has expired."""


@dataclass(frozen=True)
class JobFiles:
    """Below `place`, a directory or an s3:// URI.

    Args:
        seconds: that a link works. secret: signs links to local files; S3 signs its own.
    """

    place: str
    seconds: int
    secret: bytes

    def write(self, job: str, place: int, png: bytes) -> None:
        """An image. Written again it is the same: its seed was settled when the job was asked for."""
        if not storage.is_s3(self.place):
            storage.make_directory(storage.join(self.place, job))
        storage.write_bytes(self._path(job, place), png)

    def read(self, job: str, place: int) -> bytes:
        """Raises FileNotFoundError."""
        return storage.read_bytes(self._path(job, place))

    def remove(self, job: str) -> None:
        """All of a job's."""
        storage.delete_tree(storage.join(self.place, job))

    def link(self, job: str, place: int, base_url: str) -> str:
        """A URL that whoever has it may fetch the image from, for a while."""
        if storage.is_s3(self.place):
            client, bucket, key = s3.client_of(self._path(job, place))
            asked = {"Bucket": bucket, "Key": key, "ResponseContentType": "image/png"}
            return str(client.generate_presigned_url("get_object", Params=asked, ExpiresIn=self.seconds))
        expires = int(time.time()) + self.seconds
        signed = urlencode({"expires": expires, "signature": self._signature(job, place, expires)})
        return f"{base_url}/v1/jobs/{job}/images/{place}?{signed}"

    def check(self, job: str, place: int, expires: str, signature: str) -> None:
        """Raises `BadLink`, in words for whoever followed the link."""
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
            raise BadLink("expires: no time; take the link as it was given")
        if not hmac.compare_digest(self._signature(job, place, int(expires)).encode(), signature.encode()):
            raise BadLink("signature: it does not fit this link; take the link as it was given")
        if int(expires) <= time.time():
            raise BadLink(f"this link has expired: GET /v1/jobs/{job} gives a new one")

    def _path(self, job: str, place: int) -> str:
        return storage.join(self.place, job, f"{place:06}.png")

    def _signature(self, job: str, place: int, expires: int) -> str:
        return hmac.new(self.secret, f"{job}/{place}/{expires}".encode(), hashlib.sha256).hexdigest()
