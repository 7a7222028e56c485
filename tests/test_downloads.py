"""Fetching files from a server that misbehaves in every way that servers do."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tracemalloc
from pathlib import Path

import pooch
import pytest

from lvmlib import downloads
from lvmlib.data import sources
from lvmlib.downloads import DataError, Source, cache_folder, read
from tests.http_server import Answer, Server, endless, endless_headers, good, hang, redirect, stall, status

BLOB = random.Random(0).randbytes(300_000)  # does not compress, so that half of the file is half of the bytes
FILE = gzip.compress(BLOB, mtime=0)
HALF = len(FILE) // 2
BLOB_SHA256 = hashlib.sha256(BLOB).hexdigest()


def source(*urls: str, content: bytes = FILE) -> Source:
    return Source("blob.gz", len(content), hashlib.sha256(content).hexdigest(), urls, {"blob": BLOB_SHA256})


def fetch(*servers: Server) -> bytes:
    (data,) = read("blobs", source(*(server.url for server in servers)), progress=False)
    return data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no local folder, and little patience; gives the place where the file will lie.

    The servers of the tests speak http, which is let through for their address alone.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LVMLIB_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "BEGINNINGS", ("https://", "http://127.0.0.1"))
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.01, 0.01))
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)
    return tmp_path / "lvmlib" / "blobs" / "blob.gz"


def left_behind(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.parent.iterdir() if path.name != ".lock")


# ------------------------------------------------------------------------------------------ what ends well


def test_a_file_is_fetched_once_and_then_read_from_the_cache(cache):
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB
        assert fetch(server) == BLOB
        assert server.requests == 1
    assert cache.read_bytes() == FILE and left_behind(cache) == ["blob.gz"]


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        pytest.param([good(FILE, drop_after=HALF), good(FILE)], 2, id="a broken connection"),
        pytest.param([stall(FILE, HALF), good(FILE)], 2, id="silence in the middle"),
        pytest.param([hang, good(FILE)], 2, id="silence from the start"),
        pytest.param([status(500), status(503), good(FILE)], 3, id="a server that recovers"),
        pytest.param([good(b"<html>Log in!</html>"), good(FILE)], 2, id="garbage, then the file"),
        pytest.param([good(FILE, length=HALF), good(FILE)], 2, id="Content-Length too small, then right"),
        pytest.param([good(FILE, length=2 * len(FILE))], 1, id="Content-Length too large"),
        pytest.param([good(FILE + b"and more")], 1, id="something behind the file"),
    ],
)
def test_faults_that_pass(cache, answers: list[Answer], requests: int):
    with Server(*answers) as server:
        assert fetch(server) == BLOB
        assert server.requests == requests
    assert cache.read_bytes() == FILE and left_behind(cache) == ["blob.gz"]


def test_the_next_address_is_tried(cache):
    with Server(status(404)) as gone, Server(good(b"no gzip")) as wrong, Server(good(FILE)) as right:
        assert fetch(gone, wrong, right) == BLOB
        assert [gone.requests, wrong.requests, right.requests] == [1, 1, 1], "before any is tried again"


def test_what_a_killed_process_left_is_cleared_away(cache):
    cache.parent.mkdir(parents=True)
    cache.with_name("tmp1x2y3z").write_bytes(FILE[:HALF])
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB
    assert left_behind(cache) == ["blob.gz"]


@pytest.mark.parametrize(
    "damaged",
    [FILE[:HALF], b"", FILE[:-9] + b"123456789", gzip.compress(b"another file")],
    ids=["cut short", "empty", "wrong checksum", "another file"],
)
def test_a_damaged_cache_heals(cache, damaged: bytes):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(damaged)
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB
    assert cache.read_bytes() == FILE


def test_the_bar_goes_to_stderr(cache, capsys):
    with Server(good(FILE)) as server:
        read("blobs", source(server.url))
    out, err = capsys.readouterr()
    assert out == "" and "blob.gz" in err and "100%" in err


# ------------------------------------------------------------------------------------------ what ends in an error


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(status(404), "404 Client Error: Not Found", id="404"),
        pytest.param(status(500), "500 Server Error", id="500 for ever"),
        pytest.param(hang, "timed out", id="silence"),
        pytest.param(stall(FILE, HALF), "timed out", id="silence in the middle"),
        pytest.param(good(b"<html>Log in!</html>"), f"only 20 of {len(FILE):,} bytes came", id="garbage"),
        pytest.param(good(FILE[::-1]), "does not match the known hash", id="another file of that size"),
        pytest.param(
            good(FILE, length=HALF), f"only {HALF:,} of {len(FILE):,} bytes came", id="Content-Length too small"
        ),
        pytest.param(good(FILE, drop_after=HALF), f"{HALF} bytes read, {len(FILE) - HALF} more expected", id="half"),
        pytest.param(endless(b"spam" * 1000), "does not match the known hash", id="an endless body"),
    ],
)
def test_faults_that_stay(cache, answer: Answer, reason: str):
    with Server(answer) as server, pytest.raises(DataError) as error:
        fetch(server)
    message = str(error.value)
    assert reason in message
    for needed in (server.url, str(cache.parent), "LVMLIB_DATA"):
        assert needed in message, f"the message must name {needed}"
    assert left_behind(cache) == [] and server.requests == 3


def test_no_more_is_taken_than_expected(cache, monkeypatch):
    """What goes beyond lies in the buffers of the two sockets: a few megabytes."""
    monkeypatch.setattr(downloads, "PAUSES", (0.0,))
    with Server(endless(b"spam" * 1000)) as server, pytest.raises(DataError):
        fetch(server)
    time.sleep(0.3)
    assert len(FILE) <= server.sent < len(FILE) + 20_000_000


def test_a_server_that_drips(cache, monkeypatch):
    """A byte every 20 ms never lets TIMEOUT pass; patience ends it."""
    monkeypatch.setattr(downloads, "PAUSES", (0.0,))
    monkeypatch.setattr(downloads, "PATIENCE", 0.5)
    begun = time.monotonic()
    with (
        Server(endless(FILE, piece=1, pause=0.02)) as server,
        pytest.raises(DataError, match=r"only \d+ of 300,\d+ bytes came, too slowly"),
    ):
        fetch(server)
    assert 0.4 < time.monotonic() - begun < 3
    assert 0 < server.sent < 100


def test_a_server_whose_headers_drip(cache, monkeypatch):
    """Neither a read nor the body is slow: the answer just does not begin."""
    monkeypatch.setattr(downloads, "PAUSES", (0.0,))
    monkeypatch.setattr(downloads, "LATEST", 0.5)
    begun = time.monotonic()
    with Server(endless_headers) as server, pytest.raises(DataError, match=r"it had not answered after 0\.5 seconds"):
        fetch(server)
    assert 0.4 < time.monotonic() - begun < 3


def test_a_slow_connection_is_borne_with(cache, monkeypatch):
    """60 pieces of 5 kB in more than a second: past the patience for a start, but at twice the slowest rate."""
    monkeypatch.setattr(downloads, "PATIENCE", 0.1)
    monkeypatch.setattr(downloads, "SLOWEST", 100_000)
    begun = time.monotonic()
    with Server(endless(FILE, piece=5_000, pause=0.02)) as server:
        assert fetch(server) == BLOB
    assert time.monotonic() - begun > 1


@pytest.mark.parametrize("beginning", ["http://localhost", "ftp://127.0.0.1", "file://"])
def test_a_redirect_away_from_https_is_refused(cache, beginning: str):
    with Server(good(FILE)) as elsewhere:
        address = elsewhere.url.replace("http://127.0.0.1", beginning)
        with Server(redirect(address)) as server, pytest.raises(DataError, match="leads to one that is not"):
            fetch(server)
        assert server.requests == 3 and elsewhere.requests == 0


def test_a_redirect_to_an_allowed_address_is_followed(cache):
    with Server(good(FILE)) as elsewhere, Server(redirect(elsewhere.url)) as server:
        assert fetch(server) == BLOB
        assert elsewhere.requests == 1


def test_only_https_is_allowed():
    """What the tests above let through besides is shut in the library itself, and all its addresses are of https."""
    code = "from lvmlib import downloads; print(downloads.BEGINNINGS)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "('https://',)\n"
    for kept in (*sources._FASHION, sources._CIFAR):
        assert all(url.startswith("https://") and url.endswith(kept.file) for url in kept.urls)


def test_without_a_network(cache, monkeypatch):
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    urls = ("https://example.org/blob.gz", "https://example.com/blob.gz")
    with pytest.raises(DataError, match="Name or service not known") as error:
        read("blobs", source(*urls), progress=False)
    assert all(url in str(error.value) for url in urls)
    assert left_behind(cache) == []


def test_a_server_that_is_down(cache):
    with pytest.raises(DataError, match="Connection refused"):
        read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False)
    assert left_behind(cache) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(cache, monkeypatch):
    monkeypatch.setattr(pooch.core, "temporary_file", lambda path: contextlib.nullcontext("/dev/full"))
    with Server(good(FILE)) as server, pytest.raises(DataError, match=r"No space left.*Free some space there"):
        fetch(server)
    assert left_behind(cache) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_faults_of_the_disk(cache, monkeypatch, number: int):
    def fails(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pooch.core.shutil, "move", fails)
    with Server(good(FILE)) as server, pytest.raises(DataError, match=rf"{os.strerror(number)}.*XDG_CACHE_HOME"):
        fetch(server)
    assert left_behind(cache) == [] and server.requests == 1


def test_no_permission(cache, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # chmod would not stop root
    with Server(good(FILE)) as server, pytest.raises(DataError, match=r"Permission denied.*LVMLIB_DATA"):
        fetch(server)
    assert server.requests == 0


def test_a_cache_that_cannot_be_read(cache, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    cache.parent.mkdir(parents=True)
    cache.write_bytes(FILE)
    monkeypatch.setattr(downloads.gzip, "open", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False)


# ------------------------------------------------------------------------------------------ several processes

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


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_download_leaves_nothing_broken(cache):
    with Server(stall(FILE, HALF), good(FILE)) as server:
        process = start(server)
        wait_for(lambda: any(path.stat().st_size for path in cache.parent.glob("tmp*")))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not cache.exists(), "half a file must not carry the final name"
        assert fetch(server) == BLOB, "the lock of a killed process must not hold"
        assert server.requests == 2
    assert left_behind(cache) == ["blob.gz"]


# ------------------------------------------------------------------------------------------ LVMLIB_DATA


@pytest.mark.parametrize("folder", [".", "blobs"])
@pytest.mark.parametrize(("name", "content"), [("blob.gz", FILE), ("blob", BLOB)])
def test_a_local_folder_is_used_first(cache, tmp_path, monkeypatch, folder: str, name: str, content: bytes):
    local = tmp_path / "mine"
    (local / folder).mkdir(parents=True)
    (local / folder / name).write_bytes(content)
    monkeypatch.setenv("LVMLIB_DATA", str(local))
    assert read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False) == [BLOB]
    assert not cache.exists()


@pytest.mark.parametrize("variable", ["LVMLIB_DATA", "XDG_CACHE_HOME"])
def test_a_folder_below_home_may_be_named_by_a_tilde(tmp_path, monkeypatch, variable: str):
    """As in a file of variables, which no shell reads."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/mine")
    folder = tmp_path / "mine" if variable == "LVMLIB_DATA" else tmp_path / "mine" / "lvmlib" / "blobs"
    folder.mkdir(parents=True)
    (folder / "blob.gz").write_bytes(FILE)
    assert read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False) == [BLOB]


