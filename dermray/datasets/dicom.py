"""DICOM files of visible light, of one frame: dermoscopy, photography, endoscopy, secondary capture (PS3.3, PS3.5).

Only elements that say how pixels are to be shown are read: nothing of the patient is parsed, and so none can get into a
row. Two decoders of compressed pixels are left out: pylibjpeg-libjpeg for its licence (GPL), and GDCM because damaged
bytes abort its process, and with it the work of all rows beside them.
"""

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image

from dermray.datasets.colours import to_srgb
from dermray.datasets.decoded import BadImage, Decoded, NoDecoder

PLUGINS = {  # transfer syntax -> who decodes it, always the same; those that are not compressed need none
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # ... near-lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # high-throughput JPEG 2000, lossless
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pydicom",  # run lengths
}
GREYS, PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
KINDS = (*GREYS, PALETTE, "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
INSTALL = "pip install 'dermray[dicom]'"
READ = [  # keywords of all that is read of a file
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames", "PixelAspectRatio", "BurnedInAnnotation",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "VOILUTSequence", "ICCProfile", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    *(start + colour + "PaletteColorLookupTable" + end for start, end in (("", "Descriptor"), ("", "Data"),
      ("Segmented", "Data")) for colour in ("Red", "Green", "Blue")),
]  # fmt: skip


def is_dicom(data: bytes) -> bool:
    """Whether bytes are a DICOM file: PS3.10, 7.1."""
    return data.startswith(b"DICM", 128)


def decoded(data: bytes, max_pixels: int) -> Decoded:
    """The picture of a DICOM file, as it says that it is to be shown.

    Raises:
        NoDecoder: pydicom or a decoder of its is not installed. BadImage: damaged, no picture, several, one that may
            show the patient's name, or one that nobody can say how to show.
    """
    try:
        import jpeg_ls  # noqa: F401  # of pyjpegls; without these two pydicom would say something else
        import openjpeg  # noqa: F401
        import pydicom
    except ImportError as error:
        raise NoDecoder(f"a DICOM file, and {error.name} is not installed: {INSTALL}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values against the standard that show nothing
            file = pydicom.dcmread(io.BytesIO(data), specific_tags=READ)
            _require_one_picture(file, max_pixels)
            return _shown(file)
    except (BadImage, MemoryError):
        raise
    except Exception:  # damaged bytes raise anything, as in `decode`
        raise BadImage("truncated or damaged DICOM file") from None


def _require_one_picture(file: Any, max_pixels: int) -> None:
    if "PixelData" not in file:
        raise BadImage("a DICOM file without a picture")
    if int(file.get("NumberOfFrames") or 1) != 1:
        raise BadImage("a DICOM file of several frames: export the one that shows the lesion")
    if file.Rows * file.Columns > max_pixels:
        raise BadImage(f"{file.Columns} x {file.Rows} px: more than {max_pixels} pixels")
    if file.get("BurnedInAnnotation") == "YES":
        raise BadImage("a DICOM file with burned-in annotation, which may name the patient: remove it and the flag")
    if file.PhotometricInterpretation not in KINDS:
        raise BadImage(f"a DICOM file of {file.PhotometricInterpretation}: expected one of {', '.join(KINDS)}")
    if file.BitsStored > 16:
        raise BadImage(f"a DICOM file of {file.BitsStored} bits a channel: save it with 8 or 16")
    if len(set(file.get("PixelAspectRatio") or (1,))) > 1:
        raise BadImage("a DICOM file whose pixels are no squares: resample it")
    syntax = file.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax not in PLUGINS:
        raise BadImage(f"a DICOM file of transfer syntax {syntax.name}: decompress it, with dcmdjpeg or gdcmconv --raw")


def _shown(file: Any) -> Decoded:
    """Its pixels by its tables, windows and profile."""
    from pydicom.pixels import apply_color_lut, get_decoder

    syntax = file.file_meta.TransferSyntaxUID
    values, about = get_decoder(syntax).as_array(file, index=0, decoding_plugin=PLUGINS.get(syntax, ""))
    kind, windowed, bits = about["photometric_interpretation"], False, int(file.BitsStored)
    if kind in GREYS:
        windowed = file.get("WindowWidth") is not None and file.get("WindowCenter") is not None
        values = _grey(values, file, windowed)
        values = 255 - values if kind == "MONOCHROME1" else values
    elif kind == PALETTE:
        values = apply_color_lut(values, file)
        bits = values.dtype.itemsize * 8
        values = _eight_bit(values, 0, (1 << bits) - 1)
    elif kind == "RGB":
        values = _eight_bit(values, 0, (1 << bits) - 1)
    else:
        raise BadImage(f"a DICOM file whose {kind} became no RGB")
    image, changed, remark = to_srgb(Image.fromarray(values), file.get("ICCProfile"))
    changes = ["DICOM", "16 bit to 8" if bits > 8 else None, "window" if windowed else None, changed]
    return Decoded(image, "DICOM", tuple(filter(None, changes)), (remark,) if remark else ())


def _grey(values: np.ndarray, file: Any, windowed: bool) -> np.ndarray:
    """Grey as the file's first window shows it, or from the least to the largest number that fits into its bits.

    Raises:
        BadImage: grey by a look-up table.
    """
    from pydicom.pixels import apply_rescale, apply_windowing

    if file.get("ModalityLUTSequence") or (file.get("VOILUTSequence") and not windowed):
        raise BadImage("a DICOM file of grey by a look-up table: apply it, and save the result as 8-bit grey")
    least = -(1 << file.BitsStored - 1) if file.PixelRepresentation else 0
    ends: np.ndarray = apply_rescale(np.array([least, least + (1 << file.BitsStored) - 1]), file)
    values = apply_rescale(values, file)
    if windowed:  # whose ends are those of what it makes of numbers without end
        values, ends = apply_windowing(values, file), apply_windowing(np.array([-1e30, 1e30]), file)
    return _eight_bit(values, float(ends.min()), float(ends.max()))


def _eight_bit(values: np.ndarray, least: float, most: float) -> np.ndarray:
    """Numbers from `least` to `most` as 0 to 255; as they are where they are that."""
    if values.dtype == np.uint8 and (least, most) == (0, 255):
        return values
    shares = (values.astype(np.float32) - least) / (most - least)
    return (shares.clip(0, 1) * 255).round().astype(np.uint8)
