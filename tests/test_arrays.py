"""NumPy's functions over arrays of nodes: as over arrays of floats, NaN included."""

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy
import pytest

import chainrule
from chainrule import Node, NodeArray, array, compile, grad, hessian, jacobian, vmap
from chainrule.testing import check_grads

np: Any = numpy  # whose stubs know nothing of nodes
NAN = float("nan")
INF = float("inf")
SHAPES = [(1,), (4,), (5,), (2, 3), (3, 4), (2, 2, 3)]


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def nodes(values: Any) -> Any:
    """The same numbers as nodes."""
    found = array(values)
    for place in np.ndindex(found.shape):
        found[place] = Node(float(found[place]))
    return found


def numbers(x: Any) -> Any:
    """The same with numbers in the place of nodes."""
    if isinstance(x, Node):
        return x.data
    if isinstance(x, (tuple, list)):
        return tuple(numbers(part) for part in x)
    if isinstance(x, np.ndarray) and x.dtype == object:
        flat = [numbers(element) for element in x.ravel().tolist()]
        return np.array(flat, dtype=float).reshape(x.shape)
    return x


def same(x: Any, y: Any) -> Any:
    """Whether two results have the same structure, shapes, and values to rounding."""
    if isinstance(x, (tuple, list)) or isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(map(same, x, y))
    x, y = np.asarray(x), np.asarray(y)
    truths = (x.dtype.kind == "b") == (y.dtype.kind == "b")
    return truths and x.shape == y.shape and np.allclose(x, y, 1e-12, 1e-13, equal_nan=True)


def samples(seed: int) -> Iterator[Any]:
    """Arrays of random shapes: ties, zeros of both signs, some NaN and infinities."""
    random = np.random.default_rng(seed)
    for shape in SHAPES:
        values = random.normal(size=shape).round(1)
        yield values
        some = values.copy()
        some[random.random(shape) < 0.3] = NAN
        some[random.random(shape) < 0.1] = random.choice([INF, -INF, 0.0, -0.0])
        yield some
    yield np.full(3, NAN)


def ordered(values: Any) -> Any:
    """Ordered."""
    return np.sort(values.ravel())


