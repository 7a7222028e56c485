"""Fetching files from a server that misbehaves in every way that servers do."""

from __future__ import annotations

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
from pathlib import Path

import pytest

from lvmlib import downloads
from lvmlib.downloads import DataError, Source, cache_folder, read
from tests.http_server import Answer, Server, good, hang, stall, status, wrong_range

BLOB = random.Random(0).randbytes(300_000)  # does not compress, so that half of the file is half of the bytes
FILE = gzip.compress(BLOB, mtime=0)
HALF = len(FILE) // 2
BLOB_SHA256 = hashlib.sha256(BLOB).hexdigest()


def source(*urls: str) -> Source:
    return Source("blob.gz", urls, {"blob": BLOB_SHA256})


def fetch(*servers: Server) -> bytes:
    (data,) = read("blobs", source(*(server.url for server in servers)), progress=False)
    return data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no local folder, and little patience; gives the place where the file will lie."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LVMLIB_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)
    return tmp_path / "lvmlib" / "blobs" / "blob.gz"


def left_behind(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.parent.iterdir() if path.suffix != ".lock")


# ------------------------------------------------------------------------------------------ what ends well


def test_a_file_is_fetched_once_and_then_read_from_the_cache(cache):
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB
        assert fetch(server) == BLOB
        assert server.ranges == [None]
    assert cache.read_bytes() == FILE and left_behind(cache) == ["blob.gz"]


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        pytest.param(
            [good(FILE, drop_after=HALF), good(FILE)], [None, f"bytes={HALF}-"], id="a broken connection is resumed"
        ),
        pytest.param(
            [good(FILE, drop_after=50_000)], [None, *(f"bytes={n}-" for n in range(50_000, len(FILE), 50_000))],
            id="as often as each try brings something",
        ),
        pytest.param(
            [good(FILE, drop_after=HALF), good(FILE, ranges=False)], [None, f"bytes={HALF}-"], id="Range ignored"
        ),
        pytest.param([stall(FILE, HALF), good(FILE)], [None, f"bytes={HALF}-"], id="silence in the middle"),
        pytest.param([hang, good(FILE)], [None, None], id="silence from the start"),
        pytest.param([status(500), status(503), good(FILE)], [None] * 3, id="a server that recovers"),
        pytest.param([good(b"<html>Log in!</html>"), good(FILE)], [None, None], id="garbage, then the file"),
        pytest.param([good(FILE, length=HALF), good(FILE)], [None, None], id="Content-Length too small, then right"),
        pytest.param([good(FILE, length=2 * len(FILE))], [None, f"bytes={len(FILE)}-"], id="Content-Length too large"),
        pytest.param(
            [good(FILE, length=2 * len(FILE), ranges=False)], [None] + [f"bytes={len(FILE)}-"] * 2,
            id="Content-Length too large and Range ignored",
        ),
        pytest.param(
            [good(FILE, drop_after=HALF), wrong_range(FILE), good(FILE)], [None] + [f"bytes={HALF}-"] * 2,
            id="another part than was asked for",
        ),
    ],
)  # fmt: skip
def test_faults_that_pass(cache, answers: list[Answer], ranges: list[str | None]):
    with Server(*answers) as server:
        assert fetch(server) == BLOB
        assert server.ranges == ranges
    assert cache.read_bytes() == FILE and left_behind(cache) == ["blob.gz"]


def test_the_next_address_is_tried(cache):
    with Server(status(404)) as gone, Server(good(b"no gzip")) as wrong, Server(good(FILE)) as right:
        assert fetch(gone, wrong, right) == BLOB
        assert len(gone.ranges) == 1, "a file that is not there will not be there a second later"
        assert len(wrong.ranges) == 3


def test_a_wrong_beginning_is_not_kept(cache):
    cache.parent.mkdir(parents=True)
    cache.with_name("blob.gz.part").write_bytes(b"x" * HALF)
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB
        assert server.ranges == [f"bytes={HALF}-", None]


def test_a_part_that_is_already_complete_is_taken(cache):
    cache.parent.mkdir(parents=True)
    cache.with_name("blob.gz.part").write_bytes(FILE)
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB
        assert server.ranges == [f"bytes={len(FILE)}-"], "answered by status 416"


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
    ("answer", "reason", "kept"),
    [
        pytest.param(status(404), "HTTP status 404", [], id="404"),
        pytest.param(status(500), "HTTP status 500", [], id="500 for ever"),
        pytest.param(status(416), "HTTP status 416", [], id="416 without a Range"),
        pytest.param(hang, "no connection (timed out)", [], id="silence"),
        pytest.param(good(b"<html>Log in!</html>"), "something else: it cannot be unpacked", [], id="garbage"),
        pytest.param(good(gzip.compress(b"x")), "another checksum than the original (1 bytes)", [], id="another file"),
        pytest.param(good(FILE, length=HALF), "cannot be unpacked", [], id="Content-Length too small"),
        pytest.param(good(FILE, drop_after=HALF, ranges=False), f"broke after {HALF:,} of {len(FILE):,} bytes",
                     ["blob.gz.part"], id="never more than half"),
    ],
)  # fmt: skip
def test_faults_that_stay(cache, answer: Answer, reason: str, kept: list[str]):
    with Server(answer) as server, pytest.raises(DataError) as error:
        fetch(server)
    message = str(error.value)
    assert reason in message
    for needed in (server.url, str(cache.parent), "LVMLIB_DATA"):
        assert needed in message, f"the message must name {needed}"
    assert left_behind(cache) == kept


