# SPDX-License-Identifier: Apache-2.0
"""The distribution's name, how to install its extras, and signs of another `bnn`.

The `bnn` on PyPI is another project.  It also installs a folder `bnn`, so pip mixes the files of the two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from types import ModuleType

DISTRIBUTION = "bnn-compiler"
_AGAIN = f"pip install --force-reinstall --no-deps SOURCE, the wheel or clone of {DISTRIBUTION}"
_REPAIR = f"pip uninstall bnn; {_AGAIN}"

# Packages with a copyleft licence, by the extra that installs them.
COPYLEFT = {
    "nengo": {"nengo": "GPLv2"},
    "prophesee": {"expelliarmus": "GPLv2"},
    "spiking": {"norse": "LGPLv3", "rockpool": "AGPLv3+"},
}

# Larq asks for NumPy 1, and works with NumPy 2; the same line in the Makefile and in README.md.
INSTALL_LARQ = "pip install --no-deps 'larq>=0.13,<0.15' 'terminaltables>=3.1,<4'"


def install(extra: str) -> str:
    """The command that installs what an extra of this package asks for, with the copyleft licences that come with it.

    The packages by themselves: no index has this one.
    """
    from importlib.metadata import PackageNotFoundError, requires  # takes longer than the rest of importing bnn

    try:
        asked = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # a source tree that was not installed
        return f"pip install -e '.[{extra}]' in the source tree" + _licences(COPYLEFT.get(extra, {}))
    packages = " ".join(f"'{package}'" for package in _packages(extra, asked))
    return f"pip install {packages}" + _licences(COPYLEFT.get(extra, {}))


def _packages(extra: str, asked: Sequence[str]) -> list[str]:
    """What an extra asks for, and the extras of this package among it."""
    found: dict[str, None] = {}
    ending = re.compile(rf'(; | and )extra == "{extra}"$')  # what comes before may say for which Pythons
    for package in (ending.sub("", text) for text in asked if ending.search(text)):
        own = re.fullmatch(rf"{DISTRIBUTION}\[(.*)\]", package)
        found |= dict.fromkeys(p for e in own[1].split(",") for p in _packages(e, asked)) if own else {package: None}
    return list(found)


def install_packages(names: Sequence[str]) -> str:
    """The command that installs these packages alone, with their copyleft licences."""
    known = {name: licence for extra in COPYLEFT.values() for name, licence in extra.items()}
    return f"pip install {' '.join(names)}" + _licences({name: known[name] for name in names if name in known})


def _licences(found: Mapping[str, str]) -> str:
    licences = ", ".join(f"{name}: {licence}" for name, licence in found.items())
    return f" ({licences})" if licences else ""


def foreign_package(package: ModuleType) -> str:
    """The problem if these modules lie below another distribution's ``bnn/__init__.py``, or below none; otherwise "".

    This package's own begins by importing the function below.
    """
    if getattr(package, "foreign_distribution", None) is foreign_distribution:
        return ""
    found = package.__file__ or f"no __init__.py in {', '.join(package.__path__)}"
    return f"the package 'bnn' is not that of {DISTRIBUTION} (found {found}); run: {_REPAIR}"


def foreign_distribution() -> str:
    """The problem if another distribution has installed its ``bnn`` in the same folder; otherwise "".

    Reads only names: importlib.metadata would take longer than the rest of importing bnn.
    """
    folder = os.path.dirname(os.path.dirname(__file__))
    try:
        names = os.listdir(folder)
    except OSError:
        return ""
    found = [n for n in names if n.startswith("bnn-") and n.endswith((".dist-info", ".egg-info"))]
    if not found:
        return ""
    return (
        f"another package called 'bnn' is installed in {folder} ({found[0]}), and its files are mixed with those of "
        f"{DISTRIBUTION}; run: {_REPAIR}"
    )


def broken_extension(reason: object) -> str:
    """The error for a C extension that cannot be used, with the remedy."""
    remedy = foreign_distribution() or f"run: {_AGAIN}"
    return f"bnn's C extension cannot be used: {reason}; {remedy}; in a source tree: pip install -e ."
