"""Images out of an HDF5 file that holds each under its name, encoded: read where they lie, a block at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from dermray import storage
from dermray.archives.filesystem import require_any_part
from dermray.records import AT


@contextmanager
def opened(uri: str) -> Iterator[Any]:
    """The file, on local disk or in S3, of which only what is asked for is read.

    Raises:
        ImportError: h5py is not installed. FileNotFoundError, ValueError: no such file, or none of HDF5.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError(f"{uri}: reading HDF5 needs h5py; pip install 'dermray[hdf5]'") from None
    if not storage.exists(uri):
        raise FileNotFoundError(f"{uri}: no such HDF5 file; check the source's hdf5")
    require_any_part(uri)
    system, path = storage.filesystem(uri)
    with ExitStack() as stack:
        place = path if storage.is_local(uri) else stack.enter_context(system.open_input_file(path))
        try:
            file = stack.enter_context(h5py.File(place, "r"))
        except OSError as error:
            raise ValueError(f"{uri}: no HDF5 file, or not whole ({error}); download it again") from None
        yield file


def count(uri: str) -> int:
    """How many images the file holds, without reading any."""
    with opened(uri) as file:
        return len(file)


def encoded(file: Any, name: str) -> bytes | None:
    """An image's bytes, stored as fixed-length text, as opaque bytes or as an array; None for no such name."""
    if name not in file:
        return None
    value = file[name][()]
    return bytes(value) if isinstance(value, bytes) else bytes(value.tobytes())


def with_images(table: Any, uri: str) -> Any:
    """Rows, an Arrow table, with the images that the file holds under their `source_id`; failed without one."""
    import pyarrow as pa

    rows = table.select(["source_id", "status", "reason"]).to_pylist()
    images = list[bytes | None]()
    with opened(uri) as file:
        for row in rows:
            images.append(None if row["status"] else _image(file, row, uri))
    told = {"image": images, **{name: [row[name] for row in rows] for name in ("status", "reason")}}
    told["uri"] = [None] * len(rows)
    for name, values in told.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return table


def _image(file: Any, row: dict[str, Any], uri: str) -> bytes | None:
    try:
        image = encoded(file, row["source_id"])
        reason = None if image is not None else "image missing from HDF5 file"
    except (OSError, AttributeError, TypeError) as error:  # damaged, or a group and no image
        image, reason = None, f"image unreadable in HDF5 file: {type(error).__name__}"
    if reason is not None:
        row |= {"status": "failed", "reason": f"{reason}{AT}{uri}"}
    return image
