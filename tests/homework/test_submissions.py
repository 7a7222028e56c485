"""A folder of submissions, whatever is in it: one row a student, the latest notebook, or the reason for none."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import tiny

from lvmlib.homework import files, notebooks
from lvmlib.homework.layouts import clean
from lvmlib.homework.notebooks import Unreadable, read_notebook, sources
from lvmlib.homework.submissions import Submission, collect, moment

GOOD = tiny.notebook(*tiny.GOOD)
ANSWERS = ("coin_entropy", "mean_entropy")


def put(folder: Path, path: str, data: bytes = GOOD, when: str = "") -> None:
    """Write a file, its time set to `when`."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    if when:
        stamp = moment(when, "").timestamp()
        os.utime(target, (stamp, stamp))


def packed(members: dict[str, bytes], **settings: int) -> bytes:
    """Return a .zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", settings.get("compression", zipfile.ZIP_DEFLATED)) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def found(folder: Path, **how: object) -> dict[str, Submission]:
    return {one.student: one for one in collect(folder, "09", ANSWERS, **how)}


def only(folder: Path, **how: object) -> Submission:
    (one,) = collect(folder, "09", ANSWERS, **how)
    return one


# ---------------------------------------------------------------- whose file is it


def test_files_called_like_students(tmp_path):
    put(tmp_path, "jdoe.ipynb")
    put(tmp_path, "Ann Lee.IPYNB")
    put(tmp_path, "browser.ipynb.txt")
    put(tmp_path, "README.txt", b"not a student")
    assert list(found(tmp_path)) == ["Ann Lee", "browser", "jdoe"]
    assert all(one.notebook and not one.status for one in found(tmp_path).values())


def test_folders_a_student(tmp_path):
    put(tmp_path, "jdoe/09_iwae.ipynb")
    put(tmp_path, "ann/deep/down/hw.ipynb")
    (tmp_path / "nothing").mkdir()
    put(tmp_path, "pdf/answers.pdf", b"%PDF")
    rows = found(tmp_path)
    assert [rows[name].status for name in ("ann", "jdoe", "nothing", "pdf")] == ["", "", "no notebook", "no notebook"]
    assert rows["nothing"].note == "The folder is empty." and "answers.pdf" in rows["pdf"].note


def test_canvas(tmp_path):
    put(tmp_path, "doejane_12345_678910_09_iwae.ipynb", tiny.notebook("coin_entropy = 1"))
    put(tmp_path, "doejane_12345_678920_09_iwae-1.ipynb", tiny.notebook("coin_entropy = 2"), "2001-01-01")
    put(tmp_path, "leeann_LATE_4711_678912_09_iwae.ipynb")
    put(tmp_path, "anon_aB3xY_678914_09_iwae.ipynb")
    put(tmp_path, "müllerjörg_999_678915_answers.pdf", b"%PDF")
    rows = found(tmp_path)
    assert list(rows) == ["anon_aB3xY", "doejane", "leeann", "müllerjörg"]
    assert sources(rows["doejane"].notebook) == ["coin_entropy = 2"]  # the later upload, whatever the time of the file
    assert rows["doejane"].owner.number == "12345" and rows["doejane"].owner.late is False
    assert rows["leeann"].owner.late is True and rows["leeann"].submitted is None
    assert rows["müllerjörg"].status == "no notebook"


def test_moodle(tmp_path):
    put(tmp_path, "Jane Doe_1234_assignsubmission_file_/09_iwae.ipynb")
    put(tmp_path, "Jane Doe_1299_assignsubmission_file_/09_iwae.ipynb")
    put(tmp_path, "Lee, Ann_77_assignsubmission_file_09_iwae.ipynb")
    put(tmp_path, "Old Form_5_assignsubmission_file/09_iwae.ipynb")
    rows = found(tmp_path)
    assert list(rows) == ["Jane Doe", "Jane Doe (1299)", "Lee, Ann", "Old Form"]
    assert rows["Jane Doe (1299)"].owner.number == "1299"


METADATA = """
submission_1:
  :submitters:
  - :name: Jane Doe
    :sid: '100'
    :email: jane@example.org
  :created_at: 2026-03-01 20:00:00.000000000 Z
