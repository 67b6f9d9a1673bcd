"""A certificate and its private key, read and held against each other before any work starts."""

import datetime
import os
import socket
import stat
from dataclasses import dataclass, field
from typing import Any

from dermray import storage
from dermray.provenance.settings import SigningConfig

MISSING = "provenance: signing needs c2pa-python; pip install 'dermray[provenance]'"
READABLE_BY_ALL = stat.S_IROTH
RSA_BITS = 2048  # C2PA 2.2, section 13.2.1: at least
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Credentials:
    """What c2pa signs with."""

    algorithm: str
    chain: bytes  # PEM, the signer's certificate first
    key: bytes = field(repr=False)  # PEM of PKCS #8, which c2pa expects; a secret
    timestamp_authority: str | None = None
    warnings: tuple[str, ...] = ()


def credentials(config: SigningConfig) -> Credentials:
    """Certificate and key of a config, which fit.

    Raises:
        ImportError: the extra is not installed. FileNotFoundError, PermissionError: no such file. ValueError: a file is
            no PEM, the certificate is not valid now, or the key, the certificate and the algorithm do not fit.
    """
    try:
        import c2pa  # noqa: F401  # the extra; it brings cryptography along
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization as to
    except ImportError:
        raise ImportError(MISSING) from None
    pem, where = _bytes("certificate", config.certificate), f"provenance.certificate={config.certificate}"
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"{where}: no PEM certificate; expected the signer's, then those that vouch for it") from None
    _require_valid_now(chain[0], where)
    key, warnings = _key(config)
    where_key = _where_key(config)
    if _public(key.public_key()) != _public(chain[0].public_key()):
        raise ValueError(
            f"{where_key}: not the key of the first certificate in {config.certificate} ({_name(chain[0])}); give the "
            "two that were made together, and the signer's certificate first"
        )
    algorithm = _algorithm(key, config.algorithm, where_key)
    encoded = key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption())
    return Credentials(algorithm, pem, encoded, config.timestamp_authority, warnings)


def _key(config: SigningConfig) -> tuple[Any, tuple[str, ...]]:
    """The private key, and what is to be said of how it is kept."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    where, pem = _where_key(config), _key_bytes(config)
    try:
        return load_pem_private_key(pem, None), _kept(config)
    except TypeError:
        raise ValueError(
            f"{where}: encrypted; give it decrypted (openssl pkey -in KEY -out PLAIN, chmod 600 PLAIN), or in a "
            "variable that your secret store fills (key_variable)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):  # whose messages may repeat what they read
        raise ValueError(f"{where}: no PEM private key; expected -----BEGIN PRIVATE KEY-----") from None


def _key_bytes(config: SigningConfig) -> bytes:
    if config.key is not None:
        return _bytes("key", config.key)
    text = os.environ.get(config.key_variable or "")
    if not text:
        raise ValueError(
            f"provenance.key_variable={config.key_variable}: not set on {socket.gethostname()}; export it where images "
            "are signed, with the key's PEM text"
        )
    return text.encode()


def _kept(config: SigningConfig) -> tuple[str, ...]:
    if config.key is None or storage.is_s3(config.key):
        return ()
    if not os.stat(storage.normalise(config.key)).st_mode & READABLE_BY_ALL:
        return ()
    return (f"provenance.key={config.key}: every user of this machine can read this key; chmod 600 {config.key}",)


def _bytes(name: str, path: str) -> bytes:
    try:
        return storage.read_bytes(storage.normalise(path))
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"provenance.{name}={path}: no such file; expected a PEM file") from None
    except PermissionError:
        raise PermissionError(f"provenance.{name}={path}: must not be read by this user") from None


def _where_key(config: SigningConfig) -> str:
    return f"provenance.key={config.key}" if config.key else f"provenance.key_variable={config.key_variable}"


def _require_valid_now(certificate: Any, where: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > last:
        raise ValueError(f"{where}: {_name(certificate)} expired on {last:%Y-%m-%d %H:%M} UTC; give one that is valid")
    if now < first:
        raise ValueError(f"{where}: {_name(certificate)} is not valid before {first:%Y-%m-%d %H:%M} UTC")


def _name(certificate: Any) -> str:
    return str(certificate.subject.rfc4514_string())


def _public(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization as to

    encoded: bytes = key.public_bytes(to.Encoding.DER, to.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _algorithm(key: Any, asked: str | None, where: str) -> str:
    """The algorithm of this key.

    Raises:
        ValueError: C2PA has none for it, or another was asked for.
    """
    possible, kind = _of_key(key)
    if not possible:
        raise ValueError(
            f"{where}: {kind}, which C2PA does not sign with; expected EC P-256, P-384 or P-521, RSA of at least "
            f"{RSA_BITS} bits, or Ed25519"
        )
    if asked is not None and asked not in possible:
        raise ValueError(
            f"provenance.algorithm={asked}: the key is {kind}, which signs with {' or '.join(possible)}; leave "
            "`algorithm` out, or give another key"
        )
    return asked or possible[0]


def _of_key(key: Any) -> tuple[tuple[str, ...], str]:
    """C2PA's algorithms for a key, and what it is in words."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey):
        name = key.curve.name
        return ((CURVES[name],) if name in CURVES else ()), f"an EC key on {name}"
    if isinstance(key, rsa.RSAPrivateKey):
        return (("ps256", "ps384", "ps512") if key.key_size >= RSA_BITS else ()), f"an RSA key of {key.key_size} bits"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ("ed25519",), "an Ed25519 key"
    return (), f"a key of kind {type(key).__name__.removesuffix('PrivateKey')}"
