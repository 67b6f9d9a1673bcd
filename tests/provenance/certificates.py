"""Certificates as authorities issue them, and those that do not fit: made anew, so that no key lies in the project."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
KEYS: dict[str, Any] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed448": ed448.Ed448PrivateKey.generate,
}
PKCS8 = serialization.PrivateFormat.PKCS8


@dataclass(frozen=True)
class Signed:
    """Files of a signer: certificate chain, key, and the authority that vouches."""

    certificate: str
    key: str
    authority: str

    @property
    def config(self) -> dict[str, str]:
        return {"certificate": self.certificate, "key": self.key}


def pem_of(key: Any, form: Any = PKCS8, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, form, hidden)
    return pem


def signer(
    folder: Path,
    kind: str = "es256",
    days: tuple[int, int] = (-50, 365),
    purpose: Any = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    is_authority: bool = False,
) -> Signed:
    """Files in `folder` of a signer whose certificate is valid over these days from now."""
    folder.mkdir(parents=True, exist_ok=True)
    root, key = ec.generate_private_key(ec.SECP256R1()), KEYS[kind]()
    authority = _certificate("a test authority", root, "a test authority", root, (-400, 3650), True, None)
    own = _certificate("a test signer", key, "a test authority", root, days, is_authority, purpose)
    (folder / "chain.pem").write_bytes(own + authority)
    (folder / "authority.pem").write_bytes(authority)
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(pem_of(key))
    return Signed(*(str(folder / f"{name}.pem") for name in ("chain", "key", "authority")))


def _certificate(
    name: str, key: Any, issuer: str, signed_by: Any, days: tuple[int, int], is_authority: bool, purpose: Any
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(not is_authority, False, False, False, False, is_authority, is_authority, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name)).issuer_name(_name(issuer)).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY).not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(is_authority, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()), False)
    )  # fmt: skip
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), True)
    return builder.sign(signed_by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