submission_2:
  :submitters:
  - :name: Pair One
    :sid: 7
    :email: one@example.org
  - :name: Pair Two
    :sid: 8
    :email: two@example.org
  :created_at: !ruby/object:ActiveSupport::TimeWithZone
    utc: 2026-03-02 20:00:00.000000000 Z
"""


@pytest.mark.parametrize("wrapper", ["", "assignment_1_export/"])
def test_gradescope(tmp_path, wrapper):
    put(tmp_path, f"{wrapper}submission_metadata.yml", METADATA.encode())
    put(tmp_path, f"{wrapper}submission_1/09_iwae.ipynb")
    put(tmp_path, f"{wrapper}submission_2/09_iwae.ipynb")
    rows = found(tmp_path)
    assert list(rows) == ["Jane Doe", "Pair One", "Pair Two"]
    assert rows["Jane Doe"].submitted == dt.datetime(2026, 3, 1, 20, tzinfo=dt.timezone.utc)
    assert rows["Pair Two"].submitted == dt.datetime(2026, 3, 2, 20, tzinfo=dt.timezone.utc)
    assert rows["Pair Two"].owner.email == "two@example.org"


def test_damaged_metadata_are_refused(tmp_path):
    put(tmp_path, "submission_metadata.yml", b"submission_1: [")
    with pytest.raises(ValueError, match=r"submission_metadata.yml"):
        collect(tmp_path)


def test_a_wrapper_is_no_student(tmp_path):
    put(tmp_path, "hw9/jdoe/09.ipynb")
    put(tmp_path, "hw9/ann/09.ipynb")
    assert list(found(tmp_path)) == ["ann", "jdoe"]


def test_an_archive_of_all(tmp_path):
    members = {"all/jdoe.ipynb": GOOD, "all/ann.zip": packed({"x/09.ipynb": GOOD}), "__MACOSX/all/._jdoe.ipynb": b"x"}
    (tmp_path / "all.zip").write_bytes(packed(members))
    assert list(found(tmp_path / "all.zip")) == ["ann", "jdoe"]


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        "it's",
        'a"b',
        "$(touch x)",
        "`id`",
        "-rf",
        "--help",
        "line\nbreak",
        "日本",
        "a;b|c&d",
        "%s{0}",
        "=1+1",
        "*",
    ],
)
def test_odd_names(tmp_path, name):
    put(tmp_path, f"{name}.ipynb")
    put(tmp_path, f"{name}2/hw '$(x)'.ipynb")
    rows = found(tmp_path)
    assert set(rows) == {clean(name), clean(name) + "2"}
    assert all(one.notebook for one in rows.values()) and not any("\n" in one for one in rows)


def test_names_that_read_alike_stay_two_students(tmp_path):
    put(tmp_path, "a\nb.ipynb")
    put(tmp_path, "a b.ipynb")
    put(tmp_path, "a\u202eb.ipynb")
    put(tmp_path, os.fsdecode(b"bad\xff.ipynb"))
    assert list(found(tmp_path)) == ["a b", "a b (2)", "ab", "bad?"]


# ---------------------------------------------------------------- which of several


def test_the_latest_counts(tmp_path):
    put(tmp_path, "jdoe/old.ipynb", tiny.notebook("coin_entropy = 1"), "2026-01-01")
    put(tmp_path, "jdoe/new.ipynb", tiny.notebook("coin_entropy = 2"), "2026-01-02")
    put(tmp_path, "jdoe/.ipynb_checkpoints/new-checkpoint.ipynb", tiny.notebook("coin_entropy = 3"), "2026-01-03")
    one = only(tmp_path)
    assert sources(one.notebook) == ["coin_entropy = 2"]
    assert one.note == "Of 2 notebooks, jdoe/new.ipynb counts, the latest."


def test_ten_comes_after_nine_where_times_agree(tmp_path):
    for n in (9, 10):
        put(tmp_path, f"jdoe/try{n}.ipynb", tiny.notebook(f"coin_entropy = {n}"), "2026-01-01")
    assert sources(only(tmp_path).notebook) == ["coin_entropy = 10"]


def test_a_later_scratch_file_does_not_count(tmp_path):
    put(tmp_path, "jdoe/hw.ipynb", GOOD, "2026-01-01")
    put(tmp_path, "jdoe/scratch.ipynb", tiny.notebook("x = 1"), "2026-01-02")
    put(tmp_path, "jdoe/broken.ipynb", b"{", "2026-01-03")
    assert only(tmp_path).file == "jdoe/hw.ipynb"


# ---------------------------------------------------------------- what is wrong with it

DEEP = b"[" * 100_000
UTF16 = GOOD.decode().encode("utf-16")
BAD = [
    (b"", "empty"),
    (b" \n", "empty"),
    (b"{", "unreadable"),
    (GOOD[:-20], "unreadable"),
    (b"\xff\xfe\x00\xd8", "unreadable"),
    (b'{"cells": "\xe4"}', "unreadable"),
    (DEEP, "unreadable"),
    (b'{"a": ' + b"9" * 10_000 + b"}", "unreadable"),
    (b"PK\x03\x04", "unreadable"),
    (b"[]", "not a notebook"),
    (b"null", "not a notebook"),
    (b'{"worksheets": []}', "not a notebook"),
    (b'{"cells": {}}', "not a notebook"),
    (b'{"cells": []}', "empty"),
    (b'{"cells": [1, null, {"cell_type": "code"}, {"cell_type": "code", "source": 7}]}', "empty"),
    (tiny.notebook(" \n"), "empty"),
    (tiny.notebook("x" * 1_000_001), "too large"),
    (tiny.notebook("vae_loss = 1", title="Homework 8: VAEs"), "wrong homework"),
    (tiny.notebook("print('hello')", title=""), "wrong homework"),
]


@pytest.mark.parametrize(("data", "status"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_graded_is_said(tmp_path, data, status):
    put(tmp_path, "jdoe.ipynb", data)
    one = only(tmp_path)
    assert (one.status, one.notebook) == (status, None) and one.note.endswith((".", '"'))


def test_a_huge_file_is_not_read(tmp_path):
    with open(tmp_path / "jdoe.ipynb", "wb") as file:
        file.truncate(notebooks.LARGEST + 1)
    assert only(tmp_path).status == "too large"


def test_the_note_names_the_other_homework(tmp_path):
    put(tmp_path, "jdoe.ipynb", tiny.notebook("mean_entropy = 1", title="Homework 8: VAEs"))
    put(
        tmp_path, "half.ipynb", tiny.notebook("mean_entropy = 1", "def coin_entropy(p): pass", title="Homework 8: VAEs")
    )
    rows = found(tmp_path)
    assert rows["half"].status == ""
    assert collect(tmp_path, "09", (*ANSWERS, "third"))[1].note.endswith('Its title is "Homework 8: VAEs".')


@pytest.mark.parametrize(
    "data", [UTF16, b"\xef\xbb\xbf" + GOOD, json.dumps({"cells": json.loads(GOOD)["cells"]}).encode()]
)
def test_other_encodings_and_stripped_metadata_do(data):
    assert len(sources(read_notebook(data))) == 3


def test_half_a_character_becomes_a_question_mark():
    assert sources(read_notebook(b'{"cells": [{"cell_type": "code", "source": "x = \'\\ud800\'"}]}')) == ["x = '?'"]


# ---------------------------------------------------------------- hostile files


def test_links_and_pipes_are_not_followed(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(GOOD)
    folder = tmp_path / "in"
    (folder / "dir").mkdir(parents=True)
    (folder / "jdoe.ipynb").symlink_to(secret)
    (folder / "gone.ipynb").symlink_to(tmp_path / "nowhere")
    (folder / "dir" / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.ipynb")
    rows = found(folder)
    assert rows["jdoe"].status == rows["gone"].status == rows["pipe"].status == "unreadable"
    assert "link" in rows["jdoe"].note
    assert rows["dir"].status == "no notebook" and len(rows) == 4


def test_archives_of_students(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_ARCHIVE", 1_000_000)
    put(tmp_path, "good.zip", packed({"a/09.ipynb": GOOD, "a/data.bin": b"x", "__MACOSX/a/._09.ipynb": b""}))
    put(tmp_path, "none.zip", packed({"a.txt": b""}))
    put(tmp_path, "bomb.zip", packed({"a.ipynb": bytes(notebooks.LARGEST + 1)}))
    put(tmp_path, "bzip2.zip", packed({"a.ipynb": GOOD}, compression=zipfile.ZIP_BZIP2))
    put(tmp_path, "cut.zip", packed({"a.ipynb": GOOD})[:-30])
    put(tmp_path, "text.zip", b"no archive")
    put(tmp_path, "large.zip", bytes(1_000_001))
    put(tmp_path, "traversal.zip", packed({"../../../evil.ipynb": GOOD, "/abs.ipynb": GOOD}))
    put(tmp_path, "nested.zip", packed({"in.zip": packed({"a.ipynb": GOOD})}))
    before = sorted(tmp_path.rglob("*"))
    rows = found(tmp_path)
    statuses = {name: one.status for name, one in rows.items()}
    assert statuses == {
        "good": "",
        "none": "no notebook",
        "bomb": "too large",
        "bzip2": "unreadable",
        "cut": "unreadable",
        "text": "unreadable",
        "large": "too large",
        "traversal": "",
        "nested": "no notebook",
    }
    assert sorted(tmp_path.rglob("*")) == before and not (tmp_path.parent / "evil.ipynb").exists()


def test_a_bomb_that_lies_about_its_size(tmp_path):
    data = bytearray(packed({"a.ipynb": bytes(notebooks.LARGEST + 1)}))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.find(signature) + at
        data[start : start + 4] = (100).to_bytes(4, "little")
    put(tmp_path, "liar.zip", bytes(data))
    assert only(tmp_path).status in ("unreadable", "too large", "empty")


def test_a_bomb_is_never_unpacked_whole(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.ipynb", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1_000_000))
    tracemalloc.start()
    try:
        assert only(tmp_path).status == "too large"
        assert tracemalloc.get_traced_memory()[1] < 8 * notebooks.LARGEST  # of the 300 MB that it would be
    finally:
        tracemalloc.stop()


def test_encrypted_and_linked_members(tmp_path):
    data = bytearray(packed({"a.ipynb": GOOD}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + at] |= 1
    put(tmp_path, "locked.zip", bytes(data))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("a.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    put(tmp_path, "link.zip", buffer.getvalue())
    rows = found(tmp_path)
    assert "encrypted" in rows["locked"].note and "link" in rows["link"].note


# ---------------------------------------------------------------- when it came


def test_the_manifest_says_when(tmp_path):
    put(tmp_path, "jdoe.ipynb", when="2026-01-05")
    put(tmp_path, "doeann_LATE_123_456_x.ipynb")
    put(tmp_path, "other.ipynb", when="2026-01-05")
    put(
        tmp_path, "manifest.csv", "\ufeffname;submitted\nJDoe;2026-01-01T10:00Z\n123;2026-01-02\nNobody Yet;\n".encode()
    )
    rows = found(tmp_path)
    assert rows["jdoe"].submitted == dt.datetime(2026, 1, 1, 10, tzinfo=dt.timezone.utc)
    assert rows["doeann"].submitted == moment("2026-01-02", "") and rows["doeann"].owner.late is None
    assert rows["other"].submitted == moment("2026-01-05", "")
    assert rows["Nobody Yet"].status == "not submitted" and len(rows) == 4


@pytest.mark.parametrize("text", ["student,when\n", "name,submitted\njdoe,yesterday\n", ""])
def test_a_manifest_that_says_nothing_is_refused(tmp_path, text):
    put(tmp_path, "jdoe.ipynb")
    manifest = tmp_path / "times.csv"
    manifest.write_text(text)
    with pytest.raises(ValueError, match=r"manifest.*(columns|no time)"):
        collect(tmp_path, manifest=manifest)


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="neither a folder"):
        collect(tmp_path / "nowhere")
    (tmp_path / "no.zip").write_bytes(b"text")
    with pytest.raises(ValueError, match="damaged"):
        collect(tmp_path / "no.zip")
    assert collect(tmp_path / ".") and not collect(Path(tmp_path), "09", ANSWERS)[0].notebook


def test_unreadable_carries_a_sentence():
    with pytest.raises(Unreadable) as problem:
        read_notebook(b"")
    assert problem.value.status == "empty" and str(problem.value) == "The file is empty."
