"""The foot of every page, the entries to cite, and the figures that the first page borrows from the chapters."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the extra book is not installed")

from book._ext.colophon import CITING, ERRATA, LICENCES, edition, entries, foot, report_address
from book._ext.gallery import picture
from book._ext.repository import read_repository

ROOT = Path(__file__).parents[2]
LINKS = {CITING: "citing.html", ERRATA: "errata.html", LICENCES: "licences.html"}
REPOSITORY = read_repository(ROOT / "pyproject.toml")


def test_the_foot_has_version_date_licence_and_links():
    text = foot(REPOSITORY, date(2026, 3, 1), "notebooks/08_vae", "Variational autoencoders", LINKS)
    assert f"Version {REPOSITORY['version']}, " in text and '<time datetime="2026-03-01">1 March 2026</time>' in text
    assert all(f'href="{link}"' in text for link in LINKS.values()) and "creativecommons.org/licenses/by/4.0" in text


def test_an_error_is_reported_where_the_world_can_see_the_repository():
    hidden, seen = ({**REPOSITORY, "published": published} for published in (set(), {"repository"}))
    assert report_address(hidden, "book/x", "X & Y", "errata.html") == "errata.html#report-an-error"
    address = report_address(seen, "book/x", "X & Y", "errata.html")
    assert address.startswith(REPOSITORY["url"] + "/issues/new?title=Error+in+X+%26+Y&body=Page%3A+")


def test_the_date_is_that_of_the_last_commit_or_the_one_that_is_asked_for(monkeypatch, tmp_path):
    edition.cache_clear()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert edition(tmp_path) == date(1970, 1, 2)
    edition.cache_clear()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert edition(tmp_path) == date.today()
    edition.cache_clear()


def test_entries_name_the_version_and_close_their_braces():
    book, chapter = entries(ROOT, [1, 8])
    assert book.startswith("@misc{lvmbook,") and "chapter" in chapter and "Variational autoencoders" in chapter
    for text in (book, chapter):
        assert f"Version {REPOSITORY['version']}" in text and text.count("{") == text.count("}")
        assert all(re.fullmatch(r"  \w+ += \{.+\},?", line) for line in text.splitlines()[1:-1])


def test_a_borrowed_figure_is_the_one_of_its_page(tmp_path):
    page = tmp_path / "08.html"
    page.write_text('<figure id="fig-a"><img alt="a &quot;b&quot;" src="../_images/x.png"></figure><p id="fig-b"></p>')
    found = picture(page, "fig-a", "book/welcome.html", "notebooks/08.html")
    assert found == '<img alt="a &quot;b&quot;" src="../_images/x.png">'
    assert picture(page, "fig-b", "book/welcome.html", "notebooks/08.html") == ""
    assert picture(page, "fig-c", "book/welcome.html", "notebooks/08.html") == ""
