# SPDX-License-Identifier: Apache-2.0
"""Decisions of the commands, on both sides of each: options, arrays and images that fit, processes that ended."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

import bnn
from bnn import errors
from bnn._types import Array
from bnn.cli import apart, bench, child, common, inputs, run
from bnn.cli.apart import Limits
from bnn.cli.common import check_outputs, check_suffix
from bnn.cli.inputs import Reading

PLAIN = Reading(None, 0.0, False)
F32 = np.dtype(np.float32)


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch-size", 0), "1<=x<=4096"), (("--batch-size", 4097), "1<=x<=4096"), (("--random", 0), "x>=1"),
        (("--seed", -1), "x>=0"), (("--timeout", -1), "x>=0"), (("--scale", 1e-46), "a finite float32 that is not 0"),
        (("--scale", "inf"), "a finite float32 that is not 0"), (("--offset", "inf"), "a finite float32"),
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
    parse = bench._counts(8)
    assert parse(None, None, "1, 8") == [1, 8]
    for wrong in ("0", "9", "1,9", "", "1,", "-1", "1.5"):
        with pytest.raises(click.BadParameter, match="numbers from 1 to 8"):
            parse(None, None, wrong)
    for option, most in (("--batch", 2**20), ("--threads", 256)):
        assert f"numbers from 1 to {most}" in call("bench", net, option, most + 1).err
    assert call("bench", net, "--repeats", 2).status == 2


@pytest.mark.parametrize(("seconds", "repeats", "runs"), [(0.0, 7, 7), (0.0, 3, 3), (0.9, 7, 3), (0.3, 7, 5)])
def test_as_many_runs_as_fit_into_two_seconds(
    seconds: float, repeats: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two that do not count, and three at least."""
    calls: list[int] = []
    clock = SimpleNamespace(
        perf_counter=lambda: len(calls) * seconds, perf_counter_ns=lambda: len(calls) * (len(calls) + 1) * 500
    )
    monkeypatch.setattr(bench, "time", clock)
    model: Any = SimpleNamespace(output_shapes=[(3,)], predict=lambda x, threads, out: calls.append(threads))
    found = bench._measure(model, [np.zeros((4, 2), np.float32)], 5, repeats)
    assert len(calls) == runs + 2 and set(calls) == {5} and (found["runs"], found["batch"]) == (runs, 4)
    times = [k / 1 for k in range(3, 3 + runs)]  # the k-th takes k microseconds
    assert found["median_us"] == np.median(times) and found["best_us"] == 3
    assert (found["first_quartile_us"], found["third_quartile_us"]) == tuple(np.percentile(times, (25, 75)))
    assert found["us_per_image"] == np.median(times) / 4 and found["images_per_second"] == 4e6 / np.median(times)


def test_sizes_and_times_have_ends() -> None:
    nines, tera = "9" * 18, 2**22
    for text, size in (
        (nines, 10**18 - 1), (f"{nines}T", 2**62), (f"{tera}T", 2**62), (f"{tera - 1}T", 2**62 - 2**40),
    ):  # fmt: skip
        assert apart._parse_size(None, None, text) == size  # type: ignore[arg-type]
    with pytest.raises(click.BadParameter):
        apart._parse_size(None, None, "9" * 19)  # type: ignore[arg-type]
    command: Any = apart.limit_options(lambda limits: limits)
    for seconds in (0, 7, 10**8, 10**8 + 1, 10**30):
        assert command(max_memory=5, timeout=seconds) == Limits(5, min(seconds, 10**8))


# -- what is printed --------------------------------------------------------------------------------------------------


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


def test_the_best_classes() -> None:
    scores = np.float32([1, 3, np.nan, 3, 2])
    for top, indices in ((1, [1]), (2, [1, 3]), (4, [1, 3, 4, 0]), (9, [1, 3, 4, 0, 2])):
        assert [b["index"] for b in run._best(scores, None, top)] == indices
    for labels, label in (("abcde", "b"), ("abcd", None), ("abcdef", None)):
        assert run._best(scores, list(labels), 1)[0]["label"] == label


