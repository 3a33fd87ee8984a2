# SPDX-License-Identifier: Apache-2.0
"""Compile networks that were published as code: each is made by its authors' own code, and compared with its framework.

    pip install '.[torch,tools]' torchvision torchinfo timm einops
    python tools/published.py clones --clone             bring the repositories into the folder clones
    python tools/published.py clones                     a table
    python tools/published.py clones --network ReActNet-A --json
    python tools/published.py clones --write docs/explanation/zoo.md     puts the table into that file

Weights are random, as that code makes them (but of both signs); factors of batch norms are drawn, and their statistics
are those of random images.  Every network has a process of its own.  Times are medians of one image on one thread, with
the contestants in turn.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import click
import numpy as np

import bnn
from bench import document, peers
from bench.timing import Contestant, measure
from training import _tf
from training.console import progress, table

_IMAGES = 2
_SEEN = 8  # random images, from which batch norms take their statistics


@dataclass(frozen=True)
class Network:
    """``make`` gets the folder of the repository's clone; ``top1`` is as published, in percent: on ImageNet, or on
    CIFAR-10 for images of 32 pixels."""

    repository: str
    make: Callable[[Path], Any]
    top1: str
    side: int = 224
    keras: bool = False


@dataclass
class Result:
    """``binary``: the share of multiplications on bits.  ``import_gb``: the memory that the process had needed when the
    network was compiled, framework included.  ``equal`` to ``difference`` (of the largest output): by ``bnn verify``,
    against ONNX Runtime or Keras; PyTorch's own kernels round otherwise.  ``milliseconds``: medians of one image, by
    engine.
    """

    network: str
    top1: str
    binary: float
    bytes: int
    seconds: float
    import_gb: float
    equal: bool
    classes_different: int
    difference: float
    milliseconds: dict[str, float] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)


def _imported(root: Path, file: str, *folders: str) -> Any:
    """A module of a clone; it imports what lies in its own folder, and in these folders of the clone."""
    path = root / file
    sys.path[:0] = [str(path.parent), *(str(root / folder) for folder in folders)]
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise click.UsageError(f"{path} is missing; run: python tools/published.py {root.parent} --clone")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bnext(root: Path, size: str) -> Any:
    """Training ends with a temperature of (almost) zero: the file's default is its beginning."""
    module = _imported(root, "src/bnext.py").BNext(size=size)
    for name, value in module.named_buffers():
        if name.endswith("temperature"):
            value.fill_(1e-8)
    return module


def _poke(root: Path) -> Any:
    """Its quantizers replace Larq's, as its README says; bounds of activations are its own default."""
    import larq

    larq.quantizers.PokeSign = _imported(root, "quantizers.py").PokeSign
    bounds = {"init_conv": 3.0, "init_depth_conv": 3.0, "linear": 3.0, "SE_1": [3.0] * 48, "SE_2": [3.0] * 48}
    return _imported(root, "PokeBNN.py").PokeBNN(phase=2, act_B=bounds).build(input_shape=(224, 224, 3))