REDUCTIONS = words(
    "max min amax amin ptp median sum prod mean std var argmax argmin any all count_nonzero"
    " nanmax nanmin nansum nanprod nanmean nanmedian nanstd nanvar average"
)
OF_ONE = words(
    "sort cumsum cumprod nancumsum diff sign isnan isfinite isinf signbit sinc nan_to_num abs fabs"
    " square reciprocal floor ceil trunc rint exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos"
    " tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh degrees radians deg2rad"
    " rad2deg modf logical_not unique nonzero argwhere flatnonzero isposinf isneginf positive"
    " negative conjugate fix real ravel transpose flip trapezoid round"
)
OF_TWO = words(
    "maximum minimum fmax fmin logaddexp logaddexp2 heaviside copysign hypot arctan2 fmod"
    " remainder floor_divide divide power float_power add subtract multiply equal not_equal less"
    " less_equal greater greater_equal logical_and logical_or logical_xor divmod isclose"
    " array_equal array_equiv allclose isin union1d intersect1d setdiff1d outer"
)
OTHERS = {
    "clip": lambda a: np.clip(a, -0.3, 0.4),
    "clip from below": lambda a: np.clip(a, 0.1, None),
    "clip by arrays": lambda a: np.clip(a, a - 0.1, np.abs(a)),
    "method clip": lambda a: a.clip(-0.3, 0.4),
    "percentile": lambda a: np.percentile(a, 30),
    "quantile": lambda a: np.quantile(a, [0.0, 0.25, 0.5, 1.0], axis=-1),
    "quantile keepdims": lambda a: np.quantile(a, 0.9, axis=0, keepdims=True),
    "nanpercentile": lambda a: np.nanpercentile(a, [10, 80]),
    "nanquantile": lambda a: np.nanquantile(a, 0.7, axis=0),
    "partition": lambda a: np.sort(np.partition(a, 0, axis=-1), axis=-1),
    "sort flat": lambda a: np.sort(a, axis=None),
    "sort first axis": lambda a: np.sort(a, axis=0),
    "argsort": lambda a: np.take_along_axis(a, np.argsort(a, axis=-1), -1),
    "searchsorted": lambda a: np.searchsorted(ordered(a), a.ravel()),
    "searchsorted right": lambda a: np.searchsorted(ordered(a), a.ravel(), side="right"),
    "searchsorted in numbers": lambda a: np.searchsorted([-1.0, 0.0, 1.0, NAN], a),
    "digitize": lambda a: np.digitize(a, [-1.0, 0.0, 1.0]),
    "digitize falling": lambda a: np.digitize(a, [1.0, 0.0, -1.0], right=True),
    "interp": lambda a: np.interp(a, [-1.0, 0.0, 0.5, 1.0], [2.0, 3.0, -5.0, 1.0]),
    "interp outside": lambda a: np.interp(a, [-0.2, 0.3], [2.0, 3.0], left=-9.0, right=9.0),
    "where": lambda a: np.where(a > 0, a, 0.0),
    "where truth": lambda a: np.where(a, a, 7.0),
    "where positions": lambda a: np.where(a),
    "maximum.reduce": lambda a: np.maximum.reduce(a, axis=None),
    "maximum.accumulate": lambda a: np.maximum.accumulate(a, axis=0),
    "minimum.outer": lambda a: np.minimum.outer(a, a),
    "fmax.reduce": lambda a: np.fmax.reduce(a, axis=0),
    "maximum with initial": lambda a: np.max(a, initial=0.2),
    "maximum where": lambda a: np.max(a, where=~np.isnan(a), initial=-9.0),
    "max of negative": lambda a: (-a).max(),
    "method argmax": lambda a: a.argmax(axis=-1, keepdims=True),
    "unique counts": lambda a: np.unique(
        a, return_index=True, return_inverse=True, return_counts=True
    )[1:],
    "norm": lambda a: np.linalg.norm(a),
    "norm infinity": lambda a: np.linalg.norm(a, INF, axis=-1),
    "norm minus infinity": lambda a: np.linalg.norm(a, -INF, axis=0),
    "norm one": lambda a: np.linalg.norm(a, 1, axis=-1, keepdims=True),
    "norm zero": lambda a: np.linalg.norm(a, 0, axis=0),
    "norm three": lambda a: np.linalg.norm(a, 3, axis=-1),
    "norm of matrices": lambda a: np.linalg.norm(a, INF) if a.ndim == 2 else a,
    "norm of matrices, columns": lambda a: np.linalg.norm(a, 1) if a.ndim == 2 else a,
    "Frobenius": lambda a: np.linalg.norm(a, "fro") if a.ndim == 2 else a,
    "equal to the largest": lambda a: a == a.max(),
    "mask": lambda a: a[a > 0],
    "in": lambda a: (0.1 in a, 0.2 in a),
    "stack": lambda a: np.max(np.stack([a, -a]), axis=0),
    "concatenate": lambda a: np.median(np.concatenate([a, a[:1]])),
    "matmul": lambda a: a @ np.swapaxes(a, -1, -2) if a.ndim > 1 else a @ a,
    "vdot": lambda a: np.vdot(a, np.flip(a)),
    "einsum": lambda a: np.einsum("...i,...i->...", a, a),
}


