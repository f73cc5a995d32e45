"""A rule as CUDA C: the source of its kernels, generated from its trace.

Arrays of 16 bits are read into float32 and rounded to nearest even, once, when they are written.
Compiled with `OPTIONS`, a kernel computes what the plain rule computes, bit for bit: the compiler
must not contract a product and a sum. As in NumPy, `maximum` gives NaN where an operand is NaN;
which of two zeros it gives is open there, and here it is the first.
"""

from collections.abc import Collection
from typing import NamedTuple

from adamax.rule import Rule
from adamax_adapters.backends.trace import Trace, trace

__all__ = ["DENSE", "OPTIONS", "ROWS", "capacity", "source"]

OPTIONS = ("--fmad=false",)
DENSE, ROWS = "adamax_dense", "adamax_rows"
PASSED_BYTES = 4096  # of arguments that a kernel may be passed
SCALARS = 12  # which have room among them, at least

OPERATIONS = {
    "abs": "absolute({})",
    "add": "{} + {}",
    "divide": "{} / {}",
    "maximum": "maximum({}, {})",
    "multiply": "{} * {}",
    "positive": "{}",
    "subtract": "{} - {}",
    "where": "{} != 0 ? {} : {}",
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
{pointers}
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


def capacity(rule: Rule) -> int:
    """Return how many arrays a launch may advance: their addresses are passed with it."""
    scalars = 8 * max(len(rule.scalars), SCALARS)
    return (PASSED_BYTES - scalars) // (8 * len((*trace(rule).arrays, "size")))


def source(rule: Rule, p: str, g: str, compute: str, from_device: Collection[str] = ()) -> str:
    """Return the source of the kernels `DENSE` and `ROWS` of a rule.

    Parameters
    ----------
    rule : Rule
    p, g : {'float16', 'bfloat16', 'float32', 'float64'}
        Dtypes of the parameter and of the gradient.
    compute : {'float32', 'float64'}
        Dtype of the state, in which the step is computed.
    from_device : collection of str
        Scalars that are read from device memory, so that a CUDA graph that is launched again finds
        those of its step. The others are passed with the launch.

    Returns
    -------
    str
        CUDA C++, for NVRTC or nvcc.

    Examples
    --------
    >>> from adamax.rule import ADAMAX
    >>> "const float t6 = t5 + c_epsilon;" in source(ADAMAX, "float32", "float32", "float32")
    True
    """
    traced = trace(rule)
    stored, real = STORAGE[p], STORAGE[compute].c_type
    headers = {STORAGE[dtype].header for dtype in (p, g)} - {None}
    c_types = {"p": f"{stored.c_type}*", "g": f"const {STORAGE[g].c_type}*"}
    # A scalar may have the name of something else in a kernel.
    scalars = {name: f"c_{name}" for name in traced.scalars}
    passed = {
        name: f"const {real}* {c}" if name in from_device else f"{real} {c}"
        for name, c in scalars.items()
    }
    return TEMPLATE.format(
        headers="".join(f"#include <{header}>\n" for header in headers),
        pointers="\n".join(f"    {c_types.get(x, f'{real}*')} {x};" for x in traced.arrays),
        real=real,
        absolute=ABSOLUTE[real],
        capacity=capacity(rule),
        body="\n".join(f"    {line};" for line in _body(traced, scalars, stored, real)),
        load=STORAGE[g].load.format("at.g[i]"),
        load_listed=STORAGE[g].load.format("at.g[order[k] * width + i]"),
        scalars=", ".join(f"{real} {c}" for c in scalars.values()),
        parameters=", ".join(passed.values()),
        arguments=", ".join(f"*{c}" if x in from_device else c for x, c in scalars.items()),
        dense=DENSE,
        rows=ROWS,
    )


def _body(traced: Trace, scalars: dict[str, str], p: Storage, real: str) -> list[str]:
    """Return the statements that advance element j of p and of the state by the gradient g."""
    storage = {"p": p}
    plain = Storage(real)
    lines = [
        f"const {real} {x} = {storage.get(x, plain).load.format(f'at.{x}[j]')}"
        for x in traced.written
    ]
    lines += [
        f"const {real} {result} = {OPERATIONS[op].format(*[scalars.get(x, x) for x in operands])}"
        for op, operands, result in traced.instructions
    ]
    lines += [
        f"at.{x}[j] = {storage.get(x, plain).store.format(result)}"
        for x, result in zip(traced.written, traced.outputs, strict=True)
    ]
    return lines
