"""Rules on the backends for devices, JAX and CUDA: the bits of plain array calls, on NumPy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from any_cupy import FAKE, in_place
from cuda_emulator import needs_gxx
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import CASES, Case

from adamax import IndexedSlices, Variable
from adamax.rule import Rule, advanced, with_scalars
from adamax.sparse import step_rows
from adamax_adapters.backends import backend_for

DTYPES = ("float16", "bfloat16", "float32", "float64")
FLAGGED = CASES["shared scale, all links"]

each_way = pytest.mark.parametrize("way", [pytest.param("cupy", marks=needs_gxx), "jax"])
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@contextmanager
def arrays_of(way: str, wide: bool = False) -> Iterator[Callable[[Any], Any]]:
    """Yield what makes arrays of a library, of NumPy's."""
    if way == "cupy":
        with in_place(FAKE) as cupy:
            yield cupy.asarray
    else:
        jax = pytest.importorskip("jax")
        with jax.enable_x64(wide):
            yield lambda x: jax.numpy.asarray(x)


def made(rule: Rule, dtype: str, seed: int, shape: tuple[int, ...] = (5, 3)) -> list[Any]:
    """Return p, g and the state, which is above 0, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    compute = "float64" if dtype == "float64" else "float32"
    p, g, *state = rng.standard_normal((2 + len(rule.state), *shape))
    stored = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return [p.astype(stored), g.astype(compute), *(abs(x).astype(compute) for x in state)]


def target_of(arrays: Any, asarray: Callable[[Any], Any]) -> tuple[Variable, ...]:
    return tuple(Variable.of_array(asarray(x.copy()), "x") for x in arrays)


def assert_same(target: tuple[Variable, ...], wanted: Any) -> None:
    """Assert equal bits; a NaN is like another."""
    for x, y in zip([part.numpy() for part in target], wanted, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        one, other = (np.where(np.isnan(a), 1, a.view(f"u{a.itemsize}")) for a in (x, y))
        np.testing.assert_array_equal(one, other)


@each_way
@each_case
def test_every_rule_has_the_bits_of_plain_array_calls(way: str, case: Case) -> None:
    """Parameters of all dtypes in one step, and in the next, are where the rule puts them."""
    rule = case.rule
    wanted = [made(rule, dtype, 0) for dtype in DTYPES]
    with arrays_of(way, wide=True) as asarray:
        targets = [target_of((p, *state), asarray) for p, _, *state in wanted]
        prepare = backend_for(targets[0][0].held, "x", way).dense(targets, rule)
        for t in (1, 2):
            gradients = [made(rule, dtype, t)[1] for dtype in DTYPES]
            prepare([asarray(g) for g in gradients], case.at(t))()
            for arrays, g, target in zip(wanted, gradients, targets, strict=True):
                p, _, *state = arrays
                arrays[0], *arrays[2:] = advanced(rule, p, g, state, case.at(t), np)
                assert_same(target, [arrays[0], *arrays[2:]])


@each_way
@each_case
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_rows_have_the_bits_of_plain_array_calls(way: str, case: Case, dtype: str) -> None:
    """Rows that are listed several times take one step by their sum; the others stay."""
    p, g, *state = made(case.rule, dtype, 0)
    indices = np.array([4, 1, 4, 0, 4])
    wanted = step_rows(p, IndexedSlices(g, indices), state, case.at(2), rule=case.rule)
    with arrays_of(way) as asarray:
        table = target_of((p, *state), asarray)
        slices = IndexedSlices(asarray(g), asarray(indices))
        backend_for(table[0].held, "x", way).rows(table, slices, case.at(2), case.rule)()
        assert_same(table, wanted)


@each_way
@pytest.mark.parametrize("kind", [float, np.float32, np.bool_])
def test_nothing_changes_where_the_flag_is_0(way: str, kind: Any) -> None:
    """No bit, whatever the gradient is, of a flag that the host knows or that is on the device."""
    bad = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    p, _, *state = made(FLAGGED.rule, "float32", 0, (4,))
    p[1] = np.nan
    with arrays_of(way) as asarray:
        target = target_of((p, *state), asarray)
        before = [part.numpy().tobytes() for part in target]
        backend = backend_for(target[0].held, "x", way)
        for value in (0, 1):
            flag = kind(value) if kind is float else asarray(np.asarray(kind(value)))
            c = with_scalars(FLAGGED.at(1), flag=flag)
            slices = IndexedSlices(asarray(bad[:1]), asarray(np.array([3])))
            with np.errstate(all="ignore"):
                backend.dense([target], FLAGGED.rule)([asarray(bad)], c)()
                backend.rows(target, slices, c, FLAGGED.rule)()
            after = [part.numpy().tobytes() for part in target]
            assert (after == before) == (value == 0)
        assert np.isnan(target[1].numpy()[[0, 3]]).all()


@each_way
def test_scalars_may_be_on_the_device(way: str) -> None:
    """A 0-d array of another dtype does not promote what it meets; a kernel reads it there."""
    p, g, *state = made(FLAGGED.rule, "float32", 0, (4,))
    numbers: Any = FLAGGED.at(1)
    given = {name: np.asarray(getattr(numbers, name), np.float16) for name in ("factor", "epsilon")}
    with arrays_of(way) as asarray:
        target = target_of((p, *state), asarray)
        c = numbers._replace(**{name: asarray(x) for name, x in given.items()})
        backend = backend_for(target[0].held, "x", way)
        backend.dense([target], FLAGGED.rule)([asarray(g)], c)()
        assert_same(target, advanced(FLAGGED.rule, p, g, state, numbers._replace(**given), np))


@each_way
@given(
    numbers=st.lists(st.floats(-1e3, 1e3, width=32), min_size=7, max_size=7),
    name=st.sampled_from(sorted(CASES)),
    scalars=st.lists(st.floats(0.25, 2.0), min_size=12, max_size=12),
)
def test_scalars_may_be_any(
    way: str, numbers: list[float], name: str, scalars: list[float]
) -> None:
    """Whatever the scalars are, a step has the bits of plain array calls."""
    rule = CASES[name].rule
    _, g, *state = made(rule, "float32", 5, (7,))
    p = np.array(numbers, np.float32)
    c = CASES[name].at(1)
    c = c._replace(**dict(zip(c._fields, scalars, strict=False)))
    with arrays_of(way) as asarray:
        target = target_of((p, *state), asarray)
        backend_for(target[0].held, "x", way).dense([target], rule)([asarray(g)], c)()
        assert_same(target, advanced(rule, p, g, state, c, np))


def test_jax_compiles_a_rule_once_for_all_scalars() -> None:
    """New scalars compile nothing again; another rule is compiled once more."""
    step = pytest.importorskip("adamax_adapters.backends.jax")._dense_step
    with arrays_of("jax") as asarray:
        for case in (CASES["epsilon inside"], FLAGGED):
            p, g, *state = made(case.rule, "float32", 0, (11,))
            target = target_of((p, *state), asarray)
            sizes = [step._cache_size()]
            for t in range(1, 6):
                prepare = backend_for(target[0].held, "x", "jax").dense([target], case.rule)
                prepare([asarray(g)], case.at(t))()
                sizes.append(step._cache_size())
            # Arrays that were brought, and arrays that are donated.
            assert [size - sizes[0] for size in sizes[1:]] == [1, 2, 2, 2, 2]
