"""The repository's address and the branch of the Colab editions, read from pyproject.toml and from nowhere else."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomllib
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

BRANCH = "main"
TARGETS = {"repository", "site", "colab"}
LEADS = {"launch-": "colab", "source-": "repository"}  # where the theme's buttons lead, by how their labels begin
Repository = dict[str, Any]


@lru_cache
def read_repository(pyproject: Path) -> Repository:
    """Return `url`, `owner`, `name`, the `site` address, the `colab_branch`, the `version`, and what is `published`."""
    try:
        table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
        url = table["project"]["urls"]["Repository"].rstrip("/")
        branch, published = table["tool"]["lvmlib"]["colab-branch"], set(table["tool"]["lvmlib"].get("published", []))
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{pyproject} must name the repository in [project.urls] Repository and the branch of the Colab editions "
            f"in [tool.lvmlib] colab-branch ({type(error).__name__}: {error})"
        ) from error
    parts = urlsplit(url).path.strip("/").split("/")
    if len(parts) != 2:
        raise ConfigError(f"[project.urls] Repository in {pyproject} must end in /OWNER/NAME, got {url}")
    if not published <= TARGETS:
        raise ConfigError(f"[tool.lvmlib] published in {pyproject} may name {sorted(TARGETS)}, got {sorted(published)}")
    owner, name = parts
    site = table["project"]["urls"].get("Documentation", f"https://{owner}.github.io/{name}").rstrip("/") + "/"
    return {
        "url": url,
        "owner": owner,
        "name": name,
        "site": site,
        "colab_branch": branch,
        "version": table["project"].get("version", ""),
        "published": published,
    }


def set_addresses(app: Sphinx, config: Config) -> None:
    """Hand the address to the theme's buttons and to the pages' preview tags."""
    repository = read_repository(Path(app.srcdir) / "pyproject.toml")
    config.html_theme_options["repository_url"] = repository["url"]
    config.html_theme_options["repository_branch"] = BRANCH
    config.html_theme_options["path_to_docs"] = ""
    config.html_baseurl = repository["site"]
    config.ogp_site_url = repository["site"]
    config.ogp_image = repository["site"] + "_static/preview.png"
    config.ogp_image_alt = "Deep latent-variable models: the curve of a density with two peaks"


def colab_address(repository: Repository, docname: str) -> str:
    """Return the address at which Colab opens a chapter."""
    path = f"{repository['owner']}/{repository['name']}/blob/{repository['colab_branch']}/{docname}.ipynb"
    return f"https://colab.research.google.com/github/{path}"


def point_buttons(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the Colab button open the Colab edition, and 'Suggest edit' open the twin in which a chapter is edited.

    A button whose target is not published is taken away.
    """
    repository = read_repository(Path(app.srcdir) / "pyproject.toml")
    hidden = tuple(label for label, target in LEADS.items() if target not in repository["published"])
    groups = [g for g in context.get("header_buttons", []) if not g.get("label", "").startswith(hidden)]
    for group in groups:
        for button in group.get("buttons", [group]):
            if button.get("text") == "Colab":
                button["url"] = colab_address(repository, pagename)
                button["icon"] = "fas fa-cloud"
            if button.get("label") == "source-edit-button" and button["url"].endswith(".ipynb"):
                button["url"] = button["url"].removesuffix(".ipynb") + ".py"
    if "header_buttons" in context:
        context["header_buttons"] = groups


def setup(app: Sphinx) -> dict[str, Any]:
    # Before sphinxext.opengraph reads the address; after 501, where the theme adds its buttons.
    app.connect("config-inited", set_addresses, priority=100)
    app.connect("html-page-context", point_buttons, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
