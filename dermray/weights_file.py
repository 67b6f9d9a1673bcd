"""Files of weights that are cut, damaged or something else, told by their first bytes and their length."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

NO_WEIGHTS = {  # first bytes of what is taken for a file of weights
    b"<": "a web page, not the file that its link leads to",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
}
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
FIRST = 64  # bytes
LONGEST = 100_000_000  # bytes of a header that safetensors takes
# What unpickling of any bytes may raise.
UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, ValueError, AttributeError, TypeError)


def check(uri: str, name: str) -> None:
    """Whether a file is whole, as far as that is seen without reading its weights; other kinds of files pass.

    Args:
        uri: here or in S3. name: what an error calls it.

    Raises:
        ValueError: it is cut, damaged or no file of weights.
    """
    if uri.endswith(".safetensors"):
        read_header(uri, name)
    elif uri.endswith(PICKLED):
        from dermray import storage

        system, path = storage.filesystem(uri)
        with system.open_input_file(path) as file:
            _check_pickled(file, file.size(), name)


def read_header(uri: str, name: str) -> dict[str, Any]:
    """What a safetensors file says of its tensors: `shape`, `dtype` and `data_offsets` by name.

    Args:
        uri: here or in S3. name: what an error calls it.

    Raises:
        ValueError: it is no such file, or not as long as its header says.
    """
    from dermray import storage

    system, path = storage.filesystem(uri)
    with system.open_input_file(path) as file:
        size, start = file.size(), file.read_at(FIRST, 0)
        length = int.from_bytes(start[:8], "little")
        if not 2 <= length <= min(size - 8, LONGEST):
            raise ValueError(_why(name, start, size, "no safetensors file"))
        text = file.read_at(length, 8)
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        expected = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except UNREADABLE:
        raise ValueError(_why(name, start, size, "its header cannot be read")) from None
    if size != expected:
        raise ValueError(_why(name, start, size, f"its header says {expected:,} bytes"))
    return header


def load_pickled(file: Path | IO[bytes], name: str, device: str = "cpu") -> Any:
    """What torch has saved, tensors alone.

    Args:
        name: what an error calls it. device: meta for shapes without values.

    Raises:
        ValueError: it is cut, damaged, no file of torch, or has other objects than tensors.
    """
    import torch  # seconds, in every worker that asks an endpoint and reads no weights

    if isinstance(file, Path):
        with file.open("rb") as opened:
            _check_pickled(opened, file.stat().st_size, name)
    else:
        size = file.seek(0, 2)
        file.seek(0)
        _check_pickled(file, size, name)
        file.seek(0)
    mapped = isinstance(file, Path) and device == "meta" and zipfile.is_zipfile(file)  # which reads no values
    try:
        return torch.load(file, map_location=device, weights_only=True, mmap=mapped)
    except UNREADABLE:  # torch's own advice is to run what is in the file
        raise ValueError(
            f"{name}: damaged, or it has other things than tensors, such as a whole module; copy it again, or save its "
            "state_dict() alone"
        ) from None


def _check_pickled(file: Any, size: int, name: str) -> None:
    start = file.read(FIRST)
    if start.startswith(b"PK"):  # whose list of contents stands at the end
        if not zipfile.is_zipfile(file):
            raise ValueError(_why(name, start, size, "its end is missing"))
    elif not start.startswith(b"\x80"):
        raise ValueError(_why(name, start, size, "no file of torch"))


def _why(name: str, start: bytes, size: int, reason: str) -> str:
    if not size:
        return f"{name}: empty; copy it again"
    kind = next((kind for first, kind in NO_WEIGHTS.items() if start.lstrip().startswith(first)), None)
    return f"{name}: {kind or f'cut or damaged, {size:,} bytes, and {reason}'}; copy it again"