@pytest.mark.parametrize(("name", "content"), [("blob.gz", FILE[:HALF]), ("blob", BLOB[:-1])])
def test_a_damaged_local_file_is_named(tmp_path, monkeypatch, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{name} is damaged.*remove it to fetch it"):
        read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False)


def test_a_local_folder_without_the_file_is_passed_over(cache, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path / "empty"))
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB
    cache.unlink()
    with (
        Server(status(404)) as server,
        pytest.raises(DataError, match=r"LVMLIB_DATA names \(now .*empty, where it is"),
    ):
        fetch(server)


def test_a_mistyped_local_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path / "emtpy"))
    with Server(good(FILE)) as server, pytest.raises(DataError, match=r"LVMLIB_DATA names .*emtpy, which is no folder"):
        fetch(server)
    assert server.requests == 0


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """100 MB of zeros in 100 kB: no more than LARGEST is ever held."""
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    monkeypatch.setattr(downloads, "LARGEST", 1_000_000)
    (tmp_path / "blob.gz").write_bytes(gzip.compress(bytes(100_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"another checksum than the original \(1,000,000 bytes\)"):
        read("blobs", source(), progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(f"folder/{name}")
            info.size = 3
            tar.addfile(info, io.BytesIO(f"{name:3}".encode()))
    return buffer.getvalue()


ONE_TWO = {name: hashlib.sha256(f"{name:3}".encode()).hexdigest() for name in ("one", "two")}


def two(*urls: str, content: bytes = b"") -> Source:
    return Source("some.tar.gz", len(content), hashlib.sha256(content).hexdigest(), urls, ONE_TWO)


def test_members_of_an_archive_come_in_the_order_asked_for(cache):
    content = archive("two", "six", "one")
    with Server(good(content)) as server:
        assert read("blobs", two(server.url, content=content), progress=False) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(archive("one"), "two is not in it"), (archive("one", "two")[:-30], "cannot be unpacked"), (b"", "cannot be")],
    ids=["a member is missing", "cut short", "empty"],  # the bytes hold the time of packing: no name for a test
)
def test_a_bad_archive(tmp_path, monkeypatch, content: bytes, reason: str):
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    (tmp_path / "some.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"some.tar.gz is damaged.*{reason}"):
        read("blobs", two(), progress=False)


def test_members_in_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two.gz").write_bytes(gzip.compress(b"two"))
    assert read("blobs", two()) == [b"one", b"two"]
    (tmp_path / "two.gz").unlink()
    with pytest.raises(DataError, match="could not be fetched"):
        read("blobs", two())


def test_where_the_cache_lies(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "lvmlib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "lvmlib"


def test_without_a_home(monkeypatch):
    def unknown() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(DataError, match=r"No home folder is known.*set XDG_CACHE_HOME .* or LVMLIB_DATA"):
        read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False)
