/* SPDX-License-Identifier: Apache-2.0 */
/* Every function is straight code without tables or branches, which compilers turn into vectors.  Where one float is too
 * short, two hold a number: hi, and lo, what hi lacks; if hi has 12 bits, its products with others of 12 bits are exact.
 * bnn/ir/ops/functions.py has the same operations in NumPy.
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
#define BNN_LANES 8 /* values side by side, for vector registers; 1 where there are none, on microcontrollers */
#endif

enum { ROOM = 8 * BNN_LANES }; /* values that are worked on together */

#define INFINITE 0x7f800000u
#define NOT_A_NUMBER 0x7fc00000u
#define SMALLEST_NORMAL 0x00800000u
#define SIGN 0x80000000u
#define ONE 0x3f800000u

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

/* All bits where a < b, or none, for numbers below 2^31; floats that are not negative rise with their bits.  Compilers
 * make branches of comparisons, and then no vectors. */
static inline uint32_t less(uint32_t a, uint32_t b)
{
    return 0u - ((a - b) >> 31);
}

static inline uint32_t negative(float x)
{
    return 0u - (bits_of(x) >> 31);
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
    return choose(less(INFINITE, bits_of(x) & ~SIGN), float_of(NOT_A_NUMBER), y);
}

/* The magnitude of x, or `most` if that is less or x is NaN. */
static inline float limited(float x, float most)
{
    uint32_t size = bits_of(x) & ~SIGN;
    return choose(less(size, bits_of(most)), float_of(size), most);
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

/* a / b by its reciprocal; b.lo is small beside b.hi.  hi has 12 bits. */
static inline struct two quotient(struct two a, struct two b)
{
    float inverse = 1.0f / b.hi, q = a.hi * inverse, hi = top(q), head = top(b.hi), tail = (b.hi - head) + b.lo;
    struct two all = {hi, (((a.hi - hi * head) - hi * tail) + a.lo) * inverse};
    return all;
}

/* v * 2^n for n from -161 to 161, in two steps: 2^n itself may be no float. */
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

/* exp(x + xl) for magnitudes of x up to 104. */
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
    struct scaled e = exp_scaled(with_sign_of(limited(x, 104.0f), x), 0.0f);
    return unless_nan(x, scale(e.hi + e.lo, e.n));
}

/* (e - 1) / (e + 1), e = exp(2 |x|). */
static inline float tanh_value(float x)
{
    struct scaled e = exp_scaled(2.0f * limited(x, 10.0f), 0.0f);
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
    under.lo = choose(less(bits_of(x), ONE), under.lo, 1.0f - (under.hi - x));
    struct two one = {1.0f, 0.0f}, w = quotient(one, under);
    float from = w.hi - 0.38671875f, q = from + w.lo, qh = top(q);
    float p = 0.9892627f + q * (-0.169408098f + q * (-1.57317162f + q * 1.86862016f));
    p = 0.533277631f + q * (-0.0757333264f + q * (-0.67299819f + q * p));
    p = -0.309099972f + q * (-0.328942686f + q * p);
    const float first = 0.796646655f, slope = 0.555175781f; /* slope: 12 bits */
    float rest = ((from - qh) + w.lo) * slope + (2.4400844e-08f - q * 9.70328765e-05f) + q * q * p;
    float gh = top(first + qh * slope + rest), gl = rest - ((gh - first) - qh * slope);
    float product = w.hi * gh, more = w.lo * gh + (w.hi + w.lo) * gl;
    float ph = top(product + more), pl = more - (ph - product);

    float xh = top(x);
    struct two square = sum(xh * xh, (x - xh) * (x + xh));
    struct scaled e = exp_scaled(-square.hi, -square.lo);
    float eh = top(e.hi + e.lo), el = e.lo - (eh - e.hi);
    struct scaled all = {ph * eh, pl * eh + (ph + pl) * el, e.n};
    return all;
}

/* erf(x) = x + x p(x^2) up to 0.84, 2^-29; above, 1 - exp(-x q(x)), 2^-27. */
static inline float erf_value(float x)
{
    float size = limited(x, 4.0f), z = size * size;
    float p = 0.00520685269f + z * (-0.00082139438f + z * 8.69189462e-05f);
    p = -0.376126349f + z * (0.112837277f + z * (-0.0268615223f + z * p));
    float near = x + x * (0.128379166f + z * p);
    float q = 0.00352950068f + size * (-0.000294632657f + size * 8.38057349e-06f);
    q = 0.635310948f + size * (0.105968162f + size * (-0.0235267542f + size * q));
    const float first = 1.1286099f;
    float sh = top(size), part = size * q, gh = top(first + part), gl = part - (gh - first);
    struct scaled e = exp_scaled(-(sh * gh), -((size - sh) * gh + size * gl));
    float far = 1.0f - (e.hi + e.lo) * float_of((e.n + 127) << 23);
    return unless_nan(x, choose(less(bits_of(size), bits_of(0.84375f)), near, with_sign_of(far, x)));
}

