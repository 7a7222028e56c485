"""Files of one's own, members of archives, and where the cache lies."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from lvmlib import downloads
from lvmlib.downloads import DataError, Source, cache_folder, read
from tests.fetched import (  # noqa: F401
    BLOB,
    FILE,
    HALF,
    empty_cache,
    fetch,
    source,
)
from tests.http_server import Server, good, status


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
