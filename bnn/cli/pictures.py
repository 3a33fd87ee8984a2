# SPDX-License-Identifier: Apache-2.0
"""A picture in a file as an array of a network's size: which files there are, what is not read, how they fit."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._distribution import install
from .._types import Array
from ..errors import BnnError, InputError, ModelFileError
from ..runtime.arrays import Shape, batched
from ..runtime.files import file_error
from ..runtime.numpy_files import ALWAYS_ALLOWED, most_unpacked
from ..runtime.summary import quantity
from ..runtime.use import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# The number of channels that a model reads, and the Pillow mode with the same number.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Modes with 8 bits per channel, and with 16; others (32 bits, float) have no range that is known.
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
# Other formats are programs (PostScript) or not pictures.
_FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
_ENDINGS = {
    ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pcx",
    ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip
EXPECTED = "an array (.npy, .npz) or an image file"


class Unusable(InputError):
    """A picture that is damaged, or of a kind that is not read; others may be fine."""


class OtherSize(InputError):
    """A picture of another size than the network reads, where nothing says how it is to fit."""


def unreadable(path: str | Path, error: OSError, expected: str) -> ModelFileError:
    return file_error(str(path), error.errno or 0, "opened", error.strerror or str(error), f"expected {expected}")


def in_folder(folder: str) -> list[str]:
    """The pictures in a folder and the folders in it: see :func:`files_in`.  Raises InputError if there are none."""
    if not (found := files_in(folder, _ENDINGS)):
        raise InputError(f"{folder}: found no picture in this folder, expected files such as .png or .jpg")
    return found


def files_in(folder: str, endings: Collection[str]) -> list[str]:
    """The files with these endings in a folder and the folders in it, in order of their names, without hidden ones.

    Links to folders are not followed: they may lead back, and a file would count again and again.
    """

    def refuse(error: OSError) -> None:
        raise unreadable(error.filename, error, "a folder")

    found = []
    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = (n for n in sorted(files) if not n.startswith(".") and os.path.splitext(n)[1].lower() in endings)
        found += [os.path.join(where, name) for name in names]
    return found


def decode(
    path: Path, shape: Shape, made: Preprocessing, losses: dict[str, list[str]], content: bytes | None = None
) -> Array:
    """uint8 of the network's ``shape`` (H, W, C), colours as red, green, blue.  Adds what is not read to ``losses``,
    with the file.  ``content``: the picture's bytes, which then are not read from the file.

    Raises Unusable for a damaged picture, InputError for one that does not fit, or a network that reads none.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise InputError(f"{path}: reading images needs Pillow: {install('cli')}") from None
    if len(shape) != 3 or shape[2] not in _MODES:
        raise InputError(f"{path}: the model reads {batched(shape)}, which is not an image; give a .npy file")
    channels = shape[2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this module has its own limit, and its own notes
            size = path.stat().st_size if content is None else len(content)
            with Image.open(path if content is None else io.BytesIO(content)) as opened:
                _check_header(path, size, opened, shape, made)
                upright = ImageOps.exif_transpose(opened)
                if opened.mode in _SIXTEEN_BITS:
                    losses.setdefault("the upper 8 of 16 bits are read", []).append(str(path))
                    upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
                for loss in _losses(upright, channels, getattr(opened, "n_frames", 1)):
                    losses.setdefault(loss, []).append(str(path))
                image = upright.convert(_MODES[channels])
            return np.asarray(_fitted(path, image, shape, made)).reshape(shape)
    except UnidentifiedImageError:
        what = "not an image that Pillow can read, and not .npy or .npz; if it is a picture," if size else "is empty;"
        raise Unusable(f"{path}: {what} save it again") from None
    except Image.DecompressionBombError as error:
        raise Unusable(f"{path}: {str(error).rstrip('.')}; give a smaller image") from None
    except BnnError:
        raise
    except MemoryError:
        raise Unusable(f"{path}: its pixels need more memory than is available; give a smaller image") from None
    except Exception as error:  # Pillow may raise anything; the caller wants one kind
        if isinstance(error, OSError) and error.errno:  # the file is wrong, not the image
            raise unreadable(path, error, EXPECTED) from None
        raise Unusable(f"{path}: damaged image: {str(error) or type(error).__name__}; save it again") from None


def _check_header(path: Path, size: int, opened: Picture, shape: Shape, made: Preprocessing) -> None:
    """Check the header of an image of ``size`` bytes before its pixels are decoded."""
    if opened.format not in _FORMATS:
        raise Unusable(f"{path}: has format {opened.format}, expected one of {', '.join(_FORMATS)}")
    if made.fit == "exact" and sorted(opened.size) != sorted(shape[:2]):
        raise _other_size(path, opened.size, shape)
    unpacked = opened.size[0] * opened.size[1] * len(opened.getbands())
    if unpacked > most_unpacked(size):
        most = f"{most_unpacked(size):,}; give a smaller image"
        raise Unusable(f"{path}: {size:,} bytes that unpack to {unpacked:,}, expected at most {most}")
    if opened.mode not in _EIGHT_BITS + _SIXTEEN_BITS:
        raise Unusable(f"{path}: has mode {opened.mode}; convert it to 8 bits or to a .npy file")


def _other_size(path: Path, found: tuple[int, int], shape: Shape) -> OtherSize:
    return OtherSize(
        f"{path}: the image is {found[0]} x {found[1]}, the model reads {shape[1]} x {shape[0]} (width x height); give "
        "--resize to resize it"
    )


def _losses(image: Picture, channels: int, frames: int) -> list[str]:
    """The parts of an image that are not read: other frames; transparency, unless all pixels are opaque; colours,
    unless all are grey."""
    losses = ["only the first of several pictures in the file is read"] if frames > 1 else []
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if channels < 4 and transparent and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        losses.append(f"transparency is dropped because the model reads {quantity(channels, 'channel')}")
    if channels == 1 and image.mode not in ("1", "L", "LA"):
        red, green, blue = (channel.tobytes() for channel in image.convert("RGB").split())
        if not red == green == blue:
            losses.append("colours become grey because the model reads 1 channel")
    return losses


def _fitted(path: Path, image: Picture, shape: Shape, made: Preprocessing) -> Picture:
    """The picture, upright, in the network's size."""
    from PIL import Image, ImageOps

    size, method = (shape[1], shape[0]), Image.Resampling[made.filter.upper()]
    if made.fit == "exact" and image.size != size:  # it was rotated upright
        raise _other_size(path, image.size, shape)
    if made.fit == "stretch":
        return image if image.size == size else image.resize(size, method)
    if made.fit == "pad":
        fill = made.fill or (0,) * shape[2]
        return ImageOps.pad(image, size, method, color=fill if len(fill) > 1 else fill[0])
    if made.fit == "crop":
        image = _covering(path, image, (made.shorter, made.shorter) if made.shorter else size, method)
        left, top = (round((have - want) / 2) for have, want in zip(image.size, size, strict=True))
        return image.crop((left, top, left + size[0], top + size[1]))
    return image


def _covering(path: Path, image: Picture, box: tuple[int, int], method: int) -> Picture:
    """The picture resized until it just covers the box; the longer side is rounded down, as in torchvision."""
    width, height = image.size
    if width * box[1] <= height * box[0]:
        size = (box[0], height * box[0] // width)
    else:
        size = (width * box[1] // height, box[1])
    if size[0] * size[1] * len(image.getbands()) > ALWAYS_ALLOWED:
        raise Unusable(f"{path}: the image is {width} x {height}, and {size[0]} x {size[1]} when it is resized; cut it")
    return image if image.size == size else image.resize(size, method)
