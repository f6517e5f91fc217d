"""Expressions that are read and refused, derivatives against oracles, the page in a real browser, the command line."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.understanding_ml.expressions import LENGTH, NAMED, WINDOW, evaluate, javascript, read
from papers.understanding_ml.jacobian import (
    area_ratio,
    central,
    circle,
    complex_step,
    curvature,
    forward,
    layer_jacobian,
    level_normal,
    polygon_area,
    stretches,
)
from papers.understanding_ml.jacobian_page import page
from papers.understanding_ml.studies.jacobian import FITS, NETS, STUDY, chain, law, products
from shared import plot
from shared.claims import judge
from shared.errors import BadRequest
from shared.experiment import Run, Setting
from shared.layers.activation import Softmax, Tanh
from shared.layers.combinators import Residual, Sequential
from shared.layers.linear import Linear

ROOT = Path(__file__).parents[1]

REFUSED = [
    ("", "is no expression"),
    ("   ", "is no expression"),
    ("__import__('os')", 'the character "\'" is not allowed'),
    ("__import__(x)", "__import__(...) is not allowed"),
    ("eval(x)", "eval(...) is not allowed"),
    ("Symbol(x)", "Symbol(...) is not allowed"),
    ("x.diff", "attribute is not allowed"),
    ("x.diff(x)", "call is not allowed"),
    ("().__class__", "attribute is not allowed"),
    ("sin.__globals__[x]", "subscript is not allowed"),
    ("x[0]", "subscript is not allowed"),
    ("lambda x: x", "the character ':' is not allowed"),
    ("lambda", "is no expression"),
    ("[x for x in y]", "listcomp is not allowed"),
    ("(x for x in y)", "generatorexp is not allowed"),
    ("'x'", 'the character "\'" is not allowed'),
    ('f"{x}"', "the character '\"' is not allowed"),
    ("(x := 1)", "the character ':' is not allowed"),
    ("x if x else y", "ifexp is not allowed"),
    ("x and y", "boolop is not allowed"),
    ("not x", "unaryop is not allowed"),
    ("x < y", "the character '<' is not allowed"),
    ("x in y", "compare is not allowed"),
    ("x == y", "the character '=' is not allowed"),
    ("x // y", "binop is not allowed"),
    ("x ^ 2", "the character '^' is not allowed; powers are written x**2"),
    ("await x", "await is not allowed"),
    ("yield x", "is no expression"),
    ("True", "constant is not allowed"),
    ("None", "constant is not allowed"),
    ("...", "constant is not allowed"),
    ("1j", "constant is not allowed"),
    ("1e999", "beyond 1e+12"),
    ("9" * 100, "beyond 1e+12"),
    ("1e13*x", "beyond 1e+12"),
    ("9**9**9", "an exponent is beyond +-64"),
    ("9**9**9**9**9", "an exponent is beyond +-64"),
    ("x**1000000", "an exponent is beyond +-64"),
    ("x**-65", "an exponent is beyond +-64"),
    ("99**64", "beyond 1e+12"),
    ("(((10**12)**64)**64)**64", "beyond 1e+12"),
    ("1/10**13", "beyond 1e+12"),
    ("1/0", "holds a division by 0"),
    ("x/(y - y)", "holds a division by 0"),
    ("log(0)*x", "holds a division by 0"),
    ("sqrt(-1)*x", "a root or logarithm of a number that has none"),
    ("(x", "is no expression"),
    ("x)", "is no expression"),
    ("[x, y", "is no expression"),
    ("x y", "is no expression"),
    ("2x", "is no expression"),
    ("1if", "is no expression"),
    ("01", "is no expression"),
    ("x,", None),  # a list of one: allowed
    ("x*", "is no expression"),
    ("z", "unknown name z; the variables are x and y"),
    ("sin", "unknown name sin"),
    ("oo", "unknown name oo"),
    ("I*x", "unknown name I"),
    ("gamma(x)", "gamma(...) is not allowed; the functions, of one argument each, are sin, "),
    ("abs(x)", "abs(...) is not allowed"),
    ("sin(x, y)", "sin(...) is not allowed"),
    ("sin()", "sin(...) is not allowed"),
    ("sin(x=1)", "the character '=' is not allowed"),
    ("sin(*x)", "starred is not allowed"),
    ("sin(**x)", "sin(...) is not allowed"),
    ("sin(x)(y)", "call is not allowed"),
    ("x(1)", "x(...) is not allowed"),
    ("[]", "has 0 components; one or two"),
    ("[x, y, x]", "has 3 components; one or two"),
    ("[[x, y], x]", "list is not allowed"),
    ("{x}", "the character '{' is not allowed"),
    ("${oc.env:HOME}", "the character '$' is not allowed"),
    ("x\\y", "the character '\\\\' is not allowed"),
    ("x\n", None),  # blanks at the ends go
    ("x\ny", "the character '\\n' is not allowed"),
    ("x;y", "the character ';' is not allowed"),
    ("x # y", "the character '#' is not allowed"),
    ("x\0", "the character '\\x00' is not allowed"),
    ("х*y", "the character '\\u0445' is not allowed"),  # a Cyrillic letter
    ("x²", "the character '\\xb2' is not allowed"),
    ("ｘ", "the character '\\uff58' is not allowed"),
    ("\udcff", "the character '\\udcff' is not allowed"),
    ("x+" * LENGTH + "x", f"is longer than {LENGTH} characters"),
    ("(" * 5000 + "x" + ")" * 5000, f"is longer than {LENGTH} characters"),
    ("(" * 90 + "x" + ")" * 90, "brackets are nested more than 12 deep"),
    ("(" * 90, "brackets are nested more than 12 deep"),
    ("sin(" * 13 + "x" + ")" * 13, "brackets are nested more than 12 deep"),
    ("**".join("x" * 50), "nested more than 12 deep"),
    ("-" * 150 + "x", None),  # harmless
]


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(text: str, why: str | None) -> None:
    start = time.process_time()
    if why is None:
        assert read(text).components == (sympy.Symbol("x"),)
        return
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert why in str(caught.value)
    assert str(caught.value).startswith("f='") or "'" in text
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", ["log(-1 - x**2)", "sqrt(x - 3)", "asin(2)*x", "exp(exp(exp(9)))", "(-1)**x"])
def test_nothing_finite_in_the_window(text: str) -> None:
    with pytest.raises(BadRequest, match="finite and real nowhere"):
        _ = read(text).point


@pytest.mark.parametrize(
    ("text", "f"),
    [
        ("[x*y, x**2 - y**2]", lambda x, y: [x * y, x**2 - y**2]),
        ("x*y, -x", lambda x, y: [x * y, -x]),
        ("(x, +y)", lambda x, y: [x, y]),
        ("sin(x)*y", lambda x, y: [np.sin(x) * y]),
        ("2*E**x/e + pi", lambda x, y: [2 * np.exp(x - 1) + np.pi]),
        ("1/3*x**-2.5 - 1_0e-1", lambda x, y: [x**-2.5 / 3 - 1]),
        ("x**y**0.5", lambda x, y: [x**y**0.5]),
        ("tan(x + pi/2) + sqrt(y)", lambda x, y: [-1 / np.tan(x) + np.sqrt(y)]),
        ("sinh(x) - cosh(y)*tanh(x*y)", lambda x, y: [np.sinh(x) - np.cosh(y) * np.tanh(x * y)]),
        ("[asin(x/2) + acos(y/2), atan(x)]", lambda x, y: [np.arcsin(x / 2) + np.arccos(y / 2), np.arctan(x)]),
        ("exp(-x**2)*log(y)", lambda x, y: [np.exp(-(x**2)) * np.log(y)]),
        ("rosenbrock", lambda x, y: [(1 - x) ** 2 + 100 * (y - x**2) ** 2]),
        ("5", lambda x, y: [5 + 0 * x]),
    ],
)
def test_values(text: str, f: Callable[..., list[np.ndarray]]) -> None:
    p = np.random.default_rng(0).uniform(0.1, 2, (20, 2))
    expected = np.stack(f(*p.T), axis=-1)
    np.testing.assert_allclose(evaluate(read(text).components, p), expected, rtol=1e-13, atol=1e-13)


def smooth() -> st.SearchStrategy[str]:
    """Texts of functions that are finite everywhere and have no large derivatives."""
    leaves = st.sampled_from(["x", "y", "2", "0.5", "pi/4", "(x - y)"])
    around = ["sin({})", "cos({})", "tanh({})", "atan({})", "exp(sin({}))", "sqrt(2 + cos({}))", "1/(2 + sin({}))"]
    around += ["log(3 + tanh({}))", "sinh(cos({}))", "cosh(sin({}))", "asin(0.5*sin({}))", "acos(0.5*cos({}))"]
    around += ["tan(0.5*tanh({}))", "(2 + sin({}))**1.5", "tanh({})**3", "(2 + cos({}))**sin(x)"]

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pairs = st.tuples(st.sampled_from(["({} + {})", "({} - {})", "{}*{}"]), inner, inner)
        return st.tuples(st.sampled_from(around), inner).map(lambda t: t[0].format(t[1])) | pairs.map(
            lambda t: t[0].format(t[1], t[2])
        )

    texts = st.recursive(leaves, grow, max_leaves=5)
    return texts.filter(
        lambda text: len(text) <= LENGTH and max(np.cumsum([(c == "(") - (c == ")") for c in text])) <= 12
    )


@settings(max_examples=60)
@given(smooth(), st.integers(0, 10**6))
def test_symbolic_derivatives_are_complex_steps_and_central_differences(text: str, seed: int) -> None:
    f, p = read(text), np.random.default_rng(seed).uniform(-1.5, 1.5, (4, 2))
    namespace = {name: getattr(np, {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}.get(name, name)) for name in (
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "pi"
    )}  # fmt: skip
    by_python = eval(text, {"__builtins__": {}}, namespace | {"x": p[:, 0], "y": p[:, 1]})
    np.testing.assert_allclose(evaluate([f.surface], p)[:, 0], by_python + np.zeros(4), rtol=1e-11, atol=1e-11)
    for values, slopes in (([f.surface], [f.gradient]), (f.gradient, f.hessian)):
        J = evaluate([e for row in slopes for e in row], p).reshape(4, len(values), 2)
        scale = max(1, np.abs(J).max())
        np.testing.assert_allclose(complex_step(partial(evaluate, values), p, 1e-30), J, rtol=0, atol=1e-11 * scale)
        errors = [np.abs(central(partial(evaluate, values), p, h) - J).max() for h in (1e-3, 1e-4)]
        assert errors[1] < 0.02 * errors[0] + 1e-10 * scale  # h^2, down to rounding


def test_points_outside_of_a_domain_are_not_finite_and_others_are() -> None:
    f = read("log(x) + sqrt(y)")
    p = np.array([(-1.0, 1), (0, 1), (1, -1), (1, 4)])
    assert np.isfinite(evaluate([f.surface], p)[:, 0]).tolist() == [False, False, False, True]
    np.testing.assert_array_equal(f.point, [1, 0.5])
    x, y = read("log(-x)*y").point
    assert (x, y) == (-0.1, 0.5) or (round(x, 9), round(y, 9)) == (-0.1, 0.5)


def test_a_scalar_shows_its_gradient_map_and_a_map_its_first_component() -> None:
    x, y = sympy.symbols("x y")
    scalar, pair = read("x**2*y"), read("[x*y, x]")
    assert scalar.map == scalar.gradient == [2 * x * y, x**2]
    assert scalar.jacobian == scalar.hessian == [[2 * y, 2 * x], [2 * x, 0]]
    assert (pair.surface, pair.jacobian, pair.hessian) == (x * y, [[y, x], [1, 0]], [[0, 1], [1, 0]])


# Finite differences and what is measured with them


def test_the_methods_on_a_map_of_three_variables() -> None:
    p = np.array([[0.3, -0.7, 1.1], [1.0, 0.2, -0.4]])

    def f(p: np.ndarray) -> np.ndarray:
        return np.stack([p[..., 0] * p[..., 1], np.sin(p[..., 2]) * p[..., 0]], axis=-1)

    x, y, z = p.T
    J = np.stack([np.stack([y, x, 0 * x], -1), np.stack([np.sin(z), 0 * x, np.cos(z) * x], -1)], axis=1)
    assert J.shape == (2, 2, 3)
    np.testing.assert_allclose(forward(f, p, 1e-8), J, atol=1e-7)
    np.testing.assert_allclose(central(f, p, 1e-5), J, atol=1e-10)
    np.testing.assert_allclose(complex_step(f, p, 1e-200), J, atol=1e-15)


@pytest.mark.parametrize("fit", FITS)
def test_v_shapes_of_the_exponential(fit: str) -> None:
    name, low, high, power = FITS[fit]
    method = {"forward": forward, "central": central, "complex step": complex_step}[name]
    p = np.linspace(-1, 1, 101)[:, None]
    h = np.geomspace(low, high, 21)
    errors = [np.sqrt(np.mean((method(np.exp, p, step)[:, 0] - np.exp(p)) ** 2)) for step in h]
    assert np.polyfit(np.log10(h), np.log10(errors), 1)[0] == pytest.approx(power, abs=0.05)


@pytest.mark.parametrize("method", [forward, central, complex_step])
@pytest.mark.parametrize(
    ("p", "h", "message"),
    [
        (np.array([np.nan]), 0.1, "finite real numbers"),
        (np.array([1j]), 0.1, "finite real numbers"),
        (np.array([1]), 0.1, "finite real numbers"),
        (np.array(1.0), 0.1, "finite real numbers"),
        (np.empty((3, 0)), 0.1, "n at least 1"),
        (np.ones(2), 0, "a step must be above 0 and finite"),
        (np.ones(2), -1, "a step must be above 0 and finite"),
        (np.ones(2), np.inf, "a step must be above 0 and finite"),
        (np.ones(2), np.nan, "a step must be above 0 and finite"),
    ],
)
def test_bad_points_and_steps(method: Callable[..., np.ndarray], p: np.ndarray, h: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(np.sin, p, h)


MATRICES = st.lists(st.floats(-3, 3), min_size=4, max_size=4).map(lambda a: np.array(a).reshape(2, 2))


@given(MATRICES, st.floats(0.01, 1))
def test_a_linear_map_multiplies_areas_by_its_determinant_and_makes_ellipses(A: np.ndarray, h: float) -> None:
    p = np.array([[0.5, -1.0], [0.0, 0.3]])
    det = A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0]  # LAPACK divides by a pivot, which may be as small as 1e-311
    np.testing.assert_allclose(area_ratio(lambda z: z @ A.T, p, h), [det, det], atol=1e-10)
    found = stretches(lambda z: z @ A.T, p, h, directions=720)
    axes = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(found, [axes, axes], atol=np.pi / 720 * axes[0] + 1e-12)
    H = A + A.T
    u = np.array([0.6, 0.8])
    form = curvature(lambda z: np.einsum("...i,ij,...j->...", z, A, z)[..., None], p, u, h)
    np.testing.assert_allclose(form, [[u @ H @ u]] * 2, atol=1e-10 / h**2)


@given(st.floats(0, 2 * np.pi), st.floats(0.1, 100))
def test_the_normal_of_a_plane_is_its_gradient(angle: float, slope: float) -> None:
    g = slope * np.array([np.cos(angle), np.sin(angle)])
    normal = level_normal(lambda z: z @ g[:, None], np.array([[0.3, 0.4]]), 0.1)
    np.testing.assert_allclose(normal[0], g / slope, atol=2e-5)


def test_there_is_no_normal_at_a_minimum_or_a_saddle() -> None:
    at = np.array([[0.0, 0.0], [0.6, 0.8]])
    normal = level_normal(lambda z: np.sum(z**2, axis=-1, keepdims=True), at, 1e-3)
    assert np.isnan(normal[0]).all()
    np.testing.assert_allclose(normal[1], [0.6, 0.8], atol=1e-5)
    assert np.isnan(level_normal(lambda z: z[..., :1] * z[..., 1:], at[0], 1e-3)).all()


@given(st.integers(3, 12), st.floats(-10, 10), st.floats(0.1, 3))
def test_area_of_regular_polygons(n: int, shift: float, radius: float) -> None:
    corners = radius * circle(n) + shift
    area = n / 2 * radius**2 * np.sin(2 * np.pi / n)
    assert polygon_area(corners) == pytest.approx(area, rel=1e-9)
    assert polygon_area(corners[::-1]) == pytest.approx(-area, rel=1e-9)


@pytest.mark.parametrize("shape", [(2,), (2, 2), (4, 3)])
def test_polygons_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="polygons must be"):
        polygon_area(np.ones(shape))


# Networks


def test_layer_jacobians_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    W, V, x = rng.standard_normal((5, 7)), rng.standard_normal((7, 3)), rng.standard_normal(5)
    p = {"0": {"W": W, "b": np.ones(7)}, "1": {}, "2": {"W": V, "b": np.ones(3)}, "3": {}}
    net = Sequential((Linear(5, 7), Tanh(), Linear(7, 3), Softmax()))
    y, J = layer_jacobian(net, p, x)

    def same(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(torch.tanh(x @ torch.tensor(W) + 1) @ torch.tensor(V) + 1, -1)

    np.testing.assert_allclose(y, same(torch.tensor(x)), atol=1e-14)
    np.testing.assert_allclose(J, torch.autograd.functional.jacobian(same, torch.tensor(x)), atol=1e-14)


def test_a_residual_adds_the_identity_and_products_chain() -> None:
    rng = np.random.default_rng(1)
    inner = Sequential((Tanh(), Linear(6, 6)))
    p, x = {"0": {}, "1": {"W": rng.standard_normal((6, 6)), "b": np.zeros(6)}}, rng.standard_normal(6)
    h, J = layer_jacobian(inner, p, x)
    np.testing.assert_allclose(layer_jacobian(Residual(inner), p, x)[1], np.eye(6) + J, atol=1e-15)
    _, J2 = layer_jacobian(inner, p, h)
    _, both = layer_jacobian(Sequential((inner, inner)), {"0": p, "1": p}, x)
    np.testing.assert_allclose(J2 @ J, both, atol=1e-14)
    with pytest.raises(ValueError, match="one example"):
        layer_jacobian(inner, p, x[None])


def test_a_relu_layer_passes_half_of_the_directions_and_the_law_is_a_density() -> None:
    Js = chain(NETS["plain, ReLU"], np.random.default_rng(0))
    ranks = [np.linalg.matrix_rank(J) for J in Js]
    assert all(np.sum(np.any(J != 0, axis=0)) == rank for J, rank in zip(Js, ranks, strict=True))
    assert abs(np.mean(ranks) / 64 - 0.5) < 0.04
    np.testing.assert_allclose(list(products(Js))[2], Js[2] @ Js[1] @ Js[0])
    s = np.linspace(np.sqrt(2) - 1, np.sqrt(2) + 1, 20_001)
    assert np.trapezoid(law(s), s) == pytest.approx(0.5, abs=1e-5)
    # trace J J^T / 64 is 2 / 64 * 64 / 2 = 1 on average.
    assert np.trapezoid(law(s) * s**2, s) == pytest.approx(1, abs=1e-5)


# The study on other functions


@pytest.mark.parametrize(
    ("text", "claims"), [("[log(x), 1/y]", 5), ("5", 4), ("sqrt(0.001 - (x - 1)**2 - (y - 0.5)**2)", 4)]
)
def test_the_study_of_a_function_with_little_to_show(text: str, claims: int, tmp_path: Path) -> None:
    job = {"study": "jacobian", "seed": 0, "effort": 0.01, "steps": 1, "f": text}
    run = Run(job, Setting(folder=tmp_path, label="test", named_by=("study", "seed"), code=""))
    with np.errstate(all="ignore"):  # as the engine does
        STUDY.measure(run, 0.01)
    rows = pd.DataFrame([job | row for row in run.rows])
    assert plot.png(STUDY.draw(rows, run.arrays)).startswith(b"\x89PNG")
    assert list(STUDY.more(rows, run.arrays)) == ["jacobian.html"]
    measured = [claim for claim in STUDY.claims if claim.measure(rows)]
    assert len(measured) == claims
    if "sqrt" not in text:  # that one lives on a disc of radius 0.03: steps of 1e-3 are coarse there
        assert set(judge(measured, rows, "test")["verdict"]) == {"reproduced"}


# The page


def test_the_page_is_one_small_file_and_what_it_is_given_stays_text() -> None:
    text = page({"</script><b>&": read("x*y"), "fold": read("fold")}).decode()
    assert len(text) < 200_000
    assert "<title>Gradient and Jacobian: &lt;/script&gt;&lt;b&gt;&amp;, fold</title>" in text
    assert text.count("</script>") == 1
    assert "<b>" not in text
    assert not re.search(r"https?:|//[a-z]|\bsrc=|\bhref=|@import|url\(|innerHTML|eval\(", text)
    assert "default-src 'none'" in text


def test_javascript_holds_nothing_but_formulas() -> None:
    code = javascript(read("tan(x + pi/2)**-2*sqrt(y) + 1/3").everything)
    words = set(re.findall(r"[A-Za-z_]+\w*", code)) - {"x", "y", "const", "return", "Math"}
    assert words <= {"tan", "sqrt"} | {f"t{i}" for i in range(100)}


DRAG = """<script>
const canvas = document.getElementById("domain"), log = [];
function send(kind, x, y) {
  const box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent(kind, { pointerId: 7, bubbles: true,
    clientX: box.left + canvas.clientLeft + (x + 2) / 4 * canvas.clientWidth,
    clientY: box.top + canvas.clientTop + (2 - y) / 4 * canvas.clientHeight }));
}
const note = () => log.push(Object.fromEntries([...document.querySelectorAll("output")].map((o) => [o.id, o.value])));
note();
const select = document.getElementById("function");
for (let k = 0; k < select.options.length; k++) {
  select.selectedIndex = k;
  select.dispatchEvent(new Event("change"));
  const [x, y] = document.getElementById("point").value.split(", ").map(Number);
  send("pointerdown", x, y); send("pointermove", 0, 0); send("pointermove", 0.7, 1.1); note();
  send("pointerup", 0.7, 1.1); send("pointermove", -1, -1); note();
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })); note();
  send("pointerdown", -9, 9); send("pointerup", -9, 9); note();
}
const result = document.createElement("pre");
result.id = "log";
result.textContent = JSON.stringify(log);
document.body.append(result);
</script>"""
BROWSER = shutil.which("chromium")


@pytest.mark.skipif(BROWSER is None, reason="needs Debian's chromium, to drag the point in")
def test_dragging_the_point_in_a_browser(tmp_path: Path) -> None:
    functions = {name: read(name) for name in NAMED} | {"given": read("[sin(x)*y, tan(x/3)/(3 + y**3)**0.5]")}
    (tmp_path / "page.html").write_bytes(page(functions).replace(b"</body>", DRAG.encode() + b"</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [str(BROWSER), *options, "--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path / 'page.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="log">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    start, *notes = json.loads(html.unescape(found[1]))
    check_readout(start, "hills", (1, 0.5))
    assert len(notes) == 4 * len(functions)
    for (name, f), of in zip(functions.items(), [notes[i : i + 4] for i in range(0, len(notes), 4)], strict=True):
        dragged, left, key, corner = of
        check_readout(dragged, name, (0.7, 1.1), f)
        assert left == dragged  # the button is up: nothing follows the pointer
        check_readout(key, name, (0.6, 1.1), f)
        check_readout(corner, name, (-WINDOW, WINDOW), f)


def check_readout(shown: dict[str, str], name: str, at: tuple[float, float], f: object = None) -> None:
    """What the page shows, six digits a number, is what NumPy finds at the point that it shows."""
    numbers = {key: np.array(re.findall(r"-?\d[\d.e+-]*", text), float) for key, text in shown.items()}
    p = numbers["point"]
    np.testing.assert_allclose(p, at, atol=2e-3)  # of a pixel's size
    everything = evaluate((f or read(name)).everything, p)  # type: ignore[attr-defined]
    value, mapped, gradient, J, H = np.split(everything, [1, 3, 5, 9])
    J, H = J.reshape(2, 2), H.reshape(2, 2)
    singular, eigenvalues = np.linalg.svd(J, compute_uv=False), np.linalg.eigvalsh(H)[::-1]
    atol = 2e-5 * max(1, np.abs(everything).max())
    expected = {"value": value, "mapped": mapped, "gradient": gradient, "jacobian": J.ravel()}
    expected |= {"singular": singular, "hessian": eigenvalues}
    for key, numbers_expected in expected.items():
        np.testing.assert_allclose(numbers[key], numbers_expected, atol=atol, err_msg=f"{name} {key}")
    assert numbers["determinant"][0] == pytest.approx(np.linalg.det(J), abs=atol * max(1, np.abs(J).max()))


# The command line


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "papers/understanding_ml/run.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study=jacobian", "f=__import__('os')"], 'f="__import__(\'os\')": the character "\'" is not allowed'),
        (["study=pca", "f=sin(x)*y"], "f=sin(x)*y: only study=jacobian takes a function"),
    ],
)
def test_a_refused_function_is_one_line_and_makes_nothing(
    arguments: list[str], message: str, results_home: Path
) -> None:
    done = command("scale=smoke", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not results_home.exists()


def test_a_function_of_the_users_has_a_folder_of_its_own(results_home: Path) -> None:
    text = "[sin(x)*y, x**2 - y**2]"
    done = command("scale=smoke", "study=jacobian", "compute.workers=1", f"f={text}")
    assert done.returncode == 0, done.stderr
    (folder,) = (results_home / "understanding_ml" / "smoke" / "jacobian").iterdir()
    assert folder.name.startswith("custom-")
    names = {path.name for path in folder.iterdir()}
    assert {"jacobian.png", "headline.png", "jacobian.html", "claims.csv", "rows.csv", "run.json"} <= names
    assert "jacobian_networks.png" not in names
    ledger = pd.read_csv(folder / "claims.csv")
    assert (len(ledger), set(ledger["verdict"])) == (5, {"reproduced"})
    assert text in (folder / "jacobian.html").read_text()
    assert f"page:    {folder / 'jacobian.html'}" in done.stdout
