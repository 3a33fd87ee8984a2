# SPDX-License-Identifier: Apache-2.0
"""What mkdocs.yml cannot say: pages that are made of files elsewhere, and links to files that are no pages."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from bnn.cli.app import application

ROOT = Path(__file__).resolve().parents[2]
#: Files outside of docs/ that are pages, or are said there.
PAGES = {
    "CHANGELOG.md": "reference/versions.md",
    "CONTRIBUTING.md": "maintainers/contributing.md",
    "SECURITY.md": "maintainers/security.md",
    **{f"csrc/include/{h.name}": f"reference/c/{h.stem}.md" for h in sorted((ROOT / "csrc/include").glob("*.h"))},
}
_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?![a-z]+:|#)([^()\s#]+)(#[^()\s]*)?\)")
_PAGE = re.compile(r"\bdocs/([\w/-]+)\.md\b")
_ROLE = re.compile(r":(?:attr|class|func|meth|mod):<code>~?(?:bnn\.(?=[A-Z]))?")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".h"):
            text = f"# `{Path(source).name}`\n\n```c\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    context = click.Context(application, info_name="bnn", terminal_width=90, **application.context_settings)
    commands = "# Command line\n\nWhat `--help` prints of each command.\n" + "".join(_helped(context))
    files.append(File.generated(config, "reference/commands.md", content=commands))
    return files


def _helped(context: click.Context) -> Iterator[str]:
    """A section for a command, and for each below it."""
    yield f"\n## {context.command_path}\n\n```text\n{context.get_help()}\n```\n"
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from _helped(click.Context(command, context, name, **command.context_settings))


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the repository has them become links of the site; files that are no pages are named alone."""
    here = page.file.src_uri
    origin = posixpath.dirname(_SOURCES.get(here, f"docs/{here}"))

    def link(found: re.Match[str]) -> str:
        text, path, anchor = found[1], posixpath.normpath(posixpath.join(origin, found[2])), found[3] or ""
        target = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if target is None:
            return text if (ROOT / path).exists() else found[0]  # mkdocs says that it is not there
        return f"[{text}]({posixpath.relpath(target, posixpath.dirname(here))}{anchor})"

    return _LINK.sub(link, markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings are written for those who read the code, too: roles, and names of pages."""

    def link(found: re.Match[str]) -> str:
        url = posixpath.relpath(found[1] + ".html", posixpath.dirname(page.url) or ".")
        return f'<a href="{url}">{found[1]}</a>'

    return _PAGE.sub(link, _ROLE.sub("<code>", html)) if page.file.src_uri.startswith("reference/python/") else html
