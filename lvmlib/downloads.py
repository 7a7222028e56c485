"""Files that are too large to ship: found in a local folder, or fetched once, checked and kept.

A file is looked for in the folder that the environment variable `LVMLIB_DATA` names, then in the cache
(`$XDG_CACHE_HOME/lvmlib`, or `~/.cache/lvmlib`), then at each of its public addresses, over https alone. No more than
the expected number of bytes is taken from a server, however much it sends; they get their name in the cache once they
have the expected SHA-256, and what is unpacked is checked again.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import queue
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

BEGINNINGS = ("https://",)  # of all addresses, those of redirects too
PAUSES = (0.0, 1.0, 3.0)  # seconds before each round through the addresses
TIMEOUT = 20.0  # seconds without a byte until a connection is given up
LATEST = 60.0  # seconds until the headers must have come, of redirects too
PATIENCE, SLOWEST = 30.0, 10_000  # a transfer may take so many seconds, and one more for so many bytes received
LARGEST = 1 << 28  # bytes that one file may unpack to


class DataError(RuntimeError):
    """A data file is missing, damaged, or cannot be fetched or stored; the message says which and what to do."""


class Source(NamedTuple):
    """One file on the network, and what must be in it.

    Attributes:
        file: its original name, ending in .gz or .tar.gz.
        size: the number of its bytes.
        sha256: their SHA-256.
        urls: addresses of the same file, tried in this order.
        members: names of the files inside that are wanted, each with the SHA-256 of its unpacked bytes.
    """

    file: str
    size: int
    sha256: str
    urls: tuple[str, ...]
    members: Mapping[str, str]


def cache_folder() -> Path:
    """Return the folder that fetched files are kept in; DataError where there is no home to have one in."""
    try:
        return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME", "")) or Path.home() / ".cache") / "lvmlib"
    except RuntimeError as error:
        raise DataError(
            "No home folder is known in which to keep fetched files; set XDG_CACHE_HOME to a folder that you may write "
            "to, or LVMLIB_DATA to one that already holds the files."
        ) from error


def read(dataset: str, source: Source, progress: bool = True) -> list[bytes]:
    """Return the members of `source`, from LVMLIB_DATA, the cache or the network, in the order of `source.members`.

    Args:
        dataset: name of the data set, also the name of its folder in the cache.
        source: what to read.
        progress: show a bar while it is being fetched.

    Raises:
        DataError: the file can neither be found nor fetched, is damaged, or cannot be stored.
    """
    local = os.path.expanduser(os.environ.get("LVMLIB_DATA", ""))  # no shell has done so where a file sets variables
    if local and not Path(local).is_dir():
        raise DataError(f"LVMLIB_DATA names {local}, which is no folder; correct it, or unset it to fetch files.")
    try:
        for folder in (Path(local) / dataset, Path(local)) if local else ():
            if (found := _find(folder, source)) is not None:
                return found
        cache = cache_folder() / dataset
        try:
            found = _find(cache, source)
        except DataError:
            found = None  # something harmed the cache since it was filled: fetch again
        if found is None:
            _fetch(cache / source.file, source, progress)
            found = _unpack(cache / source.file, source.members)
        return found
    except OSError as error:
        raise DataError(
            f"A file cannot be stored or read: {error}. Free some space there, or set XDG_CACHE_HOME to a folder that "
            f"you may write to, or LVMLIB_DATA to one that already holds {source.file}."
        ) from error


def _fetch(path: Path, source: Source, progress: bool) -> None:
    """Fetch the file to `path`, one process at a time, from the first address that gives it."""
    import filelock  # imported here: `import lvmlib` need not wait for them
    import pooch
    import requests
    import urllib3

    path.parent.mkdir(parents=True, exist_ok=True)
    lock, failures = filelock.FileLock(path.parent / ".lock"), {}
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"Another process is fetching {path.parent.name}; waiting for it.", file=sys.stderr)
        held = lock.acquire()
    with held:
        for leftover in path.parent.glob("tmp*"):  # of a process that was killed
            leftover.unlink()
        for pause in PAUSES:
            time.sleep(pause)
            for url in source.urls:
                try:
                    pooch.retrieve(
                        url, source.sha256, path.name, path.parent,
                        downloader=lambda url, part, _: _receive(url, part, source, progress),
                    )  # fmt: skip
                    return
                except (ValueError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
                    failures[url] = _cause(error)
    tried = "\n".join(f"  {url}: {cause}" for url, cause in failures.items())
    local = os.environ.get("LVMLIB_DATA")
    looked = f" (now {local}, where it is not)" if local else ""
    raise DataError(
        f"{source.file} could not be fetched:\n{tried}\nConnect to the network and try again. Or fetch it by other "
        f"means and put it into {path.parent}, or into the folder that the variable LVMLIB_DATA names{looked}."
    )


def _receive(url: str, part: str, source: Source, progress: bool) -> None:
    """Write what an address sends to the file `part`: no more than expected, and no slower than patience allows."""
    import requests

    came = 0
    with requests.Session() as session:
        session.adapters.clear()
        for beginning in BEGINNINGS:
            session.mount(beginning, requests.adapters.HTTPAdapter())
        try:
            response = _answer(session, url)
        except requests.exceptions.InvalidSchema:
            raise ValueError("it is no address of https, or leads to one that is not") from None
        response.raise_for_status()
        end = time.monotonic() + PATIENCE
        bar = tqdm(desc=source.file, total=source.size, unit="B", unit_scale=True, disable=not progress)
        with response, bar, open(part, "wb") as file:
            while came < source.size:
                # read1 does not wait for more than what is there, so that the clock is looked at
                chunk = response.raw.read1(min(1 << 16, source.size - came), decode_content=False)
                came += len(chunk)
                if not chunk or time.monotonic() > end + came / SLOWEST:
                    raise ValueError(f"only {came:,} of {source.size:,} bytes came{', too slowly' if chunk else ''}")
                file.write(chunk)
                bar.update(len(chunk))


def _answer(session: Any, url: str) -> Any:
    """The beginning of an answer, after all redirects: TIMEOUT alone would let it come byte by byte for ever."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(session.get(url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}))
        except BaseException as error:  # raised where it was asked for
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()  # given up, it ends with the process at the latest
    try:
        answer = answers.get(timeout=LATEST)
    except queue.Empty:
        raise ValueError(f"it had not answered after {LATEST:g} seconds") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _cause(error: BaseException) -> BaseException:
    """The first of a chain of errors, which says in the fewest words what happened."""
    while error.__context__ is not None and not error.__suppress_context__:
        error = error.__context__
    return error


