# SPDX-License-Identifier: Apache-2.0
"""Compare a NIR file, run in common simulators, with the compiled network that it came from.

    bnn.emit_nir("net.bnn", "net.nir", profile="lif")
    report = bnn.verify_nir("net.nir", "net.bnn", images, importer="all")

``verify_nir`` runs the file in an installed importer and compares every spike of every layer, the final integer sums
and the class with the results of the C runtime.  torch, nir and the importers are imported when needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arguments import check_callable, check_choice, check_count, check_flag
from .._distribution import install
from .._types import Array
from ..emit.nir.layered import LayeredNetwork, NirLayer
from ..emit.nir.proof import expected_sums, pack_spikes, readout_sums, unpack_field
from ..emit.nir.write import PROFILES, digest, layers_for, nir_nodes
from ..errors import CompileError, ModelFormatError, SetupError
from ..file.read import decode
from ..ir.graph import DType, Node
from ..ir.interpret import evaluate
from ..ir.neurons import NeuronForm
from ..runtime import Model
from ..runtime.files import path_text
from ..runtime.model import opened_model
from ..snn.nir_file import read_nir
from ..snn.simulators import IMPORTERS, Simulator
from .report import ACCEPT, Changes, Report, Row, column, rows_table
from .simulators import load

__all__ = ["ImporterReport", "NirLayerCheck", "NirReport", "verify_nir"]


@dataclass
class NirLayerCheck(Row):
    """One layer in one importer: the numbers of ``compared`` spikes (or sums), of different ones, and of values other
    than 0 and 1 (from a node that the importer took for the identity).  ``first``: the first wrong value.  ``fired``:
    spikes of the C runtime.  ``unchanged``: its spikes were those of the first image, whatever the image."""

    layer: str
    kind: str  # "spikes" or "sums"
    compared: int = 0
    mismatched: int = column("", 0, fails=True)
    outside: int = column("", 0, fails=True)
    first: str = ""
    fired: int = 0
    unchanged: bool = False

    @property
    def silent(self) -> str:
        """Why the comparison says nothing about the layer, or ""."""
        if self.kind != "spikes" or not self.compared or self.fired and not self.unchanged:
            return ""
        return f"no bit of '{self.layer}' changed" if self.fired else f"nothing fired in '{self.layer}'"

    @property
    def failed(self) -> bool:
        return not self.compared or super().failed


def _total(name: str, what: str) -> property:
    return property(lambda run: sum(getattr(layer, name) for layer in run.layers), doc=what)


@dataclass
class ImporterReport(Row):
    """One importer's run.  ``error``: it could not load or run the file.  ``skipped``: it was not asked to, and why."""

    told = ("ok", "mismatched", "outside")
    importer: str = column("importer")
    version: str = column("version")
    profile: str = column("profile")
    images: int = column("images", 0)
    layers: list[NirLayerCheck] = field(default_factory=list)
    classes_different: int = column("other classes", 0, fails=True)
    seconds: float = 0.0
    error: str = column("", "", fails=True)
    skipped: str = ""

    compared = _total("compared", "Spikes and sums that were compared.")
    mismatched = _total("mismatched", "Spikes and sums that differ from the C runtime's.")
    outside = _total("outside", "Taps that are not spikes at all.")

    @property
    def failed(self) -> bool:
        return not self.skipped and (super().failed or not self.layers)

    def cells(self) -> dict[str, Any]:
        return super().cells() | {"values": self.compared, "mismatched": self.mismatched, "not 0 or 1": self.outside}


