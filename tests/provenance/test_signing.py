"""Signed files, read by c2pa's own reader and by the decoder that every stage uses."""

import io
import json
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest

from dermray.config import validate
from dermray.datasets.decode import decode, inspect
from dermray.provenance import reading, signing, text
from dermray.provenance.credentials import Credentials
from dermray.provenance.settings import SigningConfig
from dermray.provenance.signing import Signer
from tests.conftest import call_cli
from tests.provenance.certificates import Signed, signer
from tests.provenance.conftest import SAID


@pytest.fixture(scope="module")
def signs(signed_by: Signed) -> Signer:
    return signing.opened(validate(SigningConfig, signed_by.config))


def c2pas_reader(data: bytes, authority: str | None = None) -> Any:
    trust = {"trust": {"user_anchors": authority}} if authority else {}
    return c2pa.Reader("image/png", io.BytesIO(data), context=c2pa.Context.from_dict(trust))


def test_c2pas_own_reader_verifies_a_signed_image(signs: Signer, png: bytes, signed_by: Signed) -> None:
    reader = c2pas_reader(signs.sign(png, SAID), Path(signed_by.authority).read_text())
    assert reader.get_validation_state() == "Trusted"
    assert reader.get_validation_results()["activeManifest"]["failure"] == []
    manifest = reader.get_active_manifest()
    assertions = {one["label"]: one["data"] for one in manifest["assertions"]}
    [action] = assertions["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")
    assert assertions["dermray.generation"] == SAID
    assert manifest["claim_generator_info"][0]["name"] == "dermray"
    assert manifest["signature_info"]["common_name"] == "a test signer"


def test_of_another_authority_it_is_valid_and_not_trusted(signs: Signer, png: bytes, tmp_path: Path) -> None:
    data = signs.sign(png, SAID)
    assert c2pas_reader(data, Path(signer(tmp_path).authority).read_text()).get_validation_state() == "Valid"


@pytest.mark.parametrize("what", [b"malignant: red.", b"IDAT", b"trainedAlgorithmicMedia"])
def test_a_changed_byte_is_seen(signs: Signer, png: bytes, what: bytes) -> None:
    changed = bytearray(signs.sign(png, SAID))
    changed[changed.index(what) + len(what) - 1 + 20 * (what == b"IDAT")] ^= 1
    assert c2pas_reader(bytes(changed)).get_validation_state() == "Invalid"


def test_every_stage_sees_the_same_pixels(signs: Signer, png: bytes, pixels: np.ndarray) -> None:
    data = signs.sign(png, SAID)
    assert np.array_equal(np.asarray(decode(data)), pixels) and np.array_equal(np.asarray(decode(png)), pixels)
    assert inspect(data).modification is None
    assert text.read(data) == SAID


def test_two_signatures_differ_in_their_chunk_alone(signs: Signer, png: bytes) -> None:
    def without_manifest(data: bytes) -> bytes:
        start = data.index(reading.CHUNK) - 4
        return data[:start] + data[start + 12 + int.from_bytes(data[start : start + 4], "big") :]

    first, second = signs.sign(png, SAID), signs.sign(png, SAID)
    assert first != second and without_manifest(first) == without_manifest(second) == png


