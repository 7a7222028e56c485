"""A web server on 127.0.0.1 that misbehaves on demand, for the tests of `lvmlib.downloads`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Serves one address; its answers are used up in turn, and the last one is repeated.

    Attributes:
        ranges: the Range header of each request so far, None where there was none.
        released: set it to let the answers of `hang` and `stall` go on.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.ranges: list[str | None] = []
        self.released = threading.Event()
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            owner = self

            def do_GET(self) -> None:
                with lock:
                    server.ranges.append(self.headers.get("Range"))
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


def good(content: bytes, *, drop_after: int | None = None, ranges: bool = True, length: int | None = None) -> Answer:
    """Send the content, or the rest of it that was asked for.

    Args:
        content: the whole file.
        drop_after: send that many bytes and cut the connection.
        ranges: False ignores the Range header, as some servers do.
        length: claim this Content-Length instead of the true one.
    """

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = _start(request) if ranges else 0
        if start >= len(content):
            request.send_error(416)
            return
        rest = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(rest) if length is None else length))
        request.end_headers()
        request.wfile.write(rest[:drop_after])

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


def hang(request: BaseHTTPRequestHandler) -> None:
    """Accept the connection and never say a word."""
    request.owner.released.wait(10)  # type: ignore[attr-defined]


def status(code: int) -> Answer:
    """Answer with an error."""
    return lambda request: request.send_error(code)


def wrong_range(content: bytes) -> Answer:
    """Answer every request for a rest with the first bytes, under status 206."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 0-9/{len(content)}")
        request.send_header("Content-Length", "10")
        request.end_headers()
        request.wfile.write(content[:10])

    return answer


def _start(request: BaseHTTPRequestHandler) -> int:
    return int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
