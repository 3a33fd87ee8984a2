# SPDX-License-Identifier: Apache-2.0
"""The runtime without an operating system: on every target the bytes of the host's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph
from bnn.passes import lower
from bnn.runtime import Model
from bnn.runtime.build import INCLUDE_FLAGS, sources
from targets import HERE, TARGETS, Failed, Target, networks, run
from targets.emitted import added_size

SOURCES = [HERE / "interpreter.c", *sources("core", "kernels")]
FLAGS = ["-std=c11", "-Os", "-ffp-contract=off", *INCLUDE_FLAGS]
# Of a small RAM: what is not the network's, stack above all.
OTHERS = (6 << 10) + 64
# For `plain`.
SMALL = ("-DBNN_SMALL", "-DBNN_NO_MESSAGES")
OPS = ("copy", "iconv2d_flash", "bconv2d_flash", "max_pool", "reshape")
SELECTION = {"OPS": [f"&bnn_op_row_{op}" for op in OPS], "KERNELS": ["&bnn_kernels_flash"]}


def c_array(name: str, data: bytes) -> str:
    return f"static const _Alignas(64) unsigned char {name}[] = {{{','.join(map(str, data))}}};\n"


def run_network(
    target: Target, data: bytes, images: Array, folder: Path, selection: Mapping[str, Sequence[str]] = {}
) -> dict[str, int]:
    """Build interpreter.c with this network, these images and this selection; its outputs have the bytes of the host's.

    Returns what it measures; of images, of the last.
    """
    expected = Model.from_bytes(data)(images)
    numbers = {
        "IMAGES": len(images),
        "INPUT_BYTES": images[0].nbytes,
        "OUTPUTS": expected[0].size,
        "MEMORY": min(target.ram or 1 << 20, 1 << 18) - OTHERS,
    }
    enum = ", ".join(f"{name} = {number}" for name, number in numbers.items())
    text = f"enum {{ {enum} }};\n{c_array('file', data)}{c_array('inputs', images.tobytes())}"
    text += "".join(f"#define {name} {', '.join(names)}\n" for name, names in selection.items())
    (folder / "model.inc").write_text(text, encoding="utf-8")
    flags = [*FLAGS, *(SMALL if selection else ()), f"-I{folder}"]
    output = run(target, SOURCES, flags, folder=folder)
    print(output)
    lines = [line.split() for line in output.splitlines()]
    assert [value for name, value in lines if name == "output"] == [
        image.astype("<f4").tobytes().hex() for image in expected
    ]
    costs = [int(value) for name, value in lines if name == "run_instructions"]
    assert all(cost > 0 for cost in costs) == target.counts
    return {name: int(value) for name, value in lines if name != "output"}


@pytest.fixture(scope="module")
def digits() -> bytes:
    """The network `digits` up to its logits, untrained, with random batch norms; bytes as inputs."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("larq")
    import bnn
    from training import _tf, networks

    tf, keras, _ = _tf.load()
    tf.random.set_seed(1)
    random = np.random.default_rng(1)
    model: Any = networks.build("digits", (8, 8, 1), 10)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            gamma, beta, mean, variance = layer.get_weights()
            shape = gamma.shape
            layer.set_weights(
                [random.uniform(0.5, 1.5, shape), *random.normal(size=(2, *shape)), random.uniform(1, 9, shape)]
            )
    return bnn.compile(keras.Model(model.input, model.layers[-2].output), input_dtype="uint8").to_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cortex-m0", "cortex-m4", "riscv32-bare", "aarch64", "wasm32-simd"])
def test_digits(name: str, digits: bytes, rng: np.random.Generator, tmp_path: Path) -> None:
    run_network(TARGETS[name], digits, rng.integers(0, 17, (3, 8, 8, 1), np.uint8), tmp_path)


@pytest.mark.slow
def test_a_small_network_in_16_kilobytes(builder: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    build = builder(int(rng.integers(1 << 32)))
    x = ops.input_node("image", (4, 4, 1))
    h = build.norm(build.conv(x, 8, "conv"), "conv_norm")
    h = build.norm(build.dense(build.sign(h, "sign"), 10, "dense"), "dense_norm")
    data = encode(lower(Graph((x,), (h,), ("logits",))))
    run_network(TARGETS["microbit"], data, build.inputs(3, (4, 4, 1))[0], tmp_path)


@pytest.mark.slow
def test_plain_in_little_memory(rng: np.random.Generator, tmp_path: Path) -> None:
    """The figures of docs/howto/embedded.md: code, RAM beside the activations, and stack."""
    target, model = TARGETS["cortex-m4"], networks.plain()
    images = rng.integers(0, 256, (2, 28, 28, 1), np.uint8)
    found = run_network(target, model.to_bytes(), images, tmp_path, SELECTION)
    assert found["model_bytes"] + found["context_bytes"] - found["arena_bytes"] <= 5_312
    assert max(found["open_stack"], found["run_stack"]) <= 1_560
    assert found["open_instructions"] < 600_000 and found["run_instructions"] < 10_300_000

    calls = ["model_size_selected", "model_open_selected", "context_size", "context_create", "run"]
    rows = "".join(
        f"const void *const {name.lower()}[] = {{{', '.join(names)}}};\n" for name, names in SELECTION.items()
    )
    names = ["ops", "kernels", *(f"bnn_{call}" for call in calls)]
    flags = [*FLAGS, *SMALL]
    code = added_size(target, tmp_path, flags, f'#include "bnn_ops.h"\n{rows}', sources("core", "kernels"), names)
    print(f"code {code}")
    assert code <= 23_200


@pytest.mark.slow
def test_a_big_endian_processor_is_refused(tmp_path: Path) -> None:
    """When the runtime is built: the file's constants are used in place."""
    target = TARGETS["s390x"]
    assert target.big_endian
    with pytest.raises(Failed, match="the processor must be little-endian"):
        run(target, SOURCES[1:], INCLUDE_FLAGS, folder=tmp_path)