def cases() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Cases."""
    for name in REDUCTIONS:
        function = getattr(np, name)
        yield name, function
        yield f"{name} along 0", partial(function, axis=0)
        yield f"{name} along -1, kept", partial(function, axis=-1, keepdims=True)
    for name in filter(partial(hasattr, np), OF_ONE):  # some are of NumPy 2 alone
        yield name, getattr(np, name)
    for name in OF_TWO:
        function = getattr(np, name)
        yield name, partial(with_flipped, function)
        yield f"{name} by a number", partial(by_number, function)
        yield f"{name} of a number", partial(function, 0.1)
    yield from OTHERS.items()


def with_flipped(function: Callable[..., Any], a: Any) -> Any:
    """A function of an array and of it in another order."""
    return function(a, np.flip(a))


def by_number(function: Callable[..., Any], a: Any) -> Any:
    """A function of an array and a number."""
    return function(a, 0.1)


CASES = dict(cases())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_functions_give_on_nodes_what_they_give_on_floats(name: Any) -> None:
    """Functions give on nodes what they give on floats."""
    function = CASES[name]
    for values in samples(3):
        expected = function(values.copy())
        assert same(numbers(function(nodes(values))), expected), (values, expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_so_they_do_where_some_elements_are_plain_numbers(name: Any) -> None:
    """So they do where some elements are plain numbers."""
    function = CASES[name]
    for values in samples(4):
        mixed = nodes(values)
        mixed.flat[::2] = values.flat[::2].tolist()
        assert same(numbers(function(mixed)), function(values.copy())), values


INSIDE = (
    "max", "min", "argmax", "median", "sort", "clip", "where", "interp", "quantile", "nanmax",
    "unique", "maximum", "fmin", "heaviside", "logaddexp", "sinc", "sign", "isin", "nan_to_num",
)  # fmt: skip


def as_floats(x: Any) -> Any:
    """A result as nested lists of numbers and nodes that a compiled function can give back."""
    if isinstance(x, tuple):
        return [as_floats(part) for part in x]
    if isinstance(x, np.ndarray) and x.dtype.kind in "bi":
        return x.astype(float)
    return 1.0 * x


@pytest.mark.parametrize("name", INSIDE)
def test_so_they_do_inside_transformations_and_compiled(name: Any) -> None:
    """So they do inside transformations and compiled."""

    def function(a: Any) -> Any:
        assert isinstance(a, NodeArray)
        return as_floats(CASES[name](a))

    compiled, over_lanes = compile(function), compile(vmap(function))
    for values in list(samples(5))[:8]:
        expected = as_floats(without_warnings(CASES[name], values))
        value, _ = chainrule.vjp(function, values)
        assert same(value, expected), values
        assert same(compiled(values), expected), values
        if name == "unique":
            continue  # its length differs from lane to lane
        lanes = np.stack([values, np.flip(values)])
        flipped = as_floats(without_warnings(CASES[name], np.flip(values)))
        both = over_lanes(lanes)
        for found, one, other in zip(*map(as_list, (both, expected, flipped)), strict=True):
            assert same(found, np.stack([one, other])), values


def without_warnings(function: Any, values: Any) -> Any:
    """Without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(values)


def as_list(x: Any) -> Any:
    """As list."""
    return x if isinstance(x, list) else [x]


@pytest.mark.filterwarnings("ignore")
def test_every_function_of_numpy_gives_the_same_or_says_that_it_can_not() -> None:
    """Whatever NumPy has, now and later: none of its functions is silently wrong on nodes."""
    wrong = []
    for name, function in numpys():
        for values in (np.array([0.3, NAN, -1.2]), np.array([[1.0, 2.0], [NAN, 0.0]])):
            for arguments in (lambda a: (a,), lambda a: (a, a[::-1]), lambda a: (a, 1)):
                try:
                    expected = function(*arguments(values.copy()))
                    is_comparable = same(expected, expected)
                except Exception:
                    continue
                if expected is None or not is_comparable:
                    continue
                try:
                    found = numbers(function(*arguments(nodes(values))))
                except (TypeError, ValueError):
                    continue
                if not same(found, expected):
                    wrong.append((name, values, found, expected))
    assert not wrong


def numpys() -> Iterator[tuple[str, Callable[..., Any]]]:
    """NumPy's functions of the values of arrays."""
    about_types = words(
        "empty_like min_scalar_type result_type common_type can_cast typename mintypecode"
        " asarray array asanyarray ascontiguousarray asfortranarray copy frombuffer"
        " from_dlpack fromfile fromregex frompyfunc info load loadtxt genfromtxt lookfor memmap"
        " printoptions save savetxt savez savez_compressed set_printoptions show_config"
        " show_runtime source test who array_repr array_str array2string may_share_memory"
        " shares_memory get_include setbufsize seterr seterrcall errstate nested_iters"
        " format_float_positional format_float_scientific frexp"
    )
    for module in (np, np.linalg):
        for name in dir(module):
            function = getattr(module, name)
            if name.startswith("_") or isinstance(function, type) or not callable(function):
                continue
            if name not in about_types:
                yield name, function


# Single nodes


def test_single_nodes_are_what_arrays_of_no_axes_would_be() -> None:
    """Single nodes are what arrays of no axes would be."""
    x, missing = Node(0.5), Node(NAN)
    for function in (np.maximum, np.minimum):
        assert np.isnan(function(missing, 1.0).data)
        assert np.isnan(function(1.0, missing).data)
        assert np.isnan(function(x, NAN).data)
    assert np.isnan(np.clip(missing, 0, 1).data)
    assert np.clip(x, 0, 0.25).data == 0.25
    assert np.interp(x, [0.0, 1.0], [1.0, 3.0]).data == 2.0
    assert isinstance(np.where(x > 0, x, 0.0), Node)
    assert np.isnan(missing) is True
    assert np.sinc(x).data == pytest.approx(np.sinc(0.5), rel=1e-15)
    assert np.fmax(missing, x).data == 0.5
    assert np.less(x, 1.0) is True
    assert np.equal(x, Node(0.5)) is True


