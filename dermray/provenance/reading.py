"""What a file says of where it comes from, and whether its signature holds: `dermray provenance`."""

import io
from dataclasses import dataclass, field
from typing import Any

from dermray import storage
from dermray.datasets.decode import BadImage, decode
from dermray.provenance import text
from dermray.provenance.credentials import MISSING

CHUNK = b"caBX"  # of a PNG, in which C2PA keeps its manifests
UNKNOWN_SIGNER = "signingCredential.untrusted"  # no failure of the file: nobody was named who vouches
# What C2PA 2.2, section 14.5.1, lets a signer's certificate be for: its own purpose, documents, mail. Without the list
# c2pa's reader knows the last alone.
PURPOSES = ("1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.36", "1.3.6.1.5.5.7.3.4")
OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}  # a file must not call anybody
STATES = {
    "Trusted": "valid, and the signer is vouched for by the authorities given",
    "Valid": "valid, nothing was changed since it was signed; nobody vouches for the signer (see --trust)",
    "Invalid": "INVALID, the file was changed after it was signed, or its signature is not good",
}


@dataclass(frozen=True)
class Provenance:
    """Of one file."""

    text: dict[str, str]
    state: str | None = None  # c2pa's: Trusted, Valid, Invalid; None where there is no manifest
    failures: list[str] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)  # the active one, as c2pa's reader gives it


def read(data: bytes, authorities: str | None = None) -> Provenance:
    """Text and manifest of an encoded image.

    Args:
        authorities: PEM text of certificates that vouch for signers.

    Raises:
        BadImage: no image, or a damaged one. ImportError: it has a manifest, and the extra is not installed.
    """
    decode(data)
    try:
        said = text.read(data)
    except (ValueError, OSError) as error:
        raise BadImage(f"its text cannot be read ({error})") from None
    try:
        import c2pa
    except ImportError:
        if CHUNK in data:
            raise ImportError(MISSING.replace("signing", "reading a manifest")) from None
        return Provenance(said)
    trust = {"trust_config": "\n".join(PURPOSES)} | ({"user_anchors": authorities} if authorities else {})
    settings = OFFLINE | {"trust": trust}
    try:  # the format is found out by the bytes
        found = c2pa.Reader.try_create(io.BytesIO(data), context=c2pa.Context.from_dict(settings))
    except c2pa.C2paError.NotSupported:  # an image of a kind that holds none
        return Provenance(said)
    except c2pa.C2paError as error:
        return Provenance(said, "Invalid", [str(error)])
    if found is None:
        return Provenance(said)
    with found:
        results = (found.get_validation_results() or {}).get("activeManifest", {})
        failures = [f"{one['code']}: {one.get('explanation', '')}" for one in results.get("failure", [])]
        failures = [failure for failure in failures if not failure.startswith(UNKNOWN_SIGNER)]
        return Provenance(said, found.get_validation_state(), failures, found.get_active_manifest() or {})


def authorities(trust: str) -> str:
    """PEM text of the certificates in a file.

    Raises:
        OSError, ValueError: no such file, or none in it.
    """
    pem = _bytes(trust, "--trust ").decode("utf-8", "replace")
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError(f"--trust {trust}: no PEM certificate; expected those of authorities that vouch for signers")
    return pem


def describe(uri: str, authorities: str | None = None) -> tuple[list[str], bool]:
    """Lines about a file, and whether its signature, if it has one, holds.

    Raises:
        OSError, ValueError: no such file, or no image; ImportError: as `read` says.
    """
    try:
        found = read(_bytes(uri), authorities)
    except BadImage as error:
        raise ValueError(f"{uri}: {error}") from None
    lines = [uri, "  text, which anybody can write and change:" if found.text else "  no text"]
    lines += [f"    {_shown(name)}: {_shown(value)}" for name, value in found.text.items()]
    return [*lines, *_of_manifest(found)], found.state != "Invalid"


def _bytes(uri: str, option: str = "") -> bytes:
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        raise FileNotFoundError(f"{option}{uri}: no such file") from None


def _shown(value: object) -> str:
    """On one line and without control characters: a text must not look like another line of ours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def _of_manifest(found: Provenance) -> list[str]:
    if found.state is None:
        return ["  no C2PA manifest"]
    signature = found.manifest.get("signature_info", {})
    signer = ", ".join(filter(None, (signature.get("common_name"), signature.get("issuer"))))
    lines = [f"  C2PA manifest: {STATES.get(found.state, found.state)}"]
    lines += [f"    failure: {_shown(failure)}" for failure in found.failures]
    lines.append(f"    signer: {_shown(signer or 'unknown')} ({signature.get('alg', 'unknown algorithm')})")
    lines.append(f"    time: {_shown(signature.get('time') or 'not stamped by an authority')}")
    for assertion in found.manifest.get("assertions", []):
        for action in assertion.get("data", {}).get("actions", []):
            kind = str(action.get("digitalSourceType", "")).rpartition("/")[2]
            lines.append(f"    action: {_shown(action.get('action'))} {_shown(kind)}".rstrip())
    return lines
