"""Several processes that fetch one file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lvmlib import downloads
from tests.fetched import (  # noqa: F401
    BLOB,
    BLOB_SHA256,
    FILE,
    HALF,
    empty_cache,
    fetch,
    left_behind,
    source,
)
from tests.http_server import Server, good, stall

PROCESS = """
import importlib.util, hashlib, sys
spec = importlib.util.spec_from_file_location("downloads", sys.argv[1])      # without torch: a quick start
downloads = importlib.util.module_from_spec(spec)
spec.loader.exec_module(downloads)
downloads.BEGINNINGS = ("http://127.0.0.1",)
file, size, sha256, url, blob = sys.argv[2:]
source = downloads.Source(file, int(size), sha256, (url,), {"blob": blob})
print(hashlib.sha256(downloads.read("blobs", source)[0]).hexdigest())
"""


def start(server: Server) -> subprocess.Popen[str]:
    file, size, sha256, (url,), members = source(server.url)
    command = [sys.executable, "-c", PROCESS, downloads.__file__, file, str(size), sha256, url, members["blob"]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_of_two_processes_one_fetches_and_the_other_waits(cache):
    with Server(stall(FILE, HALF)) as server:
        first, second = start(server), start(server)
        wait_for(lambda: server.requests)
        time.sleep(0.5)  # time for the other to meet the lock
        server.released.set()
        results = [process.communicate(timeout=10) for process in (first, second)]
    assert [out.strip() for out, _ in results] == [BLOB_SHA256] * 2
    assert sum("waiting for it" in err for _, err in results) == 1
    assert server.requests == 1


def size(path: Path) -> int:
    """Its bytes; a file that was listed may be gone (the cache tries its folder with one of a moment's life)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_download_leaves_nothing_broken(cache):
    with Server(stall(FILE, HALF), good(FILE)) as server:
        process = start(server)
        wait_for(lambda: any(size(path) for path in cache.parent.glob("tmp*")))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not cache.exists(), "half a file must not carry the final name"
        assert fetch(server) == BLOB, "the lock of a killed process must not hold"
        assert server.requests == 2
    assert left_behind(cache) == ["blob.gz"]
