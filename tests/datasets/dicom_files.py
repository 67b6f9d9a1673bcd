"""DICOM files as cameras and archives write them, made by pydicom: of a patient whose name must get nowhere."""

import io
from importlib.resources import files
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

NAME = "Doe^Jane"
DERMOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.4.1"  # Dermoscopic Photography Image Storage
PHOTOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.4"  # VL Photographic Image Storage


def published(name: str) -> bytes:
    """A test file that comes with pydicom."""
    return files("pydicom").joinpath("data", "test_files", name).read_bytes()


def dataset(pixels: np.ndarray, photometric: str = "RGB", kind: str = DERMOSCOPY, **more: Any) -> Dataset:
    """A file of (H, W) or (H, W, 3) numbers, not compressed; `more` are further elements by keyword."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = kind
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["of", photometric])
    file.PatientName, file.PatientID, file.PatientSex, file.PatientAge, file.Modality = NAME, "4711", "F", "045Y", "DMS"
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = file.BitsStored = pixels.dtype.itemsize * 8
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in more.items():
        setattr(file, keyword, value)
    return file


def written(file: Dataset) -> bytes:
    """Its bytes."""
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def with_jpeg(jpeg: bytes, pixels: np.ndarray, photometric: str = "YBR_FULL_422") -> bytes:
    """A file around a JPEG, as most dermatoscopes' software makes them."""
    file = dataset(pixels, photometric)
    file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    file.PixelData = encapsulate([jpeg])
    file["PixelData"].is_undefined_length = True
    return written(file)
