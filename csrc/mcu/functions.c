/* SPDX-License-Identifier: Apache-2.0 */
/* Every function is straight code without tables or branches, which compilers turn into vectors.  Where one float is too
 * short, two hold a number: hi, and lo, what hi lacks.  bnn/ir/ops/functions.py has the same operations in NumPy.
 *
 * Coefficients are from Sollya's fpminimax; the comments give the error of the polynomial, relative to the function. */
#include "mcu/functions.h"

#include <stdint.h>
#include <string.h>

/* No fused multiply-adds.  gcc warns that it does not know this pragma; it has -ffp-contract=off. */
#if defined __clang__ || !defined __GNUC__
#pragma STDC FP_CONTRACT OFF
#endif

#ifndef BNN_LANES
#define BNN_LANES 8 /* values side by side, for vector registers; 1 where there are none */
#endif

#define INFINITE 0x7f800000u
#define NOT_A_NUMBER 0x7fc00000u
#define SMALLEST_NORMAL 0x00800000u
#define SIGN 0x80000000u

struct two {
    float hi, lo;
};

/* (hi + lo) * 2^n; n is negative modulo 2^32. */
struct scaled {
    float hi, lo;
    uint32_t n;
};

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* All bits where the condition holds: a branch would keep compilers from making vectors. */
static inline uint32_t where(int condition)
{
    return 0u - (uint32_t)condition;
}

static inline float choose(uint32_t mask, float a, float b)
{
    return float_of((bits_of(a) & mask) | (bits_of(b) & ~mask));
}

static inline float magnitude(float x)
{
    return float_of(bits_of(x) & ~SIGN);
}

static inline float with_sign_of(float x, float sign)
{
    return float_of(bits_of(x) | (bits_of(sign) & SIGN));
}

/* y, or NaN if x is. */
static inline float unless_nan(float x, float y)
{
    return choose(where(x != x), float_of(NOT_A_NUMBER), y);
}

static inline float at_least(float x, float lo)
{
    return x < lo ? lo : x;
}

static inline float at_most(float x, float hi)
{
    return x > hi ? hi : x;
}

/* The first 12 of the 24 bits of a float: products of two such floats are exact. */
static inline float top(float x)
{
    return float_of(bits_of(x) & 0xfffff000u);
}

/* a + b, where b is not above a in magnitude (or a is 0). */
static inline struct two sum(float a, float b)
{
    float hi = a + b;
    struct two all = {hi, b - (hi - a)};
    return all;
}

static inline struct two product(float a, float b)
{
    float ah = top(a), al = a - ah, bh = top(b), bl = b - bh, hi = a * b;
    struct two all = {hi, (((ah * bh - hi) + ah * bl) + al * bh) + al * bl};
    return all;
}

/* a / b by its reciprocal, each of two floats. */
static inline struct two quotient(struct two a, struct two b)
{
    float inverse = 1.0f / b.hi, hi = a.hi * inverse;
    struct two back = product(hi, b.hi);
    struct two all = {hi, ((((a.hi - back.hi) - back.lo) + a.lo) - hi * b.lo) * inverse};
    return all;
}

/* v * 2^n for n from -161 to 141, in two steps: 2^n itself may be no float. */
static inline float scale(float v, uint32_t n)
{
    uint32_t half = (n + 304) >> 1;
    return v * float_of((half - 25) << 23) * float_of((n - half + 279) << 23);
}

/* x to the nearest whole number, and that number as an integer, for magnitudes below 2^22. */
static inline float whole(float x, uint32_t *n)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: no bits for a fraction are left */
    float shifted = x + shift;
    *n = bits_of(shifted) - bits_of(shift);
    return shifted - shift;
}

/* exp(r + rl) for |r| up to log(2) / 2; 2^-32.  lo is up to a tenth of hi. */
static inline struct two exp_reduced(float r, float rl)
{
    float p = 0.00833388697f + r * (0.00139357662f + r * 0.000195779547f);
    p = 0.5f + r * (0.166666642f + r * (0.0416664556f + r * p));
    struct two e = sum(1.0f, r);
    e.lo += r * r * p + rl * e.hi;
    return e;
}

/* exp(x + xl) for x from -104 to 89. */
static inline struct scaled exp_scaled(float x, float xl)
{
    uint32_t n;
    float count = whole(x * 1.44269502f, &n);
    float rest = x - count * 0.693145752f; /* exact: the first 16 bits of log(2) */
    float more = count * 1.42860677e-06f - xl;
    float r = rest - more;
    struct two e = exp_reduced(r, (rest - r) - more);
    struct scaled all = {e.hi, e.lo, n};
    return all;
}