@pytest.mark.parametrize(
    "number", [2.0, 2, np.float64(2), np.float32(2), np.int64(2), np.longdouble(2), np.array(2.0)]
)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power", "fmod"])
def test_numpys_numbers_on_the_left(number: Any, name: Any) -> None:
    """Numpys numbers on the left."""
    x = Node(0.75)
    found = getattr(np, name)(number, x)
    assert isinstance(found, Node)
    assert found.data == getattr(np, name)(2.0, 0.75)
    if name == "multiply":
        assert (number * x).data == 1.5
        assert (number < x) is False or not (number < x)
    found.backward()
    assert x.grad != 0.0


def test_a_complex_number_on_the_left_is_refused() -> None:
    """A complex number on the left is refused."""
    with pytest.raises(TypeError):
        np.complex128(1j) * Node(1.0)


# Gradients


def gradient_of(function: Any, *values: Any) -> Any:
    """Gradient of."""
    xs = nodes(np.array(values))
    function(xs).backward()
    return [x.grad for x in xs]


def test_equal_elements_share_the_gradient() -> None:
    """Equal elements share the gradient."""
    assert gradient_of(lambda a: np.maximum(a[0], a[1]), 2.0, 2.0) == [0.5, 0.5]
    assert gradient_of(lambda a: np.minimum(a[:1], a[1:])[0], 2.0, 2.0) == [0.5, 0.5]
    assert gradient_of(np.max, 1.0, 3.0, 3.0) == [0.0, 0.5, 0.5]
    assert gradient_of(lambda a: a.min(), 3.0, 3.0, 4.0) == [0.5, 0.5, 0.0]
    assert gradient_of(lambda a: np.clip(a, 0.0, 1.0).sum(), 1.0, 0.0, 0.5) == [0.5, 0.5, 1.0]


SMOOTH = {
    "sinc": lambda a: np.sum(np.sinc(a) * a),
    "interp": lambda a: np.sum(np.interp(a, [-2.0, 0.0, 2.0], [1.0, -1.0, 4.0])),
    "interp of the values": lambda a: np.interp(0.4, [0.0, 1.0, 2.0], a[:3]) * a[1],
    "logaddexp": lambda a: np.sum(np.logaddexp(a, a[::-1] * 3)),
    "logaddexp2": lambda a: np.sum(np.logaddexp2(a, 0.3)),
    "heaviside": lambda a: np.sum(np.heaviside(a, 0.5) * a),
    "median": lambda a: np.median(a) * a[0],
    "quantile": lambda a: np.sum(np.quantile(a, [0.2, 0.7]) ** 2),
    "sort": lambda a: np.sort(a) @ np.arange(4.0),
    "nanmax": lambda a: np.nanmax(a) * np.nanmin(a),
    "fmax": lambda a: np.sum(np.fmax(a, 0.2) * np.fmin(a, 0.1)),
    "norm": lambda a: np.linalg.norm(a) + np.linalg.norm(a, 3) + np.linalg.norm(a, INF),
    "nan_to_num": lambda a: np.sum(np.nan_to_num(a) ** 3),
    "unique": lambda a: np.unique(a) @ np.arange(4.0),
    "std": lambda a: a.std() + a.ptp() if hasattr(a, "ptp") else a.std() + np.ptp(a),
}


@pytest.mark.filterwarnings("ignore:check_grads")  # what is not picked is only compared
@pytest.mark.parametrize("name", SMOOTH)
def test_their_gradients(name: Any) -> None:
    """Their gradients."""
    check_grads(SMOOTH[name], (np.array([0.31, -0.62, 1.27, 0.93]),))


def test_sinc_has_all_its_derivatives_at_zero() -> None:
    """Sinc has all its derivatives at zero."""
    third = grad(grad(grad(lambda x: np.sinc(x) * x)))
    assert grad(grad(np.sinc))(0.0) == pytest.approx(-(np.pi**2) / 3, rel=1e-14)
    assert third(0.0) == pytest.approx(-(np.pi**2), rel=1e-14)


