# SPDX-License-Identifier: Apache-2.0
"""What the package asks pip for, under which licences, and what its messages say about it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bnn._distribution import COPYLEFT, DISTRIBUTION, INSTALL_LARQ, foreign_distribution, install

ROOT = Path(__file__).resolve().parents[1]
# Of what people see of a licence's name.
GNU = re.compile(r"\bA?L?GPL|\bGNU\b|\bAffero\b|General Public License", flags=re.I)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    try:
        toml = importlib.import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10
        toml = importlib.import_module("tomli")
    loaded: dict[str, Any] = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


def requirements(project: dict[str, Any], extra: str) -> Iterator[Requirement]:
    """What an extra asks for, those among it that are extras of this package followed."""
    for requirement in map(Requirement, project["project"]["optional-dependencies"][extra]):
        if requirement.name == DISTRIBUTION:
            for other in requirement.extras:
                yield from requirements(project, other)
        else:
            yield requirement


def with_what_they_need(names: set[str]) -> Iterator[Distribution]:
    """The installed distributions of these names and all that they ask for."""
    todo, seen = sorted(names), set()
    while todo:
        name = canonicalize_name(todo.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        yield found
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo.append(needed.name)


def licence(found: Distribution) -> str:
    """All that its metadata state, and how its licence files begin."""
    metadata = found.metadata
    stated = [metadata["License-Expression"] or "", (metadata["License"] or "")[:200]]
    stated += [c for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
    for path in found.files or ():
        own = path.parts[0].endswith(".dist-info")  # setuptools carries others' below it
        if own and re.search(r"licen[cs]e|copying", path.name, flags=re.I):
            stated.append(Path(str(path.locate())).read_text(encoding="utf-8", errors="replace")[:200])
    return "\n".join(stated)


def test_name(project: dict[str, Any]) -> None:
    assert project["project"]["name"] == DISTRIBUTION == "bnn-compiler"


def test_how_to_install_larq() -> None:
    """The README and `make` say what messages say."""
    packages = INSTALL_LARQ.removeprefix("pip install --no-deps ")
    assert INSTALL_LARQ in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"LARQ := {packages}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(
        r.specifier.contains(distribution(r.name).version) for r in map(Requirement, packages.replace("'", "").split())
    )


def test_every_dependency_has_an_upper_bound(project: dict[str, Any]) -> None:
    asked = [Requirement(text) for text in (*project["build-system"]["requires"], *project["project"]["dependencies"])]
    for extra in project["project"]["optional-dependencies"]:
        asked += requirements(project, extra)
    assert len(asked) > 20
    assert not [str(r) for r in asked if not any(s.operator == "<" for s in r.specifier)]


def test_what_a_page_installs_runs_the_commands_below_it(project: dict[str, Any]) -> None:
    """`bnn verify --nir` needs what every command needs."""
    command = {r.name for r in requirements(project, "cli")}
    checked = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        installed = re.findall(
            rf"^(?: {{4}})?pip install (?:-e )?'(?:\.|{DISTRIBUTION})\[([\w,]+)\]'", text, flags=re.M
        )
        if installed and re.search(r"^(?: {4})?bnn ", text, flags=re.M):
            extras = {extra for extras in installed for extra in extras.split(",")}
            asked = {r.name for extra in extras for r in requirements(project, extra)}
            assert command <= asked, f"{page.name}: {extras} do not install the command bnn"
            checked.append(page.name)
    assert {"README.md", "nir.md"} <= set(checked)


@pytest.mark.slow
def test_all_has_no_copyleft(project: dict[str, Any]) -> None:
    """By name, and by what is installed."""
    names = {r.name for r in requirements(project, "all")} | {"numpy", "cffi"}
    assert not names & {name for extra in COPYLEFT.values() for name in extra}
    found = {d.metadata["Name"]: licence(d) for d in with_what_they_need(names)}
    assert {"numpy", "cffi", "pytest"} <= set(found)
    assert not {name: text for name, text in found.items() if GNU.search(text)}


@pytest.mark.slow
def test_copyleft_is_stated_where_it_is_installed(project: dict[str, Any]) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")]
    for extra in project["project"]["optional-dependencies"]:
        own = COPYLEFT.get(extra, {})
        assert set(own) <= {r.name for r in requirements(project, extra)}
        found = with_what_they_need({r.name for r in requirements(project, extra)})
        assert {d.metadata["Name"] for d in found if GNU.search(licence(d))} <= set(own), extra
        for name, its in own.items():
            assert f"{name}: {its}" in install(extra) and f"{name}: {its.partition('+')[0]}" in text
            for page in pages:
                assert re.search(rf"{name}\W.*{its.partition('+')[0]}", page, flags=re.I)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], ""), (["bnn_compiler-1.dist-info", "bnn", "bnn-1", "xbnn-1.dist-info"], ""),
        (["bnn-1.dist-info"], "bnn-1."),
        (["bnn-1-py3.egg-info"], "bnn-1-py3."), (None, ""),
    ],
)  # fmt: skip
def test_signs_of_another_package(names: list[str] | None, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of installed packages; none in one that cannot be read."""

    def listed(folder: str) -> list[str]:
        if names is None:
            raise PermissionError(13, "Permission denied")
        return names

    monkeypatch.setattr("os.listdir", listed)
    said = foreign_distribution()
    assert bool(said) == bool(found) and f"({found}" in f"{said}("


def test_licences_are_named() -> None:
    assert install("spiking").endswith("' (norse: LGPLv3, rockpool: AGPLv3+)")
    assert install("prophesee").endswith("' (expelliarmus: GPLv2)")
    assert install("nengo").endswith("' (nengo: GPLv2)")


def test_extras_are_named_by_their_packages(project: dict[str, Any], tmp_path: Path) -> None:
    """No index has this one; in a source tree that was not installed, pip reads the extras."""
    for extra in ("cli", "torch", "spiking"):
        named = {Requirement(text) for text in re.findall(r"'(.*?)'", install(extra))}
        assert named == {*requirements(project, extra)}
    alone = "import runpy, sys; print(runpy.run_path(sys.argv[1])['install']('cli'))"
    command = [sys.executable, "-S", "-c", alone, str(ROOT / "bnn/_distribution.py")]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said == "pip install -e '.[cli]' in the source tree\n"


def test_a_folder_that_contains_a_clone(tmp_path: Path) -> None:
    """Of the name `bnn`: there Python finds the package, and not the clone's folder."""
    (tmp_path / "bnn").symlink_to(ROOT)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", "import bnn; print(bnn.load.__name__)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "from_file\n", done.stderr
