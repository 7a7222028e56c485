"""Fetching files from a server that misbehaves in every way that servers do."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pooch
import pytest

from lvmlib import downloads
from lvmlib.data import sources
from lvmlib.downloads import DataError, read
from tests.fetched import (  # noqa: F401
    BLOB,
    FILE,
    HALF,
    empty_cache,
    fetch,
    left_behind,
    source,
)
from tests.http_server import Answer, Server, endless, endless_headers, good, hang, redirect, stall, status


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
