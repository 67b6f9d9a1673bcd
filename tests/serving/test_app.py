import socket

import pytest

from dermray.serving.run import require_free_port


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} on 127.0.0.1: Address already in use; choose another"):
            require_free_port("127.0.0.1", port)
