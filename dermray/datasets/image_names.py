"""Where the image may lie that a table names: under what folder, with what extension, by whose path."""

from pathlib import PurePosixPath, PureWindowsPath

from dermray import storage

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".dcm")


def is_absolute(name: str) -> bool:
    """Whether a table names an image by its whole path, of this machine or another."""
    return storage.is_s3(name) or PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).drive)


def image_uris(name: str, roots: list[str], extension: str | None) -> list[str]:
    r"""Where the image may lie that a table names. Backslashes part folders.

    A whole path (`/home/ann/clinic/nv/1.png`, `C:\clinic\nv\1.png`) may be another machine's: after itself come its
    endings below the images' folders, the longest first.
    """
    name = name if storage.is_s3(name) else name.replace("\\", "/")
    file = with_extension(name, extension)
    if storage.is_s3(file):
        return [file]
    if not is_absolute(file):
        return [storage.join(root, file.removeprefix("./")) for root in roots]
    parts = file.split("/")[1:]
    return [file] + [storage.join(root, *parts[i:]) for i in range(len(parts)) for root in roots]


def with_extension(name: str, extension: str | None) -> str:
    """The file's name with this extension, in the place of an image's or after a mere id."""
    if not extension:
        return name
    stem, suffix = name[: name.rfind(".")], PurePosixPath(name).suffix
    return (stem if suffix.lower() in IMAGE_SUFFIXES else name) + "." + extension.removeprefix(".")
