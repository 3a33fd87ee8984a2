# SPDX-License-Identifier: Apache-2.0
"""The pages as they stand in the repository: length, what pip installs, and links, which work without the site, too."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
MOST_WORDS = 2500


def words(text: str) -> int:
    """Without tables that a tool or a benchmark writes."""
    return len(re.sub(r"<!-- (generated|bench): .*?<!-- end -->", "", text, flags=re.S).split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_a_page_is_short(page: Path) -> None:
    count = words(page.read_text(encoding="utf-8"))
    assert 0 < count <= MOST_WORDS


def test_pip_installs_what_there_is() -> None:
    """Extras of the package, and what files of the repository install, too: Larq in the same versions."""
    paths = ("Makefile", ".ci/run", "tools/bench/peers.py", "tools/train_spiking.py", "tools/published.py")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\n[tool.")[0]
    extras = re.findall(r"^(\w+) = \[", project.partition("[project.optional-dependencies]")[2], flags=re.M)
    known = "\n".join([project, *((ROOT / path).read_text(encoding="utf-8") for path in paths)])
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *PAGES))
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/start/install.md").read_text(encoding="utf-8"), flags=re.M)
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(extras)
    calls = re.findall(r"\bpip install ([^`\n&]+)", text)
    assert len(calls) > 20
    for call in calls:
        for word in shlex.split(call, comments=True):
            if found := re.fullmatch(r"\.(?:\[([\w,]+)\])?", word):
                assert not found[1] or set(found[1].split(",")) <= set(extras), call
            else:
                named = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", known)
                assert word in ("-e", "--no-deps") or named, f"no file installs {word}: {call}"


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub and MkDocs make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.M)
    made = {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}
    return made | set(re.findall(r'<a name="([^"]+)"', text))


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *PAGES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https?:)([^()\s#]*)#?([^()\s]*)\)", page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
