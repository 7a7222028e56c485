"""Files that are too large to ship: found in a local folder, or fetched once, checked and kept.

A file is looked for in the folder that the environment variable `LVMLIB_DATA` names, then in the cache
(`$XDG_CACHE_HOME/lvmlib`, or `~/.cache/lvmlib`), then at each of its public addresses. Whatever is used has been
checked against the SHA-256 of its unpacked contents. What arrives goes to `NAME.part`, which takes its final name only
once it is complete and right, so a process that is killed leaves nothing broken behind, and the next one goes on where
it stopped.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import os
import socket
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

TIMEOUT = 20.0  # seconds without a byte until a connection is given up
PAUSES = (1.0, 2.0, 4.0)  # seconds to wait after a failure; that many tries without progress, and one more
CHUNK = 1 << 16  # bytes


class DataError(RuntimeError):
    """A data file is missing, damaged, or cannot be fetched or stored; the message says which and what to do."""


class Source(NamedTuple):
    """One file on the network, and what must be in it.

    Attributes:
        file: its original name, ending in .gz or .tar.gz.
        urls: addresses of the same file, tried in this order.
        members: names of the files inside that are wanted, each with the SHA-256 of its unpacked bytes.
    """

    file: str
    urls: tuple[str, ...]
    members: Mapping[str, str]


def cache_folder() -> Path:
    """Return the folder that fetched files are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lvmlib"


def read(dataset: str, source: Source, progress: bool = True) -> list[bytes]:
    """Return the members of `source`, from LVMLIB_DATA, the cache or the network, in the order of `source.members`.

    Args:
        dataset: name of the data set, also the name of its folder in the cache.
        source: what to read.
        progress: show a bar while it is being fetched.

    Raises:
        DataError: the file can neither be found nor fetched, is damaged, or cannot be stored.
    """
    local = os.environ.get("LVMLIB_DATA")
    if local:
        for folder in (Path(local) / dataset, Path(local)):
            found = _read_local(folder, source)
            if found is not None:
                return found
    path = cache_folder() / dataset / source.file
    try:
        if path.is_file():
            return _unpack(path, source.members)
    except _Damaged:
        pass  # something harmed the cache since it was filled: fetch again
    except OSError as error:
        raise _storage_error(path, error) from error
    return _fetch(path, source, progress)


# ---------------------------------------------------------------------------------------------- reading and checking


class _Damaged(Exception):
    """A file whose contents are not what they must be."""


def _unpack(path: Path, members: Mapping[str, str]) -> list[bytes]:
    try:
        if path.name.removesuffix(".part").endswith(".tar.gz"):
            files = {}
            with tarfile.open(path, "r:gz") as archive:
                for info in archive:
                    if info.isfile() and Path(info.name).name in members:
                        files[Path(info.name).name] = archive.extractfile(info).read()  # type: ignore[union-attr]
        else:
            with gzip.open(path) as unzipped:
                files = dict.fromkeys(members, unzipped.read())
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise _Damaged(f"it cannot be unpacked: {error}") from error
    return [_checked(files.get(name), name, sha256) for name, sha256 in members.items()]


def _checked(data: bytes | None, name: str, sha256: str) -> bytes:
    if data is None:
        raise _Damaged(f"{name} is not in it")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _Damaged(f"{name} has another checksum than the original ({len(data):,} bytes)")
    return data


def _read_local(folder: Path, source: Source) -> list[bytes] | None:
    """Read from a folder of the user's: the archive, or its members, each as it is or with .gz."""
    path = folder / source.file
    try:
        if path.is_file():
            return _unpack(path, source.members)
        data = []
        for name, sha256 in source.members.items():
            path = folder / name
            if path.is_file():
                data.append(_checked(path.read_bytes(), name, sha256))
            elif (path := folder / f"{name}.gz").is_file():
                data += _unpack(path, {name: sha256})
            else:
                return None
        return data
    except _Damaged as error:
        raise DataError(
            f"{path}, found through LVMLIB_DATA, is damaged or another file of that name: {error}. "
            "Replace it, or unset LVMLIB_DATA to fetch the file."
        ) from error
    except OSError as error:
        raise DataError(f"{path}, found through LVMLIB_DATA, cannot be read: {error}.") from error


# ---------------------------------------------------------------------------------------------- fetching


