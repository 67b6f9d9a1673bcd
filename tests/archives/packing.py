"""Archives of a folder, made by Python's own writers."""

import io
import tarfile
import zipfile
from pathlib import Path

KINDS = ("x.zip", "x.tar", "x.tar.gz", "x.tgz")


def pack(folder: Path, archive: Path) -> Path:
    """All files below a folder, links as links where the archive has them."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in files:
                packed.write(path, path.relative_to(folder).as_posix())
        return archive
    with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as packed:
        for path in [folder, *files]:
            packed.add(path, f"./{path.relative_to(folder).as_posix()}", recursive=False)
    return archive


def zip_of(archive: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> str:
    """A zip archive of these files, in this order."""
    with zipfile.ZipFile(archive, "w", method) as packed:
        for name, data in members:
            packed.writestr(name, data, method)
    return str(archive)


def tar_of(archive: Path, *members: tuple[str | tarfile.TarInfo, bytes]) -> str:
    """A tar archive of these files, in this order."""
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as packed:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return str(archive)
