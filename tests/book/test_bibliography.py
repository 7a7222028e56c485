"""The bibliography: each work once, with a link to it, and with links back to the places that cite it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.book.tiny_site import build, text

database = pytest.importorskip("pybtex.database", reason="the book's tools are not installed")

ROOT = Path(__file__).parents[2]
WORKS = database.parse_file(str(ROOT / "book" / "references.bib")).entries
ROLE = re.compile(r"(?:\{cite(?::\w+)?\}|:cite(?::\w+)?:)`([^`]+)`")
IN_PRINT_ONLY = {"miller1955", "sardinas1953"}  # no address of these is known to last
BIB = """@article{doe1999, author={Doe, Jane}, title={On {A} Thing}, journal={J}, year=1999, doi={10.1/a_b}}
@misc{roe2001, author={Roe, R.}, title={Of Another}, year=2001, eprint={2001.00001}}
@misc{poe2002, author={Poe, P.}, title={A Place}, year=2002, url={https://example.org/poe/}}
"""
TITLE = "# The works\n\n```{bibliography}\n:all:\n```\n"
EXERCISE = (
    ":::{exercise}\n:label: ex-a\nDo.\n:::\n\n:::{solution} ex-a\n:class: dropdown\nSee {cite:t}`doe1999`.\n:::\n"
)


def cited() -> set[str]:
    """Return the keys that chapters, pages, docstrings and published figures cite."""
    places = [*ROOT.glob("notebooks/*.py"), *ROOT.glob("book/**/*.md"), *ROOT.glob("lvmlib/**/*.py")]
    found = {
        key.strip() for path in places for keys in ROLE.findall(path.read_text("utf-8")) for key in keys.split(",")
    }
    published = (ROOT / "lvmlib" / "experiments" / "published.json").read_text("utf-8")
    return found | set(re.findall(r'"cite": "(\w+)"', published))


def test_each_work_leads_somewhere() -> None:
    bare = {key for key, work in WORKS.items() if not {"doi", "eprint", "url"} & set(work.fields)}
    assert bare == IN_PRINT_ONLY
    for key, work in WORKS.items():
        fields = work.fields
        assert re.fullmatch(r"10\.\d{4,5}/\S+", fields.get("doi", "10.1234/x")), key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields.get("eprint", "1234.5678")), key
        assert re.fullmatch(r"https?://\S+", fields.get("url", "https://x")), key
        assert not re.search("arxiv|doi\\.org", fields.get("url", "") + fields.get("note", ""), re.I), key


def test_the_number_at_arxiv_is_not_younger_than_the_work() -> None:
    for key, work in WORKS.items():
        if "eprint" in work.fields:
            assert 0 <= int(work.fields["year"]) - 2000 - int(work.fields["eprint"][:2]) <= 3, key


def test_no_work_stands_there_twice() -> None:
    def same(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    for field in ("title", "doi", "eprint", "url"):
        times = Counter(same(work.fields[field]) for work in WORKS.values() if field in work.fields)
        assert [value for value, count in times.items() if count > 1] == [], field


def test_every_work_is_cited_and_every_citation_has_a_work() -> None:
    assert set(WORKS) == cited()


ALIKE = """@article{roe2001, author={Roe, R. and Doe, D. and Poe, P.}, title={B}, year=2001}
@article{roe2001a, author={Roe, R. and Abe, A. and Poe, P.}, title={C}, year=2001}
@article{roe2002, author={Roe, R. and Abe, A. and Poe, P.}, title={D}, year=2002}
@article{roe2001two, author={Roe, R. and Doe, D.}, title={E}, year=2001}"""


def test_works_that_would_be_cited_alike_have_letters() -> None:
    from book._ext.bibliography import Label, tell_apart

    works = database.parse_string(ALIKE, "bibtex").entries
    for _ in range(2):  # the second build of a site finds the letters there
        tell_apart(list(works.values()))
        assert [work.fields["year"] for work in works.values()] == ["2001b", "2001a", "2002", "2001"]
    assert [Label().format_label(work)[-2:] for work in works.values()] == ["01", "01", "02", "01"]


def test_works_lead_out_and_back(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.bib").write_text(BIB)
    cells = [
        text("{cite:t}`roe2001`\n\n## Before\n\n{cite:p}`doe1999, roe2001` and {cite:t}`doe1999`."),
        text("## Then\n\n" + EXERCISE),
    ]
    pages = {"works": TITLE, "notes": "# Notes\n\n## Part\n\n{cite:t}`roe2001`\n"}
    site = build(
        tmp_path, *cells, pages=pages, more=("sphinxcontrib.bibtex", "book._ext.bibliography"),
        bibtex_bibfiles=["a.bib"], bibtex_reference_style="author_year", bibtex_default_style="as_printed",
    )  # fmt: skip
    assert site.warnings == ""
    works = re.findall(r'<div class="citation"[^>]*role="listitem">.*?</div>', site.page("works"), re.S)
    doe, poe, roe = sorted(works, key=lambda work: re.search(r"[DPR]oe", work).group())
    assert "On A Thing" in doe and 'href="https://doi.org/10.1/a_b">doi.org/10.1/a_b</a>' in doe
    assert (
        'href="https://arxiv.org/abs/2001.00001"' in roe
        and 'href="https://example.org/poe/">example.org/\u200bpoe<' in poe
    )
    assert "doc-biblioentry" not in site.page("works") and site.page("works").count('role="list"') == 1
    links = [re.findall(r'<a class="reference internal" href="([^"]+)"[^>]*>([^<]+)</a>', work) for work in (doe, roe)]
    assert [[name for _, name in found] for found in links] == [["8.1", "Exercise 8.1"], ["Chapter 8", "8.1", "Notes"]]
    for address, _ in links[0] + links[1]:
        page, anchor = address.split("#")
        assert f'id="{anchor}"' in site.page(page.removesuffix(".html")), address
    assert "Cited in" not in poe
