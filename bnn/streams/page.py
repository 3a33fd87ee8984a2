# SPDX-License-Identifier: Apache-2.0
"""A self-contained page that shows a run moment by moment: page.html with its data."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np

from .._text import page_json
from .._types import Array
from .answers import Answering, given_name


def page(
    run: Answering, title: str, names: Sequence[str] | None, texts: Mapping[str, object], places: Mapping[str, str],
    **data: object,
) -> str:  # fmt: skip
    """The page's text.  It needs no network: data, drawing and style are in the one file.

    ``page.html#event=12`` opens it at a moment.  ``texts``: words of the script, and ``places``: texts by the ids of
    their elements; ``data``: the rest of what the script reads.
    """
    record = {
        "title": title,
        "total": run.moments,
        "label": run.label,
        "answers": run.answers.tolist(),
        "final": run.final,
        "firstRight": run.first_correct,
        "classes": class_names(run, names),
        "outputs": text(run.scores.astype("<f4")),
        "texts": {**texts, "places": dict(places)},
        **data,
    }
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("/*DATA*/null", page_json(record))


def class_names(run: Answering, names: Sequence[str] | None) -> list[str]:
    return [str(k) if names is None else given_name(k, names) for k in range(run.scores.shape[1])]


def text(array: Array) -> str:
    """An array's bytes as text."""
    return base64.b64encode(array.tobytes()).decode("ascii")


def layer(
    name: str, shape: tuple[int, ...], start: Array, times: Array, neurons: Array, signs: Array, levels: int = 2
) -> object:
    """A layer of the page: its neurons' levels at the start (below ``levels``; of bits 0 and 1), and its spikes; a sign
    above 0: one level up."""
    height, width = shape[:2] if len(shape) == 3 else (1, 1)
    size = int(np.prod(shape))
    if height * width == 1:  # draw a vector as a picture that is nearly square
        width = math.ceil(math.sqrt(size))
        while size % width:
            width += 1
        height = size // width
    return {
        "name": name,
        "height": height,
        "width": width,
        "levels": levels,
        "start": text(start.reshape(-1).astype(np.uint8)),
        "times": text(times.astype("<u4")),
        "neurons": text((neurons.astype("<u4") << 1 | (signs > 0)).astype("<u4")),
    }
