"""DICOM through the one decoder: pixels as the file says that they are shown, and nothing of the patient."""

import contextlib
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import _convert_RGB_to_YBR_FULL
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dermray.datasets.decode import BadImage, inspect, size_of
from dermray.datasets.dicom import READ
from dermray.datasets.image_names import with_extension
from dermray.datasets.looking import _examine
from dermray.datasets.webdataset import _is_image
from dermray.records import sample_id
from tests.datasets.dicom_files import NAME, PHOTOGRAPHY, dataset, published, with_jpeg, written
from tests.datasets.test_decode import ADOBE_RGB, adobe_to_srgb, encoded
from tests.datasets.test_looking import require_shown

NOISE = np.random.default_rng(0).integers(0, 256, (41, 43, 3), dtype=np.uint8)  # odd numbers of bytes are padded
GREY = NOISE[..., 0]


def shown(data: bytes) -> np.ndarray:
    found = inspect(data)
    assert found.format == "DICOM" and found.image.mode == "RGB"
    return np.asarray(found.image)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless,
                                    JPEGLSLossless, JPEG2000Lossless])  # fmt: skip
@pytest.mark.parametrize("pixels", [NOISE, GREY], ids=["RGB", "MONOCHROME2"])
def test_every_lossless_transfer_syntax_gives_back_every_pixel(syntax: Any, pixels: np.ndarray) -> None:
    file = dataset(pixels, "RGB" if pixels.ndim == 3 else "MONOCHROME2")
    if syntax.is_encapsulated:
        file.compress(syntax, generate_instance_uid=False)
    file.file_meta.TransferSyntaxUID = syntax
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    assert np.array_equal(shown(written(file)), expected)
    assert inspect(written(file)).modification == "DICOM"


def test_big_endian_words() -> None:
    values = (GREY.astype(np.uint16) * 257).astype(">u2")
    file = dataset(values, "MONOCHROME2")
    file.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert np.array_equal(shown(written(file))[..., 0], GREY)


def test_colour_by_plane_and_in_other_spaces() -> None:
    planes = dataset(NOISE, PlanarConfiguration=1, PixelData=NOISE.transpose(2, 0, 1).tobytes() + b"\0")
    assert np.array_equal(shown(written(planes)), NOISE)
    ybr = dataset(_convert_RGB_to_YBR_FULL(NOISE), "YBR_FULL", PHOTOGRAPHY)
    assert np.abs(shown(written(ybr)).astype(int) - NOISE).max() <= 2


def test_a_jpeg_in_a_file_shows_what_the_jpeg_shows() -> None:
    smooth = np.asarray(Image.fromarray(NOISE).resize((64, 48), Image.Resampling.BICUBIC))
    jpeg = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    assert np.abs(shown(with_jpeg(jpeg, smooth)).astype(int) - np.asarray(inspect(jpeg).image)).max() <= 3
    grey = encoded(Image.fromarray(smooth[..., 0]), "JPEG")
    assert np.array_equal(shown(with_jpeg(grey, smooth[..., 0], "MONOCHROME2")), np.asarray(inspect(grey).image))


@pytest.mark.parametrize("name", ["SC_rgb_gdcm_KY", "SC_rgb_rle_16bit", "SC_rgb_dcmtk_+eb+cr", "SC_rgb_jpeg_dcmtk",
                                  "SC_rgb_dcmtk_+eb+cy+s2", "SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample",
                                  "SC_rgb_dcmtk_+eb+cy+np", "SC_ybr_full_422_uncompressed"])  # fmt: skip
def test_others_files_of_one_picture_agree(name: str) -> None:
    """The stripes of DCMTK, GDCM and pydicom: RGB, YBR_FULL and YBR_FULL_422, lossless and lossy."""
    stripes = shown(published("SC_rgb_rle.dcm")).astype(int)
    assert stripes[5::10, 50].tolist() == [
        *([255, 0, 0], [255, 128, 128], [0, 255, 0], [128, 255, 128], [0, 0, 255]),
        *([128, 128, 255], [0, 0, 0], [64, 64, 64], [192, 192, 192], [255, 255, 255]),
    ]
    difference = np.abs(shown(published(f"{name}.dcm")) - stripes)
    assert difference[5::10].max() <= 5 and difference.mean() < 3, "in the middle of the stripes, and all over"


def test_grey_of_16_and_12_bits_inverted_and_signed() -> None:
    ramp = np.linspace(0, 255, 256).astype(np.uint8)[None]
    rising = np.repeat(ramp[..., None], 3, axis=2)
    deep = ramp.astype(np.uint16) * 257
    assert np.array_equal(shown(written(dataset(deep, "MONOCHROME2"))), rising)
    assert np.array_equal(shown(written(dataset(deep, "MONOCHROME1"))), 255 - rising), "0 is white"
    assert inspect(written(dataset(deep, "MONOCHROME1"))).modification == "DICOM; 16 bit to 8"
    twelve = dataset(np.array([[0, 2048, 4095, 0]], np.uint16), "MONOCHROME2", BitsStored=12, HighBit=11)
    assert shown(written(twelve))[0, :, 0].tolist() == [0, 128, 255, 0]
    signed = dataset(np.array([[-32768, 0, 32767, 0]], np.int16), "MONOCHROME2")
    assert shown(written(signed))[0, :, 0].tolist() == [0, 128, 255, 128]


