"""What the site's extensions check and make of a chapter, each on a tiny project of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")


from book._ext import directives  # noqa: E402
from tests.book.tiny_site import build, code, duplicate_ids, text  # noqa: E402

FIGURE = {"figure": {"name": "fig-a", "caption": "A pixel."}, "image": {"alt": "A pixel"}}
THEOREM = """:::{prf:theorem} All is $1$
:label: thm-one
It is.
:::

:::{prf:proof}
Clear.
:::
"""


def test_a_figure_with_caption_name_and_alt_text_passes(tmp_path: Path) -> None:
    site = build(tmp_path, code(picture=True, mystnb=FIGURE))
    assert site.warnings == ""
    assert 'alt="A pixel"' in site.page() and "A pixel." in site.page()


@pytest.mark.parametrize(
    ("missing", "said"),
    [(("figure", "caption"), '"caption"'), (("figure", "name"), '"name"'), (("image", "alt"), '"alt"')],
)
def test_a_figure_without_one_of_them_fails(tmp_path: Path, missing: tuple[str, str], said: str) -> None:
    metadata = json.loads(json.dumps(FIGURE))
    del metadata[missing[0]][missing[1]]
    site = build(tmp_path, code(picture=True, mystnb=metadata))
    assert "its picture lacks" in site.warnings and said in site.warnings


def test_a_picture_without_metadata_fails(tmp_path: Path) -> None:
    assert build(tmp_path, code(picture=True)).warnings.count("its picture lacks") == 3


def test_a_live_slot_holds_the_static_picture(tmp_path: Path) -> None:
    site = build(tmp_path, code(picture=True, mystnb=FIGURE, tags=["live:manifold"]))
    assert site.warnings == ""
    slot = re.search(r"<figure.*?</figure>", site.page(), re.S)
    assert slot is not None
    assert re.search(r'<div class="live" data-live="manifold" id="live-manifold">\s*<img', slot.group())
    assert "<figcaption" in slot.group()


def test_a_live_slot_without_a_picture_fails(tmp_path: Path) -> None:
    assert "needs exactly one picture" in build(tmp_path, code(tags=["live:manifold"])).warnings


def test_theorem_and_check_find_each_other(tmp_path: Path) -> None:
    lists = {"theorems": "# Theorems\n\n```{theorem-list}\n```\n"}
    site = build(tmp_path, text(THEOREM), code(tags=["check:thm-one"]), pages=lists)
    assert site.warnings == ""
    page = site.page()
    assert 'href="#check-thm-one"' in page, "the theorem links to its check"
    heading = re.search(r'<p class="check-heading" id="check-thm-one">.*?</p>', page, re.S)
    assert heading is not None and 'href="#thm-one"' in heading.group(), "the check links to its theorem"
    assert "Theorem 8.1" in heading.group(), "a chapter keeps the number of its file"
    entry = site.page("theorems")
    assert "Theorem 8.1" in entry and "notebooks/08_vae.html#thm-one" in entry
    assert "notebooks/08_vae.html#check-thm-one" in entry and "All is" in entry


def test_a_theorem_without_a_check_fails(tmp_path: Path) -> None:
    assert "'thm-one' has no check cell" in build(tmp_path, text(THEOREM)).warnings


def test_a_proposition_without_a_check_fails(tmp_path: Path) -> None:
    assert "has no check cell" in build(tmp_path, text(THEOREM.replace("theorem", "proposition"))).warnings


def test_a_check_without_a_theorem_fails(tmp_path: Path) -> None:
    assert "no theorem labelled 'thm-two'" in build(tmp_path, code(tags=["check:thm-two"])).warnings


def test_a_label_that_is_no_theorems_label_fails(tmp_path: Path) -> None:
    site = build(tmp_path, text(THEOREM.replace("thm-one", "one")), code(tags=["check:one"]))
    assert "give it a label that starts with 'thm-'" in site.warnings


def test_a_lemma_may_stand_alone(tmp_path: Path) -> None:
    assert build(tmp_path, text(THEOREM.replace("theorem", "lemma"))).warnings == ""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (":::{margin}\nhm\n:::", "directive {margin}"),
        ("::::{note}\n:::{warning}\nhm\n:::\n::::", "directive {warning}"),
        ("```{code-block} python\n1\n```", "directive {code-block}"),
        ("{abbr}`ELBO`", "role {abbr}"),
        ("- a list with {kbd}`x`", "role {kbd}"),
        ("\\begin{align}\na &= b\n\\end{align}", "bare \\begin{align}"),
        ("so that $$a = b$$ here", "middle of a paragraph"),
    ],
)
def test_what_cannot_be_lowered_is_refused(source: str, said: str) -> None:
    assert [offence for offence in directives.offences(source) if said in offence]


@pytest.mark.parametrize(
    "source",
    [
        THEOREM,
        "$$ a = b $$ (eq-x)",
        "$$\n\\begin{aligned} a &= b \\end{aligned}\n$$ (eq-x)",
        "See {eq}`eq-x`, {prf:ref}`thm-one`, {cite:t}`kingma2014`, {numref}`fig-a` and {term}`posterior`.",
        "```python\nprint({'a': 1})\n```",
        ":::{math}\n:label: eq-y\na = {b}`c`\n:::",
        "::::{exercise}\n:label: ex-a\n:::{tip}\nTry.\n:::\n::::",
    ],
)
def test_what_can_be_lowered_passes(source: str) -> None:
    assert list(directives.offences(source)) == []


def test_a_refused_directive_fails_the_build(tmp_path: Path) -> None:
    site = build(tmp_path, text(":::{warning}\nhm\n:::"))
    assert "directive {warning} is not allowed in a chapter" in site.warnings


def test_no_id_stands_twice_on_a_page(tmp_path: Path) -> None:
    exercise = ":::{exercise}\n:label: ex-%s\nDo.\n:::\n\n:::{solution} ex-%s\n:class: dropdown\nDone.\n:::\n"
    cells = [THEOREM, THEOREM.replace("one", "two"), exercise.replace("%s", "a"), exercise.replace("%s", "b")]
    checks = [code(tags=["check:thm-one"]), code(tags=["check:thm-one"]), code(tags=["check:thm-two"])]
    site = build(tmp_path, text(*cells), *checks)
    assert site.warnings == ""
    assert duplicate_ids(site.page()) == []
    assert len(re.findall('class="proof-name"', site.page())) == 2


def test_punctuation_stays_with_its_formula(tmp_path: Path) -> None:
    site = build(tmp_path, text("So $a = b$, and $c$ is $d$). Then *$e$* follows, the $n$-th."))
    kept = re.findall(r'<span class="nobreak"><span class="math[^>]*>(.*?)</span>(.*?)</span>', site.page())
    assert kept == [(r"\(a = b\)", ","), (r"\(d\)", ")."), (r"\(n\)", "-th.")]