# ---------------------------------------------------------------------------------------------- reading and checking


def _find(folder: Path, source: Source) -> list[bytes] | None:
    """Read from a folder: the archive, or its members, each as it is or with .gz."""
    if (folder / source.file).is_file():
        return _unpack(folder / source.file, source.members)
    data = []
    for name, sha256 in source.members.items():
        found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not found:
            return None
        data += _unpack(found[0], {name: sha256})
    return data


def _unpack(path: Path, members: Mapping[str, str]) -> list[bytes]:
    """Read the members of a file, each checked."""
    files: dict[str, bytes] = {}
    try:
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path, "r:gz") as archive:
                for info in archive:
                    if info.isfile() and Path(info.name).name in members:
                        files[Path(info.name).name] = archive.extractfile(info).read(LARGEST)  # type: ignore[union-attr]
        else:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                files = dict.fromkeys(members, file.read(LARGEST))
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise _damaged(path, f"it cannot be unpacked: {error}") from error
    for name, sha256 in members.items():
        if name not in files:
            raise _damaged(path, f"{name} is not in it")
        if hashlib.sha256(files[name]).hexdigest() != sha256:
            raise _damaged(path, f"{name} has another checksum than the original ({len(files[name]):,} bytes)")
    return [files[name] for name in members]


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged or another file of that name: {why}. Replace it, or remove it to fetch it.")