def _fetch(path: Path, source: Source, progress: bool) -> list[bytes]:
    """Fetch the file to `path`, one process at a time, and return its checked members."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_name(path.name + ".lock"), progress):
            if path.is_file():  # another process has fetched it while this one waited
                try:
                    return _unpack(path, source.members)
                except _Damaged:
                    path.unlink()
            failures = []
            for url in source.urls:
                try:
                    data = _fetch_from(url, part, source, progress)
                    os.replace(part, path)
                    return data
                except _Failed as failure:
                    failures.append(f"  {url}: {failure}")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            part.unlink(missing_ok=True)  # half a file is no use on a full disk
        raise _storage_error(path, error) from error
    raise DataError(
        f"{source.file} could not be fetched:\n" + "\n".join(failures) + "\nConnect to the network and try again; what "
        f"has arrived is kept. Or fetch the file by other means, put it into {path.parent}, or into a folder of your "
        "own that the environment variable LVMLIB_DATA names."
    )


class _Failed(Exception):
    """An address that does not give the file."""


def _fetch_from(url: str, part: Path, source: Source, progress: bool) -> list[bytes]:
    """Fetch one address into `part`, with as many tries as bring new bytes, and return the checked members."""
    tries, furthest = 0, -1
    while True:
        try:
            _receive(url, part, progress)
            return _unpack(part, source.members)
        except _Damaged as error:
            reason = f"the server sent something else: {error}"
            part.unlink()  # a wrong beginning would spoil every later try
        except _Interrupted as error:
            reason = str(error)
        size = part.stat().st_size if part.is_file() else 0
        if size > furthest:
            tries, furthest = 0, size
        if tries == len(PAUSES):
            try:
                return _unpack(part, source.members)  # all of it, from a server that promised more
            except (_Damaged, FileNotFoundError):
                raise _Failed(reason) from None
        time.sleep(PAUSES[tries])
        tries += 1


class _Interrupted(Exception):
    """A transfer that ended early, for a reason that may pass."""


def _receive(url: str, part: Path, progress: bool) -> None:
    """Receive what is still missing of `part`; return when the server says that this was all."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "lvmlib", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing beyond what is here: complete, or longer than the original
            return
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Interrupted(f"HTTP status {error.code}, {error.reason}") from error
        raise _Failed(f"HTTP status {error.code}, {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) == errno.ENETUNREACH:
            raise _Failed(f"no network, or no such server ({reason})") from error
        raise _Interrupted(f"no connection ({reason})") from error

    with response:
        resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status == 206 and not resumes:
            raise _Interrupted(f"an unusable answer to a request for the rest, {response.headers.get('Content-Range')}")
        start = have if resumes else 0  # a server that knows no ranges sends the whole file again
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        size = start
        bar = tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, disable=not progress)
        with bar, part.open("ab" if resumes else "wb") as file:
            while True:
                try:
                    chunk = response.read1(CHUNK)  # does not wait for more: what came before a break is kept
                except (OSError, http.client.HTTPException) as error:
                    raise _Interrupted(f"the connection broke after {size:,} bytes ({error or 'closed'})") from error
                if not chunk:
                    break
                file.write(chunk)
                size += len(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and size < total:
        raise _Interrupted(f"the connection broke after {size:,} of {total:,} bytes")


def _storage_error(path: Path, error: OSError) -> DataError:
    """Say in one sentence why a file cannot be stored or read back, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(f"The disk is full: {path} cannot be stored. Free some space and try again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DataError(
            f"No permission to use {path.parent}. Set XDG_CACHE_HOME to a folder that you may write to, or LVMLIB_DATA "
            "to one that already holds the file."
        )
    return DataError(f"{path} cannot be stored or read: {error}.")


@contextmanager
def _lock(path: Path, progress: bool) -> Iterator[None]:
    """Hold the lock on `path`; the operating system frees it when its holder ends, by whatever cause: none is stale."""
    with path.open("ab") as file:
        waiting = False
        while not _try_lock(file.fileno()):
            if not waiting and progress:
                print(f"Another process is fetching {path.stem}; waiting for it.", file=sys.stderr)
            waiting = True
            time.sleep(0.1)
        yield  # closing the file frees the lock; the empty file stays, since removing it would race


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