def test_without_a_network(cache, monkeypatch):
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(downloads.socket, "getaddrinfo", unknown)
    monkeypatch.setattr(downloads, "PAUSES", (60.0,))  # without a network there is nothing to wait for
    with pytest.raises(DataError, match="no network, or no such server") as error:
        read("blobs", source("http://example.org/blob.gz", "http://example.com/blob.gz"), progress=False)
    assert all(url in str(error.value) for url in ("http://example.org/blob.gz", "http://example.com/blob.gz"))
    assert left_behind(cache) == []


def test_a_server_that_is_down(cache):
    with pytest.raises(DataError, match="no connection"):
        read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False)
    assert left_behind(cache) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(cache):
    cache.parent.mkdir(parents=True)
    cache.with_name("blob.gz.part").symlink_to("/dev/full")
    with Server(good(FILE)) as server, pytest.raises(DataError, match=r"The disk is full.*Free some space"):
        fetch(server)
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EROFS, "No permission to use .*XDG_CACHE_HOME"),
        (errno.EIO, "cannot be stored or read"),
    ],
)
def test_faults_of_the_disk(cache, monkeypatch, number: int, message: str):
    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(downloads.os, "fsync", fails)
    with Server(good(FILE)) as server, pytest.raises(DataError, match=message):
        fetch(server)
    assert not cache.exists()


def test_no_permission(cache, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # chmod would not stop root
    with Server(good(FILE)) as server, pytest.raises(DataError, match=r"No permission to use .*LVMLIB_DATA"):
        fetch(server)
    assert server.ranges == []


def test_a_cache_that_cannot_be_read(cache, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    cache.parent.mkdir(parents=True)
    cache.write_bytes(FILE)
    monkeypatch.setattr(downloads.gzip, "open", refuse)
    with pytest.raises(DataError, match="No permission"):
        read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False)


# ------------------------------------------------------------------------------------------ several processes

PROCESS = """
import importlib.util, hashlib, sys
spec = importlib.util.spec_from_file_location("downloads", sys.argv[1])      # without torch: a quick start
downloads = importlib.util.module_from_spec(spec)
spec.loader.exec_module(downloads)
source = downloads.Source("blob.gz", (sys.argv[2],), {"blob": sys.argv[3]})
print(hashlib.sha256(downloads.read("blobs", source)[0]).hexdigest())
"""


def start(server: Server) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, downloads.__file__, server.url, BLOB_SHA256]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_of_two_processes_one_fetches_and_the_other_waits(cache):
    with Server(stall(FILE, HALF)) as server:
        first, second = start(server), start(server)
        wait_for(lambda: server.ranges)
        time.sleep(0.5)  # time for the other to meet the lock
        server.released.set()
        results = [process.communicate(timeout=10) for process in (first, second)]
    assert [out.strip() for out, _ in results] == [BLOB_SHA256] * 2
    assert sum("waiting for it" in err for _, err in results) == 1
    assert server.ranges == [None]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_download_is_resumed(cache):
    part = cache.with_name("blob.gz.part")
    with Server(stall(FILE, HALF), good(FILE)) as server:
        process = start(server)
        wait_for(lambda: part.exists() and part.stat().st_size > HALF - 2 * downloads.CHUNK)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not cache.exists(), "half a file must not carry the final name"
        size = part.stat().st_size
        assert fetch(server) == BLOB, "the lock of a killed process must not hold"
        assert server.ranges == [None, f"bytes={size}-"]
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


@pytest.mark.parametrize(("name", "content"), [("blob.gz", FILE[:HALF]), ("blob", BLOB[:-1])])
def test_a_damaged_local_file_is_named(tmp_path, monkeypatch, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"{name}, found through LVMLIB_DATA, is damaged"):
        read("blobs", source("http://127.0.0.1:9/blob.gz"), progress=False)


def test_a_local_folder_without_the_file_is_passed_over(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path / "empty"))
    with Server(good(FILE)) as server:
        assert fetch(server) == BLOB


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(f"folder/{name}")
            info.size = 3
            tar.addfile(info, io.BytesIO(f"{name:3}".encode()))
    return buffer.getvalue()


ONE_TWO = {name: hashlib.sha256(f"{name:3}".encode()).hexdigest() for name in ("one", "two")}


def test_members_of_an_archive_come_in_the_order_asked_for(cache):
    with Server(good(archive("two", "six", "one"))) as server:
        assert read("blobs", Source("some.tar.gz", (server.url,), ONE_TWO), progress=False) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(archive("one"), "two is not in it"), (archive("one", "two")[:-30], "cannot be unpacked"), (b"", "cannot be")],
    ids=["a member is missing", "cut short", "empty"],  # the bytes hold the time of packing: no name for a test
)
def test_a_bad_archive(cache, content: bytes, reason: str):
    with Server(good(content) if content else good(b"?")) as server, pytest.raises(DataError, match=reason):
        read("blobs", Source("some.tar.gz", (server.url,), ONE_TWO), progress=False)


def test_members_in_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two.gz").write_bytes(gzip.compress(b"two"))
    assert read("blobs", Source("some.tar.gz", (), ONE_TWO)) == [b"one", b"two"]
    (tmp_path / "two.gz").unlink()
    with pytest.raises(DataError, match="could not be fetched"):
        read("blobs", Source("some.tar.gz", (), ONE_TWO))


def test_where_the_cache_lies(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "lvmlib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "lvmlib"
