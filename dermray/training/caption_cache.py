"""What text encoders made of captions: one file for each caption, named by what it holds and read when it is needed.

FLUX attends to 512 tokens of T5, 4 MB a caption: 2.1 TB where 508,344 images have captions of their own, and next to
nothing where they share a few. So captions are kept beside the encoded images, not with each of them.
"""

from concurrent.futures import ThreadPoolExecutor

from safetensors.torch import load, save

from dermray import storage
from dermray.generators.base import Sample

FOLDER = "captions"  # below the cache
AT_ONCE = 16  # files asked for at a time: S3 takes some milliseconds for each
RECENT = 64  # captions held in memory: training on labels alone has no more


class CaptionCache:
    """The captions below one cache of encoded images, local or in S3."""

    def __init__(self, cache: str) -> None:
        self._directory = storage.join(cache, FOLDER)
        self._threads = ThreadPoolExecutor(AT_ONCE, "captions")
        self._there: set[str] = set()
        self._recent: dict[str, Sample] = {}

    def missing(self, names: list[str]) -> list[str]:
        """Those of `names` that are in no file yet, each once."""
        unknown = [name for name in dict.fromkeys(names) if name not in self._there]
        there = list(self._threads.map(storage.exists, map(self._file, unknown)))
        self._there |= {name for name, is_there in zip(unknown, there, strict=True) if is_there}
        return [name for name in unknown if name not in self._there]

    def write(self, samples: dict[str, Sample]) -> None:
        """By name."""
        list(self._threads.map(self._write, samples.items()))
        self._there |= samples.keys()

    def read(self, names: list[str]) -> list[Sample]:
        """What was written under each name.

        Raises:
            FileNotFoundError: nothing was.
        """
        wanted = [name for name in dict.fromkeys(names) if name not in self._recent]
        self._recent |= zip(wanted, self._threads.map(self._read, wanted), strict=True)
        samples = [self._recent[name] for name in names]
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        return samples

    def _file(self, name: str) -> str:
        return storage.join(self._directory, name[:2], f"{name}.safetensors")

    def _read(self, name: str) -> Sample:
        return load(storage.read_bytes(self._file(name)))

    def _write(self, named: tuple[str, Sample]) -> None:
        name, sample = named
        storage.write_bytes(self._file(name), to_bytes(sample))


def to_bytes(sample: Sample) -> bytes:
    """A sample as safetensors."""
    return bytes(save({name: value.contiguous().cpu() for name, value in sample.items()}))
