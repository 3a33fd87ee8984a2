# SPDX-License-Identifier: Apache-2.0
"""Write the equivalent spiking network as NIR, the format that neuromorphic simulators and chips import.

It is a chain of Input, Conv2d (or Affine), IF (or LIF, CubaLIF) and Output only: some importers silently treat other
nodes as the identity.  A proof is written next to the file: the spikes that the network must give for some inputs.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._arguments import check_choice
from ..._distribution import install
from ..._text import ascii_json, printable
from ..._types import Array
from ...errors import CompileError, SetupError
from ...ir.graph import DType, Graph, Node
from ...ir.ops import conv_attrs
from .layered import Field, LayeredNetwork, NirLayer, layered
from .network import spike_network
from .proof import prove, random_inputs

PROFILES = ("if", "lif", "flat", "cuba")
FLAT = ("flat", "cuba")

# Leaky neurons take steps of 1e-4 s, on which importers agree.  LIF: a time constant of one step, so that nothing of a
# frame is left in the next, plus a little, because some importers refuse exactly one: less than 2^-20 is left.
# CubaLIF: so long that nothing leaks within a step, because Rockpool takes exp(-dt / tau) of the input.  Both errors
# are far less than the margin 1 / (2 T) of the largest T that is allowed.
TIME_STEP = 1e-4
STEPS_PER_TAU = {"lif": 1 + 2.0**-20, "cuba": 2.0**22}
LARGEST_LEAKY_T = 2**17


@dataclass(frozen=True)
class LayerSummary:
    """One layer of the file: ``shape`` of its output (clock included), ``neurons`` (0: a readout of integer sums),
    ``synapses`` (connections from one element to another) and the nonzero ``weights`` that they share, the largest T,
    and the margin: the least distance of membranes from the threshold 1."""

    name: str
    ops: tuple[str, ...]
    relayed: tuple[str, ...]
    shape: tuple[int, ...]
    neurons: int
    synapses: int
    weights: int
    T: int
    margin: float


@dataclass(frozen=True)
class NirSummary:
    """A summary of the written network.  ``encoder``: the layers before the first spikes, which stay outside the file;
    its ``inputs`` are their bits.  ``decoder``: the layers after the last sums."""

    path: str
    proof: str
    profile: str
    sha256: str
    encoder: tuple[str, ...]
    inputs: tuple[str, ...]
    decoder: tuple[str, ...]
    input_shape: tuple[int, ...]
    layers: tuple[LayerSummary, ...]
    proof_images: int

    def __str__(self) -> str:
        spikes = sum(layer.neurons for layer in self.layers)
        encoder = ", ".join(self.encoder) or "none: the inputs are bits"
        lines = [
            f"{self.path}: profile '{self.profile}', {len(self.layers)} layers, {spikes:,} neurons",
            f"encoder, outside the file: {encoder}; the input is its bits as spikes, and a clock channel of ones",
        ]
        for layer in self.layers:
            what = f"{layer.neurons:,} neurons, T {layer.T}, margin {layer.margin:g}" if layer.neurons else "sums"
            shape = "x".join(map(str, layer.shape))
            lines.append(f"  {layer.name}: {shape}, {layer.synapses:,} synapses, {layer.weights:,} weights, {what}")
        lines.append(f"decoder, outside the file: {', '.join(self.decoder) or 'none'}")
        lines.append(f"proof: {self.proof} (.npz, .json): {self.proof_images} inputs")
        return "\n".join(map(printable, lines))


def emit(
    graph: Graph,
    path: str | os.PathLike[str],
    profile: str = "if",
    inputs: list[Array] | None = None,
    sha256: str = "",
) -> tuple[NirSummary, dict[str, bytes]]:
    """A BINARY or RUNTIME graph as a NIR file, and its proof: a summary, and the bytes of three files by their paths.

    Args:
        graph: the compiled network.
        path: of the file, usually .nir.  The proof has the same name with .proof.npz and .proof.json.
        profile: "if" (integrate-and-fire, r = 1), "lif" (leaky, stateless: frames stream without a reset), "flat"
            (vectors and matrices instead of images, IF) or "cuba" (vectors, CubaLIF).
        inputs: one (N, ...) per graph input, in its dtype, with N at least 1; the proof holds their spikes.  Default:
            four random images.
        sha256: of the .bnn file, for the metadata.

    Raises:
        UnsupportedOpError: something in the network cannot be equal as spikes; names the layer and the reason.
        InputError: no such profile.  SetupError: nir is not installed.
    """
    chain = layers_for(graph, profile)
    try:
        import h5py  # noqa: F401  (of _nir_file)
        import nir
    except ImportError as error:
        raise SetupError(f"writing NIR needs the packages nir and h5py ({error}): {install('nir')}") from None
    inputs = inputs or random_inputs(graph)
    proof = prove(chain, inputs)
    summary = _summary(chain, os.fspath(path), profile, sha256, len(inputs[0]))
    nodes, edges = nir_nodes(chain, profile)
    nir_graph = nir.NIRGraph(nodes=nodes, edges=edges, metadata=_metadata(summary))
    return summary, {
        summary.path: _nir_file(nir_graph),
        f"{summary.proof}.npz": _proof_file(proof),
        f"{summary.proof}.json": (ascii_json(_description(chain, summary), 1) + "\n").encode(),
    }


def _nir_file(graph: object) -> bytes:
    import h5py
    import nir

    with tempfile.TemporaryDirectory(prefix="bnn-") as folder:
        path = Path(folder, "net.nir")
        nir.write(path, graph)
        with h5py.File(path, "r+") as file:
            # Readers before nir 1.0.5 stop at a reset potential; it is 0 if there is none.
            for node in file["node/nodes"].values():
                if "v_reset" in node:
                    del node["v_reset"]
        return path.read_bytes()


def _proof_file(arrays: Mapping[str, Array]) -> bytes:
    memory = io.BytesIO()
    named: dict[str, Any] = {printable(key): array for key, array in arrays.items()}
    np.savez_compressed(memory, **named)
    return memory.getvalue()


def layers_for(graph: Graph, profile: str) -> LayeredNetwork:
    """The chain of layers that ``emit`` writes.  Raises like :func:`emit`."""
    check_choice(profile, "profile", PROFILES)
    chain = layered(spike_network(graph), profile in FLAT)
    if profile in STEPS_PER_TAU:
        for layer in chain.layers:
            for f in layer.fields:
                if f.T and max(f.T) > LARGEST_LEAKY_T:
                    raise CompileError(
                        f"layer '{f.name}': its margin 1/{2 * max(f.T)} is too small for leaky neurons; use profile "
                        f"'{'if' if profile == 'lif' else 'flat'}'"
                    )
    return chain


# -- the file ---------------------------------------------------------------------------------------------------------


def nir_nodes(chain: LayeredNetwork, profile: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The file's nodes, in the order of the chain, and its edges."""
    import nir

    nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": np.array(chain.input_shape)})}
    shape = chain.input_shape
    for layer in chain.layers:
        if layer.flat:
            nodes[layer.name] = nir.Affine(weight=layer.weight, bias=np.zeros(layer.shape, np.float32))
        else:
            nodes[layer.name] = nir.Conv2d(
                input_shape=(int(shape[1]), int(shape[2])),
                weight=layer.weight,
                stride=layer.stride,
                padding=layer.padding,
                dilation=(1, 1),
                groups=1,
                bias=np.zeros(layer.shape[0], np.float32),
            )
        if layer.neurons:
            nodes[layer.neuron_name] = _neurons(nir, layer.shape, profile)
        shape = layer.shape
    nodes["output"] = nir.Output(output_type={"output": np.array(shape)})
    names = list(nodes)
    return nodes, list(zip(names[:-1], names[1:], strict=True))


