# SPDX-License-Identifier: Apache-2.0
"""Describe the extension `bnn._native` to cffi: its sources, and its declarations read from the C headers.

The only list of the C sources is here; other code uses `sources` and `headers`, and

    python bnn/runtime/build.py [core] [host] [kernels]
    python bnn/runtime/build.py headers

print it, one path per line.

`declarations` takes what it needs from those headers, so the C API is written only once, in C.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cffi import FFI

ROOT = Path(__file__).resolve().parents[2]
# The include paths of csrc/: public headers go by their names, the runtime's own by their paths below csrc/, and those
# of kernels by their paths below kernels/.
INCLUDE = ("csrc/include", "csrc", "kernels")
INCLUDE_FLAGS = [f"-I{folder}" for folder in INCLUDE]  # for calling a compiler in the root of the repository
# These declare what Python calls; below csrc/.
HEADERS = ("include/bnn.h", "include/bnn_host.h", "include/bnn_snn.h", "include/bnn_events.h")
PARTS = ("core", "host", "kernels")
# Contraction into fused multiply-adds would change float results.
FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", "-fvisibility=hidden", "-pthread"]
# Python's own flags ask for debug information, five times as large as the code.  CFLAGS=-g keeps it, and what else only
# a debugger reads: names of functions that are not exported, and tables for unwinding the stack.
DEBUG = bool(re.search(r"(^|\s)-g", os.environ.get("CFLAGS", "")))
NO_DEBUG = [] if DEBUG else ["-g0", "-fno-asynchronous-unwind-tables"]
# Make bugs in C harder to exploit.  gcc and clang know these; some distributions define the macro already.
HARDENING = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
# The linker's part: addresses of functions are resolved at once and then read-only, and stacks are not executable.
LINK_HARDENING = ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"] if sys.platform == "linux" else []
STRIP = ["-s"] if sys.platform == "linux" and not DEBUG else []
# What only firmware calls is left out of the library.
SECTIONS = ["-ffunction-sections", "-fdata-sections"] if sys.platform == "linux" else []
COLLECT = ["-Wl,--gc-sections"] if sys.platform == "linux" else []

# A poll of bnn.h that calls Python, so that signal handlers run; not at every call, which would take longer than the
# work between two calls.  ``next``: when to ask, by bnn_clock_ns; 0: not begun.
_PULSE = "typedef struct bnn_pulse { uint64_t next; void *handle; } bnn_pulse;"
# What a run of several samples reads and writes: arrays by sample, ``sample`` bytes from one to the next.
_SAMPLES = """
typedef struct bnn_rows { char *first; size_t sample; uint32_t population; int what; } bnn_rows;
typedef struct bnn_samples {
    size_t steps, inputs, records, next;
    int until_spike;
    uint32_t populations, projections;
    const void **frames;
    bnn_rows *given, *recorded;
    int64_t *taken;
    uint64_t *counts;
} bnn_samples;
"""
# The other functions are clocks and their sinks, in C so that timing does not wait for Python, and many calls in one.
_DECLARATIONS = """
int bnn_poll_python(void *pulse);
extern "Python" int bnn_ask_python(void *handle);
uint64_t bnn_clock_ns(void);
void bnn_record_ticks(void *ticks, uint32_t op, uint64_t nanoseconds);
bnn_status bnn_timed_events(bnn_events *engine, const float *frames, size_t size, uint64_t *nanoseconds, size_t runs);
void bnn_snn_counts(const bnn_snn_state *state, uint32_t populations, uint32_t projections, uint64_t *counts);
bnn_status bnn_snn_run_samples(bnn_snn_state *state, bnn_samples *samples, size_t end);
"""
_SOURCE = """
#include <time.h>

#define BNN_PULSE_NS 50000000u
#define BNN_SAMPLES_NS 10000000u

static uint64_t bnn_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int bnn_ask_python(void *handle);

static int bnn_poll_python(void *pulse)
{
    bnn_pulse *p = pulse;
    uint64_t now = bnn_clock_ns();
    if (p->next != 0 && now < p->next)
        return 0;
    int stop = p->next != 0 && bnn_ask_python(p->handle);
    p->next = now + BNN_PULSE_NS;
    return stop;
}

static void bnn_record_ticks(void *ticks, uint32_t op, uint64_t nanoseconds)
{
    ((uint64_t *)ticks)[op] += nanoseconds;
}

/* For networks with one input of `size` elements. */
static bnn_status bnn_timed_events(bnn_events *engine, const float *frames, size_t size, uint64_t *nanoseconds,
                                   size_t runs)
{
    bnn_status status = BNN_OK;
    for (size_t i = 0; status == BNN_OK && i < runs; i++, frames += size) {
        status = bnn_events_frame(engine, &frames);
        uint64_t start = bnn_clock_ns();
        if (status == BNN_OK)
            status = bnn_events_run(engine);
        nanoseconds[i] = bnn_clock_ns() - start;
    }
    return status;
}

/* What populations sent, then additions of projections. */
static void bnn_snn_counts(const bnn_snn_state *state, uint32_t populations, uint32_t projections, uint64_t *counts)
{
    for (uint32_t k = 0; k < populations; k++)
        *counts++ = bnn_snn_sent(state, k);
    for (uint32_t j = 0; j < projections; j++)
        *counts++ = bnn_snn_synops(state, j);
}

/* From the sample `next` on, each from the first step on, to before `end` or one that fails, or for as long as other
 * threads may wait to tell that one did. */
static bnn_status bnn_snn_run_samples(bnn_snn_state *state, bnn_samples *samples, size_t end)
{
    const uint64_t begin = bnn_clock_ns();
    do {
        for (size_t k = 0; k < samples->inputs; k++)
            samples->frames[k] = samples->given[k].first + samples->next * samples->given[k].sample;
        (void)bnn_snn_reset(state);
        for (size_t k = 0; k < samples->records; k++) {
            const bnn_rows *r = &samples->recorded[k];
            (void)bnn_snn_record(state, r->population, (bnn_snn_what)r->what, r->first + samples->next * r->sample,
                                 samples->steps);
        }
        const bnn_status status =
            (samples->until_spike ? bnn_snn_run_until_spike : bnn_snn_run)(state, samples->frames, samples->steps);
        for (size_t k = 0; k < samples->records; k++)
            (void)bnn_snn_record(state, samples->recorded[k].population, (bnn_snn_what)samples->recorded[k].what, NULL,
                                 0);
        if (status != BNN_OK)
            return status;
        samples->taken[samples->next++] = (int64_t)bnn_snn_steps(state);
        for (uint32_t k = 0; k < samples->populations; k++)
            samples->counts[k] += bnn_snn_sent(state, k);
        for (uint32_t j = 0; j < samples->projections; j++)
            samples->counts[samples->populations + j] += bnn_snn_synops(state, j);
    } while (samples->next < end && bnn_clock_ns() - begin < BNN_SAMPLES_NS);
    return BNN_OK;
}
"""


def sources(*parts: str) -> list[str]:
    """The C files of these parts of the runtime (default: all), relative to the root of the repository.

    ``core`` needs no operating system, ``host`` does, ``kernels`` are the inner loops.
    """
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise ValueError(f"no part of the runtime is called {', '.join(sorted(unknown))}; expected {', '.join(PARTS)}")
    return [path for path in _files("*.c") if _part(path) in (parts or PARTS)]


def headers() -> list[str]:
    """The project's own files that the C files include, relative to the root of the repository."""
    return [*_files("*.h"), *_files("*.inc")]


def _files(pattern: str) -> list[str]:
    found = (path for folder in ("csrc", "kernels") for path in (ROOT / folder).rglob(pattern))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def _part(path: str) -> str:
    return "kernels" if path.startswith("kernels/") else "host" if path.startswith("csrc/host/") else "core"


def declarations(header: str) -> str:
    """The parts of a C header that cffi's parser needs: its declarations and integer constants.  Its only macro is the
    list of statuses, which becomes the enumeration's."""
    text = re.sub(r"/\*.*?\*/|#ifdef __cplusplus.*?#endif", " ", header, flags=re.S).replace("\\\n", " ")
    statuses = " ".join(f"{name} = {value}," for name, value in re.findall(r"\bX\((\w+), (\d+),", text))
    lines = text.replace("    BNN_STATUS_LIST(BNN_STATUS_ENUM)", statuses).splitlines()
    return "\n".join(line for line in lines if not line.startswith("#") or re.fullmatch(r"#define \w+ \d+", line))


def version() -> str:
    """The version of the package, which cannot be imported yet."""
    return str(runpy.run_path(str(ROOT / "bnn/_version.py"))["__version__"])


def make() -> FFI:
    from cffi import FFI  # not needed for the list of sources

    ffi = FFI()
    for header in HEADERS:
        ffi.cdef(declarations((ROOT / "csrc" / header).read_text(encoding="utf-8")))
    ffi.cdef(_PULSE + _SAMPLES + _DECLARATIONS)
    ffi.cdef("static const char *const BNN_PACKAGE_VERSION;")  # the package compares it with its own version
    ffi.set_source(
        "bnn._native",
        "".join(f'#include "{header}"\n' for header in HEADERS)
        + _PULSE
        + _SAMPLES
        + _SOURCE
        + f'#define BNN_PACKAGE_VERSION "{version()}"\n',
        sources=sources(),
        depends=[*headers(), "bnn/runtime/build.py"],
        include_dirs=list(INCLUDE),
        extra_compile_args=[*FLAGS, *SECTIONS, *NO_DEBUG, *HARDENING],
        extra_link_args=["-pthread", *LINK_HARDENING, *COLLECT, *STRIP],
    )
    return ffi


ffibuilder = make() if __name__ == "__cffi__" else None
if __name__ == "__main__":
    print(*(headers() if sys.argv[1:] == ["headers"] else sources(*sys.argv[1:])), sep="\n")
