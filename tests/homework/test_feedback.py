"""The pages: what a student reads, what only the instructor does, and nothing in them that acts."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import tiny

from lvmlib.homework.feedback import index_page, student_page, write_all
from lvmlib.homework.layouts import Owner
from lvmlib.homework.marks import Mark
from lvmlib.homework.master import read_master
from lvmlib.homework.remote import Result
from lvmlib.homework.submissions import Submission
from lvmlib.homework.table import Lateness, Row, row

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> \" ' & `</code><b>`"
LEAK = "`coin_entropy` failed with ValueError: [0.123456]"


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return read_master(tiny.course(tmp_path_factory.mktemp("tiny")) / "master" / "09_tiny.py")


def made(master, name: str = "Ann", reasons: tuple[str, ...] = ("", "", "", ""), note: str = "") -> Row:
    """Return the row of a student whose parts failed for these reasons."""
    marks = tuple(
        Mark(question, part, 0 if reason else points, points, hidden, reason)
        for (question, part, points, hidden), reason in zip(tiny.PARTS, reasons)
    )
    return row(master, Submission(Owner(name), "x.ipynb", {}), Result(marks, note=note), Lateness())


def failed(master, status: str, note: str) -> Row:
    return row(master, Submission(Owner("Eve"), "x", None, status, note), Result((), status), Lateness())


class Page(HTMLParser):
    """Collects what a browser would see: tags, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def words(html: str) -> str:
    return " ".join(Page(html).text.split())


def test_a_student_reads_points_parts_and_hints(master):
    page = words(student_page(master, made(master, reasons=("", "entropy of several", "", "mean over the nine"))))
    assert "Homework 9: Two small questions Ann 2 of 5 points (40 %)" in page
    assert "Q1. Entropy of a coin1 of 3" in page and "✓A fair coin1 of 1" in page
    assert "✗Random coinshidden0 of 2Entropy of several" in page
    assert "✗Its valuehidden0 of 1Mean over the nine" in page


def test_hidden_parts_tell_no_inputs_unless_asked(master):
    one = made(master, reasons=(LEAK, LEAK, "", ""))
    page = words(student_page(master, one))
    assert page.count("0.123456") == 1  # of the public part, which the student can run
    assert "hidden0 of 2coin_entropy failed with ValueError." in page
    assert words(student_page(master, one, show_hidden=True)).count("0.123456") == 2


def test_nothing_in_a_page_acts(master):
    rows = [made(master, EVIL, (EVIL,) * 4, EVIL), failed(master, "wrong homework", f'Its title is "{EVIL}".')]
    for html in [*(student_page(master, one, True) for one in rows), index_page(master, rows)]:
        page = Page(html)
        assert not {"script", "img", "iframe", "object", "link"} & set(page.tags)
        assert page.tags.count("b") == html.count('<b class="') and not any(
            name.startswith("on") for name in page.names
        )
        assert "<script>alert(1)</script>" in page.text  # shown, as text
        assert not re.search(
            r"(?:src|href)=[\"']?(?:https?:|//|javascript:)|url\(|@import", re.sub(r"&[^;]+;", "", html)
        )
        assert "default-src 'none'" in html and "width=device-width" in html and "prefers-color-scheme: dark" in html


@pytest.mark.parametrize(
    ("status", "said"),
    [("wrong homework", "belongs to another homework"), ("empty", "nothing in the file"), ("odd", "Why not")],
)
def test_a_student_without_marks_reads_why(master, status, said):
    page = words(student_page(master, failed(master, status, "Why not.")))
    assert said in page and "Why not." in page and "Q1" not in page and "0 of 5 points" in page


def test_the_instructor_sees_how_points_are_distributed(master):
    rows = [made(master, "Ann"), made(master, "Bob", ("", "several", "", "nine")), failed(master, "empty", "")]
    rows.append(made(master, "Ida", (LEAK, "several", "number", "nine")))
    page = words(index_page(master, rows))
    assert "1 empty, 3 graded." in page and "Mean 2.33, median 2 of 5 points." in page
    assert "Mean 1.33, median 1 of 3 points." in page  # the first question: 3, 1 and 0
    assert "A fair coin2 of 3 passed1 × coin_entropy failed with ValueError: [0.123456]" in page
    assert "Random coinshidden1 of 3 passed2 × several" in page
    heights = re.findall(r"<div>(\d*)<i style=\"height:(\d+)%\">", index_page(master, rows))
    assert heights[:6] == [("1", "80"), ("", "0"), ("1", "80"), ("", "0"), ("", "0"), ("1", "80")]


def test_halves_get_bars_of_their_own(master):
    one = made(master)
    half = row(master, one.submission, Result((Mark("q1", "test_a_fair_coin", 0.5, 1, False, ""),)), Lateness())
    assert "<span>0.5</span><span>1</span>" in index_page(master, [half, one])


def test_every_link_of_the_index_leads_to_a_page(master, tmp_path):
    rows = [made(master, "Ann"), made(master, "../../../etc/passwd"), failed(master, "empty", ""), made(master, "日本")]
    write_all(tmp_path / "pages", master, rows)
    index = (tmp_path / "pages" / "index.html").read_text("utf-8")
    links = [link for link in re.findall(r'href="([^"]+)"', index) if not link.startswith("#")]
    assert len(set(links)) == 4
    assert sorted([*links, "index.html"]) == sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["pages"]


def test_a_class_without_a_graded_notebook_has_an_index(master):
    assert "1 empty." in words(index_page(master, [failed(master, "empty", "")])) and index_page(master, [])