def test_logaddexp_at_equal_numbers() -> None:
    """Logaddexp at equal numbers."""
    second = hessian(lambda a: np.logaddexp(a[0], a[1]))(np.array([0.7, 0.7]))
    assert np.allclose(second, [[0.25, -0.25], [-0.25, 0.25]], rtol=1e-14)


def test_compiled_they_pick_without_branches() -> None:
    """Compiled they pick without branches."""

    def function(a: Any) -> Any:
        return np.maximum(a, 0.0).sum() + np.clip(a, -1, 1).max() + np.abs(a).min()

    compiled = compile(vmap(function))
    lanes = np.random.default_rng(0).normal(size=(50, 4))
    assert np.allclose(compiled(lanes), [function(lane) for lane in lanes], rtol=1e-14)
    assert compiled.stats().traces == 1


def test_compiled_where_of_a_comparison_does_not_branch() -> None:
    """Compiled where of a comparison does not branch."""
    compiled = compile(vmap(lambda x: np.where(x > 0, x, 0.1 * x)))
    assert compiled(np.array([-1.0, 2.0])).tolist() == [-0.1, 2.0]
    assert compiled.stats().traces == 1


def test_clipped_indices_still_look_up() -> None:
    """Clipped indices still look up."""
    compiled = compile(vmap(lambda t, i: t[np.clip(i + 1, 0, 2)], in_axes=(None, 0)))
    table = np.array([1.0, 10.0, 100.0])
    assert compiled(table, np.array([-5, 0, 1, 2, 9])).tolist() == [1.0, 10.0, 100.0, 100.0, 100.0]
    assert compiled.stats().traces == 1


# Which arrays are of this kind


def test_arrays_that_the_library_hands_out() -> None:
    """Arrays that the library hands out."""
    x, numbers = Node(2.0), np.array([1.0, NAN])
    made = [x * numbers, numbers * x, numbers**x, x - numbers, np.multiply(numbers, x)]
    for found in [*made, array([x]), np.exp(made[0]), made[0][:1], made[0].copy()]:
        assert isinstance(found, NodeArray)
    seen: list[Any] = []

    def kept(a: Any) -> Any:
        seen.append(a)
        return a

    plain = np.array([Node(1.0), Node(NAN)])
    nested = grad(lambda a, y: np.sum(grad(lambda b: np.sum(kept(b) ** 3 * y))(a)))
    for result in (
        grad(lambda a: kept(a)[0] * a[1])(plain),
        jacobian(lambda a: kept(a) * a * x)(numbers),
        vmap(lambda a: kept(a)[1], in_axes=0)(np.stack([plain, plain])),
        compile(lambda a: kept(a) * a)(plain),
        nested(plain, x),
    ):
        assert isinstance(result, NodeArray), result
        assert isinstance(seen.pop(), NodeArray)
        assert np.isnan(np.max(result).data)


def test_results_without_nodes_are_ordinary_arrays() -> None:
    """Results without nodes are ordinary arrays."""
    a = nodes([1.0, NAN, -1.0])
    for found in (np.isnan(a), a > 0, np.argsort(a), np.searchsorted([0.0], a), np.nonzero(a)[0]):
        assert type(found) is np.ndarray
        assert found.dtype.kind in "bi"


