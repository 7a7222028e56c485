"""Whose file is it? Canvas, Moodle and Gradescope say so, each in its own way; else folder or file bears the name."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# doejane_12345_678910_09_iwae.ipynb: the student's number, then the file's; LATE between, where it was late
CANVAS = re.compile(
    r"(?:(?P<name>.+?)_)?(?:(?P<late>LATE)_)?(?P<id>\d{3,}|anon_[A-Za-z0-9]{5})_(?P<file>\d{3,})_(?P<rest>.+)",
    re.DOTALL,
)
# Jane Doe_12345_assignsubmission_file_/09_iwae.ipynb, or the same without a folder
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?.*", re.DOTALL)
GRADESCOPE = "submission_metadata.yml"  # beside folders submission_12345/; says whose they are


@dataclass(frozen=True)
class Owner:
    """The student whom a file belongs to, and what the course system says besides."""

    student: str
    system: str = ""
    number: str = ""  # the system's own, by which it knows the student when grades come back
    email: str = ""
    submitted: dt.datetime | None = None
    late: bool | None = None
    attempt: int = 0  # grows with each upload, where the system counts
    raw: str = ""  # the name as the file has it

    @property
    def key(self) -> tuple[str, str, str]:
        """Tells students apart whose names read alike."""
        return (self.raw or self.student, self.system, self.number)


def clean(name: str) -> str:
    r"""Return a name for tables and pages: one line, without characters that act on what stands around them.

    >>> from lvmlib.homework.layouts import clean
    >>> clean("Jane\n  Doe\u202e")
    'Jane Doe'
    """
    shown = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    kept = "".join(" " if c.isspace() or unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in shown)
    kept = "".join(c for c in kept if unicodedata.category(c) not in ("Cf", "Cs", "Cn", "Co"))
    return " ".join(kept.split())[:200] or "(no name)"


def owners(parts: tuple[str, ...], gradescope: Mapping[str, list[Owner]]) -> list[Owner]:
    """Return whose a file is; several students where a group handed it in.

    Args:
        parts: of its path inside the folder of submissions.
        gradescope: students by folder, from `read_gradescope`.

    >>> from lvmlib.homework.layouts import owners
    >>> canvas = "doejane_LATE_12345_678910_09_iwae.ipynb"
    >>> [(o.student, o.number, o.late) for o in owners((canvas,), {})]
    [('doejane', '12345', True)]
    >>> owners(("Jane Doe_77_assignsubmission_file_", "09_iwae.ipynb"), {})[0].student
    'Jane Doe'
    >>> paths = [("jdoe", "hw", "09.ipynb"), ("jdoe.ipynb",)]
    >>> [owners(path, {})[0].student for path in paths]
    ['jdoe', 'jdoe']
    """
    if parts[0] in gradescope:
        return gradescope[parts[0]]
    for part in parts:
        if found := MOODLE.fullmatch(part):
            return [Owner(clean(found["name"]), "moodle", found["id"])]
    found = CANVAS.fullmatch(parts[-1])
    if found and (found["name"] or found["id"].startswith("anon_")):
        name = clean(found["name"] or found["id"])
        return [Owner(name, "canvas", found["id"], late=bool(found["late"]), attempt=int(found["file"][:18]))]
    raw = parts[0] if len(parts) > 1 else stem(parts[0])
    return [Owner(clean(raw), raw=raw)]


def stem(file: str) -> str:
    """Return a file's name without its ending, and what a browser or a host hangs onto that.

    >>> from lvmlib.homework.layouts import stem
    >>> [stem(name) for name in ("jdoe.ipynb.txt", "jdoe.py", "j.doe")]
    ['jdoe', 'jdoe', 'j.doe']
    """
    ends = r"\.ipynb|\.zip|\.py|\.pdf|\.html?|\.docx?|\.rtf|\.txt|\.md|\.tar|\.gz|\.7z|\.rar|\.png|\.jpe?g"
    return re.sub(rf"({ends})(\.txt|\.json|\.gz)?$", "", file, flags=re.IGNORECASE) or file


def read_gradescope(text: str) -> dict[str, list[Owner]]:
    """Return students by folder, from the metadata in an export of Gradescope.

    Args:
        text: YAML with the keys of Ruby: ``submission_1: {":submitters": [{":name": ...}], ":created_at": ...}``.

    Raises:
        ValueError: if it is no YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Reads Ruby's objects as plain mappings, and runs nothing."""

    def plain(loader: Any, suffix: str, node: Any) -> Any:
        mapping = isinstance(node, yaml.MappingNode)
        return loader.construct_mapping(node, deep=True) if mapping else loader.construct_scalar(node)

    Loader.add_multi_constructor("!ruby/", plain)
    found: dict[str, list[Owner]] = {}
    try:
        data = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as problem:
        raise ValueError(f"{GRADESCOPE} cannot be read: {problem}") from None
    for folder, entry in (data if isinstance(data, dict) else {}).items():
        if not isinstance(entry, dict):
            continue
        when = _moment(_field(entry, "created_at"))
        people = [person for person in _field(entry, "submitters") or [] if isinstance(person, dict)]
        found[str(folder)] = [_submitter(person, when) for person in people] or [
            Owner(clean(str(folder)), "gradescope")
        ]
    return found


def _submitter(person: dict[str, Any], when: dt.datetime | None) -> Owner:
    """Return one of those who handed a folder in together."""
    name, number, email = (str(_field(person, key) or "") for key in ("name", "sid", "email"))
    return Owner(clean(name or email or number), "gradescope", number, email, when)


def _field(entry: dict[str, Any], name: str) -> Any:
    """Return a field, whether its key is Ruby's symbol or a plain word."""
    return entry.get(f":{name}", entry.get(name))


def _moment(value: Any) -> dt.datetime | None:
    """Return a time; Gradescope's are UTC where they do not say."""
    if isinstance(value, dict):  # Ruby's TimeWithZone
        value = value.get("utc")
    try:
        when = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=dt.timezone.utc)
