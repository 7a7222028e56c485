"""Lowers MyST Markdown to plain Markdown and HTML, which Colab and every Jupyter show as it is meant.

Blocks are found by the parser of `directives.py`; everything between them is copied as the author wrote it, but for
roles. What a role or a number says is asked of `look_up`, so nothing here knows of Sphinx.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

from book._ext.colab.tables import pipe_table
from book._ext.directives import DIRECTIVES, parser

LookUp = Callable[[str, str], str]  # a role and its text -> Markdown; raises LookupError
Picture = Callable[[str], str]  # the path of a picture -> an address that needs no file

INLINE = re.compile(
    r"\\[\\`$]"
    r"|\{(?P<role>[\w:-]+)\}(?P<ticks>`+)(?P<body>.+?)(?P=ticks)(?!`)"
    r"|(?P<fence>`+)(?!`).+?(?<!`)(?P=fence)(?!`)"
    r"|\$(?P<math>(?:\\.|[^$\\])+)\$"
    r"|!\[(?P<alt>[^\]]*)\]\((?P<picture>[^)\s]+)\)",
    re.DOTALL,
)
OPTION = re.compile(r":([\w-]+):[ \t]*(.*)")
OPTIONS = {"class", "label", "name", "header-rows", "widths", "alt", "width", "align"}
LEAD = re.compile(r"\s*(?:(?:[-*+]|\d+[.)])\s+)?")  # what stands before a block that belongs to a list
RAW = {"fence", "code_block"}
MYST = {"colon_fence", "math_block", "math_block_label", "myst_target", "myst_line_comment", "myst_block_break"}
BLOCKS = RAW | MYST | {"heading_open"}
STAYS = {"math_block"}  # plain Markdown too
ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}(?:(?!\\begin).)*?\\end\{\1\}", re.DOTALL)


def anchor(label: str | None) -> str:
    """Return a place that a link within the notebook can lead to; Colab keeps the name, Jupyter the id."""
    return f'<a name="{label}" id="{label}"></a>' if label else ""


def single_blanks(text: str) -> str:
    """Return text without blank lines at its ends, and with single ones elsewhere."""
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def quote(text: str) -> str:
    """Return text as a quotation, which sets it apart."""
    return "\n".join(f"> {line}".rstrip() for line in single_blanks(text).split("\n"))


def details(summary: str, text: str) -> str:
    """Return text that is folded until its summary is clicked."""
    shown = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(summary, quote=False))
    shown = re.sub(r"\*(.+?)\*", r"<em>\1</em>", shown)
    return f"<details>\n<summary>{shown}</summary>\n\n{text}\n\n</details>"


def join(head: str, text: str) -> str:
    """Put a head in front of text: in its first paragraph, if it begins with one."""
    begins = re.match(r"[-*+] |\d+[.)] |[|<>]|\$\$|```", text)
    return f"{head}\n\n{text}" if begins else f"{head} {text}"


def one_line(formula: str) -> str:
    """Return a displayed formula on one line, aligned where it has several of its own."""
    formula = " ".join(formula.split())
    rest, before = formula, ""
    while rest != before:
        rest, before = ENVIRONMENT.sub("", rest), rest
    return rf"\begin{{aligned}} {formula} \end{{aligned}}" if re.search(r"(?<!\\)&|\\\\", rest) else formula


def split_options(content: str) -> tuple[dict[str, str], list[str]]:
    """Return the options at the top of a directive, and its lines with those blanked out."""
    lines, options = content.split("\n"), {}
    for i, line in enumerate(lines):
        match = OPTION.fullmatch(line.rstrip())
        if not match:
            break
        options[match[1]] = match[2].strip()
        lines[i] = ""
    return options, lines


def leftovers(text: str) -> Iterator[str]:
    """Yield what of MyST's syntax is left in Markdown that should have none."""
    for token in parser().parse(text):
        if token.type in MYST - STAYS or token.type == "amsmath" or (token.type == "fence" and "{" in token.info):
            yield f"{token.type} {token.content[:40]!r}"
        for child in token.children or []:
            if child.type in {"myst_role", "math_inline_double"}:
                yield f"{child.type} {child.content[:40]!r}"
            if child.type == "link_open" and not re.match(r"https?://|#", str(child.attrs["href"])):
                yield f"a link to {child.attrs['href']}"


