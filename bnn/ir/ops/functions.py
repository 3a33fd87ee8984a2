# SPDX-License-Identifier: Apache-2.0
"""exp, tanh, erf, erfc, log1p and pow of float32, the same bytes on every machine.

``csrc/mcu/functions.c`` has the same operations in the same order, and says what they approximate; its header has the
errors and the special cases.  NumPy's own functions differ between its releases and between processors, the C library's
between systems.

Every function takes an array of float32 and returns one of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..._types import Array
from .record import SMALLEST_NORMAL

Two = tuple[Array, Array]  # a number as the sum of two floats: the float next to it (or its first bits), and the rest

_SIGN = 0x80000000
_NAN = np.float32(np.nan)
_INFINITY = np.float32(np.inf)
_SHIFT, _SHIFT_BITS = np.float32(1.5 * 2**23), np.uint32(0x4B400000)  # no bits for a fraction are left


def _of_vectors(function: Callable[..., Array]) -> Callable[..., Array]:
    """Make a function of any array from one of vectors."""

    @wraps(function)
    def wrapped(x: Array, *args: float) -> Array:
        with np.errstate(all="ignore"):
            return function(np.ascontiguousarray(x).reshape(-1), *args).reshape(x.shape)

    return wrapped


def _bits(x: Array) -> Array:
    return x.view(np.uint32)


def _float(bits: Array) -> Array:
    return bits.view(np.float32)


def _clamp(x: Array, lo: float, hi: float) -> Array:
    x = np.where(x < lo, np.float32(lo), x)
    return np.where(x > hi, np.float32(hi), x)


def _with_sign_of(x: Array, sign: Array) -> Array:
    return _float(_bits(x) | (_bits(sign) & _SIGN))


def _unless_nan(x: Array, y: Array) -> Array:
    return np.where(np.isnan(x), _NAN, y)


def _top(x: Array) -> Array:
    """The first 12 of the 24 bits of a float."""
    return _float(_bits(x) & 0xFFFFF000)


def _sum(a: Any, b: Array) -> Two:
    hi = a + b
    return hi, b - (hi - a)


def _quotient(a: Two, b: Two) -> Two:
    """The first has 12 bits."""
    inverse = np.float32(1) / b[0]
    q = a[0] * inverse
    hi, head = _top(q), _top(b[0])
    tail = (b[0] - head) + b[1]
    return hi, (((a[0] - hi * head) - hi * tail) + a[1]) * inverse


def _scale(v: Array, n: Array) -> Array:
    half = (n + np.uint32(304)) >> 1
    return v * _float((half - np.uint32(25)) << 23) * _float((n - half + np.uint32(279)) << 23)


def _whole(x: Array) -> Two:
    """x to the nearest whole number, as a float and as an integer modulo 2^32."""
    shifted = x + _SHIFT
    return shifted - _SHIFT, _bits(shifted) - _SHIFT_BITS


def _exp_reduced(r: Array, rl: Array) -> Two:
    p = 0.00833388697 + r * (0.00139357662 + r * 0.000195779547)
    p = 0.5 + r * (0.166666642 + r * (0.0416664556 + r * p))
    hi, lo = _sum(1.0, r)
    return hi, lo + (r * r * p + rl * hi)


def _exp_scaled(x: Array, xl: Any) -> tuple[Array, Array, Array]:
    """(hi, lo, n): the exponential is (hi + lo) 2^n."""
    count, n = _whole(x * 1.44269502)
    rest = x - count * 0.693145752
    more = count * 1.42860677e-06 - xl
    r = rest - more
    return *_exp_reduced(r, (rest - r) - more), n


@_of_vectors
def exp(x: Array) -> Array:
    """The exponential."""
    x = _clamp(x, -104.0, 89.0)
    hi, lo, n = _exp_scaled(x, 0.0)
    return _unless_nan(x, _scale(hi + lo, n))


@_of_vectors
def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    x = _clamp(x, -10.0, 10.0)
    hi, lo, n = _exp_scaled(2.0 * np.abs(x), 0.0)
    power = _float((n + np.uint32(127)) << 23)
    hi, lo = hi * power, lo * power
    below, above = hi - 1.0, hi + 1.0
    over = _sum(below, ((hi - below) - 1.0) + lo)
    under = _sum(above, (1.0 - (above - hi)) + lo)
    qh, ql = _quotient(over, under)
    return _unless_nan(x, _with_sign_of(qh + ql, x))


def _erfc_scaled(x: Array) -> tuple[Array, Array, Array]:
    under, ul = _sum(1.0, x)
    ul = np.where(x > 1.0, 1.0 - (under - x), ul)
    w, wl = _quotient((np.ones_like(x), np.zeros_like(x)), (under, ul))
    from_ = w - 0.38671875
    q = from_ + wl
    qh = _top(q)
    p = 0.9892627 + q * (-0.169408098 + q * (-1.57317162 + q * 1.86862016))
    p = 0.533277631 + q * (-0.0757333264 + q * (-0.67299819 + q * p))
    p = -0.309099972 + q * (-0.328942686 + q * p)
    first, slope = np.float32(0.796646655), np.float32(0.555175781)
    rest = ((from_ - qh) + wl) * slope + (2.4400844e-08 - q * 9.70328765e-05) + q * q * p
    gh = _top(first + qh * slope + rest)
    gl = rest - ((gh - first) - qh * slope)
    product, more = w * gh, wl * gh + (w + wl) * gl
    ph = _top(product + more)
    pl = more - (ph - product)
    xh = _top(x)
    square, sl = _sum(xh * xh, (x - xh) * (x + xh))
    hi, lo, n = _exp_scaled(-square, -sl)
    eh = _top(hi + lo)
    el = lo - (eh - hi)
    return ph * eh, pl * eh + (ph + pl) * el, n


@_of_vectors
def erf(x: Array) -> Array:
    """The error function."""
    x = _clamp(x, -4.0, 4.0)
    size, z = np.abs(x), x * x
    p = 0.00520685269 + z * (-0.00082139438 + z * 8.69189462e-05)
    p = -0.376126349 + z * (0.112837277 + z * (-0.0268615223 + z * p))
    near = x + x * (0.128379166 + z * p)
    q = 0.00352950068 + size * (-0.000294632657 + size * 8.38057349e-06)
    q = 0.635310948 + size * (0.105968162 + size * (-0.0235267542 + size * q))
    first, sh, part = np.float32(1.1286099), _top(size), size * q
    gh = _top(first + part)
    gl = part - (gh - first)
    hi, lo, n = _exp_scaled(-(sh * gh), -((size - sh) * gh + size * gl))
    far = 1.0 - (hi + lo) * _float((n + np.uint32(127)) << 23)
    return _unless_nan(x, np.where(size < 0.84375, near, _with_sign_of(far, x)))


@_of_vectors
def erfc(x: Array) -> Array:
    """1 - erf."""
    x = _clamp(x, -10.125, 10.125)
    size, z = np.abs(x), x * x
    p = -0.3761262 + z * (0.112831205 + z * (-0.0267809443 + z * 0.00477586966))
    rest, rl = _sum(1.0, -x)
    near = rest + (rl - x * (0.128379166 + z * p))
    hi, lo, n = _erfc_scaled(size)
    tail = _scale(hi + lo, n)
    far = np.where(x < 0, 2.0 - tail, tail)
    return _unless_nan(x, np.where(size < 0.46875, near, far))


def _exponent_of(x: Array) -> tuple[Array, Array]:
    """(biased, m): x = m 2^(biased - 127), m from sqrt(1/2) to sqrt(2)."""
    least = np.uint32(0x3F3504F3)
    bits = _bits(x) + (np.uint32(0x3F800000) - least)
    return bits >> 23, _float((bits & 0x007FFFFF) + least)


def _unbiased(biased: Array) -> Array:
    return _float(np.uint32(0x4B000000) + biased) - 8388735.0


@_of_vectors
def log1p(x: Array) -> Array:
    """log(1 + x)."""
    x = _clamp(x, -2.0, np.inf)
    u = 1.0 + x
    back = u - 1.0
    lost = (1.0 - (u - back)) + (x - back)
    biased, m = _exponent_of(u)
    small = _float(np.where(biased < 152, (np.uint32(254) - biased) << 23, np.uint32(0)))
    f, fl = _sum(m - 1.0, lost * small)
    p = -0.124070868 + f * (0.118895419 + f * (-0.116708405 + f * 0.0673789307))
    p = 0.20002088 + f * (-0.166678816 + f * (0.142197549 + f * p))
    p = 0.333333135 + f * (-0.250000119 + f * p)
    square, k = f * f, _unbiased(biased)
    rest = (f * square * p - 0.5 * square) + (fl + k * 1.42860677e-06)
    y, yl = _sum(k * 0.693145752, f)
    value = _with_sign_of(y + (yl + rest), x)
    value = np.where(x == np.inf, x, value)
    value = np.where(x == -1, -_INFINITY, value)
    return np.where(x >= -1, value, _NAN)


def _log2(x: Array) -> Two:
    """The logarithm of positive normal numbers as two floats, of which the first has 12 bits."""
    biased, m = _exponent_of(x)
    above, under, k = m - 1.0, m + 1.0, _unbiased(biased)
    inverse = 1.0 / under
    sh, head = _top(above * inverse), _top(under)
    sl = inverse * ((above - sh * head) - sh * (m - (head - 1.0)))
    s, zh = sh + sl, sh * sh
    z = s * s
    rest = z * z * (0.600002289 + z * (0.428205669 + z * 0.351323247)) + sl * (sh + s)
    ph = _top(3.0 + zh + rest)
    pl = rest - ((ph - 3.0) - zh)
    y, yl = sh * ph, sl * ph + pl * s
    yh = _top(y + yl)
    yl = yl - (yh - y)
    th, tl = 0.961914062 * yh, -0.000117368574 * yh + yl * 0.961796701
    hi = _top((th + tl) + k)
    return hi, tl - ((hi - k) - th)


def _exp2(x: Array, xl: Array) -> Array:
    count, n = _whole(x + xl)
    f = x - count
    fh = _top(f + xl)
    fl = xl - (fh - f)
    hi, lo = _exp_reduced(*_sum(fh * 0.693115234, fl * 0.693147182 + fh * 3.19461833e-05))
    return _scale(hi + lo, n)


def flushed(x: Array) -> Array:
    """Denormals as zeros, as TensorFlow takes them."""
    return np.where(np.abs(x) < SMALLEST_NORMAL, x * 0, x)


@_of_vectors
def pow(x: Array, exponent: float) -> Array:
    """x to the power of a float32; denormals count as zeros."""
    y = np.float32(exponent)
    if y == 0 or np.isnan(y):
        return np.where((y == 0) | (x == 1), np.float32(1), _NAN)
    value = _clamp(np.array([y]), -(2.0**32), 2.0**32)
    head = _top(value)
    hi, lo = _log2(np.abs(x))
    product, more = head * hi, (value - head) * hi + value * lo
    finite = np.abs(product) < 160
    power = _exp2(
        np.where(finite, product, np.copysign(np.float32(160), product)), np.where(finite, more, np.float32(0))
    )
    size = np.abs(x)
    zero = size < SMALLEST_NORMAL
    power = np.where(zero, np.float32(0) if y > 0 else _INFINITY, power)
    power = np.where(size == np.inf, _INFINITY if y > 0 else np.float32(0), power)
    whole = np.isinf(y) or y == np.floor(y)
    if whole and np.isfinite(y) and y % 2 == 1:
        power = _with_sign_of(power, x)
    none = np.isnan(x) | ((x < 0) & ~zero & np.isfinite(x) & (not whole))
    return np.where(none, _NAN, power)
