# SPDX-License-Identifier: Apache-2.0
"""Decisions of the commands, on both sides of each: options, what is printed, the best classes."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

import op_graphs
from bnn.cli import common
from bnn.file.write import encode
from bnn.ir.ops import ReshapeAttrs, SliceAttrs, constant, input_node, make


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch-size", 0), "1<=x<=4096"), (("--batch-size", 4097), "1<=x<=4096"), (("--random", 0), "x>=1"),
        (("--seed", -1), "x>=0"), (("--timeout", -1), "x>=0"), (("--scale", 1e-46), "a finite float32 that is not 0"),
        (("--scale", "inf"), "a finite float32 that is not 0"), (("--offset", "inf"), "a finite float32"),
        (("--scale", 0), "found 0.0, expected a finite float32 that is not 0"), (("--scale", "nan"), "found nan"),
        (("--scale", "1e300"), "found 1e+300"), (("--offset", "1e39"), "found 1e+39"),
        (("--offset", "nan"), "found nan"),
    ],
)  # fmt: skip
def test_options_of_verify(call: Any, net: Path, options: tuple[Any, ...], words: str) -> None:
    done = call("verify", net, net, *options)
    assert done.status == 2 and words in done.err


@pytest.mark.parametrize(("text", "shape"), [("1", (1,)), ("3x4,5", (3, 4, 5)), (" 2, 1", (2, 1)), (None, None)])
def test_shapes(text: str | None, shape: tuple[int, ...] | None) -> None:
    assert common.parse_shape(None, None, text) == shape  # type: ignore[arg-type]
    for wrong in ("0", "3,0,3", "-1", "", "3,,3", "1.5", "x"):
        with pytest.raises(click.BadParameter, match="something like 32,32,3"):
            common.parse_shape(None, None, wrong)  # type: ignore[arg-type]


def test_numbers_of_bench(call: Any, net: Path) -> None:
    record = call("bench", net, "--batch", "1, 3", "--threads", 2, "--repeats", 3, "--no-layers", "--json").json
    assert [(run["batch"], run["threads"], run["runs"]) for run in record["runs"]] == [(1, 2, 3), (3, 2, 3)]
    for run in record["runs"]:
        times = [run[f"{name}_us"] for name in ("best", "first_quartile", "median", "third_quartile")]
        assert times[0] > 0 and times == sorted(times)
        assert run["us_per_image"] == run["median_us"] / run["batch"]
        assert run["images_per_second"] == pytest.approx(1e6 / run["us_per_image"])
    for option, most in (("--batch", 2**20), ("--threads", 256)):
        for wrong in ("0", most + 1, f"1,{most + 1}", "", "1,", "-1", "1.5", "x"):
            done = call("bench", net, f"{option}={wrong}")
            assert done.status == 2 and f"numbers from 1 to {most}" in done.err
    for repeats in (2, 3):
        assert call("bench", net, "--no-layers", "--batch", 1, "--repeats", repeats).status == 2 * (repeats < 3)


@pytest.mark.parametrize("said", ["", "Unable to allocate 24.0 GiB"])
def test_more_memory_than_there_is(call: Any, net: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MemoryError(said) if said else MemoryError

    monkeypatch.setattr("bnn.cli.bench.random_arrays", refuse)
    done = call("bench", net, "--batch", 2**20)
    why = f" ({said})" if said else ""
    assert (done.status, done.err) == (
        2, f"bnn: error: this takes more memory than is available{why}; give fewer or smaller inputs\n"
    )  # fmt: skip


def test_as_many_runs_as_fit_into_two_seconds(call: Any, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two that do not count, and three at least; the k-th takes k microseconds."""
    for repeats, seconds, runs in ((7, [0.0] * 9, 7), (3, [9.0], 3), (9, [1.0, 2.0, 2.1], 5), (9, [2.1], 3)):
        ends = iter([0, 0, *itertools.chain(*((0, 1000 * k) for k in range(1, 10)))])
        clock = SimpleNamespace(perf_counter=iter([0.0, *seconds]).__next__, perf_counter_ns=ends.__next__)
        monkeypatch.setattr("bnn.cli.bench.time", clock)
        (run,) = call("bench", net, "--batch", 1, "--repeats", repeats, "--no-layers", "--json").json["runs"]
        assert (run["runs"], run["best_us"], run["median_us"]) == (runs, 1, (runs + 1) / 2)
        quartiles = np.percentile(range(1, runs + 1), (25, 75)).tolist()
        assert [run["first_quartile_us"], run["third_quartile_us"]] == quartiles


def test_what_json_cannot_say(capsys: pytest.CaptureFixture[str]) -> None:
    common.print_json({"a": (1, np.inf, [-np.inf, {"b": np.nan}]), "c": 0.5})
    assert "".join(capsys.readouterr().out.split()) == '{"a":[1,null,[null,{"b":null}]],"c":0.5}'


@pytest.mark.parametrize(("note", "macs", "why"), [("n", 1, "n"), ("n", 0, None), ("", 0, None), ("", 1, "")])
def test_notes_of_layers(note: str, macs: int, why: str | None) -> None:
    model: Any = SimpleNamespace(tensors=[SimpleNamespace(shape=(2,), dtype="f32")])
    others = dict.fromkeys(("output", "layer", "op", "kind", "weight_bytes", "binary_macs", "byte_macs"), 0)
    op: Any = SimpleNamespace(note=note, warnings=("w",), float_macs=macs, **others)
    record = common.layer_record(model, op)
    assert (record["why_float"], record["warnings"]) == (why, ["w"])


def test_the_best_classes(call: Any, tmp_path: Path) -> None:
    """The highest first, then the first; NaN last, of no class; labels where there are as many as classes."""
    x = input_node("x", (40,))
    outputs = [make("add", x, constant(0.0)), make("slice", x, attrs=SliceAttrs(1, 4))]
    files = {name: tmp_path / name for name in ("net.bnn", "x.npy", "labels")}
    files["net.bnn"].write_bytes(encode(op_graphs.plan([x], outputs)))
    scores = [1, 3, np.nan, 3, 2] * 8
    np.save(files["x.npy"], np.float32([scores]))
    order = sorted((i for i in range(40) if i % 5 != 2), key=lambda i: -scores[i]) + [None] * 8
    for top in (1, 2, 30, 40, 99):
        for count, named in ((40, 0), (3, 1)):
            files["labels"].write_text("".join(f"class {i}\n" for i in range(count)) + "\n\n")
            done = call("run", files["net.bnn"], files["x.npy"], "--labels", files["labels"], "--top", top, "--json")
            found = [result["top"][0] for result in done.json["results"]]
            assert [best["index"] for best in found[0]] == order[:top]
            for i, best in enumerate(found):
                there = [f"class {b['index']}" if i == named and b["index"] is not None else None for b in best]
                assert [b["label"] for b in best] == there
    files["labels"].write_text("a\nb\n")
    done = call("run", files["net.bnn"], files["x.npy"], "--labels", files["labels"])
    assert done.status == 2 and "found 2 labels, the model has 3 or 40 classes; give one name per line" in done.err
    files["net.bnn"].write_bytes(
        encode(op_graphs.plan([x], [make("reshape", outputs[0], attrs=ReshapeAttrs((2, 20)))]))
    )
    done = call("run", files["net.bnn"], files["x.npy"], "--labels", files["labels"])
    assert done.status == 2 and "no class output" in done.err