def _metadata(summary: NirSummary) -> dict[str, str]:
    return {
        "producer": "bnn",
        "bnn_sha256": summary.sha256,
        "profile": summary.profile,
        "encoder": printable(", ".join(summary.encoder)),  # HDF5 has no texts with a null character
        "decoder": printable(", ".join(summary.decoder)),
        "input": "the encoder's bits as spikes (+1: 1, -1: 0), then a clock channel of ones",
    }


def _neurons(nir: Any, shape: tuple[int, ...], profile: str) -> Any:
    def full(value: float) -> Array:
        return np.full(shape, value, np.float32)

    if profile in ("if", "flat"):
        return nir.IF(r=full(1), v_threshold=full(1))
    tau, k = full(TIME_STEP * STEPS_PER_TAU[profile]), full(STEPS_PER_TAU[profile])
    if profile == "lif":
        return nir.LIF(tau=tau, r=k, v_leak=full(0), v_threshold=full(1))
    return nir.CubaLIF(tau_syn=tau, tau_mem=tau, r=k, w_in=k, v_leak=full(0), v_threshold=full(1))


def _summary(chain: LayeredNetwork, path: str, profile: str, sha256: str, images: int) -> NirSummary:
    network = chain.network
    inputs = [chain.input_shape, *(layer.shape for layer in chain.layers[:-1])]
    layers = tuple(
        LayerSummary(
            layer.name,
            _names(layer, "layer", "readout"),
            _names(layer, "relay"),
            layer.shape,
            int(np.prod(layer.shape)) if layer.neurons else 0,
            synapses(layer, before),
            int(np.count_nonzero(layer.weight)),
            max(max(f.T) for f in layer.fields),
            min(f.margin for f in layer.fields) if layer.neurons else 0.5,
        )
        for layer, before in zip(chain.layers, inputs, strict=True)
    )
    ends = {op.node for op in network.readouts} | set(network.spikes_out)
    decoder = dict.fromkeys(n.name for n in _after(network.graph, ends) if n.name)
    return NirSummary(
        path, f"{os.path.splitext(path)[0]}.proof", profile, sha256, tuple(network.encoder()),
        tuple(f.name for f in chain.inputs), tuple(decoder), chain.input_shape, layers, images,
    )  # fmt: skip