static inline float exp_value(float x)
{
    struct scaled e = exp_scaled(x, 0.0f);
    return unless_nan(x, scale(e.hi + e.lo, e.n));
}

/* (e - 1) / (e + 1), e = exp(2 |x|). */
static inline float tanh_value(float x)
{
    struct scaled e = exp_scaled(2.0f * magnitude(x), 0.0f);
    float power = float_of((e.n + 127) << 23), hi = e.hi * power, lo = e.lo * power;
    float below = hi - 1.0f, above = hi + 1.0f;
    struct two over = sum(below, ((hi - below) - 1.0f) + lo);
    struct two under = sum(above, (1.0f - (above - hi)) + lo);
    struct two q = quotient(over, under);
    return unless_nan(x, with_sign_of(q.hi + q.lo, x));
}

/* erfc(x) = exp(-x^2) w g(w), w = 1 / (1 + x), for x from 0.46 to 10.1; 2^-29. */
static inline struct scaled erfc_scaled(float x)
{
    struct two under = sum(1.0f, x);
    under.lo = choose(where(x > 1.0f), 1.0f - (under.hi - x), under.lo);
    struct two one = {1.0f, 0.0f}, w = quotient(one, under);
    float q = w.hi - 0.38671875f, qh = top(q), ql = q - qh;
    float p = 0.9892627f + q * (-0.169408098f + q * (-1.57317162f + q * 1.86862016f));
    p = 0.533277631f + q * (-0.0757333264f + q * (-0.67299819f + q * p));
    p = -0.309099972f + q * (-0.328942686f + q * p);
    const float slope = 0.555175781f; /* 12 bits */
    struct two g = sum(0.796646655f, qh * slope);
    g.lo += (ql * slope + (2.4400844e-08f - q * 9.70328765e-05f)) + (w.lo * slope + q * q * p);
    struct two square = product(x, x);
    struct scaled e = exp_scaled(-square.hi, -square.lo);
    struct two wg = product(w.hi, g.hi);
    wg.lo += w.hi * g.lo + w.lo * g.hi;
    struct two power = sum(e.hi, e.lo), all = product(wg.hi, power.hi);
    struct scaled scaled = {all.hi, all.lo + (wg.hi * power.lo + wg.lo * power.hi), e.n};
    return scaled;
}

/* erf(x) = x + x p(x^2) up to 0.84, 2^-29; above, 1 - exp(-x q(x)), 2^-27. */
static inline float erf_value(float x)
{
    float size = magnitude(x), z = x * x;
    float p = 0.00520685269f + z * (-0.00082139438f + z * 8.69189462e-05f);
    p = -0.376126349f + z * (0.112837277f + z * (-0.0268615223f + z * p));
    float near = x + x * (0.128379166f + z * p);
    float q = 0.00352950068f + size * (-0.000294632657f + size * 8.38057349e-06f);
    q = 0.635310948f + size * (0.105968162f + size * (-0.0235267542f + size * q));
    struct two part = product(size, q), sloped = sum(1.1286099f, part.hi);
    struct two y = product(size, sloped.hi);
    y.lo += size * (sloped.lo + part.lo);
    struct scaled e = exp_scaled(-y.hi, -y.lo);
    float far = 1.0f - (e.hi + e.lo) * float_of((e.n + 127) << 23);
    return unless_nan(x, choose(where(size < 0.84375f), near, with_sign_of(far, x)));
}

/* erfc(x) = 1 - (x + x p(x^2)) up to 0.47, 2^-30. */
static inline float erfc_value(float x)
{
    float size = magnitude(x), z = x * x;
    float p = -0.3761262f + z * (0.112831205f + z * (-0.0267809443f + z * 0.00477586966f));
    struct two rest = sum(1.0f, -x);
    float near = rest.hi + (rest.lo - x * (0.128379166f + z * p));
    struct scaled y = erfc_scaled(size);
    float tail = scale(y.hi + y.lo, y.n);
    float far = choose(where(x < 0.0f), 2.0f - tail, tail);
    return unless_nan(x, choose(where(size < 0.46875f), near, far));
}

/* x = m * 2^k, m from sqrt(1/2) to sqrt(2), for a positive normal number; k + 127. */
static inline uint32_t exponent_of(float x, float *m)
{
    const uint32_t least = 0x3f3504f3; /* sqrt(1/2) */
    uint32_t bits = bits_of(x) + (0x3f800000 - least);
    *m = float_of((bits & 0x007fffff) + least);
    return bits >> 23;
}

/* The number k = biased - 127 as a float. */
static inline float unbiased(uint32_t biased)
{
    return float_of(0x4b000000 + biased) - 8388735.0f; /* 2^23 + 127 */
}