def test_the_files_window_and_slope() -> None:
    """PS3.3 C.11.2.1.2.1, its example of a window of 100 around 40 (center - 0.5, width - 1)."""
    values = np.array([[-1000, -10, 40, 90, 3000, 15]], np.int16)
    window = {"WindowCenter": "40", "WindowWidth": "100"}
    expected = [min(255, max(0, round(((x - 39.5) / 99 + 0.5) * 255))) for x in values[0].tolist()]
    assert shown(written(dataset(values, "MONOCHROME2", **window)))[0, :, 0].tolist() == expected
    shifted = dataset(values + 1024, "MONOCHROME2", RescaleSlope="1", RescaleIntercept="-1024", **window)
    assert shown(written(shifted))[0, :, 0].tolist() == expected
    assert inspect(written(shifted)).modification == "DICOM; 16 bit to 8; window"
    several = dataset(values, "MONOCHROME2", WindowCenter=["40", "400"], WindowWidth=["100", "2000"])
    assert shown(written(several))[0, :, 0].tolist() == expected, "the first one"


def test_a_palette() -> None:
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    colours = np.array([[10, 20, 30], [200, 100, 50], [255, 0, 128]], np.uint16)
    tables: dict[str, Any] = {}
    for place, colour in enumerate(("Red", "Green", "Blue")):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        tables[f"{colour}PaletteColorLookupTableData"] = (colours[:, place] * 257).astype("<u2").tobytes()
    assert np.array_equal(shown(written(dataset(indices, "PALETTE COLOR", **tables))), colours[indices])


def test_the_profile_of_a_dermoscopic_photograph_is_applied() -> None:
    flat = np.broadcast_to(np.array([180, 120, 90], np.uint8), (8, 8, 3))
    data = written(dataset(np.ascontiguousarray(flat), ICCProfile=ADOBE_RGB))
    assert np.abs(shown(data)[0, 0] - adobe_to_srgb((180, 120, 90))).max() <= 2.5
    assert inspect(data).modification == "DICOM; icc Adobe RGB (1998) to sRGB"


def bad(**more: Any) -> bytes:
    return written(dataset(NOISE, **more))


def grey_by_table() -> bytes:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], np.arange(256, dtype=np.uint16).tobytes()
    return written(dataset(GREY, "MONOCHROME2", VOILUTSequence=Sequence([table])))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (published("SC_rgb_rle_2frame.dcm"), "a DICOM file of several frames: export"),
        (published("test-SR.dcm"), "a DICOM file without a picture"),
        (published("SC_rgb_jpeg_gdcm.dcm"), "a DICOM file of transfer syntax JPEG Lossless.*: decompress it"),
        (published("SC_rgb_rle_32bit.dcm"), "a DICOM file of 32 bits a channel: save it with 8 or 16"),
        (published("MR_truncated.dcm"), "truncated or damaged DICOM file"),
        (b"\0" * 128 + b"DICM" + b"\0" * 40, "DICOM file"),
        (bad(BurnedInAnnotation="YES"), "burned-in annotation, which may name the patient"),
        (grey_by_table(), "a DICOM file of grey by a look-up table: apply it"),
        (bad(PixelAspectRatio=["2", "1"]), "pixels are no squares"),
        (bad(PhotometricInterpretation="HSV"), "a DICOM file of HSV: expected one of MONOCHROME1"),
        (bad(Rows=20_000, Columns=20_000), "20000 x 20000 px: more than 64000000 pixels"),
    ],
)
def test_what_is_no_single_picture_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        inspect(data)
    row = _examine({"image": data, "source_id": "a"})
    assert row["status"] == "rejected" and row["image"] is None and row["sample_id"] is None, "it may name the patient"
    assert row["original_id"] == sample_id(data)


def test_a_row_holds_a_png_and_nothing_of_the_patient() -> None:
    data = written(dataset(NOISE))
    assert NAME.encode() in data
    row = _examine({"image": data, "sex": None, "age": None, "patient_id": None})
    require_shown(row, data)
    assert row["modification"] == "DICOM" and NAME.encode() not in row["image"]
    assert (row["sex"], row["age"], row["patient_id"]) == (None, None, None), "the header is not asked"
    assert not [keyword for keyword in READ if "Patient" in keyword or "Name" in keyword]


def test_what_the_table_says_of_the_patient_stays() -> None:
    row = _examine({"image": written(dataset(NOISE)), "sex": "male", "age": 7.0, "patient_id": "clinic/1"})
    assert (row["sex"], row["age"], row["patient_id"]) == ("male", 7.0, "clinic/1")


@pytest.mark.parametrize("module", ["pydicom", "jpeg_ls", "openjpeg"])
def test_without_the_extra_rows_fail_and_say_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    row = _examine({"image": written(dataset(NOISE))})
    assert row["status"] == "failed" and row["image"] is None
    assert row["reason"] == f"a DICOM file, and {module} is not installed: pip install 'dermray[dicom]'"


def test_files_are_found_by_their_names_too() -> None:
    assert with_extension("IM_1.jpg", ".dcm") == "IM_1.dcm" and with_extension("IM_1.dcm", ".png") == "IM_1.png"
    assert _is_image("dcm") and _is_image("left.DCM"), "in a shard"


def test_the_service_does_not_take_dicom() -> None:
    with pytest.raises(BadImage, match="a DICOM file: expected JPEG, PNG"):
        size_of(written(dataset(NOISE)))


def test_damaged_files_raise_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for good in map(published, ("SC_rgb_jls_lossy_line.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle.dcm",
                                "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm")):  # fmt: skip
        for _ in range(60):
            data = bytearray(good)
            for place in rng.integers(132, len(data), 4):
                data[place] = rng.integers(256)
            with contextlib.suppress(BadImage):
                assert inspect(bytes(data)).image.mode == "RGB"
