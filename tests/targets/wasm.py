# SPDX-License-Identifier: Apache-2.0
"""Run a WebAssembly program in wasmtime: python wasm.py PROGRAM [ARGUMENT ...]."""

from __future__ import annotations

import sys

import wasmtime


def main(program: str, *arguments: str) -> int:
    engine = wasmtime.Engine()
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    system = wasmtime.WasiConfig()
    system.inherit_stdout()
    system.argv = [program, *arguments]
    store.set_wasi(system)
    linker.define_wasi()
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, program))
    try:
        instance.exports(store)["_start"](store)
    except wasmtime.ExitTrap as trap:
        return trap.code
    return 0


sys.exit(main(*sys.argv[1:]))
