"""A certificate and key that do not fit are said before any work, and the key is said to nobody."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from dermray.config import ConfigError, validate
from dermray.provenance import reading, signing
from dermray.provenance.credentials import credentials
from dermray.provenance.settings import SigningConfig
from tests.provenance.certificates import KEYS, Signed, pem_of, signer


def opened(files: Signed, **more: Any) -> signing.Signer:
    return signing.opened(validate(SigningConfig, files.config | more))


@pytest.mark.parametrize(("kind", "algorithm"), [("es384", "es384"), ("ps256", "ps256"), ("ed25519", "ed25519")])
def test_the_key_says_the_algorithm(tmp_path: Path, kind: str, algorithm: str) -> None:
    assert opened(signer(tmp_path, kind)).algorithm == algorithm


def test_rsa_signs_with_what_is_asked_for(tmp_path: Path) -> None:
    assert opened(signer(tmp_path, "ps256"), algorithm="ps512").algorithm == "ps512"


def test_a_key_as_openssl_ecparam_writes_it(tmp_path: Path, signed_by: Signed) -> None:
    key = serialization.load_pem_private_key(Path(signed_by.key).read_bytes(), None)
    (tmp_path / "old.pem").write_bytes(pem_of(key, serialization.PrivateFormat.TraditionalOpenSSL))
    assert b"BEGIN EC PRIVATE KEY" in (tmp_path / "old.pem").read_bytes()
    assert opened(signed_by, key=str(tmp_path / "old.pem")).algorithm == "es256"


def test_a_key_out_of_the_environment(signed_by: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    config = validate(SigningConfig, {"certificate": signed_by.certificate, "key_variable": "A_KEY"})
    with pytest.raises(ValueError, match=r"provenance.key_variable=A_KEY: not set on .*; export it"):
        signing.opened(config)
    monkeypatch.setenv("A_KEY", Path(signed_by.key).read_text())
    assert signing.opened(config).algorithm == "es256"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("rsa1024", "an RSA key of 1024 bits, which C2PA does not sign with; expected EC P-256, P-384 or P-521, RSA"),
        ("secp256k1", "an EC key on secp256k1, which C2PA does not sign with"),
        ("ed448", "a key of kind .*448.*, which C2PA does not sign with"),
    ],
)
def test_keys_of_other_kinds(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(signer(tmp_path, kind))


def test_another_algorithm_than_the_keys(signed_by: Signed) -> None:
    with pytest.raises(ValueError, match="algorithm=ps256: the key is an EC key on secp256r1, which signs with es256"):
        opened(signed_by, algorithm="ps256")
    with pytest.raises(ConfigError, match="algorithm='rs256': Input should be 'es256'"):
        opened(signed_by, algorithm="rs256")


def test_another_signers_key(tmp_path: Path, signed_by: Signed) -> None:
    with pytest.raises(ValueError, match=r"not the key of the first certificate in .* \(CN=a test signer,O=Tests\)"):
        opened(signed_by, key=signer(tmp_path).key)


def test_the_authority_before_the_signer(tmp_path: Path, signed_by: Signed) -> None:
    first, second = Path(signed_by.certificate).read_text().split("-----BEGIN")[1:]
    (tmp_path / "turned.pem").write_text(f"-----BEGIN{second}-----BEGIN{first}")
    with pytest.raises(ValueError, match=r"\(CN=a test authority,O=Tests\); .* the signer's certificate first"):
        opened(signed_by, certificate=str(tmp_path / "turned.pem"))


@pytest.mark.parametrize(
    ("days", "message"), [((-50, -1), "CN=a test signer,O=Tests expired on 20"), ((1, 9), "is not valid before 20")]
)
def test_a_certificate_out_of_its_time(tmp_path: Path, days: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(signer(tmp_path, days=days))


@pytest.mark.parametrize("wrong", [{"purpose": ExtendedKeyUsageOID.SERVER_AUTH}, {"is_authority": True}])
def test_certificates_for_another_purpose(tmp_path: Path, wrong: dict[str, Any]) -> None:
    files = signer(tmp_path, **wrong)
    with pytest.raises(ValueError, match=r"a signature was tried, and c2pa refuses it \(.+\); docs/provenance.md"):
        opened(files)


@pytest.mark.parametrize("purpose", reading.PURPOSES)
def test_certificates_as_c2pas_programme_issues_them(tmp_path: Path, png: bytes, purpose: str) -> None:
    files = signer(tmp_path, purpose=ObjectIdentifier(purpose))
    found = reading.read(opened(files).sign(png, {"seed": "1"}), Path(files.authority).read_text())
    assert found.state == "Trusted" and not found.failures


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_files_that_are_missing_or_something_else(tmp_path: Path, signed_by: Signed, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"provenance.{name}=.*none.pem: no such file"):
        opened(signed_by, **{name: str(tmp_path / "none.pem")})
    other = tmp_path / "other.pem"
    other.write_text("a secret that nobody should see")
    with pytest.raises(ValueError, match=f"provenance.{name}=.*other.pem: no PEM") as error:
        opened(signed_by, **{name: str(other)})
    assert "nobody" not in str(error.value)
    if os.geteuid():
        other.chmod(0)
        with pytest.raises(PermissionError, match="must not be read by this user"):
            opened(signed_by, **{name: str(other)})


def test_an_encrypted_key(tmp_path: Path, signed_by: Signed) -> None:
    (tmp_path / "hidden.pem").write_bytes(pem_of(KEYS["es256"](), password=b"word"))
    with pytest.raises(ValueError, match="encrypted; give it decrypted"):
        opened(signed_by, key=str(tmp_path / "hidden.pem"))


def test_no_certificate_no_key_and_two(signed_by: Signed) -> None:
    with pytest.raises(ConfigError, match="certificate: missing"):
        validate(SigningConfig, {"key": "k.pem"})
    with pytest.raises(ConfigError, match="key: expected either `key` .* got neither"):
        validate(SigningConfig, {"certificate": "c.pem"})
    with pytest.raises(ConfigError, match="got both"):
        opened(signed_by, key_variable="A_KEY")


@pytest.mark.parametrize("name", ["key", "key_variable"])
def test_a_key_in_the_config_is_not_repeated(signed_by: Signed, name: str) -> None:
    secret = Path(signed_by.key).read_text()
    with pytest.raises(ConfigError, match="PEM text; expected the name of") as error:
        validate(SigningConfig, {"certificate": signed_by.certificate, name: secret})
    assert secret.splitlines()[1] not in str(error.value)


def test_credentials_do_not_show_the_key(signed_by: Signed) -> None:
    held = credentials(validate(SigningConfig, signed_by.config))
    assert Path(signed_by.key).read_text().splitlines()[1][:20] not in repr(held)


def test_a_key_that_all_may_read_is_told(tmp_path: Path, signed_by: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    opened(signed_by)
    assert capsys.readouterr().out == ""
    open_key = tmp_path / "open.pem"
    open_key.write_bytes(Path(signed_by.key).read_bytes())
    open_key.chmod(0o644)
    opened(signed_by, key=str(open_key))
    assert f"every user of this machine can read this key; chmod 600 {open_key}" in capsys.readouterr().out


def test_without_the_extra(signed_by: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(ImportError, match=r"pip install 'dermray\[provenance\]'"):
        opened(signed_by)


def test_an_authority_for_time_that_does_not_answer(signed_by: Signed) -> None:
    with pytest.raises(ValueError, match="timestamp_authority=http://127.0.0.1:9/: a signature was tried"):
        opened(signed_by, timestamp_authority="http://127.0.0.1:9/")
    with pytest.raises(ConfigError, match="timestamp_authority='ftp://x'"):
        opened(signed_by, timestamp_authority="ftp://x")
