# SPDX-License-Identifier: Apache-2.0
"""What is refused: the simulator fails on it, drops it or ignores it, as the message says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .. import nir_graphs
from ..nir_refused import IDS, REFUSED, Refused
from . import importers


def sent(one: Refused, root: dict[str, Any], path: Path, names: list[str]) -> Any:
    shape = root["nodes"]["input"]["shape"]
    x = (np.random.default_rng(5).random((20, *shape)) < 0.6).astype(np.float32)
    module = importers.imported(one.simulator, nir_graphs.write(path, root), dt=one.dt)
    if one.truth == "drops":
        return dict(module.named_modules()).get(one.where)
    return importers.run(one.simulator, module, x, names)


@pytest.mark.parametrize("one", [r for r in REFUSED if r.truth != "differs"], ids=IDS)
def test_what_the_message_says_is_so(one: Refused, tmp_path: Path) -> None:
    if reason := importers.why_not(one.simulator):
        pytest.skip(reason)
    if one.truth == "fails":
        with pytest.raises(Exception):  # noqa: B017  (of any kind)
            sent(one, one.file, tmp_path / "a.nir", ["x"])
    elif one.truth == "drops":
        assert sent(one, one.file, tmp_path / "a.nir", ["x"]) is None
    else:
        assert one.like is not None
        found, like = (sent(one, root, tmp_path / "a.nir", ["x"]) for root in (one.file, one.like))
        assert found["x"].any() and np.array_equal(found["x"], like["x"])
