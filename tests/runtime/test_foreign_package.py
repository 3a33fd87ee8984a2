# SPDX-License-Identifier: Apache-2.0
"""The package index has another project `bnn` with a folder `bnn`: what is said where the two are mixed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bnn

REPAIR = "run: pip uninstall bnn; pip install --force-reinstall --no-deps SOURCE, the wheel or clone of bnn-compiler"
# As theirs begins.
FOREIGN = "from .version import __version__\nfrom .ops import BasicInputBinarizer\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages with this one in it."""
    shutil.copytree(Path(bnn.__file__).parent, tmp_path / "bnn", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bnn_compiler-0.1.0.dist-info").mkdir()
    return tmp_path


def foreign(site: Path, name: str = "bnn-0.1.2.dist-info") -> None:
    """What pip knows of the other project."""
    (site / name).mkdir()
    (site / name / "METADATA").write_text("Metadata-Version: 2.1\nName: bnn\nVersion: 0.1.2\n", encoding="utf-8")


def python(site: Path, code: str) -> tuple[str, str]:
    """What the code prints where no other `bnn` is found: neither by an editable install nor on PYTHONPATH."""
    code = f"import os, sys; sys.path = [p for p in sys.path if not os.path.exists(p + '/pyproject.toml')]; {code}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=site, env=environment, capture_output=True, text=True)
    return done.stdout, done.stderr


def test_alone_it_says_nothing(site: Path) -> None:
    out, err = python(site, "import bnn; print(bnn.__file__)")
    assert Path(out.strip()).parent == site / "bnn" and not err


@pytest.mark.parametrize("record", ["bnn-0.1.2.dist-info", "bnn-0.1.2-py3.11.egg-info"])
def test_over_the_other_it_warns_and_works(site: Path, record: str) -> None:
    """This one was installed last: its files are there, until the other one is removed."""
    foreign(site, record)
    out, err = python(site, "import bnn; print(bnn.Model.__name__)")
    assert out == "Model\n" and "RuntimeWarning: another package called 'bnn'" in err
    assert record in err and str(site) in err and REPAIR in err


@pytest.mark.parametrize("code", ["import bnn.runtime", "from bnn import events", "from bnn.cli import main"])
def test_below_the_others_init_it_refuses(site: Path, code: str) -> None:
    """The other one was installed last, so its __init__.py answers."""
    foreign(site)
    (site / "bnn/__init__.py").write_text(FOREIGN, encoding="utf-8")
    (site / "bnn/version.py").write_text("__version__ = '0.1.2'\n", encoding="utf-8")
    (site / "bnn/ops.py").write_text("BasicInputBinarizer = object\n", encoding="utf-8")
    out, err = python(site, code)
    assert not out and "SetupError: the package 'bnn' is not that of bnn-compiler" in err
    assert str(site / "bnn/__init__.py") in err and REPAIR in err


def test_without_an_init_it_refuses(site: Path) -> None:
    """The other one was installed, and removed with the files that have the same names."""
    (site / "bnn/__init__.py").unlink()
    (site / "bnn/_version.py").unlink()
    _, err = python(site, "import bnn.runtime")
    assert "SetupError" in err and f"no __init__.py in {site / 'bnn'}" in err and REPAIR in err


def test_the_extension_of_another_version(site: Path) -> None:
    (site / "bnn/_version.py").write_text('__version__ = "9.8.7"\n', encoding="utf-8")
    _, err = python(site, "import bnn")
    assert f"SetupError: bnn's C extension cannot be used: it is of version {bnn.__version__}, the package 9.8.7" in err
    assert "--no-deps SOURCE, the wheel or clone of bnn-compiler; in a source tree: pip install -e ." in err


def test_no_extension(site: Path) -> None:
    for built in (site / "bnn").glob("_native*.so"):
        built.unlink()
    _, err = python(site, "import bnn")
    assert "SetupError: bnn's C extension cannot be used: No module named 'bnn._native'" in err
    foreign(site)
    _, err = python(site, "import bnn")
    assert "another package called 'bnn' is installed" in err and REPAIR in err
