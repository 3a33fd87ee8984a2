# SPDX-License-Identifier: Apache-2.0
"""What a network is used for: the names of its classes, how pixels become its input, and metadata.

In a file it is one text of JSON (docs/reference/model-format.md).  What a stranger's file says is checked like an
argument: types, numbers, and that it fits the network.  Unknown keys are refused, because ignoring one could change
results; whatever else somebody wants to say goes into the metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .._arguments import check_choice, check_count, check_number, check_text, shown
from .._types import Array
from ..errors import InputError, InputTypeError, ModelFormatError
from .arrays import TensorInfo, as_numbers

MOST_BYTES = 2**20  # of the text, as in C
FITS = ("exact", "stretch", "crop", "pad")
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
CHANNELS = (1, 3, 4)  # of pictures: grey, colours, colours and transparency
_LARGEST_SIDE = 65536
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet
#: What users name; sizes are added to "torchvision".
PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {"scale": 255, "mean": _MEAN, "std": _STD, "fit": "stretch"},
    "torchvision": {"scale": 255, "mean": _MEAN, "std": _STD, "fit": "crop"},
    "tf": {"scale": 127.5, "mean": 1, "fit": "stretch"},
    "caffe": {"scale": 1, "mean": [103.939, 116.779, 123.68], "order": "BGR", "fit": "stretch"},
}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input.

    It is fitted to the network's size.  ``fit`` is "exact": it must have it; "stretch": each side is resized; "crop":
    it is resized until it covers the size (its shorter side then has ``shorter`` pixels, if given), and the middle is
    taken; "pad": it is resized until it lies within, and the rest is ``fill`` (0 to 255, a number per channel).
    ``filter`` is one of Pillow's.  Then each pixel p, 0 to 255 in the channels' ``order``, becomes
    (p / scale - mean) / std, where each step is one float32 operation, and mean and std have a number per channel
    (none: no step).  ``scale`` is None for a network that reads bytes: pixels are its input.
    """

    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    order: str = "RGB"
    fit: str = "exact"
    shorter: int | None = None
    filter: str = "bilinear"
    fill: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises InputTypeError or InputError for what suits no network."""
        if self.scale is not None:
            object.__setattr__(self, "scale", _factor(self.scale, "preprocessing: scale"))
        for key, check in _CHECKS.items():
            what, numbers = f"preprocessing: {key}", getattr(self, key)
            if not isinstance(numbers, (list, tuple)):
                raise InputTypeError(f"{what}: found {shown(numbers)}, expected a tuple, a number for each channel")
            object.__setattr__(self, key, tuple(check(number, what) for number in numbers))
        for key, choices in (("order", ("RGB", "BGR")), ("fit", FITS), ("filter", FILTERS)):
            check_choice(getattr(self, key), f"preprocessing: {key}", choices)

    def apply(self, pixels: object) -> Array:
        """The network's input, channels last, for ``pixels``: an array (..., channels) of whole numbers from 0 to 255,
        of three channels as red, green, blue.  Returns float32, or the same numbers where the network reads bytes.

        Raises InputTypeError if it is not an array of numbers, InputError for another number of channels or fractions.
        """
        array = as_numbers(pixels, "pixels")
        channels = 3 if self.order == "BGR" else len(self.mean or self.std)
        if channels and array.shape[-1:] != (channels,):
            raise InputError(f"pixels: found shape {array.shape}, expected (..., {channels})")
        array = array[..., ::-1] if self.order == "BGR" else array
        if self.scale is None:
            return array
        wrong = array[array != np.rint(array)] if array.dtype.kind == "f" else array[:0]
        if wrong.size:
            raise InputError(
                f"pixels: found {wrong.flat[0]}, expected whole numbers; pass scaled ones to the model itself"
            )
        with np.errstate(all="ignore"):  # whoever has numbers that are too large checks the result
            array = array.astype(np.float32) / np.float32(self.scale)
            for operation, numbers in ((np.subtract, self.mean), (np.divide, self.std)):
                array = operation(array, np.array(numbers, np.float32)) if numbers else array
        return np.asarray(array)

    def record(self) -> dict[str, Any]:
        """What a file stores: the fields that differ from the defaults."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, (v, default) in values.items() if v != default}