/* erfc(x) = 1 - (x + x p(x^2)) up to 0.47, 2^-30. */
static inline float erfc_value(float x)
{
    float size = limited(x, 10.125f), z = size * size;
    float p = -0.3761262f + z * (0.112831205f + z * (-0.0267809443f + z * 0.00477586966f));
    struct two rest = sum(1.0f, -x);
    float near = rest.hi + (rest.lo - x * (0.128379166f + z * p));
    struct scaled y = erfc_scaled(size);
    float tail = scale(y.hi + y.lo, y.n);
    float far = choose(negative(x), 2.0f - tail, tail);
    return unless_nan(x, choose(less(bits_of(size), bits_of(0.46875f)), near, far));
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
    float small = float_of(((254 - biased) << 23) & less(biased, 152));
    struct two f = sum(m - 1.0f, lost * small);
    float p = -0.124070868f + f.hi * (0.118895419f + f.hi * (-0.116708405f + f.hi * 0.0673789307f));
    p = 0.20002088f + f.hi * (-0.166678816f + f.hi * (0.142197549f + f.hi * p));
    p = 0.333333135f + f.hi * (-0.250000119f + f.hi * p);
    float square = f.hi * f.hi, k = unbiased(biased);
    float rest = (f.hi * square * p - 0.5f * square) + (f.lo + k * 1.42860677e-06f);
    struct two y = sum(k * 0.693145752f, f.hi);
    uint32_t size = bits_of(x) & ~SIGN;
    float value = choose(less(size, INFINITE), with_sign_of(y.hi + (y.lo + rest), x), x);
    float outside = choose(less(ONE, size), float_of(NOT_A_NUMBER), float_of(INFINITE | SIGN));
    return unless_nan(x, choose(negative(x) & ~less(size, ONE), outside, value));
}

/* The stages of pow.  Each is a loop of its own: in one long chain of operations, a processor waits for every result. */

/* s = (m - 1) / (m + 1), of a positive normal number x = m * 2^k; hi has 12 bits. */
static inline struct two log_ratio(float x)
{
    float m;
    exponent_of(x, &m);
    float above = m - 1.0f, under = m + 1.0f, inverse = 1.0f / under;
    float hi = top(above * inverse), head = top(under), tail = m - (head - 1.0f);
    struct two s = {hi, inverse * ((above - hi * head) - hi * tail)};
    return s;
}

/* 3 / 2 log(m) = s (3 + s^2 + s^4 p(s^2)); 2^-36. */
static inline struct two log_series(struct two s)
{
    float all = s.hi + s.lo, z = all * all, zh = s.hi * s.hi;
    float rest = z * z * (0.600002289f + z * (0.428205669f + z * 0.351323247f)) + s.lo * (s.hi + all);
    float hi = top(3.0f + zh + rest), lo = rest - ((hi - 3.0f) - zh);
    struct two y = {s.hi * hi, s.lo * hi + lo * all};
    return y;
}

/* log2(x) = k + 2 / (3 log(2)) y; hi has 12 bits. */
static inline struct two log2_of(float x, struct two y)
{
    float m, k = unbiased(exponent_of(x, &m));
    float yh = top(y.hi + y.lo), yl = y.lo - (yh - y.hi);
    const float head = 0.961914062f, tail = -0.000117368574f;
    float th = head * yh, tl = tail * yh + yl * 0.961796701f;
    float hi = top((th + tl) + k);
    struct two log2 = {hi, tl - ((hi - k) - th)};
    return log2;
}

/* log(2) (x - n), n the whole number next to x; hi of x has 24 bits in front of and behind its point at most. */
static inline struct two exp2_rest(struct two x)
{
    uint32_t n;
    float f = x.hi - whole(x.hi + x.lo, &n), fh = top(f + x.lo), fl = x.lo - (fh - f);
    const float head = 0.693115234f, tail = 3.19461833e-05f;
    return sum(fh * head, fl * 0.693147182f + fh * tail);
}

/* What pow needs to know of an exponent other than 0 and NaN. */
struct exponent {
    float value;       /* no larger than 2^32, from where on nothing but 1 has a finite power */
    float head, tail;  /* of the value: its first 12 bits, and the others */
    float of_zero;     /* the power of zero */
    float of_infinity; /* the power of infinity */
    uint32_t odd;      /* the sign bit, if powers of negative numbers are negative */
    int fraction;      /* not 0 if negative numbers have no powers */
};

static struct exponent describe(float y)
{
    const float most = 4294967296.0f;
    float value = with_sign_of(limited(y, most), y), head = top(value), infinity = float_of(INFINITE);
    struct exponent e = {value, head, value - head, y < 0.0f ? infinity : 0.0f, y < 0.0f ? 0.0f : infinity, 0, 0};
    uint32_t bits = bits_of(y) & ~SIGN, biased = bits >> 23;
    if (biased < 127)
        e.fraction = 1;
    else if (biased <= 150) { /* larger ones are even, infinity too */
        uint32_t one = 0x00800000u >> (biased - 127);
        e.fraction = (bits & (one - 1)) != 0;
        e.odd = ((bits | 0x00800000u) & one) != 0 && !e.fraction ? SIGN : 0;
    }
    return e;
}

