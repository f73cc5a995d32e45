"""The rule as CUDA C: the source of its kernels, generated from its trace.

Arrays of 16 bits are read into float32 and rounded to nearest even, once, when they are written.
Compiled with `OPTIONS`, a kernel computes what the plain rule computes, bit for bit: the compiler
must not contract a product and a sum. As in NumPy, `maximum` gives NaN where an operand is NaN;
which of two zeros it gives is open there, and here it is the first.
"""

from typing import NamedTuple

from adamax_adapters.backends.trace import OUTPUTS, SCALARS, trace

__all__ = ["CAPACITY", "DENSE", "OPTIONS", "ROWS", "source"]

OPTIONS = ("--fmad=false",)
DENSE, ROWS = "adamax_dense", "adamax_rows"
CAPACITY = 100  # arrays of one launch: their addresses fill the 4 KiB that a kernel may be passed

OPERATIONS = {
    "abs": "absolute({})",
    "add": "{} + {}",
    "divide": "{} / {}",
    "maximum": "maximum({}, {})",
    "multiply": "{} * {}",
    "subtract": "{} - {}",
}


class Storage(NamedTuple):
    """How the elements of a dtype stand in memory, and how a kernel reads and writes them."""

    c_type: str
    header: str | None = None
    load: str = "{}"
    store: str = "{}"


STORAGE = {
    "float16": Storage("__half", "cuda_fp16.h", "__half2float({})", "__float2half_rn({})"),
    "bfloat16": Storage(
        "__nv_bfloat16", "cuda_bf16.h", "__bfloat162float({})", "__float2bfloat16_rn({})"
    ),
    "float32": Storage("float"),
    "float64": Storage("double"),
}
ABSOLUTE = {"float": "fabsf", "double": "fabs"}

TEMPLATE = """\
{headers}
struct Address {{
    {p}* p;
    const {g}* g;
    {real}* m;
    {real}* u;
    long long size;  // elements of g
}};

struct Table {{
    Address arrays[{capacity}];
}};

__device__ {real} absolute({real} x) {{ return {absolute}(x); }}

__device__ {real} maximum({real} x, {real} y) {{ return x >= y || x != x ? x : y; }}

__device__ void advance(const Address& at, {real} g, long long j, {scalars}) {{
{body}
}}

// The sum of `count` elements of g, pairwise: parts of one size are added as soon as there are two.
__device__ {real} sum(const Address& at, const long long* order, long long count,
                      long long width, long long i) {{
    {real} parts[64];
    int depth = 0;
    for (long long k = 0; k < count; k++) {{
        {real} part = {load_listed};
        for (long long pairs = k; pairs & 1; pairs >>= 1) part = parts[--depth] + part;
        parts[depth++] = part;
    }}
    {real} total = parts[--depth];
    while (depth) total = parts[--depth] + total;
    return total;
}}

// Every element of up to {capacity} arrays: a row of the grid is an array, a thread an element.
extern "C" __global__ void {dense}(const Table table, {parameters}) {{
    const Address& at = table.arrays[blockIdx.y];
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < at.size) advance(at, {load}, i, {arguments});
}}

// Listed rows of a table, in ascending order: a block is a row of g. Of blocks with the same row of
// the table the first does it all; one with a row that is not in the table does nothing.
extern "C" __global__ void {rows}(
    const Address at, const long long* indices, const long long* order, long long listed,
    long long count, long long width, {parameters}) {{
    const long long k = blockIdx.x, row = indices[order[k]];
    if (row < 0 || row >= count || (k > 0 && indices[order[k - 1]] == row)) return;
    long long equal = 1;
    while (k + equal < listed && indices[order[k + equal]] == row) equal++;
    for (long long i = threadIdx.x; i < width; i += blockDim.x)
        advance(at, sum(at, order + k, equal, width, i), row * width + i, {arguments});
}}
"""


def source(p: str, g: str, compute: str, device_step_size: bool = False) -> str:
    """Return the source of the kernels `DENSE` and `ROWS`.

    Parameters
    ----------
    p, g : {'float16', 'bfloat16', 'float32', 'float64'}
        Dtypes of the parameter and of the gradient.
    compute : {'float32', 'float64'}
        Dtype of m and u, in which the step is computed.
    device_step_size : bool
        Whether the step size is read from device memory, so that a CUDA graph that is launched
        again finds that of its step, or is passed like the other coefficients.

    Returns
    -------
    str
        CUDA C++, for NVRTC or nvcc.

    Examples
    --------
    >>> "const float t6 = t5 + epsilon;" in source("float32", "float32", "float32")
    True
    """
    real = STORAGE[compute].c_type
    headers = {STORAGE[dtype].header for dtype in (p, g)} - {None}
    pointers = {"step_size"} if device_step_size else set()
    return TEMPLATE.format(
        headers="".join(f"#include <{header}>\n" for header in headers),
        p=STORAGE[p].c_type,
        g=STORAGE[g].c_type,
        real=real,
        absolute=ABSOLUTE[real],
        capacity=CAPACITY,
        body="\n".join(f"    {line};" for line in _body(STORAGE[p], real)),
        load=STORAGE[g].load.format("at.g[i]"),
        load_listed=STORAGE[g].load.format("at.g[order[k] * width + i]"),
        scalars=", ".join(f"{real} {name}" for name in SCALARS),
        parameters=", ".join(
            f"const {real}* {name}" if name in pointers else f"{real} {name}" for name in SCALARS
        ),
        arguments=", ".join(f"*{name}" if name in pointers else name for name in SCALARS),
        dense=DENSE,
        rows=ROWS,
    )


def _body(p: Storage, real: str) -> list[str]:
    """Return the statements that advance element j of p, m and u by the gradient g."""
    traced = trace()
    plain = Storage(real)
    storage = {"p": p, "m": plain, "u": plain}
    lines = [f"const {real} {x} = {storage[x].load.format(f'at.{x}[j]')}" for x in OUTPUTS]
    lines += [
        f"const {real} {result} = {OPERATIONS[op].format(*operands)}"
        for op, operands, result in traced.instructions
    ]
    lines += [
        f"at.{x}[j] = {storage[x].store.format(result)}"
        for x, result in zip(OUTPUTS, traced.outputs, strict=True)
    ]
    return lines
