"""A host emulator of CUDA: kernels are built by g++ and run on the host, thread after thread.

For a GPU they are compiled too, by nvcc or NVRTC, and not run.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from adamax_adapters.backends.cuda_source import DENSE, ROWS

NVCC, GXX = shutil.which("nvcc"), shutil.which("g++")

needs_gxx = pytest.mark.skipif(GXX is None, reason="no g++ to build the kernels for the host")
NO_TOOLKIT = "no CUDA toolkit, whose headers convert numbers of 16 bits"

# What a kernel finds on a GPU, on the host: it is called for every thread of every block.
BEFORE = """
#include <cmath>
#include <type_traits>
#include <utility>
#ifndef __global__
#define __global__
#define __device__
#endif
struct Index { unsigned x, y; };
static Index blockIdx, blockDim, threadIdx;
"""
AFTER = """
template <class... P, std::size_t... k>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<k...>) {
    kernel(*(std::remove_const_t<P>*)arguments[k]...);
}

template <class... P>
void run(void (*kernel)(P...), unsigned x, unsigned y, unsigned threads, void** arguments) {
    blockDim = {threads, 1};
    for (blockIdx.y = 0; blockIdx.y < y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < x; blockIdx.x++)
            for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
                call(kernel, arguments, std::index_sequence_for<P...>{});
}
"""
LAUNCHER = """
extern "C" void launch_{0}(unsigned x, unsigned y, unsigned threads, void** arguments) {{
    run({0}, x, y, threads, arguments);
}}
"""

_folder = TemporaryDirectory(prefix="adamax-kernels-")


def on_host(code: str, name: str) -> Callable[[tuple[int, ...], int, Sequence[Any]], None]:
    """Return a kernel as a function (grid, threads, arguments); an argument is an array of one."""
    function = getattr(_library(code), f"launch_{name}")

    def launch(grid: tuple[int, ...], threads: int, arguments: Sequence[Any]) -> None:
        held = [np.asarray(x) for x in arguments]
        addresses = (ctypes.c_void_p * len(held))(*(x.ctypes.data for x in held))
        x, y = (*grid, 1)[:2]
        function(x, y, threads, addresses)

    return launch


@cache
def _library(code: str) -> ctypes.CDLL:
    headers = [line for line in code.splitlines() if line.startswith("#include")]
    if headers and NVCC is None:
        pytest.skip(NO_TOOLKIT)
    launchers = "".join(LAUNCHER.format(name) for name in (DENSE, ROWS))
    path = Path(_folder.name) / f"kernel{len(list(Path(_folder.name).iterdir()))}.cpp"
    path.write_text("\n".join([*headers, BEFORE, code, AFTER, launchers]))
    built = path.with_suffix(".so")
    flags = ["-ffp-contract=off", "-fPIC", "-O1"]
    # nvcc knows where its headers are, and hands a C++ file on to g++.
    compiler = [NVCC, "-cudart=none", f"-Xcompiler={','.join(flags)}"] if headers else [GXX, *flags]
    command = [*compiler, "-std=c++20", "-shared", str(path), "-o", str(built)]
    subprocess.run(list(map(str, command)), check=True)
    return ctypes.CDLL(str(built))


def ptx(code: str, architecture: int, options: Sequence[str]) -> str:
    """Return a kernel compiled for a GPU, by nvcc or NVRTC; skip the test where neither is."""
    if NVCC:
        path = Path(_folder.name) / f"for_gpu_{architecture}.cu"
        path.write_text(code)
        command = [NVCC, "-ptx", f"-arch=sm_{architecture}", *options, str(path), "-o", "-"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "#include" in code:
        pytest.skip(NO_TOOLKIT)
    try:
        nvrtc = import_module("cupy.cuda").nvrtc
        program: Any = nvrtc.createProgram(code, "adamax.cu", (), ())
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"neither nvcc nor NVRTC is there to compile for a GPU: {error}")
    nvrtc.compileProgram(program, (f"-arch=compute_{architecture}", *options))
    compiled: bytes = nvrtc.getPTX(program)
    return compiled.decode()