/* The exponent times a logarithm, limited to a magnitude of 160: beyond it the power is 0 or infinity. */
static inline struct two times(const struct exponent *y, struct two log2)
{
    float hi = y->head * log2.hi, size = limited(hi, 160.0f);
    uint32_t finite = less(bits_of(size), bits_of(160.0f));
    struct two all = {with_sign_of(size, hi), float_of(bits_of(y->tail * log2.hi + y->value * log2.lo) & finite)};
    return all;
}

/* 2^x for what exp2_rest left of x. */
static inline float exp2_of(float x, struct two rest)
{
    uint32_t n;
    whole(x, &n);
    struct two e = exp_reduced(rest.hi, rest.lo);
    return scale(e.hi + e.lo, n);
}

/* The power of x, if that of |x| is `power` where it is positive, normal and finite. */
static float special_power(float x, float power, const struct exponent *y)
{
    uint32_t bits = bits_of(x), size = bits & ~SIGN;
    if (size > INFINITE || (bits > SIGN && size >= SMALLEST_NORMAL && size < INFINITE && y->fraction))
        return float_of(NOT_A_NUMBER);
    power = size < SMALLEST_NORMAL ? y->of_zero : size == INFINITE ? y->of_infinity : power;
    return float_of(bits_of(power) | (bits & y->odd));
}

/* The next of n values, at most ROOM, to v; up to a multiple of BNN_LANES, others follow that nobody reads.  Their number. */
static size_t load(float *v, const float *in, size_t n)
{
    size_t count = n < ROOM ? n : (size_t)ROOM;
    memcpy(v, in, count * sizeof *v);
    for (size_t i = count; i % BNN_LANES != 0; i++)
        v[i] = 1.0f;
    return count;
}

/* For i from 0 to below n, or to a multiple of BNN_LANES: a compiler sees how many steps the inner loop has. */
#define FOR_LANES(i, n)                                     \
    for (size_t group = 0; group < (n); group += BNN_LANES) \
        for (size_t lane = 0, i = group; lane < BNN_LANES; lane++, i++)

/* The function NAME, whose value for x is VALUE. */
#define FUNCTION(NAME, VALUE)                              \
    void bnn_##NAME(float *out, const float *in, size_t n) \
    {                                                      \
        float v[ROOM];                                     \
        while (n > 0) {                                    \
            size_t count = load(v, in, n);                 \
            FOR_LANES (i, count) {                         \
                float x = v[i];                            \
                v[i] = VALUE;                              \
            }                                              \
            memcpy(out, v, count * sizeof *v);             \
            in += count;                                   \
            out += count;                                  \
            n -= count;                                    \
        }                                                  \
    }

FUNCTION(exp, exp_value(x))
FUNCTION(tanh, tanh_value(x))
FUNCTION(erf, erf_value(x))
FUNCTION(erfc, erfc_value(x))
FUNCTION(log1p, log1p_value(x))
FUNCTION(sigmoid, 1.0f / (1.0f + exp_value(-x)))
FUNCTION(elu, unless_nan(x, choose(negative(x) & less(0, bits_of(x) & ~SIGN), exp_value(x) - 1.0f, x)))

/* hi and lo of each value become NEXT, in which they are a. */
#define STAGE(NEXT)                                 \
    FOR_LANES (i, count) {                          \
        struct two a = {hi[i], lo[i]}, next = NEXT; \
        hi[i] = next.hi;                            \
        lo[i] = next.lo;                            \
    }

void bnn_pow(float *out, const float *in, size_t n, float exponent)
{
    if (exponent == 0.0f || exponent != exponent) { /* and 1 to the power of NaN is 1 */
        for (size_t i = 0; i < n; i++)
            out[i] = exponent == 0.0f || in[i] == 1.0f ? 1.0f : float_of(NOT_A_NUMBER);
        return;
    }
    const struct exponent y = describe(exponent);
    float v[ROOM], hi[ROOM], lo[ROOM], logs[ROOM];
    while (n > 0) {
        size_t count = load(v, in, n);
        FOR_LANES (i, count) {
            struct two s = log_ratio(magnitude(v[i]));
            hi[i] = s.hi;
            lo[i] = s.lo;
        }
        STAGE(log_series(a))
        STAGE(log2_of(magnitude(v[i]), a))
        STAGE(times(&y, a))
        FOR_LANES (i, count)
            logs[i] = hi[i] + lo[i];
        STAGE(exp2_rest(a))
        uint32_t special = 0, specials[BNN_LANES] = {0};
        FOR_LANES (i, count) {
            struct two rest = {hi[i], lo[i]};
            hi[i] = exp2_of(logs[i], rest);
            /* For positive normal numbers, neither sum has the sign bit. */
            specials[lane] |= (bits_of(v[i]) - SMALLEST_NORMAL) | (bits_of(v[i]) + SMALLEST_NORMAL);
        }
        for (size_t lane = 0; lane < BNN_LANES; lane++)
            special |= specials[lane];
        for (size_t i = 0; (special & SIGN) && i < count; i++)
            hi[i] = special_power(v[i], hi[i], &y);
        memcpy(out, hi, count * sizeof *hi);
        in += count;
        out += count;
        n -= count;
    }
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