def test_keys_of_archives() -> None:
    names = ["y", "y", "y_1", "a.npy", "", ".npy", "b\0c", "b", "y"]
    assert run._unique(names) == ["y", "y_1", "y_1_1", "a", "output", "output_1", "b", "b_1", "y_2"]


# -- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "dtype", "reading", "found"),
    [
        (np.float32([[1, 2]]), F32, PLAIN, [[1, 2]]), (np.float32([1, 2]), F32, PLAIN, [[1, 2]]),
        (np.uint8([[1, 2]]), F32, Reading(2.0, 0.0, False), [[0.5, 1]]),
        (np.array([[True, False]]), F32, Reading(1.0, 0.5, False), [[1.5, 0.5]]),
        (np.float32([[1, 2]]), F32, Reading(None, 1.0, False), [[2, 3]]),
        (np.float32([[np.inf, 2]]), F32, Reading(2.0, 0.0, False), [[np.inf, 1]]),
        (np.int8([1, -2]), np.dtype(np.int8), PLAIN, [[1, -2]]),
        (np.zeros((1, 3), np.float32), F32, PLAIN, "found shape (1, 3), expected (N, 2) or one image (2,)"),
        (np.zeros((1, 2)), F32, PLAIN, "contains float64 but the model reads float32; give --scale"),
        (np.array([[True, False]]), F32, PLAIN, "contains bool but the model reads float32; give --scale"),
        (np.zeros((1, 2), np.uint8), np.dtype(np.int8), PLAIN, "convert it like the training data"),
        (np.zeros((1, 2), np.int8), np.dtype(np.uint8), PLAIN, "the type of image files"),
        (np.int8([[1, 2]]), np.dtype(np.int8), Reading(1.0, 0.0, False), "leave out --scale and --offset"),
        (np.int8([[1, 2]]), np.dtype(np.int8), Reading(None, 1.0, False), "leave out --scale and --offset"),
        (np.float32([[3e38, 2]]), F32, Reading(0.5, 0.0, False), "too large for float32 when divided by 0.5"),
    ],
)  # fmt: skip
def test_arrays_that_fit(array: Array, dtype: np.dtype[Any], reading: Reading, found: Any) -> None:
    if isinstance(found, list):
        fitted = inputs._fit(array, (2,), dtype, "f", reading)
        assert fitted.tolist() == found and fitted.dtype == dtype
    else:
        with pytest.raises(bnn.InputError) as caught:
            inputs._fit(array, (2,), dtype, "f", reading)
        assert found in str(caught.value)


def test_random_arrays_have_both_ends() -> None:
    dtypes = [F32, np.dtype(np.uint8), np.dtype(np.int8)]
    model: Any = SimpleNamespace(input_shapes=[(30, 30)] * 3, input_dtypes=dtypes)
    arrays = inputs.random_arrays(model, 5, 0)
    assert [(a.min(), a.max(), a.dtype, len(a)) for a in arrays] == [
        (-1, 1, dtypes[0], 5), (0, 255, dtypes[1], 5), (-128, 127, dtypes[2], 5),
    ]  # fmt: skip
    assert np.array_equal(arrays[0] * 256, np.rint(arrays[0] * 256))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, inputs.random_arrays(model, 5, 0), strict=True))


def test_labels_are_as_many_as_classes(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("a\nb\n\n")
    assert inputs.read_labels(str(path), {2, 5}) == ["a", "b"]
    for classes, words in (({1, 3}, "found 2 labels, the model has 1 or 3 classes"), (set[int](), "no class output")):
        with pytest.raises(bnn.InputError, match=words):
            inputs.read_labels(str(path), classes)


# -- images -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path: Path) -> Any:
    """An image (3 high, 2 wide) as a file, and what is read of it."""

    def read(image: Image.Image, shape: tuple[int, ...] = (3, 2, 1), resize: bool = False, **options: Any) -> Any:
        losses: dict[str, list[str]] = {}
        image.save(tmp_path / "a.png", **options)
        found = inputs._image(tmp_path / "a.png", shape, Reading(1.0, 0.0, resize), losses)
        return found, sorted(losses)

    return read


GREY = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(3, 2))