@dataclass
class NirReport(Report):
    """The result of ``verify_nir``.  ``changes``: where the file differs from what ``emit_nir`` writes for the model.
    ``ok``: no such place, at least one importer ran, and every importer that ran gave every spike; and no layer was
    ``silent``, unless ``allow_silent`` accepts that."""

    runs: list[ImporterReport]
    changes: list[str] = column("", [], fails=True)

    @property
    def failed(self) -> bool:
        return super().failed or all(run.skipped for run in self.runs)

    @property
    def silent(self) -> list[str]:
        """The layers in which no neuron fired, or no bit changed, in any image: their comparison says nothing."""
        return list(dict.fromkeys(layer.silent for run in self.runs for layer in run.layers if layer.silent))

    def lines(self) -> Iterator[str]:
        yield from (f"the file is not what the model gives: {change}" for change in self.changes)
        yield from rows_table([run for run in self.runs if not run.skipped and not run.error])
        for run in self.runs:
            if run.skipped or run.error:
                name = f"{run.importer} {run.version}, profile '{run.profile}'"
                yield f"{name}: {'skipped: ' + run.skipped if run.skipped else 'FAILED: ' + run.error}"
            for x in run.layers:
                if x.failed and not run.skipped:
                    yield f"{run.importer}, '{x.layer}': {x.mismatched:,} of {x.compared:,} {x.kind} wrong; {x.first}"
        yield from (f"{text}, in any image: its comparison says nothing" for text in self.silent)
        yield from [ACCEPT] * bool(self.silent and not self.allow_silent)


def verify_nir(
    nir_path: str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    x: Array | Sequence[Array],
    importer: str = "spikingjelly",
    *,
    batch_size: int = 100,
    stream: bool = False,
    allow_silent: bool = False,
    progress: Callable[[int], object] | None = None,
) -> NirReport:
    """Run a NIR file in an importer and compare every layer with the C runtime.

    Args:
        nir_path: a file that ``emit_nir`` wrote.
        model: the compiled model it came from, or the path of its .bnn file.
        x: float32 (N, ...) like the model's input (a list of arrays if it has several).
        importer: "spikingjelly", "norse", "snntorch", "rockpool", or "all": every installed one that can run the
            profile.
        batch_size: images that run in parallel.
        stream: do not reset the neurons between batches, as if image i + batch_size were the frame after image i.  Only
            the profile "lif" can do this: other neurons keep the rest of a frame.
        allow_silent: accept a layer in which no neuron fired, or no bit changed, in any image; otherwise the report is
            not ``ok`` and names it.
        progress: called with the number of images done since its last call, for each importer.

    Raises:
        SetupError: the importer, or nir, is not installed, or ("all") no installed one runs the file's profile.
        ModelNotFoundError, ModelFileError: there is no such file, or it cannot be opened.
        ModelFormatError: the file cannot be read, or is not one that ``emit_nir`` wrote for this model.
        CompileError: it refers to other files, or declares more than is read.
        InputError: there is no such importer, or the data do not fit the model.
    """
    path = path_text(nir_path)
    check_choice(importer, "importer", ("all", *IMPORTERS))
    check_count(batch_size, "batch_size")
    check_flag(stream, "stream")
    check_callable(progress, "progress")
    opened = opened_model(model)
    arrays = opened.check_inputs(x, least=1, convert=True)
    read_nir(path)  # refuses what the package nir would follow, go round in, or fail to copy
    nir_graph, profile = _read(path, opened)
    chain = _arranged(path, opened, profile)
    chosen = list(IMPORTERS.values()) if importer == "all" else [IMPORTERS[importer]]
    nodes, edges = nir_nodes(chain, profile)
    # Importers follow the edges; if these are not a chain, some importers never stop.
    other_network = other_structure(nir_graph, nodes, edges)
    report = NirReport([], other_network or other_numbers(nir_graph, nodes), allow_silent=allow_silent)
    if not report.changes:
        _check_installed(chosen, profile, importer == "all")
    for one in chosen:
        version = one.version()
        run = ImporterReport(one.name, version or "", profile)
        report.runs.append(run)
        if version is None:
            run.skipped = "not installed"
        elif other_network:
            run.skipped = "the file's nodes or edges are not the model's"
        elif importer == "all" and profile not in one.profiles:
            run.skipped = one.why_not
        else:
            nir_graph = nir_graph or _read(path, opened)[0]  # importers change the graph they get
            _run(one, run, nir_graph, chain, opened, arrays, batch_size, stream, progress)
            nir_graph = None
    return report


def _arranged(path: str, model: Model, profile: str) -> LayeredNetwork:
    """The emitted network: the model's layers in the file's profile."""
    try:
        return layers_for(decode(model.to_bytes()), profile)
    except CompileError as error:
        raise ModelFormatError(
            f"{path}: its metadata name the profile '{profile}', but this model cannot have it ({error}); emit it again"
        ) from None


