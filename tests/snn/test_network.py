# SPDX-License-Identifier: Apache-2.0
"""Networks by hand: what they may be made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn.errors import CompileError, InputTypeError
from bnn.snn import build
from bnn.snn.learning import Learning
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Reset
from snn.small import population


def changed(what: str, number: int = 0, **values: Any) -> Any:
    def change(network: Network) -> None:
        item = network if what == "network" else getattr(network, what)[number]
        for name, value in values.items():
            setattr(item, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("populations", 1, name="in"), "network: found 2 populations called 'in', expected one; rename one"),
        (changed("populations", 1, name=None), "population 1: name: found None, expected text"),
        (
            changed("populations", 1, name="\ud800"),
            "population 1: name: found .*, expected text, of characters that UTF",
        ),
        (changed("populations", 1, shape=4), "population 1: shape: found 4, expected whole numbers"),
        (changed("populations", 1, shape=(4.0,)), r"population 1: shape: found \(4.0,\), expected whole numbers"),
        (changed("populations", 1, bias=0.5), "population 1: bias: found 0.5, expected a NumPy array"),
        (
            changed("populations", 1, parameters={"threshold": 1.0}),
            "parameters: found {'threshold': 1.0}, expected NumPy",
        ),
        (changed("populations", 1, output=5), "population 1: output: found 5, expected True or False"),
        (changed("populations", 1, dynamics="integrate"), "dynamics: found 'integrate', expected Dynamics, or None"),
        (
            changed("populations", 1, dynamics=Dynamics("integrate")),  # type: ignore[arg-type]
            "population 1: dynamics: rule: found 'integrate', expected one of RULES: relay, integrate",
        ),
        (
            changed("populations", 1, dynamics=Dynamics(RULES["integrate"], 7)),  # type: ignore[arg-type]
            "population 1: dynamics: reset: found 7, expected one of Reset",
        ),
        (changed("populations", 0, input_emits=1), "population 0: input_emits: found 1, expected one of Emits"),
        (changed("populations", 1, shape=(2**32, 2**32)), "out: found shape .*, expected 1 to 3 dimensions, at most"),
        (changed("projections", weights=np.ones(1, np.int8), scale=10**400), "projection 0: scale: found 1000"),
        (changed("populations", 0, input_emits="counts"), "population 0: input_emits: found 'counts', expected one of"),
        (changed("projections", weights=[1.0]), r"projection 0: weights: found \[1.0\], expected a NumPy array"),
        (
            changed("projections", kind="pool"),
            "projection 0: kind: found 'pool', expected one of dense, conv, diagonal",
        ),
        (changed("projections", delay=1.5), "projection 0: delay: found 1.5, expected a whole number"),
        (changed("projections", stride=2), "projection 0: stride: found 2, expected two whole numbers"),
        (
            changed("projections", mask=np.array([1, 0, 2, 0])),
            r"w: found a mask of int64, shape \(4,\), expected bool, \(4,\)",
        ),
        (changed("projections", name="", delay=-1), "^projection 0: found a delay of -1 steps"),
        (
            changed("projections", learning=Learning("1e-4", 0, 0, 0)),  # type: ignore[arg-type]
            "projection 0: learning: nu_pre: found '1e-4', expected a number",
        ),
        (changed("projections", weights=np.ones(1, np.int8), scale=1e50), "a weight or a scale that is not finite"),
        (changed("projections", scales=np.ones(1, np.float32)), "found scales of targets, expected int8 weights"),
        (
            changed("projections", weights=np.ones(1, np.int8), scales=np.ones(3, np.float32)),
            "found scales of float32, 3 elements, expected finite float32, ",
        ),
        (changed("network", dt=np.nan), "network: dt: found nan, expected seconds from 0 to 1e.06"),
        (changed("network", dt=-1.0), "network: dt: found -1.0, expected seconds"),
        (changed("network", simulator=None), "network: simulator: found None, expected text"),
        (changed("network", projections=None), "network: projections: found None, expected a list of Projection"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_network_of_wrong_types_is_refused_by_name(change: Any, message: str) -> None:
    neurons = population("out", (4,), "integrate", Reset.SUBTRACT, output=True)
    two = np.full(1, 2, np.float32)
    network = Network([Population("in", (4,)), neurons], [Projection(0, 1, "diagonal", two, name="w")])
    assert build(network).run(np.eye(4)).output.sum() == 4
    change(network)
    with pytest.raises(CompileError, match=message):
        build(network)


def test_what_is_built_is_a_network() -> None:
    with pytest.raises(InputTypeError, match="network: found str, expected a Network; for a file"):
        build("net.nir")
