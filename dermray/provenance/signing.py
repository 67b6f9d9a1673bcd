"""C2PA manifests in PNGs: who says that a model drew an image, and from what. c2pa-python makes and signs them."""

import hashlib
import io
from typing import Any

import numpy as np

from dermray import __version__
from dermray.provenance import reading, text
from dermray.provenance.credentials import Credentials, credentials
from dermray.provenance.settings import SigningConfig

# IPTC's word for what a trained model made: https://cv.iptc.org/newscodes/digitalsourcetype/
DRAWN_BY_A_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
LABEL = "dermray.generation"  # of the assertion that repeats the PNG's text
SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},  # the image itself is small, and lies beside it
    "verify": {"verify_after_sign": False},  # `opened` has verified one, and the certificate's end is looked at anyway
}


class Signer:
    """Signs PNGs, from several threads at once. It holds the key: make one in each process, and send it to none."""

    def __init__(self, held: Credentials) -> None:
        import c2pa

        authority = held.timestamp_authority.encode() if held.timestamp_authority else None
        self._context = c2pa.Context.from_dict(SETTINGS)
        self._signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(held.algorithm, held.chain, held.key, authority))
        self.algorithm = held.algorithm
        self.fingerprint = hashlib.sha256(held.chain).hexdigest()  # of the certificates

    def sign(self, png: bytes, said: dict[str, str]) -> bytes:
        """The same PNG with a manifest in a chunk of its own. Its bytes differ each time: salts are random.

        Raises:
            RuntimeError: c2pa cannot, such as when the certificate has expired meanwhile.
        """
        import c2pa

        signed = io.BytesIO()
        try:
            with c2pa.Builder(manifest_of(said), context=self._context) as builder:
                builder.sign(self._signer, "image/png", io.BytesIO(png), signed)
        except c2pa.C2paError as error:
            raise RuntimeError(f"provenance: c2pa did not sign ({error}); give a valid certificate") from None
        return signed.getvalue()


def manifest_of(said: dict[str, str]) -> dict[str, Any]:
    """What is signed of an image, as c2pa's Builder takes it."""
    software = {"name": "dermray", "version": __version__}
    created = {"action": "c2pa.created", "digitalSourceType": DRAWN_BY_A_MODEL, "softwareAgent": software}
    return {
        "claim_generator_info": [software],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": LABEL, "data": said},
        ],
    }


def opened(config: SigningConfig) -> Signer:
    """A signer whose first signature c2pa's own reader has found good.

    Raises:
        ImportError, OSError, ValueError: as `credentials` says; ValueError too for a certificate that c2pa does not
            sign with, or whose signature it does not accept.
    """
    held = credentials(config)
    for warning in held.warnings:
        print(f"      warning: {warning}", flush=True)
    try:
        signer = Signer(held)
        tried = signer.sign(text.png(np.zeros((8, 8, 3), np.uint8), {}), {"prompt": "a try"})
    except Exception as error:
        raise ValueError(_refusal(config, str(error))) from None
    found = reading.read(tried)
    if found.state not in ("Valid", "Trusted"):
        raise ValueError(_refusal(config, "; ".join(found.failures) or f"{found.state}"))
    return signer


def _refusal(config: SigningConfig, why: str) -> str:
    authority = f", timestamp_authority={config.timestamp_authority}" if config.timestamp_authority else ""
    return (
        f"provenance.certificate={config.certificate}{authority}: a signature was tried, and c2pa refuses it ({why}); "
        "docs/provenance.md says what a certificate must have"
    )
