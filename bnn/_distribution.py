# SPDX-License-Identifier: Apache-2.0
"""The distribution's name, how to install its extras, and signs of another `bnn`.

The `bnn` on PyPI is another project.  It also installs a folder `bnn`, so pip mixes the files of the two.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType

DISTRIBUTION = "bnn-compiler"
_REPAIR = f"pip uninstall bnn; pip install --force-reinstall --no-deps {DISTRIBUTION}"

# Packages with a copyleft licence, by the extra that installs them.
COPYLEFT = {
    "prophesee": {"expelliarmus": "GPLv2"},
    "spiking": {"norse": "LGPLv3", "rockpool": "AGPLv3+"},
}


# Larq asks for NumPy 1, and works with NumPy 2; the same line in the Makefile and in README.md.
INSTALL_LARQ = "pip install --no-deps 'larq>=0.13,<0.15' 'terminaltables>=3.1,<4'"


def install(extra: str) -> str:
    """The command that installs one of the package's extras, with the copyleft licences that come with it."""
    return f"pip install '{DISTRIBUTION}[{extra}]'" + _licences(COPYLEFT.get(extra, {}))


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
    return (
        f"bnn's C extension cannot be used: {reason}; "
        + (foreign_distribution() or f"run: pip install --force-reinstall --no-deps {DISTRIBUTION}")
        + "; in a source tree: pip install -e ."
    )
