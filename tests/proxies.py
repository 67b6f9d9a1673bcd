"""What stands between a test and its S3 server."""

import socket
import threading

from tests.conftest import free_port


class CountingProxy:
    """Keeps what an S3 server was asked, and how many bytes it answered."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self.behind, self.asked, self.answered = (host, int(port)), bytearray(), 0
        self.server = socket.create_server(("127.0.0.1", free_port()), backlog=128)
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def count(self, request: str) -> int:
        """How often requests began with this."""
        return self.asked.count(request.encode())

    def _serve(self) -> None:
        while True:
            near, _ = self.server.accept()
            far = socket.create_connection(self.behind)
            for source, target, note in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pass, args=(source, target, note), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, note: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if note:
                    self.asked += data
                else:
                    self.answered += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
