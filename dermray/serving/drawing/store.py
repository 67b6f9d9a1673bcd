"""Images that answers point to by URL: kept for an hour under names that cannot be guessed."""

import re
import secrets
import time
from dataclasses import dataclass

from pyarrow import fs

from dermray import storage

NAME = re.compile(r"[0-9]{10}-[A-Za-z0-9_-]{32}\.png")  # when it expires in Unix seconds, and 192 random bits


class StoreFull(Exception):
    """There is no room for another image until one expires."""


@dataclass(frozen=True)
class Store:
    """A directory, local or in S3, that may be shared by replicas.

    Args:
        place: of the directory. seconds: that an image is kept. max_bytes: of all images.
    """

    place: str
    seconds: int = 3600
    max_bytes: int = 1 << 30

    def keep(self, images: list[bytes]) -> list[str]:
        """Names of the images. Those that expired go.

        Raises:
            StoreFull: they do not fit.
        """
        used = self._swept()
        if used + sum(map(len, images)) > self.max_bytes:
            raise StoreFull(f"{used} of {self.max_bytes} bytes of kept images are in use")
        names = [f"{int(time.time()) + self.seconds}-{secrets.token_urlsafe(24)}.png" for _ in images]
        if not storage.is_s3(self.place):
            storage.make_directory(self.place)
        for name, image in zip(names, images, strict=True):
            storage.write_bytes(storage.join(self.place, name), image)
        return names

    def find(self, name: str) -> bytes | None:
        """The image, if there is one of that name and it has not expired."""
        if not NAME.fullmatch(name) or _expired(name):
            return None
        try:
            return storage.read_bytes(storage.join(self.place, name))
        except FileNotFoundError:
            return None

    def _swept(self) -> int:
        """Bytes of the images that stay."""
        system, path = storage.filesystem(self.place)
        found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
        ours = [info for info in found if NAME.fullmatch(info.base_name)]  # the directory may hold other things
        storage.delete_files([storage.join(self.place, i.base_name) for i in ours if _expired(i.base_name)])
        return sum(info.size for info in ours if not _expired(info.base_name))


def _expired(name: str) -> bool:
    return int(name[:10]) <= time.time()