def other_structure(graph: Any, nodes: Mapping[str, Any], edges: Sequence[tuple[str, str]]) -> list[str]:
    """Where a file's nodes, their types and its edges differ from the emitted ones."""
    found = []
    theirs, ours = dict.fromkeys(graph.nodes), dict.fromkeys(nodes)
    for what, a, b in (("node", theirs, ours), ("edge", dict.fromkeys(graph.edges), dict.fromkeys(edges))):
        found += [f"{what} {_shown(x)} is missing" for x in b if x not in a]
        found += [f"{what} {_shown(x)} is not the model's" for x in a if x not in b]
    for name, expected in nodes.items():
        node = graph.nodes.get(name, expected)
        if type(node) is not type(expected):
            found.append(f"node '{name}' is {type(node).__name__}, expected {type(expected).__name__}")
    return found


def _shown(name: str | tuple[str, str]) -> str:
    return f"'{name}'" if isinstance(name, str) else " -> ".join(f"'{end}'" for end in name)


def other_numbers(graph: Any, nodes: Mapping[str, Any]) -> list[str]:
    """Where numbers in nodes of the right types differ from the emitted ones, whatever the data."""
    found = []
    for name, expected in nodes.items():
        theirs, ours = graph.nodes[name].to_dict(), expected.to_dict()
        for key in sorted(set(ours) - {"metadata", "type"}):
            a, b = np.asarray(theirs.get(key)), np.asarray(ours[key])
            if a.shape != b.shape:
                found.append(f"node '{name}': {key} has shape {a.shape}, expected {b.shape}")
            elif not np.array_equal(a, b):
                found.append(f"node '{name}': {np.count_nonzero(a != b):,} of {b.size:,} values of {key} are others")
    return found


def _check_installed(chosen: Sequence[Simulator], profile: str, any_of_them: bool) -> None:
    """Raise if nothing could be compared."""
    installed = [i for i in chosen if i.version() is not None]
    if not installed:
        names = " and ".join(i.name for i in chosen)
        raise SetupError(f"{names}: not installed; {install('spiking')}")
    if any_of_them and not any(profile in i.profiles for i in installed):
        able = " or ".join(i.name for i in chosen if profile in i.profiles)
        raise SetupError(
            f"no installed importer runs profile '{profile}': found {', '.join(i.name for i in installed)}, expected "
            f"{able}; {install('spiking')}, or emit another profile"
        )


def _run(
    importer: Simulator,
    run: ImporterReport,
    nir_graph: Any,
    chain: LayeredNetwork,
    model: Model,
    arrays: list[Array],
    batch_size: int,
    stream: bool,
    progress: Callable[[int], object] | None,
) -> None:
    start = time.perf_counter()
    run.layers = [
        NirLayerCheck(x.neuron_name if x.neurons else x.name, "spikes" if x.neurons else "sums") for x in chain.layers
    ]
    runtime = _RuntimeBits(model, chain.network.form, batch_size)
    changes = [Changes() for _ in run.layers]
    try:
        network = load(importer, nir_graph, run.profile, stream)
        for begin in range(0, len(arrays[0]), batch_size):
            chunk = [a[begin : begin + batch_size] for a in arrays]
            bits, outputs = runtime.run(chunk)
            count = len(chunk[0])
            taps = network.run(pack_spikes(chain.inputs, bits, count, chain.flat), [x.layer for x in run.layers])
            for layer, report, seen in zip(chain.layers, run.layers, changes, strict=True):
                seen.add(0, _compare(report, layer, taps[report.layer], bits, chain, begin))
                report.unchanged = seen.none
            run.classes_different += _classes(chain, taps[run.layers[-1].layer], outputs)
            run.images += count
            if progress is not None:
                progress(count)
    except Exception as error:  # on any exception, the importer has not run the file
        text = str(error).splitlines() or [""]
        run.error = f"{type(error).__name__}: {text[0][:300]}"
        if run.profile not in importer.profiles:
            run.error += f" ({importer.why_not})"
    run.seconds = time.perf_counter() - start


