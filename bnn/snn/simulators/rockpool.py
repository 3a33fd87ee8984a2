# SPDX-License-Identifier: Apache-2.0
"""Rockpool 3.1, for networks of images alone."""

from __future__ import annotations

from typing import Any

from .record import Simulator


def _image(graph: Any, profile: str, step: float) -> Any:
    from rockpool.nn.modules.torch.nir import from_nir

    return from_nir(graph)


ROCKPOOL = Simulator(
    "rockpool", "Rockpool 3.1", profiles=("cuba",), image=_image, time_axis=True,
    why_not="Rockpool imports neither Conv2d nor IF, and leaks within the step that profile 'lif' takes; use 'cuba'",
)  # fmt: skip
