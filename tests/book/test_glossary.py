"""The glossary: in order, each entry short, and each with a link to the section that defines it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = (ROOT / "book" / "glossary.md").read_text("utf-8").split(":::{glossary}\n")[1].split("\n:::")[0]
ENTRIES = dict(block.split("\n", 1) for block in LIST.split("\n\n"))
SEE = re.compile(r"See\s+(?:\{numref\}`([^`]+)`|the \{ref\}`[^<]+<([^>]+)>`|\{doc\}`[^<]+<\.\./([^>]+)>`)\.$")


def test_entries_stand_in_order() -> None:
    def place(term: str) -> str:
        return re.sub(r"[^a-z0-9 ]", "", term.lower().replace("-", " "))

    assert list(ENTRIES) == sorted(ENTRIES, key=place)


def test_each_entry_leads_to_what_defines_it() -> None:
    pages = [*ROOT.glob("notebooks/[0-9]*.py"), ROOT / "book" / "refresher.md"]
    labels = {label for page in pages for label in re.findall(r"^(?:# )?\((\S+)\)=", page.read_text("utf-8"), re.M)}
    for term, text in ENTRIES.items():
        found = SEE.search(" ".join(text.split()))
        assert found, term
        section, reference, page = found.groups()
        assert (section or reference) in labels if page is None else (ROOT / f"{page}.py").exists(), term


def test_entries_are_short() -> None:
    for term, text in ENTRIES.items():
        words = re.sub(r"\$[^$]*\$", "x", " ".join(text.split()))
        assert len(re.findall(r"[.;?](?= [A-Z*$]|$)", words)) <= 5, term  # three sentences, an abbreviation, the link


def test_the_words_of_the_chapters_are_there() -> None:
    """A chapter's link to a term that is missing fails the build; these are used without one."""
    wanted = {"effective sample size", "importance sampling", "dequantization", "beta-VAE", "normalizing flow"}
    wanted |= {"Jacobian", "change of variables", "teacher forcing", "KV cache", "score-function gradient", "RLOO"}
    assert wanted <= set(ENTRIES)