@dataclass(frozen=True)
class Use:
    """What a file says about its use; ``labels`` is None if it does not name the classes."""

    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The one text that says this, as a file has it; "" if there is nothing to say.

        Raises InputError if it is too long for a file, or no Unicode."""
        import json  # not imported when only running networks

        record = {
            "labels": None if self.labels is None else list(self.labels),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.record(),
            "metadata": dict(self.metadata) or None,
        }
        record = {key: value for key, value in record.items() if value is not None}
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise InputError(f"labels and metadata: found {text[error.start]!r}, expected text in Unicode") from None
        if size > MOST_BYTES:
            raise InputError(
                f"labels and metadata: found {size:,} bytes, expected at most {MOST_BYTES:,}; leave out metadata"
            )
        return text if record else ""


def from_file(text: bytes, label: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> Use:
    """What a file's text says of the network with these inputs and outputs; ``label``: the file, for errors.

    Raises ModelFormatError if it is not JSON, or says what does not fit the network.
    """
    if not text:
        return Use()
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice in an object")
        return found

    def no_number(name: str) -> None:
        raise ValueError(f"found {name}, expected a finite number")

    try:
        record = json.loads(text.decode(), object_pairs_hook=once, parse_constant=no_number)
        made = checked(record, inputs, outputs)
        made.text()  # no Unicode: half of a pair that JSON escaped
        return made
    except (ValueError, RecursionError) as error:  # InputError is one
        raise ModelFormatError(f"{label}: what the file is used for: {error}; compile the model again") from None


def checked(record: object, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> Use:
    """What an object says under the keys "labels", "preprocessing" and "metadata"; each may be missing.

    Raises InputTypeError or InputError if a value has the wrong type or does not fit the network.
    """
    parts: dict[str, Callable[[Any], Any]] = {
        "labels": lambda value: check_labels(value, outputs),
        "preprocessing": lambda value: check_preprocessing(value, inputs),
        "metadata": check_metadata,
    }
    return Use(**{key: parts[key](value) for key, value in _object(record, "use", parts).items()})


def check_labels(value: Any, outputs: Sequence[TensorInfo]) -> tuple[str, ...]:
    """One text per class."""
    if not isinstance(value, (list, tuple)):
        raise InputTypeError(f"labels: found {shown(value)}, expected a list of texts")
    labels = tuple(check_text(name, f"labels: number {i}") for i, name in enumerate(value))
    classes = sorted({t.shape[-1] for t in outputs if all(n == 1 for n in t.shape[:-1])})
    if len(labels) not in classes:
        expected = f"one for each of {' or '.join(map(str, classes))} classes" if classes else "an output of classes"
        raise InputError(f"labels: found {len(labels)}, expected {expected}")
    return labels


def check_metadata(value: Any) -> dict[str, str]:
    """Texts by texts."""
    if not isinstance(value, Mapping):
        raise InputTypeError(f"metadata: found {shown(value)}, expected texts by their keys")
    return {
        check_text(key, "metadata: key"): check_text(text, f"metadata: {shown(key)}") for key, text in value.items()
    }


def check_preprocessing(value: Any, inputs: Sequence[TensorInfo]) -> Preprocessing:
    """From the name of one of PRESETS, from what a file has, or from a Preprocessing; numbers per channel may be one
    number for all."""
    if len(inputs) != 1 or inputs[0].dtype == "i8":
        found = f"{len(inputs)} inputs" if len(inputs) != 1 else "an input of int8"
        raise InputError(
            f"preprocessing: the network has {found}, expected one input of float32 or uint8; leave it out"
        )
    shape, floats = inputs[0].shape, inputs[0].dtype == "f32"
    if isinstance(value, str):
        value = _preset(check_choice(value, "preprocessing", list(PRESETS)), shape, floats)
    if isinstance(value, Preprocessing):
        value = value.record()
    given = _object(value, "preprocessing", [f.name for f in fields(Preprocessing)])
    _check_scaling(given, floats)
    numbers = {key: _per_channel(given[key], key, shape[-1]) for key in _CHECKS if key in given}
    made = Preprocessing(**{**given, **numbers})
    _check_fit(made, given, shape)
    return made


def _preset(name: str, shape: tuple[int, ...], floats: bool) -> dict[str, Any]:
    found = dict(PRESETS[name])
    if name == "torchvision":
        found["shorter"] = max(shape[:-1], default=1) * 256 // 224
    return found if floats else {key: found[key] for key in ("order", "fit", "shorter") if key in found}


def _object(value: Any, what: str, keys: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputTypeError(f"{what}: found {shown(value)}, expected an object with {', '.join(keys)}")
    unknown = [key for key in value if key not in keys]
    if unknown:
        raise InputError(f"{what}: found {shown(unknown[0])}, expected {', '.join(keys)}")
    return dict(value)


def _check_scaling(given: Mapping[str, Any], floats: bool) -> None:
    if floats and given.get("scale") is None:
        raise InputError("preprocessing: found no scale, expected what pixels are divided by (1: they stay 0 to 255)")
    scaled = [key for key in ("scale", "mean", "std") if key in given]
    if not floats and scaled:
        raise InputError(
            f"preprocessing: found {scaled[0]}, but the network reads bytes as they are; leave it out, or, if it was "
            "trained on scaled pixels, compile it without input_dtype='uint8' (--input-dtype uint8)"
        )


def _factor(value: object, what: str) -> float:
    """A number by which float32 can be divided."""
    number = _number(value, what)
    if np.float32(number) == 0:
        raise InputError(f"{what}: found {shown(value)}, expected a float32 that is not 0")
    return number


def _number(value: object, what: str) -> float:
    number = check_number(value, what)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(number)):
            raise InputError(f"{what}: found {shown(value)}, expected a finite float32")
    return number


_CHECKS: dict[str, Callable[[object, str], Any]] = {
    "mean": _number, "std": _factor, "fill": lambda value, what: check_count(value, what, 255, 0),
}  # fmt: skip


def _per_channel(value: Any, key: str, channels: int) -> tuple[Any, ...]:
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,) * channels
    if len(numbers) != channels:
        found = f"preprocessing: {key}: found {len(numbers)} numbers, expected one for each of {channels} channels"
        remedy = "; the presets are for three colours: give numbers of your own" if len(numbers) == 3 else ""
        raise InputError(f"{found}{remedy}")
    return numbers


def _check_fit(made: Preprocessing, given: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """The geometry, of the network's shape (H, W, C)."""
    picture = len(shape) == 3 and shape[-1] in CHANNELS
    if made.order == "BGR" and not (picture and shape[-1] == 3):
        raise InputError(f"preprocessing: order: found BGR, but the network's input {shape} has no three colours")
    if made.fit != "exact" and not picture:
        raise InputError(f"preprocessing: fit: found {made.fit}, but the network's input {shape} is no picture")
    for key, fit in (("shorter", "crop"), ("fill", "pad")):
        if key in given and made.fit != fit:
            raise InputError(f"preprocessing: {key}: expected only with the fit '{fit}', found '{made.fit}'")
    if "shorter" in given:
        check_count(made.shorter, "preprocessing: shorter", _LARGEST_SIDE, max(shape[:2]))
