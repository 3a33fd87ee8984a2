# SPDX-License-Identifier: Apache-2.0
"""The documentation as a site: it builds without a warning, and its reference has every public name."""

from __future__ import annotations

import html
import http.server
import inspect
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

import bnn
import chromium

pytest.importorskip("mkdocs")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def public(module: ModuleType) -> Iterator[str]:
    """Its names, and those of its classes' members; an error has those of its builtin."""
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield value.__name__  # `event_sources` is its former name
            continue
        yield f"{module.__name__}.{name}"
        if inspect.isclass(value) and not issubclass(value, Exception):
            for member, what in inspect.getmembers(value, lambda m: callable(m) or isinstance(m, property)):
                if member[0] != "_":
                    assert inspect.getdoc(what), f"{module.__name__}.{name}.{member} has no docstring"
                    yield f"{module.__name__}.{name}.{member}"


def test_the_reference_has_every_public_name(site: Path) -> None:
    """What has no docstring is not in it."""
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    found = {line.split(" py:")[0] for line in inventory.splitlines()}
    wanted = {name for module in (bnn, bnn.events, bnn.snn, bnn.streams) for name in public(module)}
    assert len(wanted) > 150 and sorted(wanted - found) == []


def test_commands_and_headers_are_pages(site: Path) -> None:
    commands = html.unescape((site / "reference/commands.html").read_text(encoding="utf-8"))
    for command in ("bnn compile", "bnn emit c", "bnn snn verify"):
        assert f"Usage: {command} [OPTIONS]" in commands
    for header in (ROOT / "csrc/include").glob("*.h"):
        page = html.unescape((site / f"reference/c/{header.stem}.html").read_text(encoding="utf-8"))
        text = re.sub(r"<[^>]*>", "", page)
        for name in re.findall(r"\bbnn_\w+(?=\()", header.read_text(encoding="utf-8")):
            assert name in text


def test_every_page_can_be_searched(site: Path) -> None:
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        name = page.relative_to(site).as_posix()
        assert name == "404.html" or f'"{name}"' in index, name


def test_the_search_finds(site: Path, tmp_path: Path) -> None:
    """In a browser, which fetches nothing from elsewhere."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with chromium.started(tmp_path) as page:
            here = f"http://127.0.0.1:{server.server_port}/"
            first = "document.querySelector('.md-search-result__link')"
            page.open(f"{here}index.html?q=reset_delay", f"{first} !== null")
            assert page.run(f"{first}.href").startswith((f"{here}spikes/", f"{here}reference/"))
            fetched = page.run("performance.getEntriesByType('resource').map(entry => entry.name)")
            assert fetched and [url for url in fetched if not url.startswith((here, "data:", "blob:"))] == []
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
