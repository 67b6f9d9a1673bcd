"""moto's S3 server. Conditional writes are done one after the other, as S3 does them: moto looks whether there is an
object, and then writes, and of two requests in between both would succeed.

python -m tests.s3_server PORT [ADDRESS]
"""

import sys
import threading
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class Atomic:
    """The server's WSGI application."""

    def __init__(self) -> None:
        self.moto: Any = DomainDispatcherApplication(create_backend_app)
        self.turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        conditional = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys()
        if environ["REQUEST_METHOD"] not in ("PUT", "DELETE") or not conditional:
            answer: Iterable[bytes] = self.moto(environ, start_response)
            return answer
        with self.turn:
            return list(self.moto(environ, start_response))


if __name__ == "__main__":
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    run_simple(host, int(sys.argv[1]), Atomic(), threaded=True, request_handler=MotoRequestHandler)
