# SPDX-License-Identifier: Apache-2.0
"""A simulator in NumPy in the place of torch, nir and SpikingJelly, which can be poisoned."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("torch", "nir", "nirtorch", "spikingjelly")


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """poison(node={...}): what the simulator does otherwise from its next import of a file on; child processes, too."""
    pytest.importorskip("h5py")
    here = Path(__file__).parent
    for name in PACKAGES:
        (tmp_path / "site" / f"{name}-1.dist-info").mkdir(parents=True)
        (tmp_path / "site" / f"{name}-1.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")
    folders = [str(tmp_path / "site"), str(here / "simulated"), str(here.parent)]
    monkeypatch.setenv("PYTHONPATH", ":".join(folders), prepend=":")
    for folder in reversed(folders[:2]):
        monkeypatch.syspath_prepend(folder)

    def loaded() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in PACKAGES]

    for name in loaded():
        monkeypatch.delitem(sys.modules, name)

    def place(**nodes: Any) -> None:
        monkeypatch.setenv("POISON", json.dumps(nodes))

    yield place
    for name in loaded():
        del sys.modules[name]