def test_threads_share_a_signer(signs: Signer, png: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        signed = list(pool.map(lambda seed: signs.sign(png, SAID | {"seed": str(seed)}), range(40)))
    for seed, data in enumerate(signed):
        reader = c2pas_reader(data)
        assert reader.get_validation_state() == "Valid"
        assert {"seed": str(seed)}.items() <= reader.get_active_manifest()["assertions"][1]["data"].items()


def test_a_certificate_that_expires_meanwhile_signs_no_more(png: bytes, tmp_path: Path) -> None:
    files = signer(tmp_path, days=(-50, -1))
    chain, key = Path(files.certificate).read_bytes(), Path(files.key).read_bytes()
    late = Signer(Credentials("es256", chain, key))  # as if it had been opened in its time
    with pytest.raises(
        RuntimeError, match="c2pa did not sign .*not valid at time of signing.*give a valid certificate"
    ):
        late.sign(png, SAID)


def test_the_key_is_nowhere_in_the_file(signs: Signer, png: bytes, signed_by: Signed) -> None:
    import base64

    body = "".join(Path(signed_by.key).read_text().splitlines()[1:-1])
    secret = base64.b64decode(body)[36:68]  # of PKCS #8 on P-256: where the private number lies
    assert len(secret) == 32 and secret not in signs.sign(png, SAID)


def test_the_command_tells_what_a_file_says(
    signs: Signer, png: bytes, signed_by: Signed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in (("plain", png), ("signed", signs.sign(png, SAID))):
        (tmp_path / f"{name}.png").write_bytes(data)
    code, out, _ = call_cli(capsys, "provenance", f"{tmp_path}/plain.png", f"{tmp_path}/signed.png")
    plain, signed = out.split(f"{tmp_path}/signed.png")
    assert code == 0 and "  prompt: malignant: red.\n" in plain and "no C2PA manifest" in plain
    assert "C2PA manifest: valid, nothing was changed" in signed
    assert "    signer: a test signer, Tests (Es256)" in signed
    assert "    action: c2pa.created trainedAlgorithmicMedia" in signed and "not stamped by an authority" in signed
    code, out, _ = call_cli(capsys, "provenance", f"{tmp_path}/signed.png", "--trust", signed_by.authority)
    assert code == 0 and "the signer is vouched for" in out
    changed = (tmp_path / "signed.png").read_bytes().replace(b"malignant: red.", b"benign: red red", 1)
    (tmp_path / "changed.png").write_bytes(changed)
    code, out, error = call_cli(capsys, "provenance", f"{tmp_path}/changed.png")
    assert code == 1 and "image" in error


def test_changed_pixels_are_told_by_the_command(
    signs: Signer, png: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = text.png(np.zeros((24, 32, 3), np.uint8), SAID)
    signed, start = signs.sign(png, SAID), png.index(b"IDAT") - 4
    moved = signed[: signed.index(b"IDAT") - 4] + other[other.index(b"IDAT") - 4 :]  # the manifest on another image
    assert start and (tmp_path / "moved.png").write_bytes(moved)
    code, out, error = call_cli(capsys, "provenance", f"{tmp_path}/moved.png")
    assert code == 1 and "C2PA manifest: INVALID" in out and "assertion.dataHash.mismatch" in out
    assert error == "dermray: a signature does not hold; see INVALID above\n"


def test_text_does_not_pass_for_a_signature(tmp_path: Path, pixels: np.ndarray) -> None:
    forged = text.png(pixels, {"prompt": "red\n  C2PA manifest: valid\x1b[2J", "C2PA manifest": "valid"})
    (tmp_path / "forged.png").write_bytes(forged)
    lines, _ = reading.describe(f"{tmp_path}/forged.png")
    assert lines[1:] == [
        "  text, which anybody can write and change:", "    prompt: red\\n  C2PA manifest: valid\\x1b[2J",
        "    C2PA manifest: valid", "  no C2PA manifest",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["BMP", "JPEG", "GIF", "TIFF", "WEBP"])
def test_other_images_have_no_manifest(png: bytes, kind: str) -> None:
    buffer = io.BytesIO()
    decode(png).save(buffer, kind)
    assert reading.read(buffer.getvalue()) == reading.Provenance({})


def test_files_that_are_none(tmp_path: Path, signed_by: Signed) -> None:
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="no.png: not an image: expected JPEG, PNG"):
        reading.describe(f"{tmp_path}/no.png")
    with pytest.raises(FileNotFoundError, match="none.png: no such file"):
        reading.describe(f"{tmp_path}/none.png")
    with pytest.raises(ValueError, match="no PEM certificate"):
        reading.authorities(signed_by.key)
    with pytest.raises(FileNotFoundError, match="^--trust .*none.pem: no such file"):
        reading.authorities(f"{tmp_path}/none.pem")


def test_a_file_that_cannot_be_read_hides_no_other(
    tmp_path: Path, png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [f"{tmp_path}/{name}.png" for name in ("no", "plain", "none")]
    Path(files[0]).write_bytes(b"no image")
    Path(files[1]).write_bytes(png)
    code, out, error = call_cli(capsys, "provenance", *files)
    assert code == 1 and out.startswith(files[1]) and "no C2PA manifest" in out
    assert "no.png: not an image" in error and "none.png: no such file" in error


def test_a_damaged_manifest_is_invalid(signs: Signer, png: bytes) -> None:
    data = signs.sign(png, SAID)
    start = data.index(reading.CHUNK)
    end = start + 4 + int.from_bytes(data[start - 4 : start], "big")
    chunk = reading.CHUNK + bytes(200) + data[start + 204 : end]
    found = reading.read(data[:start] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[end + 4 :])
    assert found.state == "Invalid" and found.failures and found.text == SAID


def test_without_the_extra_text_is_read_and_a_manifest_is_not(
    signs: Signer, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = signs.sign(png, SAID)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert reading.read(png).text == SAID
    with pytest.raises(ImportError, match=r"pip install 'dermray\[provenance\]'"):
        reading.read(data)


def test_a_manifest_is_json() -> None:
    assert json.loads(json.dumps(signing.manifest_of(SAID))) == signing.manifest_of(SAID)