def _compare(
    report: NirLayerCheck, layer: NirLayer, found: Array, bits: dict[Node, Array], chain: LayeredNetwork, begin: int
) -> Array:
    """Count what differs from what is expected, which is returned."""
    count = len(next(iter(bits.values())))
    if layer.neurons:
        expected = pack_spikes(layer.fields, bits, count, chain.flat)
    else:
        expected = expected_sums(chain, layer, bits)
    if found.shape != expected.shape:
        raise ValueError(f"layer '{report.layer}' gave an array of {found.shape}, expected {expected.shape}")
    wrong = found != expected  # NaN is wrong, too
    report.compared += wrong.size
    report.mismatched += int(np.count_nonzero(wrong))
    if layer.neurons:
        report.outside += int(np.count_nonzero((found != 0) & (found != 1)))
        report.fired += int(np.count_nonzero(expected))
    if wrong.any() and not report.first:
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        name = next((f.name for f in layer.fields if unpack_field(f, wrong, chain.flat).any()), "")
        report.first = (
            f"first in image {begin + at[0]}, layer '{name}', element {at[1:]}: found {found[at]:g}, "
            f"the C runtime has {expected[at]:g}"
        )
    return expected


def _classes(chain: LayeredNetwork, last: Array, outputs: list[Array]) -> int:
    """The number of images whose largest output is not the C runtime's, over all outputs."""
    ours = chain.network.decode(*readout_sums(chain, last))
    different = np.zeros(len(last), bool)
    for a, b in zip(ours, outputs, strict=True):
        different |= a.reshape(len(last), -1).argmax(axis=1) != b.reshape(len(last), -1).argmax(axis=1)
    return int(np.count_nonzero(different))


class _RuntimeBits:
    """The C runtime's results: every tensor of bits, and the outputs.  Bits that it has only as numbers (for values
    pooled before they are quantized) follow from its bits by the oracle: integer sums against integer thresholds."""

    def __init__(self, model: Model, form: NeuronForm, images: int) -> None:
        self.model, self.form = model, form
        self.stepper = model.stepper(images)

    def run(self, chunk: list[Array]) -> tuple[dict[Node, Array], list[Array]]:
        found: dict[Node, Array] = {}
        outputs: dict[int, Array] = {}
        count = len(chunk[0])
        inputs = sorted((t for t in self.model.tensors if t.storage == "input"), key=lambda t: t.offset)
        for tensor, array in zip(inputs, chunk, strict=True):
            self.stepper.poke(tensor.index, array)
        found.update(zip(self.form.original.inputs, chunk, strict=True))
        for op in self.model.ops:
            value = self.stepper.step(op.index, count)
            out = self.model.tensors[op.output]
            found[self.form.original.schedule[op.index]] = value.astype(np.int8) if out.dtype == "b1" else value
            if out.storage == "output":
                outputs[out.offset] = value
        values: dict[Node, Array] = {}
        for node in self.form.graph.nodes():
            if self.form.same.get(node) in found:
                values[node] = found[self.form.same[node]]
            elif node.type.dtype is DType.b1 and not node.is_constant:
                values[node] = evaluate(node, [i.value if i.is_constant else values[i] for i in node.inputs])
        return {n: v for n, v in values.items() if n.type.dtype is DType.b1}, [outputs[i] for i in sorted(outputs)]


def _read(path: str, model: Model) -> tuple[Any, str]:
    """(the graph as nir reads it, its profile)"""
    try:
        import nir
    except ImportError as error:
        raise SetupError(f"reading NIR needs the package nir ({error}): {install('nir')}") from None
    try:
        graph = nir.read(path)
        metadata = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in graph.metadata.items()}
    except Exception as error:  # h5py and nir raise many kinds
        raise ModelFormatError(f"{path}: nir cannot read it ({type(error).__name__}: {error}); emit it again") from None
    if metadata.get("producer") != "bnn":
        raise ModelFormatError(f"{path}: its metadata name no .bnn file; only files from bnn.emit_nir can be verified")
    found, expected = metadata.get("bnn_sha256"), digest(model.to_bytes())
    if found != expected:
        raise ModelFormatError(
            f"{path}: was emitted from another .bnn file (SHA-256 {str(found)[:16]}..., this model's is "
            f"{expected[:16]}...); emit it again, or give the model it came from"
        )
    profile = metadata.get("profile")
    if profile not in PROFILES:
        raise ModelFormatError(
            f"{path}: its metadata name the profile {profile!r}, expected one of {', '.join(PROFILES)}; emit it again"
        )
    return graph, str(profile)