_IR_NET = "ImageNet/ResNet18/1w1a/models"
_BIREAL = "pytorch_implementation/BiReal"
_ADABIN = "BinaryNetworks/AdaBin"
NETWORKS = {
    "ReActNet-A": Network(
        "liuzechun/ReActNet", lambda root: _imported(root, "mobilenet/2_step2/reactnet.py").reactnet(), "69.5"
    ),
    "ReActNet-18": Network(
        "liuzechun/ReActNet", lambda root: _imported(root, "resnet/2_step2/birealnet.py").birealnet18(), "65.9"
    ),
    "BNext-T": Network("hpi-xnor/BNext", partial(_bnext, size="tiny"), "72.4"),
    "BNext-S": Network("hpi-xnor/BNext", partial(_bnext, size="small"), "76.1"),
    "PokeBNN-1x": Network("HensonMa/PokeBNN_larq", _poke, "", keras=True),
    "Bi-Real-18": Network(
        "liuzechun/Bi-Real-net", lambda root: _imported(root, f"{_BIREAL}18_34/birealnet.py").birealnet18(), "56.4"
    ),
    "Bi-Real-34": Network(
        "liuzechun/Bi-Real-net", lambda root: _imported(root, f"{_BIREAL}18_34/birealnet.py").birealnet34(), "62.2"
    ),
    "Bi-Real-50": Network(
        "liuzechun/Bi-Real-net", lambda root: _imported(root, f"{_BIREAL}_50/birealnet.py").birealnet50(), "62.6"
    ),
    "IR-Net-18": Network(
        "htqin/IR-Net", lambda root: _imported(root, f"{_IR_NET}/resnet.py", f"{_IR_NET}/modules").resnet18(), "58.1"
    ),
    "IR-Net-20": Network(
        "htqin/IR-Net", lambda root: _imported(root, "CIFAR-10/ResNet20/1w1a/resnet.py").resnet20_1w1a(), "86.5", 32
    ),
    "ReCU-18": Network(
        "z-hXu/ReCU",
        lambda root: _imported(root, "imagenet/models_imagenet/resnet.py", "imagenet").resnet18_1w1a(),
        "61.0",
    ),
    "AdaBin-18": Network(
        "huawei-noah/Efficient-Computing",
        lambda root: _imported(root, f"{_ADABIN}/imagenet/nets/resnet18.py", f"{_ADABIN}/imagenet").resnet18_1w1a(),
        "63.1",
    ),
}  # fmt: skip


def torch_network(network: Network, root: Path, rng: np.random.Generator) -> Any:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    # Published code moves its tensors to a GPU wherever it makes them.
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **options: self
    sys.argv[1:] = []  # it may read arguments of its own, too
    module = network.make(root).eval()
    for weights in module.parameters():
        if weights.dim() > 1 and weights.min() >= 0:  # some begin with weights of one sign
            weights.data.copy_(torch.from_numpy(rng.normal(0, 0.1, weights.shape)))
    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean of what it sees
        norm.reset_running_stats()
        if norm.weight is not None:
            norm.weight.data.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, norm.weight.shape)))
            norm.bias.data.copy_(torch.from_numpy(rng.normal(0, 0.1, norm.bias.shape)))
    with torch.no_grad():
        module.train()(torch.from_numpy(rng.normal(size=(_SEEN, 3, network.side, network.side)).astype(np.float32)))
    module.eval()
    return module


def keras_network(network: Network, root: Path, rng: np.random.Generator) -> Any:
    tf, _, _ = _tf.load()
    peers.one_thread()
    model = network.make(root)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
            layer.momentum = 0.0
    model(rng.normal(size=(_SEEN, network.side, network.side, 3)).astype(np.float32), training=True)
    return model


def run(name: str, clones: Path, rounds: int) -> Result:
    """Make one network, compile it, compare its classes, time it (``rounds`` 0: do not)."""
    network, rng = NETWORKS[name], np.random.default_rng(0)
    root = clones.resolve() / network.repository.rpartition("/")[2]
    keras = network.keras
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    source = (keras_network if keras else torch_network)(network, root, rng)
    size = (network.side, network.side)
    x = rng.normal(size=(_IMAGES, *size, 3) if keras else (_IMAGES, 3, *size)).astype(np.float32)
    begin = time.process_time()
    model = bnn.compile(source) if keras else bnn.compile(source, x[:1])
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report = bnn.verify(source, model, x, allow_silent=True)
    largest = float(np.abs(model(x)).max())
    result = Result(
        network=name,
        top1=network.top1,
        binary=model.macs.binary / model.macs.total,
        bytes=model.nbytes,
        seconds=seconds,
        import_gb=memory,
        equal=report.ok,
        classes_different=report.end_to_end.classes_different,
        difference=report.end_to_end.largest_output_difference / largest,
    )
    if rounds:
        if keras:
            others, result.not_compared = peers.gather(source, x[:1], ("tensorflow", "lce"))
        else:
            others, result.not_compared = _torch_peers(source, x[:1])
        contestants = [
            peers.compiled(model, x[:1], 1),
            *(c for c in others if c.setting not in ("default", "Keras eager")),
        ]
        times = measure([c.run for c in contestants], rounds, 20.0, "wall")
        engines = [c.engine for c in contestants]
        result.milliseconds = {e: t.median / 1e3 for e, t in zip(engines, times, strict=True)}
    return result


