"""A web server on 127.0.0.1 that misbehaves on demand, for the tests of `lvmlib.downloads`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Serves one address; its answers are used up in turn, and the last one is repeated.

    Attributes:
        requests: how many there were so far.
        sent: how many bytes `endless` has sent.
        released: set it to let the answers of `hang` and `stall` go on.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests = self.sent = 0
        self.released = threading.Event()
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            owner = self

            def do_GET(self) -> None:
                with lock:
                    server.requests += 1
                    answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                self.close_connection = True
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/blob.gz"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()


def good(content: bytes, *, drop_after: int | None = None, length: int | None = None) -> Answer:
    """Send the content.

    Args:
        content: the whole file.
        drop_after: send that many bytes and cut the connection.
        length: claim this Content-Length instead of the true one.
    """

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content[:drop_after])

    return answer


def stall(content: bytes, after: int) -> Answer:
    """Send some bytes, then nothing, with the connection kept open until the test ends; then the rest."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:after])
        request.owner.released.wait(10)  # type: ignore[attr-defined]
        request.wfile.write(content[after:])

    return answer


def endless_headers(request: BaseHTTPRequestHandler) -> None:
    """Send one byte of a header every 20 ms, as long as anyone listens."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not request.owner.released.wait(0.02):  # type: ignore[attr-defined]
        request.wfile.write(b"a")
        request.wfile.flush()


def hang(request: BaseHTTPRequestHandler) -> None:
    """Accept the connection and never say a word."""
    request.owner.released.wait(10)  # type: ignore[attr-defined]


def status(code: int) -> Answer:
    """Answer with an error."""
    return lambda request: request.send_error(code)


def redirect(url: str) -> Answer:
    """Point to another address."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", url)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def endless(content: bytes, piece: int = 1 << 20, pause: float = 0.0) -> Answer:
    """Send the content again and again, in pieces and without a Content-Length, as long as anyone listens."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not request.owner.released.wait(pause):  # type: ignore[attr-defined]
            for start in range(0, len(content), piece):
                request.wfile.write(content[start : start + piece])
                request.owner.sent += len(content[start : start + piece])  # type: ignore[attr-defined]
                if pause:
                    time.sleep(pause)

    return answer
