# SPDX-License-Identifier: Apache-2.0
"""Fuzz whatever reads what a stranger may have written.

    make fuzz                              every target for a minute, two at a time
    make fuzz FUZZ_SECONDS=3600            for an hour each
    make fuzz FUZZ_RUNS=10800000           a million executions of each C target, of the others a hundred thousand
    python tests/fuzz/run.py load run      these targets alone; --help tells the rest

| target     | what                                                                                             |
|------------|--------------------------------------------------------------------------------------------------|
| load       | bnn_model_open on any bytes                                                                      |
| run        | bnn_run on what opens: batches, workers, one op at a time; against one image at a time           |
| events     | the event engine on a model and its populations, its calls in any order; against bnn_run         |
| calls      | the C API in any order, with wrong arguments                                                     |
| spikes     | networks of spiking neurons: .snn files, and the calls of bnn_snn.h in any order                 |
| recordings | bnn.streams.recordings.read: every format                                                        |
| arrays     | .npy and .npz files as the command line reads them                                               |
| nir        | NIR files, up to where an importer would get them                                                |
| keras      | the configuration of .keras and .h5 files of Keras 2, Larq and Keras 3, up to the graph          |
| hdf5       | the objects of .h5 files, and of the weights in .keras files: links, types, attributes, storage  |
| savedmodel | the protocol buffer of a SavedModel, up to the graph                                             |
| onnx       | the protocol buffer of an .onnx file, up to the graph; now and then it is compiled               |
| tflite     | .tflite files, in the same way: what they describe, and their words and bytes                    |

The first five are C, in one process that reuses its memory, with a mutator that knows the format (mutator.c,
pairs_mutator.c, spikes_mutator.c).  Each is built twice: the runtime under AddressSanitizer and
UndefinedBehaviorSanitizer, and as "load-memory" and so on under MemorySanitizer.  They need clang (CLANG=..., default:
clang-19 or clang) with libFuzzer, in Debian's libclang-rt-19-dev.  The twins share the seconds of a target, and the C
targets divide theirs so that all have about as many executions.

The others are Python under atheris, for which a virtual environment is made beside the one that runs this file.  They
fail on anything but a BnnError, and where the reader of a file writes, connects, runs or imports code, or uses more
than 1.5 GiB (watch.py).  From nir on, an input is a recipe (recipe.py): which valid file is edited (sources.py) and how
(hdf5_edits.py, json_edits.py, proto_edits.py, tflite_edits.py).

libFuzzer begins with the number of the commit (tests/seed.py; BNN_TEST_SEED is another one).

All of it lies in build/fuzz: `corpus` grows from run to run, `found` holds what must not be.  Seeds are made anew
(seeds.py), so that every op and the current version are among them; tests/fuzz/corpus adds what fuzzing found and seeds
do not reach.  `--merge` makes that anew from build/fuzz/corpus.  To look at a finding:

    build/fuzz/address/run build/fuzz/found/run-crash-...
    make fuzz ARGS="--replay keras build/fuzz/found/keras-crash-..."

A crash, a hang, a leak or too much memory stops its target and makes the exit status 1.  tests/fuzz/test_replay.py runs
the seeds and the corpus with the other tests, without clang.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sanitized import SANITIZE, Build  # noqa: E402
from seed import SEED  # noqa: E402

BUILD = ROOT / "build" / "fuzz"
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
# Of the C targets: what an execution costs, in relation to the others.
COST = {"load": 1.0, "run": 3.0, "events": 3.0, "calls": 2.0, "spikes": 0.6}
MEMORY = "-memory"  # ends the name of a target that is built with MemorySanitizer
C_TARGETS = [f"{name}{twin}" for name in COST for twin in ("", MEMORY)]
PYTHON_TARGETS = ["recordings", "arrays", "nir", "keras", "hdf5", "savedmodel", "onnx", "tflite"]
TARGETS = [*C_TARGETS, *PYTHON_TARGETS]
RUNS_IN_C = 10  # for one in Python, which costs much more
PYTHON_PACKAGES = ("atheris>=2.3,<4", "nir>=1.0.4,<2")
RECIPES = PYTHON_TARGETS[2:]  # whose inputs are short
LIMITS = ("-timeout=25", "-rss_limit_mb=2048", "-malloc_limit_mb=512")
MOST_KEPT = 1600  # bytes of an input in tests/fuzz/corpus
KINDS = ("crash", "timeout", "leak", "oom")


@dataclass
class Outcome:
    """What became of a target."""

    target: str
    executions: int = 0
    seconds: float = 0.0
    edges: int = 0
    found: list[Path] = field(default_factory=list)
    error: str = ""

    @property
    def ok(self) -> bool:
        return not self.found and not self.error

    def row(self) -> str:
        counts = (sum(f"-{kind}-" in path.name for path in self.found) for kind in KINDS)
        speed = self.executions / self.seconds if self.seconds else 0
        cells = (f"{n:>8}" for n in counts)
        return f"{self.target:<15}{self.executions:>14,}{speed:>12,.0f}{self.edges:>8}" + "".join(cells)


def fuzz_flags(source: Path, checks: Sequence[str]) -> Sequence[str]:
    """Coverage guides by the runtime alone.  Comparisons are not traced: most are the sanitizers' own checks.  Unrolled
    tiles of vector kernels would take minutes to optimize, and fuzzed networks are small."""
    coverage = ("-fsanitize-coverage=inline-8bit-counters,pc-table",)
    return ("-O0" if _has_tiles(source) else "-O1", *checks, *(coverage if source.parts[0] != "tests" else ()))


def address_flags(source: Path) -> Sequence[str]:
    """Vector kernels have AddressSanitizer's checks alone."""
    return fuzz_flags(source, ("-g", "-fsanitize=address") if _has_tiles(source) else SANITIZE)


def memory_flags(source: Path) -> Sequence[str]:
    return fuzz_flags(source, ("-g", "-fsanitize=memory", "-DFUZZ_MEMORY_SANITIZER"))


def _has_tiles(source: Path) -> bool:
    return source.parent.name in ("simd", "x86")


def clang() -> str:
    found = os.environ.get("CLANG") or shutil.which("clang-19") or shutil.which("clang")
    if found is None:
        raise SystemExit("fuzz: no clang; on Debian: apt-get install clang-19 libclang-rt-19-dev, or name it in CLANG")
    return found


def program(target: str) -> Path:
    """Of a C target."""
    return BUILD / ("memory" if target.endswith(MEMORY) else "address") / target.removesuffix(MEMORY)


def build_c(target: str) -> None:
    made, memory = program(target), target.endswith(MEMORY)
    build = (
        Build(made.parent, memory_flags, ("-fsanitize=fuzzer,memory",), clang())
        if memory
        else Build(made.parent, address_flags, ("-fsanitize=fuzzer,address,undefined",), clang())
    )
    mutator = {"spikes": ("spikes_mutator",), "events": ("pairs_mutator",)}.get(made.name, ("mutator", "sketch"))
    build.program(made.name, [Path("tests/fuzz", f"{name}.c") for name in (made.name, "fuzz", *mutator)])


def build_python() -> None:
    """An interpreter with atheris, and the packages of this one; bnn is that of this tree, as it was built in it."""
    if not (BUILD / "venv" / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(BUILD / "venv")], check=True)
        python = [
            str(BUILD / "venv" / "bin" / "python"),
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ]
        own = subprocess.run(python, check=True, capture_output=True, text=True).stdout.strip()
        Path(own, "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([*python[:1], "-m", "pip", "install", "-q", "--no-deps", *PYTHON_PACKAGES], check=True)
        (BUILD / "venv" / "ready").touch()


def command(target: str) -> list[str]:
    if target in C_TARGETS:
        return [str(program(target))]
    return [str(BUILD / "venv" / "bin" / "python"), "tests/fuzz/python_targets.py", target]


def kind_of(target: str) -> str:
    """What its inputs are: those of the C targets but two are all models."""
    if target in C_TARGETS:
        return {"spikes": "spikes", "events": "pairs"}.get(target.removesuffix(MEMORY), "c")
    return target


def corpora(target: str) -> list[str]:
    """Where inputs lie; new ones go to the first folder."""
    folders = [BUILD / "corpus" / target, BUILD / "seeds" / kind_of(target), CORPUS / kind_of(target)]
    folders[0].mkdir(parents=True, exist_ok=True)
    return [str(folder) for folder in folders if folder.is_dir()]


@contextlib.contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Of a target.  Its folder for temporary files is in memory, where the system has such a folder: a file a time is
    written."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    own = {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "UBSAN_OPTIONS": "print_stacktrace=1"}
    with tempfile.TemporaryDirectory(prefix="bnn-fuzz-", dir=shared) as folder:
        yield {**os.environ, **own, "TMPDIR": folder}


def run(target: str, seconds: float, runs: int) -> Outcome:
    """So many seconds or, if not 0, runs.  A process that has grown ends before, and another one goes on."""
    (BUILD / "found").mkdir(exist_ok=True)
    outcome, begun, log = Outcome(target), time.time(), BUILD / f"{target}.log"
    log.unlink(missing_ok=True)
    while outcome.ok and (outcome.executions < runs if runs else seconds - outcome.seconds >= 1):
        _run_process(outcome, log, seconds - outcome.seconds, runs - outcome.executions if runs else 0)
        found = (p for p in (BUILD / "found").glob(f"{target}-*") if p.stat().st_mtime >= begun)
        outcome.found = [p for p in found if p.name.removeprefix(f"{target}-").startswith(KINDS)]
    print(f"{target}: {'done' if outcome.ok else f'FAILED, see {log}'}", flush=True)
    return outcome


def _run_process(outcome: Outcome, log: Path, seconds: float, runs: int) -> None:
    target = outcome.target
    limit = [f"-runs={runs}"] if runs else [f"-max_total_time={math.ceil(seconds)}"]
    length = ("-max_len=160", "-len_control=0") if target in RECIPES else ("-max_len=16384",)
    limit.append(f"-seed={SEED + outcome.executions}")  # 0 would be drawn
    options = [*limit, *LIMITS, *length, f"-artifact_prefix={BUILD / 'found'}/{target}-", "-print_final_stats=1"]
    if target not in C_TARGETS:
        options.append("-detect_leaks=0")  # of the interpreter
    begun, before = time.monotonic(), log.stat().st_size if log.exists() else 0
    called = [*command(target), *options, *corpora(target)]
    with open(log, "ab") as file, environment() as own:
        status = subprocess.run(called, cwd=ROOT, env=own, stdout=file, stderr=file).returncode
    text = log.read_bytes()[before:].decode(errors="replace")
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", text, re.M)
    count = max((int(a or b) for a, b in executed), default=0)
    edges = re.findall(r" cov: (\d+)", text)
    outcome.executions += count
    outcome.seconds += time.monotonic() - begun
    outcome.edges = int(edges[-1]) if edges else outcome.edges
    if status != 0 or count == 0:
        outcome.error = f"exit status {status} after {count} executions"


def report(outcomes: Sequence[Outcome]) -> None:
    head = "".join(f"{kind:>8}" for kind in ("crashes", "hangs", "leaks", "memory"))
    print(f"\n{'target':<15}{'executions':>14}{'per second':>12}{'edges':>8}{head}")
    for outcome in outcomes:
        print(outcome.row())
        for path in outcome.found:
            print(f"    {path.relative_to(ROOT)}")
        if outcome.error and not outcome.found:
            print(f"    {outcome.error}; see build/fuzz/{outcome.target}.log")
    total = sum(o.executions for o in outcomes)
    print(f"{'all':<15}{total:>14,}    {sum(len(o.found) for o in outcomes)} findings")


def merge(targets: Sequence[str]) -> None:
    """tests/fuzz/corpus anew: of small inputs that fuzzing found, as few as reach every line that seeds do not."""
    for kind in dict.fromkeys(map(kind_of, targets)):
        target = {"c": "calls", "pairs": "events"}.get(kind, kind)  # calls opens and runs: it reaches what all reach
        grown = [str(BUILD / "corpus" / t) for t in targets if kind_of(t) == kind]
        kept, known = BUILD / "merged" / kind, BUILD / "seeds" / kind
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(known, kept)
        merging = [*command(target), "-merge=1", "-use_counters=0", f"-max_len={MOST_KEPT}", str(kept), *grown]
        with environment() as own:
            subprocess.run(merging, cwd=ROOT, env=own, check=True, stderr=subprocess.DEVNULL)
        shutil.rmtree(CORPUS / kind, ignore_errors=True)
        (CORPUS / kind).mkdir(parents=True)
        for path in kept.iterdir():
            if not (known / path.name).exists() and path.stat().st_size <= MOST_KEPT:
                shutil.copy(path, CORPUS / kind / path.name)


def make_seeds(targets: Sequence[str]) -> None:
    from fuzz import seeds

    shutil.rmtree(BUILD / "seeds", ignore_errors=True)
    for kind in dict.fromkeys(map(kind_of, targets)):
        print(f"{kind}: {seeds.write(kind, BUILD / 'seeds' / kind)} seeds", flush=True)


def shares(targets: Sequence[str], seconds: int, runs: int) -> dict[str, tuple[float, int]]:
    """The seconds and executions of each target, of so many seconds for each and so many executions altogether."""
    weights = {t: RUNS_IN_C if t in C_TARGETS else 1 for t in targets}
    costs = {t: COST[t.removesuffix(MEMORY)] for t in targets if t in C_TARGETS}
    in_c = seconds * len({t.removesuffix(MEMORY) for t in costs})
    return {
        target: (
            max(1.0, in_c * costs[target] / sum(costs.values())) if target in costs else float(seconds),
            math.ceil(runs * weights[target] / sum(weights.values())),
        )
        for target in targets
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz whatever reads what a stranger may have written.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--runs", type=int, default=0, help="executions of all targets together, instead of seconds")
    parser.add_argument("--jobs", type=int, default=2, help="targets side by side (2)")
    parser.add_argument("--merge", action="store_true", help="make tests/fuzz/corpus anew; fuzz nothing")
    parser.add_argument("--replay", nargs="+", metavar=("TARGET", "FILE"), help="run a target on files; fuzz nothing")
    options = parser.parse_args()
    targets = options.replay[:1] if options.replay else options.targets or TARGETS
    unknown = set(targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")

    print(f"BNN_TEST_SEED={SEED}")
    make_seeds(targets)
    for target in targets:
        build_c(target) if target in C_TARGETS else build_python()
    if options.replay:
        files = [os.path.abspath(path) for path in options.replay[1:]]
        with environment() as own:
            return subprocess.run([*command(targets[0]), *LIMITS, *files], cwd=ROOT, env=own).returncode
    if options.merge:
        merge(targets)
        return 0
    plan = shares(targets, options.seconds, options.runs)
    longest = sorted(targets, key=lambda t: (t in C_TARGETS, -plan[t][0]))  # those that take long to begin at first
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(lambda t: run(t, *plan[t]), longest))
    report(outcomes)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