def _by_torch(module: Any, x: Any) -> Any:
    import torch

    with torch.inference_mode():
        result = module(torch.from_numpy(x))
    return (result[0] if isinstance(result, (tuple, list)) else result).numpy()


def _torch_peers(module: Any, image: Any) -> tuple[list[Contestant], dict[str, str]]:
    """PyTorch itself, and the fastest engine that takes its ONNX export: binary layers are floats to both."""
    found = [Contestant("PyTorch", "", 1, 1, partial(_by_torch, module, image))]
    try:
        found.append(peers.onnx_module(module, image))
    except Exception as error:  # whatever an exporter or an engine raises
        return found, {"ONNX Runtime": f"{type(error).__name__}: {str(error).splitlines()[0]}"[:200]}
    return found, {}


def rows(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    engines = list(dict.fromkeys(e for r in results for e in r.milliseconds))
    header = ["network", "published top-1", "binary", "file MB", "compiled in s of CPU", "memory GB", "verify",
              "other classes", "output differs by",
              *(f"{e}, ms" for e in engines)]  # fmt: skip
    lines = []
    for r in results:
        line = [
            r.network,
            f"{r.top1}%" if r.top1 else "-",
            f"{r.binary:.1%}",
            f"{r.bytes / 1e6:.2f}",
            f"{r.seconds:.0f}",
            f"{r.import_gb:.1f}",
            "EQUAL" if r.equal else "DIFFERENT",
            f"{r.classes_different} of {_IMAGES}",
            f"{r.difference:.0e}",
        ]
        for engine in engines:
            ms = r.milliseconds.get(engine)
            line.append(
                "-"
                if ms is None
                else f"{ms:.1f}" + (f" ({ms / r.milliseconds['bnn']:.1f}x)" if engine != "bnn" else "")
            )
        lines.append(line)
    return header, lines


def markdown(results: Sequence[Result]) -> str:
    missing = [f"{r.network} with {engine}: {why}" for r in results for engine, why in r.not_compared.items()]
    lines = [document.table(*rows(results)), *(["", "Not compared: " + "; ".join(missing) + "."] if missing else [])]
    installed = [f"{name} {version(name)}" for name in ("torch", "onnxruntime", "tensorflow") if find_spec(name)]
    return "\n".join([*lines, "", f"{document.processor()}; {', '.join(installed)}."])


def _in_child(name: str, clones: Path, rounds: int) -> Result:
    command = [sys.executable, __file__, str(clones), "--network", name, "--rounds", str(rounds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{name}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


@click.command(help=__doc__.splitlines()[0] if __doc__ else "")
@click.argument("clones", type=click.Path(path_type=Path))
@click.option("--clone", is_flag=True, help="Clone the repositories into that folder, and stop.")
@click.option("--network", "names", multiple=True, type=click.Choice(list(NETWORKS)), help="Only these; default: all.")
@click.option("--rounds", default=7, show_default=True, help="Turns of each contestant; 0: no times.")
@click.option("--write", "path", type=click.Path(path_type=Path, exists=True), help="Write the table into this file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per network on stdout.")
def main(clones: Path, clone: bool, names: tuple[str, ...], rounds: int, path: Path | None, as_json: bool) -> None:
    if clone:
        for repository in sorted({network.repository for network in NETWORKS.values()}):
            target = clones / repository.rpartition("/")[2]
            if not target.exists():
                subprocess.run(["git", "clone", "--depth", "1", f"https://github.com/{repository}", target], check=True)
        return
    if as_json and len(names) == 1 and path is None:
        print(json.dumps(asdict(run(names[0], clones, rounds))))
        return
    results, failed = [], list[str]()
    with progress() as bar:
        task = bar.add_task("published networks", total=len(names or NETWORKS))
        for name in names or NETWORKS:
            bar.update(task, description=name)
            try:
                results.append(_in_child(name, clones, rounds))
            except click.ClickException as error:
                failed.append(error.message)
            bar.advance(task)
    if path is not None:
        document.update(path, {"published": markdown(results)}, "generated")
    if as_json:
        for result in results:
            print(json.dumps(asdict(result)))
    else:
        table("published networks", *rows(results))
    if failed:
        raise click.ClickException("\n".join(failed))


if __name__ == "__main__":
    main()
