"""A file to fetch, and an empty cache for it."""

from __future__ import annotations

import gzip
import hashlib
import random
from pathlib import Path

import pytest

from lvmlib import downloads
from lvmlib.downloads import Source, read
from tests.http_server import Server

BLOB = random.Random(0).randbytes(300_000)  # does not compress, so that half of the file is half of the bytes
FILE = gzip.compress(BLOB, mtime=0)
HALF = len(FILE) // 2
BLOB_SHA256 = hashlib.sha256(BLOB).hexdigest()


def source(*urls: str, content: bytes = FILE) -> Source:
    return Source("blob.gz", len(content), hashlib.sha256(content).hexdigest(), urls, {"blob": BLOB_SHA256})


def fetch(*servers: Server) -> bytes:
    (data,) = read("blobs", source(*(server.url for server in servers)), progress=False)
    return data


@pytest.fixture(autouse=True, name="cache")
def empty_cache(tmp_path, monkeypatch):
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
