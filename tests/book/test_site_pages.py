"""What the site's extensions make of pages: pitfalls, run times, map, syllabus, buttons, addresses."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")


import yaml  # noqa: E402

from book._ext import directives, download, model_map, repository, runtimes  # noqa: E402
from book._ext.numbering import chapter_number  # noqa: E402
from book._ext.plan import CHAPTERS, PARTS  # noqa: E402
from tests.book.tiny_site import build, text  # noqa: E402


def test_pitfalls_are_collected(tmp_path: Path) -> None:
    box = ":::{admonition} Watch out: $\\sigma^2$ is no standard deviation\n:class: pitfall\nIt is its square.\n:::\n"
    site = build(tmp_path, text(box), pages={"pitfalls": "# Pitfalls\n\n```{pitfall-list}\n```\n"})
    assert site.warnings == ""
    link = re.search(r'href="notebooks/08_vae\.html#([^"]+)"[^>]*>(?!8)(.*?)</a>', site.page("pitfalls"), re.S)
    assert link is not None and "is no standard deviation" in link.group(2) and "Watch out" not in link.group(2)
    assert f'id="{link.group(1)}"' in site.page()


def test_a_chapter_without_a_run_time_fails(tmp_path: Path) -> None:
    site = build(tmp_path, pages={"times": "# Times\n\n```{runtime-list}\n```\n"})
    assert "has no run time of notebooks/08_vae" in site.warnings


def test_run_times_come_from_the_file(tmp_path: Path) -> None:
    entry = {"seconds": 61.7, "hardware": "2-core CPU", "threads": 1, "date": "2026-01-31", "lvmlib": "0.1.0"}
    (tmp_path / "source" / "book").mkdir(parents=True)
    (tmp_path / "source" / runtimes.FILE).write_text(json.dumps({"08_vae": entry}))
    site = build(tmp_path, pages={"times": "# Times\n\n```{runtime-list}\n```\n"})
    assert site.warnings == ""
    cells = re.findall(r"<td>(.*?)</td>", site.page("times"), re.S)
    assert [re.sub(r"<.*?>", "", cell).strip() for cell in cells[1:4]] == ["62", "2-core CPU", "1"]


def test_map_and_syllabus_link_what_exists(tmp_path: Path) -> None:
    pages = {"map": "# Map\n\n```{model-map}\n```\n", "plan": "# Plan\n\n```{syllabus}\n```\n"}
    site = build(tmp_path, pages=pages)
    assert site.warnings == ""
    assert re.findall(r'<a class="ready" href="([^"]+)"', site.page("map")) == ["notebooks/08_vae.html"]
    assert site.page("map").count('class="planned"') == len(CHAPTERS) - 1
    assert re.findall(r'<td><p><a[^>]*href="([^"]+)"', site.page("plan")) == ["notebooks/08_vae.html"]


def test_hours_of_a_course_come_from_the_plan(tmp_path: Path) -> None:
    course = "# C\n\n{hours}`study 1 3-4` hours\n\n```{course}\n1 | 8 | 08\n2 and 3 | 2 |\n```\n"
    site = build(tmp_path, pages={"course": course})
    assert site.warnings == ""
    page = site.page("course")
    assert f"<p>{sum(CHAPTERS[n].study for n in (1, 3, 4))} hours</p>" in page
    cells = [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", page, re.S)]
    hours = [str(CHAPTERS[8].lecture + CHAPTERS[2].lecture), str(CHAPTERS[8].study + CHAPTERS[2].study)]
    assert cells[-5:] == ["in all", "", *hours, ""] and 'href="notebooks/08_vae.html"' in page


def test_the_map_fits_its_frame() -> None:
    for chapter, (x, y, width) in model_map.BOXES.items():
        assert x >= 0 and x + width <= model_map.WIDTH and y >= 0 and y + model_map.BOX <= model_map.HEIGHT, chapter
    assert set(model_map.BOXES) == set(CHAPTERS) == set(range(1, 13))
    assert {chapter.part for chapter in CHAPTERS.values()} == set(PARTS)


def test_every_chapter_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "_toc.yml").read_text("utf-8")
    for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert re.search(rf"^ +- file: notebooks/{notebook.stem}$", contents, re.M), f"{notebook.name} is in no part"


def test_homework_is_no_source_of_the_site() -> None:
    settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert {"notebooks/homework", "tests"} <= set(settings["exclude_patterns"])
    assert settings["only_build_toc_files"] is True
    assert settings["sphinx"]["config"]["html_copy_source"] is False
    assert "homework" not in (ROOT / "_toc.yml").read_text("utf-8")


def test_numbers_of_chapters() -> None:
    assert chapter_number("notebooks/08_vae") == 8
    assert chapter_number("notebooks/homework/08_vae") is None
    assert chapter_number("book/welcome") is None


def test_the_address_stands_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\nversion = "1"\n[project.urls]\nRepository = "https://github.com/a/b/"\n'
        '[tool.lvmlib]\ncolab-branch = "c"\n'
    )
    found = repository.read_repository(file)
    assert (found["url"], found["owner"], found["name"]) == ("https://github.com/a/b", "a", "b")
    assert (found["site"], found["colab_branch"], found["published"]) == ("https://a.github.io/b/", "c", set())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[project]\n", "must name the repository"),
        ('[project.urls]\nRepository = "https://github.com/a"\n[tool.lvmlib]\ncolab-branch = "c"\n', "/OWNER/NAME"),
        (
            '[project.urls]\nRepository = "https://x/a/b"\n[tool.lvmlib]\ncolab-branch = "c"\npublished = ["page"]\n',
            "may name",
        ),
    ],
)
def test_a_missing_address_is_a_clear_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(Exception, match=said):
        repository.read_repository(tmp_path / "pyproject.toml")


class _App:
    def __init__(self, folder: Path, published: list[str]):
        self.srcdir = str(folder)
        content = '[project.urls]\nRepository = "https://github.com/a/b"\n[tool.lvmlib]\ncolab-branch = "colab"\n'
        (folder / "pyproject.toml").write_text(f"{content}published = {published}\n")


def buttons() -> dict[str, Any]:
    return {
        "header_buttons": [
            {"label": "launch-buttons", "buttons": [{"text": "Colab", "url": "https://elsewhere"}]},
            {
                "label": "source-buttons",
                "buttons": [{"label": "source-edit-button", "url": "edit/08_vae.ipynb"}],
            },
            {
                "label": "download-buttons",
                "buttons": [
                    {"label": "download-source-button", "url": "_sources/08_vae.ipynb", "tooltip": ""},
                    {"label": "download-pdf-button"},
                ],
            },
        ]
    }


def test_buttons_of_a_chapter(tmp_path: Path) -> None:
    context, app = buttons(), _App(tmp_path, ["repository", "colab"])
    repository.point_buttons(app, "notebooks/08_vae", "", context, None)  # type: ignore[arg-type]
    download.point_download(app, "notebooks/08_vae", "", context, None)  # type: ignore[arg-type]
    launch, edit, load = (group["buttons"][0]["url"] for group in context["header_buttons"])
    assert launch == "https://colab.research.google.com/github/a/b/blob/colab/notebooks/08_vae.ipynb"
    assert edit == "edit/08_vae.py"
    assert load == "08_vae.ipynb"


@pytest.mark.parametrize(
    ("published", "shown"),
    [
        ([], ["download-buttons"]),
        (["colab"], ["launch-buttons", "download-buttons"]),
        (["repository", "site"], ["source-buttons", "download-buttons"]),
    ],
)
def test_a_button_that_would_lead_nowhere_is_not_shown(tmp_path: Path, published: list[str], shown: list[str]) -> None:
    context = buttons()
    repository.point_buttons(_App(tmp_path, published), "notebooks/08_vae", "", context, None)  # type: ignore[arg-type]
    assert [group["label"] for group in context["header_buttons"]] == shown


def test_a_page_that_is_no_chapter_offers_no_source(tmp_path: Path) -> None:
    context = buttons()
    download.point_download(_App(tmp_path, []), "book/welcome", "", context, None)  # type: ignore[arg-type]
    assert [button["label"] for button in context["header_buttons"][2]["buttons"]] == ["download-pdf-button"]


def test_typefaces_stay_small_and_carry_their_licence() -> None:
    folder = ROOT / "book" / "_static" / "fonts"
    named = set(re.findall(r'url\("([^"]+)"\)', (folder / "fonts.css").read_text("utf-8")))
    assert named == {path.name for path in folder.glob("*.woff2")}
    assert sum(path.stat().st_size for path in folder.glob("*.woff2")) < 400_000
    assert "SIL OPEN FONT LICENSE" in (folder / "OFL.txt").read_text("utf-8")


def test_what_the_extensions_mark_is_styled() -> None:
    sheet = (ROOT / "book" / "_static" / "book.css").read_text("utf-8")
    marks = ["model-map", "check-heading", "check-link", "the-proof", "proof-name", "pitfall", "tag_photo", "citation"]
    assert [mark for mark in marks if f".{mark}" not in sheet] == []


def test_examples_of_the_extensions() -> None:
    for module in (directives, runtimes):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed
