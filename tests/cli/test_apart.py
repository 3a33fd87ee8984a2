# SPDX-License-Identifier: Apache-2.0
"""The process in which a model file is loaded: its limits, how it ends, and that nothing of it is left."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import pytest

import bnn
from bnn import errors
from bnn.cli import apart, child
from bnn.cli.apart import Limits, run_apart
from bnn.runtime.arrays import machine_memory

pytestmark = pytest.mark.child
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits memory, and ends children with parents")


NONE = Limits(0, 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What is loaded; the tests act before anybody looks into it."""
    path = tmp_path / "network.keras"
    path.write_bytes(b"")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "net.bnn"


def running(mark: str) -> list[int]:
    """Numbers of the processes with a word in their command line or environment, but for this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def gone(mark: str) -> bool:
    """Whether none of them is left, at once or soon."""
    for _ in range(1000):  # each looks at every process
        if not running(mark):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """stand_in(script): what the shell runs instead of the Python of the other process, "$python".  Answers are
    written to "$pipe"."""
    path = tmp_path / "python"

    def place(script: str) -> None:
        pipe = """pipe=/dev/fd/$(printf %s "$*" | sed 's/.*"pipe": \\([0-9]*\\).*/\\1/')"""
        path.write_text(f"#!/bin/sh\npython={shlex.quote(python)}\n{pipe}\n{script}\n")
        path.chmod(0o700)

    python = sys.executable
    monkeypatch.setattr(sys, "executable", str(path))
    return place


class TestLimits:
    @pytest.mark.parametrize("code", [
        "import re; re.match('(a+)+b', 'a' * 64)",  # Python itself is held up
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); signal.pause()",
    ])  # fmt: skip
    def test_an_import_that_hangs(self, call: Any, model: Path, out: Path, when_loading: Any, code: str) -> None:
        when_loading(code)
        done = call("compile", model, "-o", out, "--timeout", 1)
        assert done.status == 2 and done.out == "" and not out.exists()
        assert done.err.startswith(f"bnn: error: {model}: loading it made no progress for 1 second and was stopped")
        assert "--timeout" in done.err and gone(str(model))

    @pytest.mark.parametrize("nir", [False, True])
    def test_verify_too(self, call: Any, model: Path, net: Path, when_loading: Any, nir: bool) -> None:
        """libhdf5 hangs on some files that are damaged."""
        when_loading("import time; time.sleep(600)", module="h5py" if nir else "tensorflow")
        done = call("verify", *(["--nir"] if nir else []), model, net, "--timeout", 1)
        assert done.status == 2 and done.err.startswith(f"bnn: error: {model}: loading it made no progress for 1 sec")

    @linux
    @pytest.mark.parametrize("code", [
        "held = [bytearray(2**24) for _ in range(1024)]",
        "try:\n    bytearray(2**34)\nexcept MemoryError as error:\n    raise ValueError('cannot load') from error",
    ])  # fmt: skip
    def test_an_import_that_swells(self, call: Any, model: Path, out: Path, when_loading: Any, code: str) -> None:
        when_loading(code)
        done = call("compile", model, "-o", out, "--max-memory", "512M")
        assert done.status == 2 and done.out == "" and not out.exists()
        assert done.err.startswith(f"bnn: error: {model}: loading it needs more than the allowed 512M of memory")
        assert "--max-memory" in done.err

    @linux
    @pytest.mark.parametrize("words", ["failed to map segment from shared object", "cannot map zero-fill pages"])
    def test_a_library_that_does_not_fit(self, call: Any, model: Path, when_loading: Any, words: str) -> None:
        when_loading(f"raise ImportError('lib.so.2: {words}')")
        done = call("compile", model, "--max-memory", "1G")
        assert done.status == 2
        assert done.err.startswith(f"bnn: error: {model}: loading it needs more than the allowed 1G of memory; ")
        assert done.err.endswith("--max-memory\n")

    @linux
    def test_a_network_that_swells(self, call: Any, tmp_path: Path, out: Path) -> None:
        """A file of some hundred bytes, one of whose values takes most of what is allowed while it is read."""
        pytest.importorskip("tf_keras")
        path, shape = tmp_path / "large.keras", [None, 128, 128, 4]
        layers = [
            {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_input_shape": shape}},
            {"module": "keras.layers", "class_name": "UpSampling2D", "config": {"size": [32, 32]}},
        ]
        config = {"module": "keras", "class_name": "Sequential", "config": {"name": "large", "layers": layers}}
        with h5py.File(tmp_path / "weights", "w") as weights:
            weights.create_group("vars")
            weights.create_group("layers/up_sampling2d/vars")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
            archive.writestr("config.json", json.dumps(config))
            archive.write(tmp_path / "weights", "model.weights.h5")
        done = call("compile", path, "-o", out, "--max-memory", "1G")
        assert done.status == 2 and done.err.startswith(f"bnn: error: {path}: ") and not out.exists()
        assert "--max-memory" in done.err

    @linux
    def test_what_the_process_is_limited_to(self, call: Any, model: Path, when_loading: Any, stand_in: Any) -> None:
        """Not more than was allowed to this one, and no file of what was in memory."""
        when_loading(
            "import resource, signal\n"
            "print(resource.getrlimit(resource.RLIMIT_DATA)[0], resource.getrlimit(resource.RLIMIT_CORE)[0],"
            "signal.getitimer(signal.ITIMER_REAL)[0])\n"
            "import bnn; raise bnn.InputError('enough')"
        )
        run = 'exec "$python" "$@"'
        for script, options, memory, seconds in (
            (run, ["--max-memory", 0, "--timeout", 0], -1, 0), (run, ["--max-memory", "3G", "--timeout", 99], 3, 99),
            (run, [], min(2**34, machine_memory()) / 2**30, 600),
            (f"ulimit -d {2**22}; {run}", ["--max-memory", "5G"], 4, 600),
            (f"ulimit -d {2**22}; {run}", ["--max-memory", "3G"], 3, 600),
        ):  # fmt: skip
            stand_in(script)
            found, core, left = map(float, call("compile", model, *options).out.split())
            assert found == (memory * 2**30 if memory > 0 else -1) and (core == 0 or memory < 0)
            assert seconds - 60 * bool(seconds) <= left <= seconds

    @pytest.mark.parametrize(("options", "expected"), [
        ([], Limits(min(2**34, machine_memory()), 600)),
        (["--max-memory", "0", "--timeout", "0"], Limits(0, 0)),
        *((["--max-memory", text], Limits(size, 600)) for text, size in (
            ("5", 5), ("5B", 5), ("1k", 2**10), ("2KB", 2**11), ("512M", 2**29), ("8g", 2**33), ("8GiB", 2**33),
            ("3tib", 3 * 2**40), ("00", 0), ("9" * 18, 10**18 - 1), ("4194303T", 4194303 * 2**40),
            ("4194305T", 2**62), ("9" * 18 + "T", 2**62),
        )),
        *((["--timeout", str(seconds)], Limits(min(2**34, machine_memory()), min(seconds, 10**8)))
          for seconds in (7, 10**8, 10**8 + 1, 10**30)),
    ])  # fmt: skip
    def test_options(self, options: list[str], expected: Limits) -> None:
        found: list[Limits] = []
        command = click.command()(apart.limit_options(lambda limits: found.append(limits)))
        command.main(options, standalone_mode=False)
        assert found == [expected]

    def test_sizes_as_texts(self) -> None:
        texts = {
            0: "0B", 5: "5B", 1023: "1023B", 1024: "1K", 1536: "1536B", 2**20: "1M", 2**29: "512M", 3 * 2**39: "1536G",
            2**40: "1T", 2**50: "1024T",
        }  # fmt: skip
        assert {size: apart.size_text(size) for size in texts} == texts

    @pytest.mark.parametrize("size", ["", "G", "-1G", "1.5G", "8X", "1e9", "\u0663G", "8 G", "9" * 19, "1i", "KK"])
    def test_what_is_no_size(self, call: Any, model: Path, size: str) -> None:
        done = call("compile", model, f"--max-memory={size}")
        assert done.status == 2 and "expected something like 512M or 8G" in done.err

    @pytest.mark.parametrize("command", ["compile", "verify"])
    def test_help_states_them(self, call: Any, command: str) -> None:
        words = " ".join(call(command, "--help").out.split())
        assert "Default: 16G, or the machine's memory if that is less" in words and "Default: 600." in words

    def test_where_memory_cannot_be_limited(
        self, call: Any, model: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        done = call("compile", model, "--max-memory", "8G")
        assert done.status == 2 and "only Linux can limit a process's memory" in done.err
        stand_in("kill -SEGV $$")
        done = call("compile", model)
        assert done.err.endswith("was ended by SIGSEGV; the file may be damaged or malicious\n")
        with pytest.raises(bnn.CompileError, match="model: loading it needs more memory than is available"):
            over(MemoryError(), Limits(2**30, 0))


class TestEnds:
    @pytest.mark.parametrize(("script", "options", "words"), [
        ("kill -ALRM $$", ["--timeout", 9], "loading it made no progress for 9 seconds and was stopped; .*--timeout$"),
        ("exit 0", ["--max-memory", 0], r"loads it ended \(status 0\) without a result; .* damaged or malicious$"),
        ("exit 14", ["--max-memory", "1G"], r"ended \(status 14\) without a result; .* the allowed 1G .*--max-memory$"),
        ('"$python" "$@"', [], r"ended \(status 1\) without a result; "),  # it is not the child of who waits for it
        ("kill -KILL $$", [], "ended by SIGKILL; the machine may have run out of memory: .*--max-memory to find out$"),
        ("kill -SEGV $$", ["--max-memory", 0], "ended by SIGSEGV; the file may be damaged or malicious$"),
        ("kill -TERM $$", ["--max-memory", "1G"], "SIGTERM; the file .*; or .* than the allowed 1G .*--max-memory$"),
        ("kill -40 $$", ["--max-memory", 0], "ended by signal 40; the file may be damaged or malicious$"),
        ("""printf '["working", 1]\\n["result", "' >$pipe; kill -TERM $$""", [], "ended by SIGTERM"),
        ("""printf '["result", "AAAA"]' >$pipe; exit 3""", [], r"ended \(status 3\)"),  # a line without its end
    ])  # fmt: skip
    def test_without_a_result(
        self, call: Any, model: Path, out: Path, stand_in: Any, script: str, options: list[Any], words: str
    ) -> None:
        stand_in(script)
        done = call("compile", model, "-o", out, *options)
        assert done.status == 2 and done.out == "" and not out.exists()
        with pytest.raises(bnn.CompileError, match=words):
            raise bnn.CompileError(done.err.removeprefix(f"bnn: error: {model}: ").strip())

    def test_it_cannot_be_started(self, call: Any, model: Path, stand_in: Any) -> None:
        """Nothing is left open, and Ctrl-C is heard."""
        opened = os.listdir("/dev/fd")
        assert call("compile", model).status == 2
        assert os.listdir("/dev/fd") == opened
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    @linux
    @pytest.mark.parametrize("flags", ["-I", "-E -S", "-s -Werror::FutureWarning"])
    def test_it_starts_as_this_one_did(self, model: Path, tmp_path: Path, flags: str) -> None:
        names = "isolated", "ignore_environment", "no_user_site", "no_site"
        show = f"import sys; print([getattr(sys.flags, n) for n in {names}], sys.warnoptions, flush=True)\n"
        (tmp_path / "tensorflow.py").write_text(f"{show}import bnn; raise bnn.InputError('enough')")
        code = f"{show}sys.path[:] = sys.argv[2:]; from bnn.cli import main; main(['compile', sys.argv[1]])"
        paths = [str(tmp_path), *map(str, sys.path)]
        command = [sys.executable, *flags.split(), "-c", code, str(model), *paths]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        first, second = done.stdout.splitlines()
        assert first == second and done.stderr == "bnn: error: enough\n"

    @linux
    def test_an_interrupt_ends_both(self, model: Path, tmp_path: Path, when_loading: Any) -> None:
        """As a terminal does it: the signal goes to both processes."""
        when_loading(f"open({str(tmp_path / 'begun')!r}, 'w')\nwhile True: pass")
        begun = time.monotonic()
        process = start(["compile", str(model)], tmp_path)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate()
        assert time.monotonic() - started < 1 + 2 * (started - begun)  # it is not waited for
        assert process.returncode == 130 and err == b"bnn: interrupted\n"
        assert gone(str(model))

    @linux
    def test_the_child_dies_with_its_parent(self, model: Path, tmp_path: Path, when_loading: Any) -> None:
        when_loading(f"open({str(tmp_path / 'begun')!r}, 'w')\nwhile True: pass")
        process = start(["compile", str(model)], tmp_path)
        process.kill()
        process.wait()
        assert gone(str(model))

    def test_its_temporary_files_are_removed(self, call: Any, model: Path, out: Path, when_loading: Any) -> None:
        when_loading(
            "import os, signal, tempfile\n"
            "os.write(tempfile.mkstemp()[0], b'left'); print(tempfile.gettempdir(), flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        folder = Path(call("compile", model, "-o", out).out.strip())
        assert folder.name.startswith("bnn-") and not folder.exists()

    def test_what_it_prints_is_printed(self, call: Any, model: Path, out: Path, when_loading: Any) -> None:
        when_loading("import bnn; print('before'); raise bnn.InputError('enough')")
        done = call("compile", model, "-o", out)
        assert (done.status, done.out, done.err) == (2, "before\n", "bnn: error: enough\n")


def start(arguments: list[str], folder: Path) -> Any:
    """The command in a session of its own, once it loads the model."""
    paths = [os.environ["PYTHONPATH"], str(Path(bnn.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [sys.executable, "-m", "bnn", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
        env=environment, start_new_session=True,
    )  # fmt: skip
    while not (folder / "begun").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BnnError)]


class TestErrors:
    @pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
    def test_they_cross_as_themselves(self, kind: type[BaseException]) -> None:
        error = kind("layer '\udc80': \u00e9: found 1, expected 2")
        if isinstance(error, OSError):
            error.errno = 13
        with pytest.raises(kind) as caught:
            over(error)
        found = caught.value
        assert type(found) is kind and str(found) == str(error) and getattr(found, "errno", 13) == 13

    def test_others(self) -> None:
        class OwnError(errors.UnsupportedOpError):
            """Of another module."""

        for error, kind, words in (
            (OwnError("no"), errors.UnsupportedOpError, "^no$"),
            (PermissionError(13, "no", b"some\xff"), PermissionError, r"no: 'some\\udcff'"),
            (OSError(5, "io"), OSError, r"^\[Errno 5\] io$"), (KeyError("no such key"), RuntimeError, "no such key"),
            (SystemExit("out"), RuntimeError, "^out$"), (KeyboardInterrupt("no"), RuntimeError, "^no$"),
        ):  # fmt: skip
            with pytest.raises(kind, match=words) as caught:
                over(error)
            assert type(caught.value) is kind and type(error).__name__ in str(caught.value.__cause__)

    def test_of_memory(self) -> None:
        class ResourceExhaustedError(Exception):
            """As TensorFlow calls it."""

        def after(first: BaseException, explicit: bool) -> BaseException:
            second = ValueError("second")
            second.__cause__, second.__context__ = (first, None) if explicit else (None, first)
            return second

        for error in (MemoryError(), ResourceExhaustedError()):
            for raised in (error, after(error, True), after(error, False), after(after(error, False), True)):
                with pytest.raises(bnn.CompileError, match="^model: loading it needs more memory than is available$"):
                    over(raised)
                with pytest.raises(bnn.CompileError, match="more than the allowed 1G of memory; .* --max-memory$"):
                    over(raised, Limits(2**30, 0))
        with pytest.raises(RuntimeError, match="second"):
            over(after(KeyError(), True))

    def test_a_bug_is_told_with_both_tracebacks(
        self, model: Path, when_loading: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        when_loading("raise KeyError('deep down')")
        assert bnn.cli.main(["compile", str(model), "-o", "net.bnn"]) == 2
        err = capfd.readouterr().err
        assert "sitecustomize.py" in err and "KeyError: 'deep down'" in err and "this is a bug of bnn" in err

    def test_debug_shows_where(self, model: Path, when_loading: Any, capfd: pytest.CaptureFixture[str]) -> None:
        when_loading("import bnn; raise bnn.CompileError('deep down')")
        assert bnn.cli.main(["--debug", "compile", str(model), "-o", "net.bnn"]) == 2
        err = capfd.readouterr().err
        assert "sitecustomize.py" in err and err.splitlines()[-1] == "bnn: error: deep down"


def over(error: BaseException, limits: Limits = NONE) -> None:
    """Raise an error as the other side does that learns of it."""

    class Raises:
        def send(self, kind: str) -> None:
            raise error

    apart.outcome("model", limits, *json.loads(json.dumps(child.perform("compile", Raises(), {"model": "a.tflite"}))))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with modules that nobody may import."""
    folder = tmp_path / "elsewhere"
    (folder / "bnn").mkdir(parents=True)
    for name in ("json", "struct", "ctypes", "tensorflow", "numpy", "bnn/__init__"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    yield tmp_path / "harm"


def test_modules_in_the_current_folder_are_not_imported(
    call: Any, model: Path, out: Path, elsewhere: Path, when_loading: Any
) -> None:
    assert "" not in sys.path and os.getcwd() not in sys.path
    when_loading("import bnn; raise bnn.InputError('enough')")
    assert call("compile", model, "-o", out).err == "bnn: error: enough\n"
    assert not elsewhere.exists()


def test_the_parent_imports_no_tensorflow(model: Path, tmp_path: Path, when_loading: Any) -> None:
    when_loading("import bnn; raise bnn.InputError('enough')")
    code = (
        "import sys; from bnn.cli import main; main(['compile', sys.argv[1], '-o', sys.argv[2]]);"
        "print(sorted({'tensorflow', 'keras', 'tf_keras', 'h5py'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(model), str(tmp_path / "net.bnn")]
    done = subprocess.run(command, cwd=Path(bnn.__file__).parents[1], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "bnn: error: enough\n")


@linux
def test_a_reader_that_goes_away_ends_the_child(model: Path, stand_in: Any) -> None:
    def gone_away(_: Any) -> None:
        raise BrokenPipeError

    stand_in("""printf '["working", 1]\\n' >$pipe; exec sleep 600""")
    with pytest.raises(BrokenPipeError):
        run_apart("compile", str(model), Limits(0, 60), {"working": gone_away})
    assert gone(str(model))


def test_answers() -> None:
    """Lines; time does not count while the reader lets the process wait."""
    receive, send = os.pipe()
    os.set_inheritable(send, True)
    read: list[bytes] = []

    def slowly() -> None:
        with open(receive, "rb") as pipe:
            time.sleep(0.3)
            read.extend(pipe)

    expired: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: expired.append(number))
    reader = threading.Thread(target=slowly, daemon=True)
    try:
        answers = child.Answers(send, 0.1)  # type: ignore[arg-type]
        assert not os.get_inheritable(send) and 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.1
        reader.start()
        answers.send("dump", "\u00e9" * 2**17)
        assert not expired and 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.1
        answers.send("result", ["two\nlines"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    del answers
    reader.join()
    assert [json.loads(line) for line in read] == [["dump", "\u00e9" * 2**17], ["result", ["two\nlines"]]]


def test_compile_hands_on_what_it_was_given(
    call: Any, small: Any, tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a process that answers with the small network."""
    answers = [["working", None], ["dump", "a graph"], ["result", base64.b64encode(small.data).decode()]]
    (tmp_path / "answers").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))
    task = """printf %s "$*" | sed 's/.*main(sys.argv.1.) //' >task"""
    stand_in(f"{task}; cat answers >$pipe")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").touch()

    def handed() -> Any:
        return json.JSONDecoder().raw_decode(Path("task").read_text())[0]

    done = call("compile", "saved/")
    assert (done.status, done.err) == (0, "") and Path("saved.bnn").read_bytes() == small.data
    lines = done.out.splitlines()
    assert lines[0] == "a graph" and lines[-1] == f"wrote saved.bnn: {len(small.data):,} bytes"
    assert [line for line in lines if line.startswith(("float: ", "integer: "))] == [
        f"float: '{op.layer}': {op.note or 'no reason recorded'}" for op in bnn.load("saved.bnn").ops if op.float_macs
    ]
    plain = {
        "input_shape": None, "input_dtype": None, "require_binary": False, "unsafe": False, "dump_after": None,
        "labels": None, "preprocess": None, "meta": {},
    }  # fmt: skip
    assert handed()["name"] == "compile" and handed()["arguments"] == {"model": "saved/", **plain, "zero": 0}
    done = call(
        "compile", "saved", "-o", "o.bnn", "--json", "--input-shape", "8,9x3", "--input-dtype", "int8", "--unsafe",
        "--require-binary", "--dump-after", "all", "--timeout", 3, "--max-memory", "1K", "--zero", "-1",
        "--meta", "a=b",
    )  # fmt: skip
    assert (done.json["output"], done.json["bytes"]) == ("o.bnn", len(small.data)) and "a graph" in done.err
    options = {"input_shape": [8, 9, 3], "input_dtype": "int8", "require_binary": True, "unsafe": True}
    options |= {"labels": None, "preprocess": None, "meta": {"a": "b"}}
    assert handed()["arguments"] == {"model": "saved", **options, "dump_after": "all", "zero": -1}
    assert (handed()["max_memory"], handed()["timeout"]) == (1024, 3)