/* log(2) k + f - f^2 / 2 + f^3 p(f), 1 + x = (1 + f) 2^k; 2^-30. */
static inline float log1p_value(float x)
{
    float u = 1.0f + x, back = u - 1.0f;
    float lost = (1.0f - (u - back)) + (x - back), m;
    uint32_t biased = exponent_of(u, &m);
    /* From 2^24 on, nothing that counts was lost. */
    float small = float_of(((254 - biased) << 23) & where(biased < 152));
    struct two f = sum(m - 1.0f, lost * small);
    float p = -0.124070868f + f.hi * (0.118895419f + f.hi * (-0.116708405f + f.hi * 0.0673789307f));
    p = 0.20002088f + f.hi * (-0.166678816f + f.hi * (0.142197549f + f.hi * p));
    p = 0.333333135f + f.hi * (-0.250000119f + f.hi * p);
    float square = f.hi * f.hi, k = unbiased(biased);
    float rest = (f.hi * square * p - 0.5f * square) + (f.lo + k * 1.42860677e-06f);
    struct two y = sum(k * 0.693145752f, f.hi);
    float value = with_sign_of(y.hi + (y.lo + rest), x);
    value = choose(where(x == float_of(INFINITE)), x, value);
    value = choose(where(x == -1.0f), float_of(INFINITE | SIGN), value);
    return choose(where(x >= -1.0f), value, float_of(NOT_A_NUMBER));
}

/* log2(x) of a positive normal number: k + s p(s^2), s = (m - 1) / (m + 1); 2^-36.  hi has 12 bits. */
static inline struct two log2_value(float x)
{
    float m, k = unbiased(exponent_of(x, &m));
    float under = m + 1.0f, inverse = 1.0f / under, s = (m - 1.0f) * inverse;
    float sh = top(s), uh = top(under), ul = m - (uh - 1.0f);
    float sl = inverse * (((m - 1.0f) - sh * uh) - sh * ul);
    float z = s * s, zh = sh * sh;
    float rest = z * z * (0.600002289f + z * (0.428205669f + z * 0.351323247f)) + sl * (sh + s);
    float ph = top(3.0f + zh + rest), pl = rest - ((ph - 3.0f) - zh);
    struct two y = {sh * ph, sl * ph + pl * s};
    float yh = top(y.hi + y.lo), yl = y.lo - (yh - y.hi);
    const float head = 0.961914062f, tail = -0.000117368574f; /* 2 / (3 log(2)) */
    float th = head * yh, tl = tail * yh + yl * 0.961796701f;
    float hi = top((th + tl) + k);
    struct two all = {hi, tl - ((hi - k) - th)};
    return all;
}

/* 2^(x + xl), for x from -160 to 140, of 12 bits but for those of whole numbers, and xl from -1 to 1. */
static inline float exp2_value(float x, float xl)
{
    uint32_t n;
    float f = x - whole(x + xl, &n), fh = top(f + xl), fl = xl - (fh - f);
    const float head = 0.693115234f, tail = 3.19461833e-05f; /* log(2) */
    struct two r = sum(fh * head, fl * 0.693147182f + fh * tail);
    struct two e = exp_reduced(r.hi, r.lo);
    return scale(e.hi + e.lo, n);
}

/* What pow needs to know of an exponent other than 0 and NaN. */
struct exponent {
    float value;       /* no larger than 2^32, from where on nothing but 1 has a finite power */
    float head, tail;  /* of the value: its first 12 bits, and the others */
    float of_zero;     /* the power of zero */
    float of_infinity; /* the power of infinity */
    uint32_t odd;      /* the sign bit, if powers of negative numbers are negative */
    uint32_t fraction; /* all bits, if negative numbers have no powers */
};

static struct exponent describe(float y)
{
    float none = 0.0f, infinity = float_of(INFINITE);
    float value = at_most(at_least(y, -4294967296.0f), 4294967296.0f), head = top(value);
    struct exponent e = {value, head, value - head, none, infinity, 0, 0};
    if (y < 0.0f) {
        e.of_zero = infinity;
        e.of_infinity = none;
    }
    uint32_t bits = bits_of(y) & ~SIGN, biased = bits >> 23;
    if (biased < 127)
        e.fraction = where(1);
    else if (biased <= 150) { /* larger ones are even, infinity too */
        uint32_t one = 0x00800000u >> (biased - 127);
        e.fraction = where((bits & (one - 1)) != 0);
        e.odd = ((bits | 0x00800000u) & one) != 0 && e.fraction == 0 ? SIGN : 0;
    }
    return e;
}

/* The power of x, if that of |x| is `power` where it is positive, normal and finite. */
static inline float special_power(float x, float power, const struct exponent *y)
{
    uint32_t bits = bits_of(x), size = bits & ~SIGN;
    if (size > INFINITE || (bits > SIGN && size >= SMALLEST_NORMAL && size < INFINITE && y->fraction))
        return float_of(NOT_A_NUMBER);
    power = size < SMALLEST_NORMAL ? y->of_zero : size == INFINITE ? y->of_infinity : power;
    return float_of(bits_of(power) | (bits & y->odd));
}

static void pow_block(float *values, struct exponent y)
{
    float hi[BNN_LANES], lo[BNN_LANES];
    uint32_t special = 0;
    for (uint32_t lane = 0; lane < BNN_LANES; lane++) {
        struct two l = log2_value(magnitude(values[lane]));
        lo[lane] = at_most(y.tail * l.hi + y.value * l.lo, 1.0f);
        hi[lane] = at_most(y.head * l.hi, 140.0f);
    }
    /* Of positive normal numbers, neither sum has the sign bit. */
    for (uint32_t lane = 0; lane < BNN_LANES; lane++)
        special |= (bits_of(values[lane]) - SMALLEST_NORMAL) | (bits_of(values[lane]) + SMALLEST_NORMAL);
    for (uint32_t lane = 0; lane < BNN_LANES; lane++)
        hi[lane] = exp2_value(at_least(hi[lane], -160.0f), at_least(lo[lane], -1.0f));
    for (uint32_t lane = 0; (special & SIGN) && lane < BNN_LANES; lane++)
        hi[lane] = special_power(values[lane], hi[lane], &y);
    memcpy(values, hi, sizeof hi);
}

/* CALL for n values, block by block; the last block is filled with values that nobody reads. */
#define BLOCKS(out, in, n, CALL)                 \
    do {                                         \
        float v[BNN_LANES] = {0};                \
        for (; n >= BNN_LANES; n -= BNN_LANES) { \
            memcpy(v, in, sizeof v);             \
            CALL;                                \
            memcpy(out, v, sizeof v);            \
            in += BNN_LANES;                     \
            out += BNN_LANES;                    \
        }                                        \
        if (n > 0) {                             \
            memcpy(v, in, n * sizeof *v);        \
            CALL;                                \
            memcpy(out, v, n * sizeof *v);       \
        }                                        \
    } while (0)

/* The function NAME: its VALUE for an x from LO to HI, outside of which it is the same as at these ends.  (Both
 * limits in one loop would become branches.) */
#define FUNCTION(NAME, LO, HI, VALUE)                       \
    static void NAME##_block(float *values)                 \
    {                                                       \
        for (uint32_t lane = 0; lane < BNN_LANES; lane++)   \
            values[lane] = at_least(values[lane], LO);      \
        for (uint32_t lane = 0; lane < BNN_LANES; lane++)   \
            values[lane] = at_most(values[lane], HI);       \
        for (uint32_t lane = 0; lane < BNN_LANES; lane++) { \
            float x = values[lane];                         \
            values[lane] = VALUE;                           \
        }                                                   \
    }                                                       \
    void bnn_##NAME(float *out, const float *in, size_t n)  \
    {                                                       \
        BLOCKS(out, in, n, NAME##_block(v));                \
    }

FUNCTION(exp, -104.0f, 89.0f, exp_value(x))
FUNCTION(tanh, -10.0f, 10.0f, tanh_value(x))
FUNCTION(erf, -4.0f, 4.0f, erf_value(x))
FUNCTION(erfc, -10.125f, 10.125f, erfc_value(x))
FUNCTION(log1p, -2.0f, float_of(INFINITE), log1p_value(x))
FUNCTION(sigmoid, -89.0f, 104.0f, 1.0f / (1.0f + exp_value(-x)))
FUNCTION(elu, -104.0f, float_of(INFINITE), choose(where(x < 0.0f), exp_value(x) - 1.0f, x))

void bnn_pow(float *out, const float *in, size_t n, float exponent)
{
    if (exponent == 0.0f || exponent != exponent) { /* and 1 to the power of NaN is 1 */
        for (size_t i = 0; i < n; i++)
            out[i] = exponent == 0.0f || in[i] == 1.0f ? 1.0f : float_of(NOT_A_NUMBER);
        return;
    }
    const struct exponent y = describe(exponent);
    BLOCKS(out, in, n, pow_block(v, y));
}

void bnn_softmax(float *out, const float *in, size_t n)
{
    float most = in[0], total = 0.0f;
    for (size_t i = 1; i < n; i++)
        most = in[i] > most ? in[i] : most;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] - most;
    bnn_exp(out, out, n);
    for (size_t i = 0; i < n; i++)
        total += out[i];
    for (size_t i = 0; i < n; i++)
        out[i] /= total;
}