def test_copies_and_pickles_keep_the_class() -> None:
    """Copies and pickles keep the class."""
    a = nodes([1.0, 2.0])
    for other in (copy.copy(a), copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert isinstance(other, NodeArray)
        assert numbers(other).tolist() == [1.0, 2.0]


def test_array_takes_numbers_and_nodes() -> None:
    """Array takes numbers and nodes."""
    x = Node(1.0)
    assert array([[x, 2.0], [3, np.float64(4)]]).shape == (2, 2)
    assert array(np.zeros(3)).dtype == object
    assert array(x).shape == ()
    for wrong in (["a"], [None], [True, False], [1j], [[x, "a"]], "text", np.ma.array([1.0])):
        with pytest.raises(TypeError, match="array takes numbers and nodes, not"):
            array(wrong)
    with pytest.raises(ValueError, match=r"inhomogeneous|sequence"):
        array([[x], [x, x]])


def test_plain_numbers_among_nodes_follow_ieee() -> None:
    """Plain numbers among nodes follow ieee."""
    a = array([0.0, -8.0, Node(1.0)])
    assert numbers(1.0 / a).tolist() == [INF, -0.125, 1.0]
    assert np.isnan(numbers(a ** (1 / 3))[1])
    assert numbers(np.log(a))[0] == -INF
    assert np.isnan(numbers(a % 0.0)).all()


def test_arrays_of_another_kind_of_operand() -> None:
    """Arrays of another kind of operand."""
    a = nodes([1.0, 2.0])
    assert numbers([1.0, 2.0] * a).tolist() == [1.0, 4.0]
    with pytest.raises(TypeError):
        np.add(a, ["a", "b"])
    with pytest.raises(TypeError):
        a * 1j


# Writing


def test_what_is_written_into() -> None:
    """What is written into."""
    a = nodes([1.0, 2.0])
    before = a
    a += 1.0
    a *= a
    assert a is before
    assert numbers(a).tolist() == [4.0, 9.0]
    out = np.empty(2, dtype=object)
    assert np.maximum(a, 5.0, out=out) is out
    assert numbers(out).tolist() == [5.0, 9.0]
    np.add.at(a, [0, 0], Node(1.0))
    assert numbers(a).tolist() == [6.0, 9.0]
    found = np.empty(2, dtype=bool)
    np.isnan(a, out=found)
    assert not found.any()
    np.multiply(a, 2.0, out=a, where=np.array([True, False]))
    assert numbers(a).tolist() == [12.0, 9.0]


def test_arrays_of_floats_can_not_hold_nodes() -> None:
    """Arrays of floats can not hold nodes."""
    floats = np.zeros(2)
    writes: list[Callable[[], Any]] = [
        lambda: np.add(floats, Node(1.0), out=floats),
        lambda: np.maximum(nodes([1.0, 2.0]), 0.0, out=floats),
        lambda: np.add.at(floats, [0], Node(1.0)),
        lambda: np.clip(nodes([1.0, 2.0]), 0.0, 1.0, out=floats),
    ]
    for write in writes:
        with pytest.raises(TypeError, match="dtype=object"):
            write()
    with pytest.raises(TypeError, match="dtype=object"):
        floats += Node(1.0)
    assert floats.tolist() == [0.0, 0.0]


def test_masked_arrays_are_refused() -> None:
    """They would take a node for its number and lose its gradient."""
    x, masked = Node(2.0), np.ma.array([1.0, 2.0], mask=[False, True])
    uses: list[Callable[[], Any]] = [
        lambda: masked * x,
        lambda: x * masked,
        lambda: x**masked,
        lambda: masked - x,
        lambda: x <= masked,
    ]
    for use in uses:
        with pytest.raises(TypeError, match=r"a masked array can't hold nodes; .* \.filled"):
            use()


# What does not work


@pytest.mark.parametrize(
    "name",
    words("det inv solve eig eigh eigvals eigvalsh cholesky svd qr lstsq pinv cond slogdet"),
)
def test_lapack_is_refused_with_advice(name: Any) -> None:
    """Lapack is refused with advice."""
    a = nodes([[2.0, 1.0], [1.0, 3.0]])
    arguments = (a, a[0]) if name in ("solve", "lstsq") else (a,)
    with pytest.raises(TypeError, match=rf"np\.linalg\.{name} .*custom_gradient"):
        getattr(np.linalg, name)(*arguments)


@pytest.mark.parametrize("name", ["cov", "corrcoef", "gradient", "i0", "histogram", "nextafter"])
def test_functions_that_are_refused_say_what_to_write(name: Any) -> None:
    """Functions that are refused say what to write."""
    a = nodes([2.0, 1.0, 4.0])
    arguments = (a, a) if name == "nextafter" else (a,)
    with pytest.raises(TypeError, match=rf"{name} does not work on nodes: [a-z]+ .*"):
        getattr(np, name)(*arguments)


def test_a_norm_of_singular_values_is_refused() -> None:
    """A norm of singular values is refused."""
    with pytest.raises(TypeError, match="no ord=2"):
        np.linalg.norm(nodes([[1.0, 2.0], [3.0, 4.0]]), 2)


def test_scipys_functions() -> None:
    """Scipys functions."""
    special = pytest.importorskip("scipy.special")
    values = [0.3, -1.2, 2.5]
    for name in words("erf erfc expit gammaln ndtr psi log1p"):
        function = getattr(special, name)
        assert np.allclose(
            numbers(function(nodes(values))), function(values), 1e-13, equal_nan=True
        )
        assert np.isclose(function(Node(0.3)).data, function(0.3), 1e-13)
    with pytest.raises(TypeError, match="jv does not work on nodes"):
        special.jv(1, nodes(values))
