# SPDX-License-Identifier: Apache-2.0
"""Why a network cannot run with spikes: the only place that says so, for NIR files and for the event engine."""

from __future__ import annotations

from .._notes import parted
from .counting import MOST_NEURONS
from .graph import Graph, Node
from .monotone import between
from .ops import OPS
from .rewrite import is_elementwise, sources

_SHORTCUT = ("a shortcut of real numbers is added", "quantize both sides and concatenate them, or leave it out")
_GATE = ("two real numbers are multiplied (a gate)", "leave the gate out")
_QUANTIZER = "use a quantizer of bits right after batch norm"


def of_the_batch(graph: Graph) -> str | None:
    """Why a network whose images depend on each other has no spikes, or None; names the layer, and what to do."""
    for node in graph.nodes():
        if OPS[node.op].whole_batch:
            return (
                f"layer '{node.name}': it computes with all images of a batch, and spikes are of one image: use a "
                "quantizer that treats every image alone (ste_sign, ste_tern), or run the network with model(x)"
            )
    return None


def refusal(bits: Node, x: Node) -> str:
    """Why bits that depend on the real value x are not spikes, and the remedy."""
    why, instead = _why_real(x) or (f"'{x.op}' gives real numbers", "quantize before it, or leave it out")
    value = f" (value '{bits.tap}')" if bits.tap and bits.tap != bits.name else ""
    where = f" (layer '{x.name}')" if x.name and x.name != bits.name else ""
    return (
        f"layer '{bits.name}'{value}: its spikes would depend on real numbers, not on spikes alone: {why}{where}; "
        f"{instead}, or run the network with model(x)"
    )


def not_counted(bits: Node, x: Node) -> str:
    """Why neurons of several levels cannot look through the real value x, and the remedy."""
    where = f" (layer '{x.name}')" if x.name and x.name != bits.name else ""
    return (
        f"layer '{bits.name}': its activations of {bits.inputs[1].value.size + 1} levels depend on '{x.op}'{where}: a "
        "neuron of several levels sees the sums of one layer, through batch norm, clips, one max-pool and reshapes; "
        f"leave it out, train the layer with at most {MOST_NEURONS + 1} levels, or run the network with model(x)"
    )


def to_blame(x: Node) -> bool:
    """Whether a real value between spikes is known not to be a threshold on them."""
    return _why_real(x) is not None


def fits_channels(node: Node) -> bool:
    """Whether an elementwise op's constants are one number, or one per channel."""
    return all(i.value.size == 1 or i.value.size == i.type.shape[-1] for i in node.inputs if i.is_constant)


def _why_real(x: Node) -> tuple[str, str] | None:
    """Why a value is not a threshold on spikes, and what is allowed instead."""
    if "residual" in getattr(x.attrs, "slots", ()):
        return _SHORTCUT
    if x.op == "conv2d":
        reason, _ = parted(x.note)
        because = f", because {reason}" if reason else ""
        return f"a layer of floats{because}", "give it an input and a kernel quantizer"
    if x.op == "avg_pool":
        return "average pooling", "use max-pooling"
    if x.op in ("dequantize", "binarize_levels"):
        return "numbers of several bits are computed with", "use activations of bits"
    if OPS[x.op].library:
        return f"'{x.op}', which is not rounded alike everywhere", _QUANTIZER
    if x.op == "concat":
        return next((found for i in x.inputs if (found := _why_real(i)) is not None), None)
    return _why_no_step(x) if is_elementwise(x) else None


def _why_no_step(x: Node) -> tuple[str, str] | None:
    """Why an elementwise function is not a step of one sum."""
    if x.op in ("add", "sub") and any(i.type.shape != x.type.shape for i in x.data):
        return "values of different shapes are added", "give both the same shape, or leave it out"
    ends, joins = sources(x, is_elementwise), len(x.data) > 1
    if len(ends) > 1 or joins and any(i.name not in ("", x.name) for i in x.data):  # not one layer's own activation
        return _GATE if x.op in ("mul", "div") else _SHORTCUT
    (end,) = ends
    if not all(fits_channels(node) for node in between(x, end)):
        return (
            "an activation has a constant for every pixel, and neurons have one per channel",
            "give it one per channel (PReLU: shared_axes=[1, 2])",
        )
    if x.op != "prelu" and not joins:
        return None
    falls = "an activation falls as well as rises (as a PReLU does with slopes below 0)"
    return _why_real(end) or ("an activation of two slopes (PReLU)" if x.op == "prelu" else falls, _QUANTIZER)