def _names(layer: NirLayer, *kinds: str) -> tuple[str, ...]:
    """The names of the fields of these kinds, each once: the groups of a layer have the same name."""
    return tuple(dict.fromkeys(f.name for f in layer.fields if f.kind in kinds))


def synapses(layer: NirLayer, before: tuple[int, ...]) -> int:
    """Connections between elements: a kernel's weight makes one wherever its tap is inside the image."""
    if layer.flat:
        return int(np.count_nonzero(layer.weight))
    inside = []
    for axis in (0, 1):
        size, out = before[1 + axis], layer.shape[1 + axis]
        first = np.arange(out) * layer.stride[axis] - layer.padding[axis]
        taps = first[:, None] + np.arange(layer.weight.shape[2])
        inside.append(((taps >= 0) & (taps < size)).sum(axis=0))
    used = np.count_nonzero(layer.weight, axis=(0, 1))
    return int((used * np.outer(*inside)).sum())


def _after(graph: Graph, ends: set[Node]) -> list[Node]:
    """Float ops that follow the last sums, and readouts that scale theirs."""
    after = set(ends)
    for node in graph.nodes():
        if any(i in after for i in node.inputs):
            after.add(node)
    scaled = [n for n in ends if getattr(n.attrs, "slots", ())]
    return [n for n in graph.nodes() if n.type.dtype is DType.f32 and n in after and (n not in ends or n in scaled)]


def _description(chain: LayeredNetwork, summary: NirSummary) -> dict[str, Any]:
    """The proof's text: the content and the margin of each field of each layer."""

    def fields(items: Sequence[Field]) -> list[dict[str, Any]]:
        return [
            {
                "kind": f.kind,
                "layer": f.name,
                "value": (f.node.tap or f.name) if f.node is not None else "",
                "origin": f.node.origin if f.node is not None else "",
                "start": f.start,
                "shape_hwc": list(f.shape),
                "T": sorted(set(f.T)),
                "margin": f.margin,
            }
            for f in items
        ]

    return {
        **asdict(summary),
        "path": os.path.basename(summary.path),
        "proof": os.path.basename(summary.proof),
        "bits": "a spike is +1, silence is -1; arrays are (N, C, H, W), or (N, n) with n in the order C, H, W",
        "decoder_slots": {op.name: _slots(op.node) for op in chain.network.readouts},
        "input_fields": fields(chain.inputs),
        "layer_fields": {layer.name: fields(layer.fields) for layer in chain.layers},
    }


def _slots(node: Node) -> dict[str, Any]:
    """The decoder's first operations on a readout's sums; operands are in the proof's arrays decoder/<layer>/<slot>."""
    a = conv_attrs(node)
    return {slot: list(getattr(a, slot)) if slot in ("clamp0", "clamp1") else "operand" for slot in a.slots}


def digest(data: bytes) -> str:
    """SHA-256 of a .bnn file, as in the metadata."""
    return hashlib.sha256(data).hexdigest()