class Lowering:
    """Lowers the Markdown of one chapter, cell by cell.

    Args:
        look_up: what a role says, in Markdown.
        picture: an address that holds the picture itself.
        sections: the numbers of the chapter's headings, in order.
    """

    def __init__(self, look_up: LookUp, picture: Picture, sections: Iterator[str]):
        self.look_up, self.picture, self.sections = look_up, picture, sections
        self.problems: list[tuple[int, str]] = []  # line of the cell, and what cannot be lowered there

    def cell(self, text: str) -> str:
        """Return the text of a cell in plain Markdown; what cannot be lowered is added to `problems`."""
        lowered = single_blanks(self.blocks(text, 1))
        self.problems += [(1, f"{left} is left") for left in leftovers(lowered)]
        return lowered

    def say(self, role: str, text: str, line: int) -> str:
        """Return what a role says, or note that nobody knows."""
        try:
            return self.look_up(role, text)
        except LookupError:
            self.problems.append((line, f"{{{role}}}`{text}` leads nowhere"))
            return text

    def inline(self, text: str, line: int) -> str:
        """Lower roles and pictures; leave formulas and code as they are."""

        def replace(match: re.Match[str]) -> str:
            here = line + text[: match.start()].count("\n")
            if match["role"]:
                return self.say(match["role"], " ".join(match["body"].split()), here)
            if match["math"]:
                return f"${' '.join(match['math'].split())}$"
            if match["picture"]:
                return f"![{match['alt']}]({self.embed(match['picture'], here)})"
            return match[0]

        return INLINE.sub(replace, text)

    def embed(self, path: str, line: int) -> str:
        """Return a picture as an address that needs no file."""
        try:
            return self.picture(path)
        except (OSError, LookupError) as error:
            self.problems.append((line, f"the picture {path} cannot be embedded: {error}"))
            return path

    def blocks(self, text: str, at: int, nested: bool = False) -> str:
        """Lower a text whose first line is line `at` of its cell."""
        lines = text.split("\n")
        out: list[str] = []
        done = 0
        for token in parser().parse(text):
            if token.type not in BLOCKS or token.map is None or token.map[0] < done:
                continue
            begin, end = token.map
            if begin > done:
                out += self.inline("\n".join(lines[done:begin]), at + done).split("\n")
            if token.type in RAW and not token.info.startswith("{"):
                out += lines[begin:end]
            elif token.type == "heading_open":
                number = "" if nested else next(self.sections, "")
                title = self.inline(lines[begin].lstrip("# "), at + begin)
                out += ["", f"{token.markup} {number}{title}"]
            else:
                lead = LEAD.match(lines[begin])[0] if token.level else ""  # type: ignore[index]
                indent = " " * len(lead)
                first, *others = self.block(token, at + begin).split("\n")
                out += [*([] if lead.strip() else [""]), lead + first, *(indent + other for other in others), ""]
            done = end
        if done < len(lines):
            out += self.inline("\n".join(lines[done:]), at + done).split("\n")
        return "\n".join(out)

    def block(self, token: Any, line: int) -> str:
        """Lower one block of MyST's."""
        if token.type == "myst_target":
            return anchor(token.content)
        if token.type.startswith("math_block"):
            return self.formula(token.content, token.info if token.type == "math_block_label" else None, line)
        if token.type in {"myst_line_comment", "myst_block_break"}:
            return ""
        match = re.match(r"\{([^}]+)\}\s*(.*)", token.info.strip())
        if not match or match[1] not in DIRECTIVES:
            self.problems.append((line, f"{token.info or 'a fence of colons'} has no plain form"))
            return str(token.content)
        return self.directive(match[1], self.inline(match[2], line), token.content, line)

    def formula(self, content: str, label: str | None, line: int) -> str:
        """Lower a displayed formula, with the number it has on the site."""
        if not label:
            return f"$$ {one_line(content)} $$"
        number = re.search(r"\((.+?)\)", self.say("eq", label, line))
        return f"{anchor(label)}\n\n$$ {one_line(content)} \\tag{{{number[1] if number else '?'}}} $$"

    def numbered(self, role: str, label: str | None, line: int) -> str:
        """Return 'Theorem 8.1' and its kin, without a link."""
        if not label:
            self.problems.append((line, "what has a number on the site needs a label"))
            return ""
        said = self.say(role, label, line)
        return re.sub(r"\[(.+)\]\(.*\)", r"\1", said)

    def directive(self, name: str, title: str, content: str, line: int) -> str:
        """Lower one directive, and what stands in it."""
        options, lines = split_options(content)
        self.problems += [(line, f"option {o} of {{{name}}}") for o in options if o not in OPTIONS]
        label = options.get("label") or options.get("name")
        if name == "math":
            return self.formula("\n".join(lines), label, line)
        if name == "list-table":
            return self.table(title, label, options, lines, line)
        inside = self.blocks("\n".join(lines), line + 1, nested=True).strip("\n")
        place = anchor(label)
        if name == "figure":
            source = self.embed(title, line)
            caption = f"**{self.numbered('numref', label, line)}.** {inside}"
            return f"{place}\n\n![{options.get('alt', '')}]({source})\n\n{caption}"
        if name == "solution":
            summary = f"Solution to {self.numbered('ref', title, line)}"
        elif name in {"dropdown", "admonition"}:
            summary = title
        elif name == "exercise":
            head = f"{self.numbered('ref', label, line)} {title}".strip()
            return f"{place}\n\n**{head}**\n\n{inside}"
        elif name == "prf:proof":
            return quote(join(f"*Proof{f' ({title})' if title else ''}.*", inside))
        elif name.startswith("prf:"):
            number = self.numbered("prf:ref", label, line)
            return quote(join(f"{place}**{number}{f' ({title})' if title else ''}.**", inside))
        else:
            summary = name.title()
        if name == "dropdown" or "dropdown" in options.get("class", "").split():
            return f"{place}\n\n{details(summary, inside)}"
        return quote(f"{place}**{summary}**\n\n{inside}")

    def table(self, title: str, label: str | None, options: dict[str, str], lines: list[str], line: int) -> str:
        """Lower a table that is written as a list."""
        try:
            rows = pipe_table("\n".join(lines), int(options.get("header-rows", 0)))
        except ValueError as error:
            self.problems.append((line, f"this table {error}"))
            return ""
        body = "\n".join(self.inline(row, line) for row in rows)
        if not title:
            return f"{anchor(label)}\n\n{body}"
        return f"{anchor(label)}**{self.numbered('numref', label, line)}.** {title}\n\n{body}"