def test_images_are_turned_upright(picture: Any) -> None:
    """As their camera was held; the size is then that of what is seen."""
    assert picture(GREY)[0][..., 0].tolist() == [[0, 1], [2, 3], [4, 5]]
    turned = Image.Exif()
    turned[0x0112] = 6
    assert picture(GREY, (2, 3, 1), exif=turned)[0][..., 0].tolist() == [[4, 2, 0], [5, 3, 1]]
    with pytest.raises(bnn.InputError, match="the image is 3 x 2, the model reads 2 x 3"):
        picture(GREY, exif=turned)
    for shape, words in (
        ((2, 3, 1), "the image is 2 x 3, the model reads 3 x 2"), ((3, 3, 1), "reads 3 x 3"), ((6,), "is not an image"),
        ((3, 2, 2), "is not an image"), ((3, 2), "is not an image"),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=words):
            picture(GREY, shape)
    assert picture(GREY, (5, 4, 3), resize=True)[0].shape == (5, 4, 3)


def test_pixels_of_more_bits(picture: Any) -> None:
    with pytest.raises(bnn.InputError, match="has mode I;16; convert it to 8 bits"):
        picture(Image.fromarray(np.zeros((3, 2), np.uint16)))


@pytest.mark.parametrize(("channels", "loss"), [(1, 1), (3, 1), (4, 0)])
def test_what_transparency_loses(picture: Any, channels: int, loss: int) -> None:
    for mode in ("LA", "RGBA"):
        clear = GREY.convert(mode)
        assert picture(clear, (3, 2, channels))[1] == []
        clear.putalpha(254)
        assert len(picture(clear, (3, 2, channels))[1]) == loss
        assert len(inputs._losses(clear, channels, 1)) == loss
    palette = GREY.convert("LA")
    palette.putalpha(254)
    fake: Any = SimpleNamespace(mode="PA", info={}, convert=palette.convert)
    assert len(inputs._losses(fake, channels, 1)) == loss
    assert [len(inputs._losses(GREY, channels, frames)) for frames in (1, 2)] == [0, 1]


