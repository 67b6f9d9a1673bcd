"""A signature with a time that an authority vouches for: openssl's, behind HTTP."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from dermray.config import validate
from dermray.provenance import reading, signing
from dermray.provenance.settings import SigningConfig
from tests.provenance.certificates import Signed, signer
from tests.provenance.conftest import SAID

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")
CONFIG = """[tsa]
default_tsa = t
[t]
serial = {folder}/serial
signer_cert = {files.certificate}
certs = {files.authority}
signer_key = {files.key}
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
"""


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL of one at work, and the certificate that vouches for it."""
    files = signer(tmp_path / "tsa", purpose=ExtendedKeyUsageOID.TIME_STAMPING)
    (tmp_path / "tsa.cnf").write_text(CONFIG.format(folder=tmp_path, files=files))
    (tmp_path / "serial").write_text("01\n")

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = tmp_path / "query"
            query.write_bytes(self.rfile.read(int(self.headers["content-length"])))
            command = ["openssl", "ts", "-reply", "-config", str(tmp_path / "tsa.cnf"), "-queryfile", str(query)]
            reply = subprocess.run(command, capture_output=True, check=True).stdout
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", files.authority
        server.shutdown()


def test_a_stamped_time_is_in_the_signature(
    authority: tuple[str, str], signed_by: Signed, png: bytes, tmp_path: Path
) -> None:
    url, vouches = authority
    stamps = signing.opened(validate(SigningConfig, signed_by.config | {"timestamp_authority": url}))
    both = Path(signed_by.authority).read_text() + Path(vouches).read_text()
    found = reading.read(stamps.sign(png, SAID), both)
    assert found.state == "Trusted" and found.manifest["signature_info"]["time"].startswith("20")
    unstamped = signing.opened(validate(SigningConfig, signed_by.config)).sign(png, SAID)
    assert not reading.read(unstamped, both).manifest["signature_info"].get("time")


def test_the_certificates_of_the_documentation_sign(png: bytes, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "provenance.md").read_text()
    [commands] = [block for block in text.split("```")[1::2] if "openssl req" in block]
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, check=True, capture_output=True)
    config = validate(SigningConfig, {"certificate": f"{tmp_path}/chain.pem", "key": f"{tmp_path}/signer.key"})
    signed = signing.opened(config).sign(png, SAID)
    assert reading.read(signed, (tmp_path / "authority.pem").read_text()).state == "Trusted"
