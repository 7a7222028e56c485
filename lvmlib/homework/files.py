"""Walks what may be hostile: a folder of submissions, or an archive. Nothing is followed, unpacked or run."""

from __future__ import annotations

import datetime as dt
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lvmlib.homework.notebooks import LARGEST, Unreadable

LARGEST_ARCHIVE = 100_000_000
MOST_MEMBERS = 100_000


@dataclass(frozen=True)
class File:
    """A file among the submissions."""

    parts: tuple[str, ...]  # of its path inside the folder
    modified: dt.datetime
    read: Callable[[int], bytes]  # at most so many bytes; raises Unreadable

    @property
    def name(self) -> str:
        """The path, for people."""
        return "/".join(self.parts)

    @property
    def kind(self) -> str:
        """What the name says that it is: notebook, zip, or neither."""
        last = self.parts[-1].lower()
        for ending in (".txt", ".json"):  # browsers and hosts hang these onto what they do not know
            last = last.removesuffix(".ipynb" + ending) + ".ipynb" if last.endswith(".ipynb" + ending) else last
        return {"ipynb": "notebook", "zip": "zip"}.get(last.rpartition(".")[2], "")


def walk(root: Path) -> list[File]:
    """Return all files in a folder or an archive, those left out that hosts and editors leave behind.

    An empty folder counts as a file without a name, so that a student who handed in nothing is not forgotten.

    Raises:
        ValueError: if there is no such folder or archive.
    """
    if root.is_dir():
        return [file for file in _folder(root) if not _left_behind(file.parts)]
    if root.suffix.lower() == ".zip" and root.is_file():
        try:
            return members(lambda: zipfile.ZipFile(root), root.stem)
        except Unreadable as problem:
            raise ValueError(f"{root}: {problem}") from None
    raise ValueError(f"{root}: neither a folder of submissions nor a .zip of one")


def _left_behind(parts: tuple[str, ...]) -> bool:
    """Return whether a path is not a student's: checkpoints, what macOS and editors hide, links back."""
    return any(part.startswith((".", "~$")) or part in ("__MACOSX", "__pycache__", "Thumbs.db") for part in parts)


def _folder(root: Path) -> Iterator[File]:
    """Yield the files of a folder; links are named, and never followed."""
    closed: list[str] = []
    for where, folders, names in os.walk(root, onerror=lambda problem: closed.append(problem.filename)):
        inside = Path(where).relative_to(root).parts
        links = [name for name in folders if os.path.islink(os.path.join(where, name))]
        if inside and not folders and not names:
            yield File((*inside, ""), _when(where), _refuse("no notebook", "The folder is empty."))
        for name in [*names, *links]:
            path = os.path.join(where, name)
            yield File((*inside, name), _when(path), lambda most, path=path: _read(path, most))  # type: ignore[misc]
    for where in closed:
        parts = Path(where).relative_to(root).parts
        yield File((*parts, ""), _when(where), _refuse("unreadable", "The folder cannot be opened."))


def _when(path: str) -> dt.datetime:
    """Return when a file was changed last."""
    try:
        return dt.datetime.fromtimestamp(os.lstat(path).st_mtime, tz=dt.timezone.utc)
    except (OSError, ValueError, OverflowError):
        return dt.datetime.fromtimestamp(0, tz=dt.timezone.utc)


def _read(path: str, most: int) -> bytes:
    """Return the bytes of an ordinary file. A link may point anywhere, and a pipe never ends."""
    try:
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as problem:
        link = (
            "It is a link, which is not followed."
            if os.path.islink(path)
            else f"It cannot be opened: {problem.strerror}."
        )
        raise Unreadable("unreadable", link) from None
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("unreadable", "It is no ordinary file.")
        if status.st_size > most:
            raise Unreadable("too large", f"The file is larger than {most // 1_000_000} MB.")
        return file.read(most + 1)


def _refuse(status: str, note: str) -> Callable[[int], bytes]:
    """Return a reader that raises."""

    def read(most: int) -> bytes:
        raise Unreadable(status, note)

    return read


def unpack(file: File) -> list[File]:
    """Return what is in a student's archive, without writing any of it to the disk.

    Raises:
        Unreadable: if it is no archive, or too large.
    """
    data = file.read(LARGEST_ARCHIVE)
    return members(lambda: zipfile.ZipFile(io.BytesIO(data)), "")


def members(opener: Callable[[], zipfile.ZipFile], wrapper: str) -> list[File]:
    """Return the files of an archive. A name is only a name here: where it points to, nothing is ever written.

    Args:
        opener: opens the archive.
        wrapper: name of a folder around all the rest, which is left out.
    """
    try:
        with opener() as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RecursionError):
        raise Unreadable("unreadable", "The .zip is damaged, or none.") from None
    if len(listed) > MOST_MEMBERS:
        raise Unreadable("too large", f"The .zip has more than {MOST_MEMBERS:,} files.")
    found = []
    for info in listed:
        parts = tuple(part for part in info.filename.replace("\\", "/").split("/") if part not in ("", ".", ".."))
        if parts[:1] == (wrapper,):
            parts = parts[1:]
        if parts and not info.is_dir() and not _left_behind(parts):
            found.append(File(parts, _dated(info), lambda most, info=info: _inflate(opener, info, most)))  # type: ignore[misc]
    return found


def _dated(info: zipfile.ZipInfo) -> dt.datetime:
    """Return when a member was changed last, by the clock of whoever packed it, which is taken for ours."""
    try:
        return dt.datetime(*info.date_time).astimezone()
    except (ValueError, OverflowError, OSError):
        return dt.datetime.fromtimestamp(0, tz=dt.timezone.utc)


def _inflate(opener: Callable[[], zipfile.ZipFile], info: zipfile.ZipInfo, most: int) -> bytes:
    """Return the bytes of a member; a bomb is cut off at the limit, whatever size it claims to have."""
    if info.flag_bits & 1:
        raise Unreadable("unreadable", "The .zip is encrypted.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable("unreadable", "The .zip is compressed in a way that is not read here; use deflate.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise Unreadable("unreadable", "It is a link, which is not followed.")
    try:
        with opener() as archive, archive.open(info) as member:
            data = member.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError):
        raise Unreadable("unreadable", "The .zip is damaged.") from None
    if len(data) > most:
        raise Unreadable("too large", f"A file in the .zip is larger than {most // 1_000_000} MB.")
    return data


def contents(file: File) -> bytes:
    """Return a notebook's bytes."""
    return file.read(LARGEST)