@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_how_far_an_image_may_unpack(picture: Any, mode: str, bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "most_unpacked", lambda size: 6 * bands)
    picture(GREY.convert(mode))
    monkeypatch.setattr(inputs, "most_unpacked", lambda size: 6 * bands - 1)
    with pytest.raises(bnn.InputError, match=f"bytes that unpack to {6 * bands}, expected at most {6 * bands - 1}"):
        picture(GREY.convert(mode))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("cut"), "damaged image: cut"), (OSError(5, "Input/output error"), "cannot be opened: Input/"),
        (MemoryError(), "need more memory than is available"), (ValueError(), "damaged image: ValueError"),
        (bnn.InputError("as it was"), "^as it was$"),
    ],
)  # fmt: skip
def test_what_pillow_raises(picture: Any, error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(inputs, "_check_picture", fail)
    with pytest.raises(bnn.InputError if "opened" not in words else errors.ModelFileError, match=words):
        picture(GREY)


# -- where commands write ---------------------------------------------------------------------------------------------


def test_names_of_outputs(tmp_path: Path) -> None:
    """A pipe may be called anything, unless its name decides what is written."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, devices, fits in (
        ("a.npy", True, True), ("a.npz", True, False), ("a", True, False), ("file", True, False), ("pipe", True, True),
        ("pipe", False, False), ("a.npy", False, True), (".npy", True, False),
    ):  # fmt: skip
        if fits:
            check_suffix("-o", str(tmp_path / name), (".npy",), devices=devices)
        else:
            with pytest.raises(bnn.InputError, match="-o .*: expected a name ending in .npy"):
                check_suffix("-o", str(tmp_path / name), (".npy",), devices=devices)
    check_suffix("-o", None, (".npy",))


def test_outputs_beside_inputs(tmp_path: Path) -> None:
    folder, file = tmp_path / "model", tmp_path / "net"
    folder.mkdir()
    file.touch()
    (tmp_path / "link").symlink_to("net")
    (tmp_path / "inside").symlink_to("model")
    given = [str(folder), str(file), None, str(tmp_path / "absent")]
    check_outputs({"-a": str(tmp_path / "modelx"), "-b": None, "-c": str(tmp_path / "absent")}, given)
    for path, words in (
        ("net", "would overwrite the input"), ("link", "would overwrite the input"),
        ("model/a", "lies inside the input"), ("inside/a", "lies inside the input"), ("model", "lies inside the input"),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=words):
            check_outputs({"-a": str(tmp_path / path)}, given)
    for other in ("x", "./x", "model/../x"):
        with pytest.raises(bnn.InputError, match="-b .*: is also written by -a"):
            check_outputs({"-a": str(tmp_path / "x"), "-b": f"{tmp_path}/{other}"}, [])
    with pytest.raises(errors.ModelNotFoundError, match="there is no folder"):
        check_outputs({"-a": str(tmp_path / "none" / "x")}, [])


# -- the other process ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "memory", "words"),
    [
        (0, 5, "ended .status 0. without a result"), (1, 5, "ended .status 1. without a result"),
        (-signal.SIGALRM, 5, "made no progress for 7 seconds.*--timeout"), (-signal.SIGKILL, 5, "SIGKILL; the machine"),
        (-signal.SIGTERM, 2**30, "SIGTERM; the file may be damaged.*more than the allowed 1G of memory.*--max-memory"),
        (-signal.SIGSEGV, 0, "SIGSEGV; the file may be damaged or malicious$"), (-99, 0, "ended by signal 99;"),
    ],
)  # fmt: skip
def test_how_it_ended(status: int, memory: int, words: str) -> None:
    error = apart._ended("model", Limits(memory, 7), status)
    assert isinstance(error, bnn.CompileError)
    with pytest.raises(bnn.CompileError, match=f"^model: .*{words}"):
        raise error


def test_memory_that_it_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than the allowed 1G of memory" in apart._memory(Limits(2**30, 0))
    assert "more memory than is available" in apart._memory(Limits(0, 0))
    monkeypatch.setattr(apart.sys, "platform", "darwin")
    assert "more memory than is available" in apart._memory(Limits(2**30, 0))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, []), ({"isolated": 1, "ignore_environment": 1, "no_user_site": 1}, ["-I"]),
        ({"ignore_environment": 1}, ["-E"]),
        ({"no_user_site": 1}, ["-s"]), ({"no_site": 1}, ["-S"]), ({"isolated": 1, "no_site": 1}, ["-I", "-S"]),
    ],
)  # fmt: skip
def test_it_starts_as_this_one_did(flags: dict[str, int], expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict.fromkeys(("isolated", "ignore_environment", "no_user_site", "no_site"), 0) | flags
    monkeypatch.setattr(apart, "sys", SimpleNamespace(flags=SimpleNamespace(**known), warnoptions=["error"]))
    assert apart._interpreter_flags() == ["-Werror", *expected]


def test_which_errors_are_of_memory() -> None:
    class ResourceExhaustedError(Exception):
        """As TensorFlow calls it."""

    def after(first: Exception, explicit: bool) -> Exception:
        second = ValueError("second")
        second.__cause__, second.__context__ = (first, None) if explicit else (None, first)
        return second

    for error in (MemoryError(), ResourceExhaustedError()):
        assert child._is_of_memory(error)
        assert all(child._is_of_memory(after(error, explicit)) for explicit in (True, False))
    assert not child._is_of_memory(after(KeyError(), True)) and not child._is_of_memory(None)


@pytest.mark.parametrize(("size", "most", "soft"), [(5, -1, 5), (5, 9, 5), (9, 5, 5), (0, 9, None)])
def test_limits_of_memory(size: int, most: int, soft: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than there was; and no file of what was in memory."""
    done: list[Any] = []
    resource = SimpleNamespace(
        RLIMIT_DATA="data", RLIMIT_CORE="core", RLIM_INFINITY=-1, getrlimit=lambda which: (most, most),
        setrlimit=lambda *given: done.append(given),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "resource", resource)  # type: ignore[arg-type]
    monkeypatch.setattr(child.sys, "platform", "linux")
    child._limit_memory(size)
    assert done == ([] if soft is None else [("data", (soft, most)), ("core", (0, most))])
    monkeypatch.setattr(child.sys, "platform", "darwin")
    done.clear()
    child._limit_memory(size)
    assert done == []
