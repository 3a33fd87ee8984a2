# SPDX-License-Identifier: Apache-2.0
"""Files that a simulator's importer fails on, or in which it ignores or changes something: refused by name.

``truth`` says what is so in the simulator itself: "fails"; "drops" the node ``where``; or "ignores", and then sends the
same as from the file ``like``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .nir_graphs import chain, graph, node

File = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    simulator: str
    file: File
    message: str
    truth: str
    where: str = "x"
    like: File | None = None
    dt: float | None = None


def between(made: Mapping[str, Any], size: int = 3, outputs: int | None = None) -> File:
    """A node x between an affine node and the output."""
    weight = (np.arange(size * 2).reshape(size, 2) % 5 / 4).astype(np.float32)
    return chain(
        input=node("Input", shape=[2]),
        fc=node("Affine", weight=weight, bias=[0.0] * size),
        x=made,
        output=node("Output", shape=[outputs or size]),
    )


def image(made: Mapping[str, Any], after: Mapping[str, Any] | None = None) -> File:
    """A node x of an image (4, 6, 6), and neurons after it."""
    nodes = {"input": node("Input", shape=[4, 6, 6]), "x": made}
    return chain(**nodes, **({"z": after} if after else {}), output=node("Output", shape=[1]))


def if_(r: float = 1.0, n: int = 3, **values: Any) -> File:
    return node("IF", r=[r] * n, **{"v_threshold": [0.5] * n, **values})


def lif(tau: float = 0.01, n: int = 3, **values: Any) -> File:
    return node("LIF", **{"tau": [tau] * n, "r": [1.0] * n, "v_leak": [0.0] * n, "v_threshold": [0.25] * n, **values})


def lif_of_image() -> File:
    ones = np.ones((4, 6, 6), np.float32)
    return node("LIF", tau=2 * ones, r=ones, v_leak=0 * ones, v_threshold=ones)


def cuba(dt: float = 1e-3, n: int = 3, **values: Any) -> File:
    tau = np.float32(4 * dt)
    standard = {"tau_syn": [tau] * n, "tau_mem": [tau] * n, "r": [4.0] * n, "w_in": [4.0] * n, "v_leak": [0.0] * n}
    return node("CubaLIF", **{**standard, "v_threshold": [0.5] * n, **values})


def conv(groups: int, inputs: int = 1) -> File:
    weight = np.ones((4, inputs, 2, 2), np.float32)
    return node("Conv2d", weight=weight, bias=[0.0] * 4, stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=groups,
                input_shape=[6, 6])  # fmt: skip


def line() -> File:
    ones = np.ones((3, 5), np.float32)
    made = node("Conv1d", weight=np.ones((2, 3, 2), np.float32), bias=[0.0] * 2, stride=1, padding=0, dilation=1,
                groups=1, input_shape=5)  # fmt: skip
    return chain(input=node("Input", shape=[3, 5]), z=node("IF", r=ones, v_threshold=ones), x=made,
                 output=node("Output", shape=[2, 4]))  # fmt: skip


def pool(kind: str, size: int = 2, padding: int = 0) -> File:
    return node(kind, kernel_size=[size] * 2, stride=[2, 2], padding=[padding] * 2)


FLAT = node("Flatten", start_dim=0, end_dim=-1)
LI = node("LI", tau=[2.0] * 3, r=[1.0] * 3, v_leak=[0.0] * 3)
ALONE = {
    "Scale": node("Scale", scale=[2.0] * 3),
    "Threshold": node("Threshold", threshold=[0.5] * 3),
    "Delay": node("Delay", delay=[0.1] * 3),
    "I": node("I", r=[1.0] * 3),
    "LI": LI,
    "CubaLI": node("CubaLI", tau_syn=[1.0] * 3, tau_mem=[1.0] * 3, r=[1.0] * 3, v_leak=[0.0] * 3),
}


def skipping() -> File:
    """Two ways from the input to z, of which the first is walked to its end before the other is begun."""
    return graph(
        {"input": node("Input", shape=[2]), "a": if_(n=2), "b": if_(n=2), "z": if_(n=2, v_threshold=[1.5] * 2),
         "output": node("Output", shape=[2])},
        [("input", "a"), ("input", "b"), ("a", "z"), ("b", "z"), ("z", "output")],
    )  # fmt: skip


def recurrent(neuron: Mapping[str, Any], last: bool = False, back: str = "w") -> File:
    """``last``: the way back is named after the output."""
    edges = [("input", "x"), ("x", back), (back, "x"), ("x", "output")]
    return graph(
        {"input": node("Input", shape=[2]), "x": neuron, "output": node("Output", shape=[2]),
         back: node("Affine", weight=[[0.25, 0.0], [0.5, 0.25]], bias=[0.0, 0.25])},
        [edges[0], edges[3], edges[1], edges[2]] if last else edges,
    )  # fmt: skip


def late_graph() -> File:
    """A graph within the graph, whose name comes before that of its input."""
    inner = graph({"input": node("Input", shape=[2]), "x": lif(n=2), "output": node("Output", shape=[2])},
                  [("input", "x"), ("x", "output")])  # fmt: skip
    nodes = {"input": node("Input", shape=[2]), "z": node("Linear", weight=np.eye(2, dtype=np.float32)), "p": inner,
             "output": node("Output", shape=[2])}  # fmt: skip
    return graph(nodes, [("input", "z"), ("z", "p"), ("p", "output")])


def _refused() -> list[Refused]:
    found = [
        Refused("norse", between(if_(r=2.0)),
                r"x' \(IF\): found r = 2; Norse takes r for 1", "ignores", like=between(if_())),
        Refused("norse", between(if_(v_reset=[0.25] * 3)), "found v_reset = 0.25; Norse resets to 0", "ignores",
                like=between(if_())),
        Refused("norse", between(lif(r=[1.0, 2.0, 1.0])), r"\(LIF\): found r = 2", "ignores", like=between(lif())),
        Refused("norse", between(lif(v_reset=[0.125] * 3)), r"\(LIF\): found v_reset = 0.125", "ignores",
                like=between(lif())),
        Refused("norse", between(cuba(v_reset=[0.125] * 3)), r"\(CubaLIF\): found v_reset = 0.125", "ignores",
                like=between(cuba())),
        Refused("norse", between(cuba(v_leak=[0.125] * 3)), "adds the leak to the synaptic current as well", "differs"),
        Refused("norse", image(pool("AvgPool2d"), FLAT),
                "kind AvgPool2d; Norse's importer drops", "drops"),
        Refused("norse", line(),
                "kind Conv1d; Norse's importer drops", "drops"),
        Refused("norse", image(conv(4), None), "found groups = 4; Norse 1.1's importer takes", "fails"),
        Refused("norse", image(pool("SumPool2d", padding=1)),
                r"found padding = \[1, 1\]; Norse 1.1 ignores it", "ignores",
                like=image(pool("SumPool2d"))),
        Refused("norse", image(pool("SumPool2d", size=5)),
                "a window of 25 elements over spikes; Norse 1.1 rounds", "differs"),
        Refused("norse", skipping(), "edge 'b' -> 'z': Norse 1.1 runs 'z' before 'b'", "differs"),
        Refused("norse", recurrent(if_(n=2), last=True), "nirtorch runs 'w' last", "differs"),
        Refused("snntorch", between(if_()), "kind IF; snnTorch imports it as a neuron with a leak", "differs"),
        Refused("snntorch", between(lif(v_leak=[0.5] * 3)),
                "found v_leak = 0.5; snnTorch's importer knows no leak", "fails"),
        Refused("snntorch", between(lif(r=[100.0] * 3, v_reset=[0.5] * 3)), "v_reset = 0.5; snnTorch resets to 0",
                "ignores", like=between(lif(r=[100.0] * 3))),
        Refused("snntorch", between(lif(v_threshold=[0.5, 0.25, 0.5])),
                "v_threshold from .* has one threshold", "fails"),
        Refused("snntorch", between(lif(r=[100.0, 200.0, 300.0])), "scaled by .* by one number for all neurons",
                "ignores", like=between(lif(r=[100.0] * 3))),
        Refused("snntorch", between(cuba(1e-4, r=[3.0] * 3)),
                "found r = 3; snnTorch takes r for tau_mem / dt, 4", "fails"),
        Refused("snntorch", between(lif(v_threshold=[-0.5] * 3)), "found a threshold of -.*reset twice", "differs"),
        Refused("snntorch", recurrent(lif(n=2)),
                "found inputs that are scaled by 0.01 to 0.01 .*recurrent neurons scale none", "fails"),
        Refused("snntorch", image(conv(4), None), "found groups = 4; snnTorch 1.0's importer takes", "fails"),
        Refused("snntorch", image(pool("AvgPool2d", padding=1)), "takes the padding into the mean", "differs"),
        Refused("snntorch", image(pool("AvgPool2d", size=5)), "a window of 25 elements over spikes", "differs"),
        Refused("snntorch", late_graph(), "nirtorch fails on the graph 'p'", "fails"),
        Refused("spikingjelly", between(if_()),
                r"found r = 1; SpikingJelly computes as if it were 10000 \(1 / dt\)", "fails"),
        Refused("spikingjelly", between(if_(1e4, v_threshold=[0.5, 1.0, 1.0])), "v_threshold from 0.5 to 1;", "fails"),
        Refused("spikingjelly", between(lif(tau=1e-4)), "found tau / dt = 1;", "fails"),
        Refused("spikingjelly", between(lif(r=[2.0] * 3)), "found r = 2; .* 1 or 100 ", "fails"),
        Refused("spikingjelly", between(lif(v_leak=[0.5] * 3)), r"found v_leak = 0.5; .* 0 \(v_reset\)", "fails"),
        Refused("spikingjelly", between(cuba(1e-4, w_in=[1.0] * 3)), r"found w_in = 1; .* 4 \(tau_syn / dt\)", "fails"),
        Refused("spikingjelly", between(cuba(1e-4, r=[1.0] * 3)), r"found r = 1; .* 4 \(tau_mem / dt\)", "fails"),
        Refused("spikingjelly", between(cuba(1e-5)), "time constants of 4e-05 and 4e-05 s", "fails"),
        Refused("spikingjelly", image(conv(2, 2), None), "found groups = 2; SpikingJelly's importer refuses", "fails"),
        Refused("spikingjelly", late_graph(), "nirtorch fails on the graph 'p'", "fails"),
        Refused("sinabs", between(if_(r=2.0)), "found r = 2; sinabs takes r for 1", "ignores", like=between(if_())),
        Refused("sinabs", between(if_(v_reset=[0.25] * 3)), "v_reset = 0.25; sinabs subtracts the threshold", "ignores",
                like=between(if_())),
        Refused("sinabs", between(if_(v_threshold=np.full(3, 0.5))),
                "v_threshold of float64; sinabs would compute", "differs"),
        Refused("sinabs", between(lif(v_leak=[0.5] * 3, tau=2.0)),
                "found v_leak = 0.5; sinabs knows no leak", "differs"),
        Refused("sinabs", between(lif()), "found tau = 0.01; sinabs takes it for a number of steps", "differs"),
        Refused("sinabs", between(lif(tau=2.0)),
                "found dt = 0.001 s; sinabs takes tau for a number of steps", "differs", dt=1e-3),
        Refused("sinabs", between(cuba()), "kind CubaLIF; sinabs' importer drops", "drops"),
        Refused("sinabs", between(node("Linear", weight=np.ones((3, 3), np.float32))),
                "kind Linear; sinabs' importer drops", "drops"),
        Refused("sinabs", image(pool("AvgPool2d"), FLAT), "kind AvgPool2d; sinabs' importer drops", "drops"),
        Refused("sinabs", image(pool("SumPool2d", padding=1)), "sinabs 3.1 ignores it", "ignores",
                like=image(pool("SumPool2d"))),
        Refused("sinabs", line(),
                "kind Conv1d; sinabs' importer expects the weights of a torch module", "fails"),
        Refused("sinabs", image(conv(4), None), "found groups = 4; sinabs 3.1's importer takes", "fails"),
        Refused("sinabs", recurrent(if_(n=2)), "closes a cycle; sinabs runs all steps of a layer before", "differs"),
        Refused("sinabs", skipping(), "edge 'b' -> 'z': sinabs 3.1 runs 'z' before 'b'", "differs"),
        Refused("sinabs", image(lif_of_image()), r"v_leak of the shape \(4, 6, 6\); sinabs' importer fails", "fails"),
    ]  # fmt: skip
    for simulator in ("norse", "snntorch", "spikingjelly", "sinabs"):
        truth = "drops" if simulator in ("norse", "sinabs") else "fails"
        for kind, made in ALONE.items():
            if (simulator, kind) != ("sinabs", "LI"):
                found.append(Refused(simulator, between(made), f"found the kind {kind}; ", truth))
        two = between(lif())
        two["nodes"]["y"] = node("Output", shape=[3])
        two["edges"].append(("x", "y"))
        found.append(Refused(simulator, two, "found 2 nodes of the kind Output, expected 1", "differs"))
        alone = between(lif())
        alone["nodes"]["y"] = lif()
        found.append(
            Refused(simulator, alone, "nothing leads to node 'y'|without an? (input|end)|waits for", "differs")
        )
        part = node("Flatten", start_dim=2, end_dim=-1)
        found.append(Refused(simulator, image(part), "found start_dim = 2 and end_dim = -1 for the shape", "differs"))
    return found


REFUSED = _refused()
IDS: Callable[[Refused], str] = lambda one: f"{one.simulator}: {one.message[:60]}"  # noqa: E731
