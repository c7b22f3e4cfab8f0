"""The explorer's page in a real browser: a person steps, plays, finds, with mouse and keyboard.

The browser has no network. Every error and every message of the page, a refusal by its policy
among them, fails the test.
"""

from __future__ import annotations

import math
import random
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from explorer_graphs import GRAPHS, dense_unit, lost, network, practised, trained, unannotated
from playwright.sync_api import Browser, Page, sync_playwright
from references import REFERENCES

import chainrule.math as m
from chainrule import Node, Operation, Recording, TrainingSet, explore, group, record_lines
from chainrule.explorer.formulas import form_of
from chainrule.explorer.javascript import arithmetic
from chainrule.rules import OPERATIONS

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
ASSETS = Path(__file__).parents[1] / "src" / "chainrule" / "explorer" / "assets"

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Write a page, open it from disk without a network; at the end nothing has gone wrong."""
    said: list[str] = []
    contexts = []

    def open_page(root: Node, *, settings: dict[str, Any] | None = None, **options: Any) -> Page:
        path = explore(root, tmp_path / "page.html", **options).save(tmp_path / "page.html")
        wanted: dict[str, Any] = {"offline": True, "viewport": {"width": 1200, "height": 800}}
        context = browser.new_context(**wanted | (settings or {}))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(f"asked for {request.url}"))
        page.goto(Path(path).as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def unit() -> tuple[Node, dict[str, Node]]:
    """A dense unit and its leaves."""
    numbers = {"w": -0.7, "x": 2.0, "v": 1.1, "z": -0.4, "b": 0.9}
    leaves = {name: Node(number, name=name) for name, number in numbers.items()}
    w, x, v, z, b = leaves.values()
    y: Node = (w * x + v * z + b).tanh()
    y.name = "y"
    return y, leaves


def short(x: float) -> str:
    """A number as the page shows it."""
    if x != x:
        return "NaN"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    text = f"{x:.4f}"
    if x != 0 and not 1e-4 <= abs(x) < 1e6:
        mantissa, exponent = f"{x:.3e}".split("e")
        text = f"{mantissa}e{'-' if exponent[0] == '-' else '+'}{int(exponent[1:])}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def compact(x: float) -> str:
    """The same without zeros at the end."""
    text = short(x)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def box(page: Page, node: int) -> Any:
    """The box of a node."""
    return page.locator(f'[data-box="{node}"]')


def texts(page: Page, node: int) -> tuple[str, str]:
    """The value and the gradient on a box."""
    value = box(page, node).locator(".value").text_content()
    return value or "", (box(page, node).locator(".grad").text_content() or "").removeprefix("∂ ")


def wait_until(page: Page, condition: str) -> None:
    """Wait for something to become true; the page's policy forbids the browser's own way."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise TimeoutError(condition)


def counter(page: Page) -> str:
    """Where the walk is."""
    return page.locator("#counter").text_content() or ""


# Reading

SIZES = {"laptop": (1280, 800), "screen": (1920, 1080), "phone": (390, 844)}

UNREADABLE = """() => {
  const stage = byId('stage').getBoundingClientRect();
  const found = [];
  const shown = [...document.querySelectorAll('.picture text')]
    .filter((text) => text.textContent && text.checkVisibility())
    .map((text) => [text, text.getBoundingClientRect()])
    .filter(([, r]) => r.right > stage.left && r.left < stage.right)
    .filter(([, r]) => r.bottom > stage.top && r.top < stage.bottom);
  shown.forEach(([text, r], i) => {
    const size = parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
    if (size < 9.99) found.push(`${text.textContent} has ${size} pixels`);
    const box = text.closest('.box')?.querySelector('.base').getBoundingClientRect();
    const inside = !box || (r.left >= box.left && r.right <= box.right);
    if (!inside) found.push(`${text.textContent} leaves its box`);
    for (const [other, q] of shown.slice(0, i)) {
      const across = Math.min(r.right, q.right) - Math.max(r.left, q.left);
      const down = Math.min(r.bottom, q.bottom) - Math.max(r.top, q.top);
      const covers = across > 1 && down > 0.25 * r.height;
      if (covers) found.push(`${text.textContent} on ${other.textContent}`);
    }
  });
  for (const element of document.querySelectorAll('#panel *, #transport *, #legend *, header *')) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    const size = parseFloat(getComputedStyle(element).fontSize);
    const small = size > 0 && size < 10 && element.checkVisibility();
    const shows = small && texts.some((node) => node.data.trim());
    if (shows) found.push(`${element.textContent}: ${size}`);
  }
  return found;
}"""


def pictured() -> dict[str, tuple[Node, dict[str, Any]]]:
    """All graphs in which the explorer is looked at, with what is said to ``explore``."""
    graphs: dict[str, tuple[Node, dict[str, Any]]] = {k: (make(), {}) for k, make in GRAPHS.items()}
    root, history = trained()
    graphs["training"] = (root, {"history": history})
    loss, points = practised()
    graphs["practice"] = (loss, {"training": points})
    return graphs


@pytest.mark.parametrize("size", SIZES)
def test_everything_can_be_read(opened: Opener, size: str) -> None:
    """No text covers another, leaves its box or is smaller than 10 pixels: at every step of a walk.

    At the opening view, as it follows the walk, in light and dark, on paper, and in a trip of a
    loop.
    """
    width, height = SIZES[size]
    for name, (graph, options) in pictured().items():
        page = opened(graph, settings={"viewport": {"width": width, "height": height}}, **options)

        def readable(*what: object, name: str = name, page: Page = page) -> None:
            assert page.evaluate(UNREADABLE) == [], (name, size, *what)

        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for part in (0, 0.3, 0.6, 0.8, 1) if scheme == "light" else (0.6, 1):
                page.evaluate(f"go(Math.round(walk.length * {part}))")
                readable(scheme, part)
        assert page.evaluate("picture.view.scale") >= 10 / 12 - 1e-9
        if name == "loop of 252":
            page.locator(".box.group").click()
            for _ in range(2):
                page.click('.stepper[data-by="1"]')
                readable("trip")
            page.evaluate("go(walk.seedStep + 2)")
            readable("trip, backward")
        if size == "laptop":
            page.emulate_media(media="print")
            page.set_viewport_size({"width": 700, "height": 1000})
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            assert page.locator("#paper .picture").count() >= 1
            readable("paper")
        page.context.close()


def test_short_graphs_use_the_window(opened: Opener) -> None:
    """Boxes have one size, and the gaps between them are as wide as there is room for."""
    page = opened(unit()[0], settings={"viewport": {"width": 1280, "height": 800}})
    stage, *boxes = page.evaluate(
        """() => [byId('stage'), ...document.querySelectorAll('.box .base')]
             .map((e) => e.getBoundingClientRect())
             .map((r) => [r.left, r.top, r.right, r.bottom])"""
    )
    left, top, right, bottom = zip(*boxes, strict=True)
    assert max(right) - min(left) > 0.85 * (stage[2] - stage[0])
    assert max(bottom) - min(top) > 0.6 * (stage[3] - stage[1])
    assert len({round(r - x) for x, r in zip(left, right, strict=True)}) == 1


# Names


def test_names_of_the_program(opened: Opener) -> None:
    """A script that names nothing opens with its variables; formulas are written in them."""
    page = opened(unannotated())
    titles = page.locator(".box .title").all_text_contents()
    assert {"w0", "w1", "b", "x[0]", "x[1]"} <= set(titles)
    assert "tanh y" in titles
    assert "· ** 2 loss" in titles  # the constant is drawn
    page.click("#next")
    text = page.locator("#step-body").text_content() or ""
    assert "(−0.7) × 1.5 = −1.05" in text
    assert "∂(w0·x[0])/∂w0 = x[0] = 1.5" in text
    page.evaluate("go(walk.length)")
    text = page.locator("#step-body").text_content() or ""
    assert "w0.grad += −1.9001 × 1.5 = −2.8502" in text or "w0.grad += " in text


def test_places_name_what_has_no_name(opened: Opener) -> None:
    """In sliders, search and lists."""
    x = Node(0.5)
    with group("layer 1"), group("neuron 3"):
        leaves = [Node(0.1 * i) for i in range(3)]
        y = leaves[0] * x + leaves[1] * 2.0 + leaves[2]
    page = opened(y + x)
    sliders = page.locator("#leaves-body .name").all_text_contents()
    assert {"layer 1 › neuron 3 › w0", "layer 1 › neuron 3 › b", "leaf"} <= set(sliders)
    page.fill("#search", "neuron 3 › w1")
    assert page.locator("#search-count").text_content() == "1 found"


# Walking


def test_steps_show_pythons_numbers(opened: Opener) -> None:
    """Step from the start to the end; the numbers on every box and in every step are Python's."""
    y, _ = unit()
    page = opened(y)
    order = y.sorted_nodes()[::-1]
    operations = [i for i, node in enumerate(order) if node._parents]
    assert counter(page) == f"Start · 0 of {2 * len(operations) + 1}"
    for step, i in enumerate(operations, start=1):
        assert texts(page, i) == ("?", "")
        assert "= 0" not in (page.locator("#root-value").text_content() or "")
        page.click("#next")
        assert counter(page).startswith(f"Forward · {step} of")
        assert texts(page, i) == (short(order[i].data), "")
        assert "active" in (box(page, i).get_attribute("class") or "")
        shown = page.locator("#step-body .equation").text_content() or ""
        assert shown.endswith(f"= {compact(order[i].data)}")
        formulas = page.locator("#step-body .formula").all_text_contents()
        for formula, local in zip(formulas, order[i].local_grads(), strict=True):
            assert formula.endswith(f"= {compact(local)}")
    assert page.locator("#step-body .formula").all_text_contents() == [
        f"∂y/∂(w·x + v·z + b) = 1 − y² = {compact(order[-1].local_grads()[0])}"
    ]
    page.click("#next")
    assert counter(page).startswith("Backward")
    assert texts(page, len(order) - 1) == (short(y.data), "1.0000")
    grads = dict.fromkeys(order, 0.0) | {y: 1.0}
    for i in reversed(operations):
        page.click("#next")
        node = order[i]
        messages = page.locator("#step-body .message").all_text_contents()
        labels = page.locator(".label").all_text_contents()
        assert len(labels) == len(node._parents)
        for k, (parent, local) in enumerate(zip(node._parents, node.local_grads(), strict=True)):
            sent = grads[node] * local
            grads[parent] += sent
            factor = f"({compact(local)})" if local < 0 else compact(local)
            assert messages[k].endswith(
                f".grad += {compact(grads[node])} × {factor} = {compact(sent)}"
            )
        assert page.locator("path.edge.backward").count() == len(node._parents)
    y.backward()
    for i, node in enumerate(order):
        assert texts(page, i) == (short(node.data), short(node.grad))
    assert page.evaluate("[...walk.grad]") == [node.grad for node in order]  # bit for bit
    assert counter(page).startswith(f"Backward · {2 * len(operations) + 1} of")


def test_a_folded_group_is_one_step(opened: Opener) -> None:
    """What is in view is walked through; unfolding on the way keeps what was done."""
    page = opened(network())
    boxes = page.locator(".box.group").count()
    assert boxes == page.evaluate("walk.seedStep - 1") == 4
    page.click("#next")
    assert page.locator("#step-body .card").count() == 1
    assert "80 operations computed" in (page.locator("#step-body").text_content() or "")
    layer = page.locator(".box.group", has_text="layer 1")
    layer.click()
    assert page.locator(".frame").count() == 1
    done = "[...graph.kind.keys()].filter((i) => !graph.isLeaf(i) && walk.isEvaluated(i))"
    assert page.evaluate(f"{done}.length") == 80
    assert page.evaluate("walk.step") == 16
    page.click("#last")
    page.click("#fold-all")
    assert page.evaluate("walk.step === walk.length")
    assert page.evaluate("walk.grad.every((g, i) => Object.is(g, graph.grad[i]))")


def test_a_long_walk_plays_in_half_a_minute(opened: Opener) -> None:
    """However many boxes are in view."""
    page = opened(network((2, 7, 7, 7, 7, 1)))
    page.evaluate("while (picture.unfoldAll());")
    page.select_option("#speed", "2000")
    steps = page.evaluate("walk.length")
    assert steps > 700
    delay = page.evaluate("pauseOf()")
    assert delay * steps < 28_000


@pytest.mark.parametrize("by", ["box", "level"])
def test_any_folding_is_walked_in_order(opened: Opener, by: str) -> None:
    """Operands before results, results' gradients before operands', whatever is folded."""
    y = Node(0.5, name="x")
    for i in range(12):  # groups that depend on each other
        with group("abc"[i % 3]):
            y = y.tanh() + y * 0.5
    rng = random.Random(5)
    for root in (network((2, 4, 3, 1)), y):
        page = opened(root)
        page.click("#fold-all")
        for _ in range(6):
            closed = page.evaluate("[...picture.rect.keys()].filter((b) => picture.isGroup(b))")
            page.evaluate(f"walk.by = '{by}'; picture.toggle({rng.choice(closed)})")
            assert page.evaluate(
                """() => {
                  const { evaluatedAt, sentAt } = walk;
                  const inOrder = (p, i) => evaluatedAt[p] <= evaluatedAt[i]
                    && (graph.isLeaf(p) || sentAt[p] >= sentAt[i]);
                  return [...graph.kind.keys()].every(
                    (i) => [...graph.operandsOf(i)].every((p) => p < 0 || inOrder(p, i)));
                }"""
            )
            page.evaluate("go(walk.length)")
            assert page.evaluate("walk.grad.every((g, i) => Object.is(g, graph.grad[i]))")


def test_levels_and_scrubbing(opened: Opener) -> None:
    """By level there are fewer steps, and the sums at the end are the same."""
    y, _ = unit()
    page = opened(y)
    page.select_option("#by", "level")
    assert counter(page) == "Start · 0 of 9"
    page.evaluate("const s = byId('scrub'); s.value = 1; s.dispatchEvent(new Event('input'))")
    assert counter(page) == "Forward · 1 of 9"
    assert page.locator("#step-body .card").count() == 2  # both products at once
    page.click("#last")
    y.backward()
    for i, node in enumerate(y.sorted_nodes()[::-1]):
        assert texts(page, i)[1] == short(node.grad)


def test_playing(opened: Opener) -> None:
    """Play walks to the end by itself; pause stops it."""
    page = opened(unit()[0])
    page.select_option("#speed", "40")
    page.click("#play")
    wait_until(page, "walk.step > 2")
    page.click("#play")
    step = counter(page)
    page.wait_for_timeout(200)
    assert counter(page) == step
    page.click("#play")
    wait_until(page, "walk.step === walk.length && timer === null")
    assert page.locator("#play").text_content() == "▶ Play"


def test_a_node_used_twice(opened: Opener) -> None:
    """x * x sends two messages along its one edge."""
    x = Node(3.0, name="x")
    page = opened(x * x)
    page.click("#last")
    assert page.locator(".label").all_text_contents() == ["+= 1 × 3 + 1 × 3"]
    assert page.locator(".message").all_text_contents() == [
        "x.grad += 1 × 3 = 3",
        "x.grad += 1 × 3 = 3; its sum 3 → 6",
    ]
    assert texts(page, 0) == ("3.0000", "6.0000")


# Changing leaves


def test_changing_leaves(opened: Opener) -> None:
    """Type a value and move a slider: everything is as Python computes it; reset brings it back."""
    y, leaves = unit()
    page = opened(y)
    order = y.sorted_nodes()[::-1]
    page.click("#last")
    start = [texts(page, i) for i in range(len(order))]
    page.fill('#leaves-body [aria-label="value of x"]', "0.625")
    page.keyboard.press("Enter")
    slider = page.locator('#leaves-body [aria-label="slider of b"]')
    slider.evaluate("(s) => { s.value = -0.5; s.dispatchEvent(new Event('input')); }")
    leaves["x"].data, leaves["b"].data = 0.625, float(slider.input_value())
    w, x, v, z, b = leaves.values()
    changed = (w * x + v * z + b).tanh()
    changed.backward()
    for i, node in enumerate(changed.sorted_nodes()[::-1]):
        assert texts(page, i) == (short(node.data), short(node.grad))
        assert page.evaluate(f"graph.value[{i}]") == pytest.approx(node.data, rel=1e-14)
        assert page.evaluate(f"graph.grad[{i}]") == pytest.approx(node.grad, rel=1e-14)
    before = f"y = {compact(y.data)} → {compact(changed.data)}"
    assert page.locator("#root-value").text_content() == before
    assert page.locator("#changed").text_content() == "changed: x, b"
    assert page.locator(".leaf.changed .name").all_text_contents() == ["x", "b"]
    assert page.locator(".box.changed").count() == 2
    page.click("#reset")
    assert [texts(page, i) for i in range(len(order))] == start
    assert not page.locator("#reset").is_visible()
    assert page.locator(".leaf.changed, .box.changed").count() == 0
    page.fill('#leaves-body [aria-label="value of x"]', "0.625")  # without Enter
    assert "→" in (page.locator("#root-value").text_content() or "")
    page.fill('#leaves-body [aria-label="value of x"]', "two")
    page.keyboard.press("Enter")
    assert page.locator("#message").text_content() == "two is not a number"


def test_nudging(opened: Opener) -> None:
    """The change of the root by ε is the gradient, and the leaf is back where it was."""
    y, leaves = unit()
    page = opened(y)
    page.evaluate("select([...Array(graph.count).keys()].find((i) => graph.nameOf(i) === 'w'))")
    page.get_by_label("ε =").fill("1e-6")
    page.get_by_role("button", name="Nudge by ε").click()
    text = page.locator("#nudged").text_content() or ""
    ratio, grad = (
        float(x.replace("−", "-")) for x in re.findall(r"(?:ε =|gradient) (\S+?)(?:,|\. |$)", text)
    )
    y.backward()
    assert grad == pytest.approx(leaves["w"].grad, rel=1e-5)
    assert ratio == pytest.approx(grad, rel=1e-4)
    assert "Δy / ε" in text
    assert "Nothing was changed" in text
    assert not page.locator("#reset").is_visible()


def test_a_card_follows_its_own_slider(opened: Opener) -> None:
    """Its numbers, and which way makes the root smaller; the control keeps the keyboard."""
    x = Node(3.0, name="x")
    page = opened(x * x)
    page.click("#last")
    box(page, 0).click()
    body = page.locator("#step-body")
    assert "Lower x a little to make product smaller." in (body.text_content() or "")
    typed = page.locator('#step-body [aria-label="value of x"]')
    typed.fill("-2")
    said = body.text_content() or ""
    assert "x = −2" in said
    assert "= −4" in said
    assert "Raise x a little to make product smaller." in said
    assert typed.evaluate("(element) => element === document.activeElement")
    assert page.locator("#step-body .card > .leaf").count() == 1


def test_what_only_python_can_compute_is_unknown(opened: Opener) -> None:
    """Nothing is shown that the page can't know."""
    a, b = Node(2.0, name="a"), Node(3.0, name="b")
    opaque = Operation("opaque", lambda x: math.sqrt(x), [lambda y, x: 0.5 / y])
    y = opaque(a) * b
    page = opened(y)
    index = {node: i for i, node in enumerate(y.sorted_nodes()[::-1])}
    page.click("#last")
    page.fill('#leaves-body [aria-label="value of b"]', "5")
    page.keyboard.press("Enter")
    assert texts(page, index[y]) == (short(math.sqrt(2) * 5), "1.0000")
    page.fill('#leaves-body [aria-label="value of a"]', "4")
    page.keyboard.press("Enter")
    assert texts(page, index[y]) == ("unknown", "1.0000")
    assert texts(page, index[a])[1] == "unknown"
    assert texts(page, index[b])[1] == "unknown"
    page.click("#reset")
    assert texts(page, index[y])[0] == short(y.data)


def test_another_branch_is_said_plainly(opened: Opener) -> None:
    """Where changed values would make an ``if`` go the other way, also one on hidden values."""
    with record_lines() as lines:
        x, limit = Node(2.0), Node(5.0)
        y = x * 3.0 if x * x < limit else -x
    page = opened(y, lines=lines)
    turned = page.locator("#turned")
    assert not turned.is_visible()
    slider = page.locator('#leaves-body [aria-label="value of x"]')
    for number, other in (("-2.2", False), ("2.3", True), ("2", False)):
        slider.fill(number)
        page.keyboard.press("Enter")
        assert turned.is_visible() == other
    slider.fill("-3")
    page.keyboard.press("Enter")
    text = turned.text_content() or ""
    assert "It ran with x² < limit; now 9 ≥ 5." in text.replace("x·x", "x²")
    assert "test_explorer_page.py" in text
    assert "if x * x < limit" in text


def test_another_number_of_trips_is_said_plainly(opened: Opener) -> None:
    """Where a ``while`` would end sooner or later, with its line."""
    with record_lines() as lines:
        x = Node(1.0, name="x")
        y = x
        while y < 100.0:
            y = y * 3.0
    page = opened(y, lines=lines)
    turned = page.locator("#turned")
    for number, text in (("0.3", "now 72.9 < 100"), ("1.2", None), ("50", "now 150 ≥ 100")):
        page.fill('#leaves-body [aria-label="value of x"]', number)
        page.keyboard.press("Enter")
        assert turned.is_visible() == (text is not None)
        if text is not None:
            said = turned.text_content() or ""
            assert text in said
            assert "while y < 100.0" in said


def test_why_a_gradient_is_zero(opened: Opener) -> None:
    """What stops it on the way to the root, behind sums and products; or that terms cancel."""
    w, x = Node(2.0, name="w"), Node(-3.0, name="x")
    page = opened((w * x + 1.0).relu() + x * 0.0 + w * w - w * 4.0)
    page.click("#last")
    page.fill("#search", "w")
    page.keyboard.press("Enter")
    text = page.locator("#step-body").text_content() or ""
    assert "on the way to difference the local gradient is 0 at" in text
    assert "relu(−5) = 0" in text
    v = Node(2.0, name="v")
    page = opened(v * v - v * 4.0)
    page.click("#last")
    page.fill("#search", "v")
    page.keyboard.press("Enter")
    assert "adds up to 0" in (page.locator("#step-body").text_content() or "")


def test_why_a_gradient_is_what_it_is(opened: Opener) -> None:
    """A node says what each of its results adds to its gradient; a changed leaf shows numbers."""
    w, x, b = Node(2.0, name="w"), Node(3.0, name="x"), Node(-7.0, name="b")
    page = opened((w * x + b).relu() + w * 0.5)
    page.click("#last")
    page.fill("#search", "w")
    page.click("#search-found button >> nth=0")
    rows = page.locator("#step-body ul button").all_text_contents()
    assert len(rows) == 2
    assert any(row.endswith("0 × 3 = 0") for row in rows)  # relu is off
    assert any(row.endswith("1 × 0.5 = 0.5") for row in rows)
    page.click("#first")
    page.fill('#leaves-body [aria-label="value of b"]', "1")
    page.keyboard.press("Enter")
    assert "= 1 → 8" in (page.locator("#root-value").text_content() or "")


# Training in the page


def learnt(steps: int, rate: float, points: list[list[float]]) -> tuple[float, list[float]]:
    """The mean loss and the weights after steps of gradient descent, by Python."""
    loss, training = practised()
    leaves = [node for node in loss.sorted_nodes()[::-1] if not node._parents]
    weights = [leaf for leaf in leaves if leaf not in (*training.inputs, training.target)]

    def mean_of(values: list[Node]) -> Node:
        total = Node(0.0)
        at = {id(leaf): value for leaf, value in zip(weights, values, strict=True)}
        for point in points:
            at |= {id(x): Node(v) for x, v in zip(training.inputs, point[:-1], strict=True)}
            at[id(training.target)] = Node(point[-1])
            total = total + computed(loss, at)
        mean: Node = total / len(points)
        return mean

    numbers = [leaf.data for leaf in weights]
    for _ in range(steps):
        values = [Node(number) for number in numbers]
        mean_of(values).backward()
        numbers = [value.data - rate * value.grad for value in values]
    return mean_of([Node(number) for number in numbers]).data, numbers


def computed(root: Node, at: dict[int, Node]) -> Node:
    """A graph again from other leaves."""
    at = at.copy()
    for node in root.sorted_nodes()[::-1]:
        if node._parents:
            operands = [at[id(x)] if isinstance(x, Node) else x for x in node.operands]
            assert node.operation is not None
            again: Node = node.operation(*operands)
            at[id(node)] = again
    return at[id(root)]


def test_training_in_the_page(opened: Opener) -> None:
    """Steps move the weights as Python does; points are added, moved and taken away."""
    loss, training = practised()
    page = opened(loss, training=training)
    plot = page.locator("#plot").bounding_box()
    assert plot is not None

    def agree(steps: int, start: list[list[float]]) -> None:
        page.click("#train-reset")
        page.evaluate(f"practice.points = {start}; choosePoint(0)")
        for _ in range(steps):
            page.click("#train-step")
        mean, weights = learnt(steps, 0.1, start)
        assert page.evaluate("practice.loss()") == pytest.approx(mean, rel=1e-12)
        found = page.evaluate("practice.weights.map((w) => graph.value[w])")
        assert found == pytest.approx(weights, rel=1e-12)

    agree(3, training.points)
    assert (page.locator("#practice-text").text_content() or "").startswith("step 3: mean loss")
    page.fill("#new-target", "-1")
    page.mouse.click(plot["x"] + 20, plot["y"] + 30)
    points = page.evaluate("practice.points")
    assert len(points) == 13
    assert points[-1][-1] == -1.0
    agree(2, points)
    mark = page.locator('[data-point="12"]').bounding_box()
    assert mark is not None
    page.mouse.move(mark["x"] + 5, mark["y"] + 5)
    page.mouse.down()
    page.mouse.move(plot["x"] + 100, plot["y"] + 100)
    page.mouse.up()
    moved = page.evaluate("practice.points[12]")
    assert moved != points[-1]
    assert texts(page, page.evaluate("practice.inputs[0]"))[0] == short(moved[0])
    page.locator('[data-point="12"]').focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("practice.points[12][0]") > moved[0]
    page.keyboard.press("Delete")
    assert page.evaluate("practice.points.length") == 12
    page.click("#add-point")
    page.click("#remove-point")
    page.click("#train")
    wait_until(page, "practice.steps > 4")
    page.click("#train")
    assert page.evaluate("training === null")
    for _ in range(12):
        page.click("#remove-point")
    page.click("#train-step")
    assert page.locator("#message").text_content() == "There is no point to train on"
    page.click("#train-reset")
    assert page.evaluate("practice.points") == training.points
    assert not page.evaluate("practice.weights.some((w) => graph.value[w] !== graph.recorded[w])")


def test_training_on_one_input(opened: Opener) -> None:
    """The target is drawn upwards, with the output as a line."""
    x, t = Node(0.5, name="x"), Node(1.0, name="t")
    w, b = Node(0.1, name="w"), Node(0.0, name="b")
    y = w * x + b
    points = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]
    page = opened((y - t) ** 2, training=TrainingSet([x], t, points, output=y))
    assert page.locator("#plot .fitted").count() == 1
    page.evaluate("trainBy(2000)")
    names = "Object.fromEntries(practice.weights.map((i) => [graph.nameOf(i), graph.value[i]]))"
    assert page.evaluate(names) == pytest.approx({"w": 2.0, "b": 1.0}, rel=1e-9)


# Arithmetic of all operations

EXACT_TO = 8.0  # units in the last place, both together
GAMMA = ("gamma", "lgamma", "polygamma")  # to 1e-13 of the larger of the result and 1


def cases(name: str) -> Iterator[tuple[float, ...]]:
    """Operands of an operation: the edges, difficult and ordinary ones."""
    reference = REFERENCES[name]
    rng = Random(zlib.crc32(name.encode()))
    yield from reference.edges
    for _ in range(100):
        yield reference.inputs(rng)
        if reference.ordinary is not None:
            yield reference.ordinary(rng)


def agrees(name: str, found: float, expected: float) -> bool:
    """Whether the page's number is Python's to rounding."""
    if math.isnan(found) or math.isnan(expected):
        return math.isnan(found) and math.isnan(expected)
    if found == expected:
        return expected != 0.0 or math.copysign(1.0, found) == math.copysign(1.0, expected)
    if math.isinf(found) or math.isinf(expected):
        return abs(min(found, expected, key=abs)) > 1.797e308
    if name in GAMMA:
        return abs(found - expected) <= 1e-13 * max(abs(expected), 1.0)
    return abs(found - expected) <= EXACT_TO * math.ulp(max(abs(expected), 2.0**-1022))


@pytest.fixture(scope="module")
def calculator(browser: Browser) -> Iterator[Page]:
    """A page with the arithmetic."""
    page = browser.new_page()
    page.goto("about:blank")
    page.add_script_tag(content=arithmetic())
    yield page
    page.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic(calculator: Page, name: str) -> None:
    """Value and local gradients of every operation are Python's, at the edges too."""
    operation = OPERATIONS[name]
    groups: dict[int, list[tuple[float, ...]]] = {}
    for operands in cases(name):
        groups.setdefault(len(operands), []).append(operands)
    for count, points in groups.items():
        form = form_of(operation, count)
        texts = [[_javascript(x) for x in point] for point in points]
        answers = calculator.evaluate(
            f"""(points) => {{
              const form = {form.code};
              const text = (x) => (Object.is(x, -0) ? '-0.0' : String(x));
              return points.map((point) => {{
                const x = point.map(Number);
                const y = form.value(x);
                return [y, ...form.grads(y, x)].map(text);
              }});
            }}""",
            texts,
        )
        places = [i for i, grad in enumerate(form.grads) if grad is not None]
        for point, answer in zip(points, answers, strict=True):
            y, *grads = (float(text.replace("Infinity", "inf")) for text in answer)
            assert agrees(name, y, operation.value(*point)), f"{name}{point}"
            expected = operation.local_grads_at(places, operation.value(*point), point)
            for i, local in zip(places, expected, strict=True):
                close = math.isclose(grads[i], local, rel_tol=1e-9)  # of a value that is close
                inherited = name == "gamma" or (y != operation.value(*point) and close)
                assert agrees(name, grads[i], local) or inherited, f"{name}{point}, gradient {i}"


def _javascript(x: float) -> str:
    return repr(x).replace("inf", "Infinity").replace("nan", "NaN")


# Finding


def test_search(opened: Opener) -> None:
    """By name, operation and value; a click goes to the node, unfolding what hides it."""
    page = opened(network())
    page.fill("#search", "w3,1")
    assert page.locator("#search-count").text_content() == "8 found"  # w3,10 … w3,15 too
    page.click("#search-found button >> nth=0")
    assert page.locator("#step-body .equation").count()
    node = page.evaluate("selected")
    assert box(page, node).count() == 1
    assert page.evaluate("graph.nameOf(selected)") == "w3,1"
    page.fill("#search", "tanh")
    assert page.locator("#search-count").text_content() == "33 found"
    page.fill("#search", "> 1.5")
    count = page.evaluate("graph.value.filter((x) => x > 1.5).length")
    assert page.locator("#search-count").text_content() == f"{count} found"
    page.fill("#search", "nothing like it")
    assert page.locator("#search-count").text_content() == "0 found"


def test_gradients_and_heaviest_path(opened: Opener) -> None:
    """The largest and smallest gradients, and the path with the largest product of local ones."""
    y, leaves = unit()
    page = opened(y)
    y.backward()
    page.click("#gradients summary")
    page.wait_for_selector("#gradients-body ul")
    page.select_option("#gradients-of", "leaves")
    shown = page.locator("#gradients-body ul").nth(0).locator("button").all_text_contents()
    by_size = sorted(leaves.values(), key=lambda leaf: -abs(leaf.grad))
    assert shown == [f"{leaf.name}∂ {short(leaf.grad)}" for leaf in by_size]
    page.click("#heaviest")
    assert f"from {by_size[0].name} to y" in (page.locator("#path-text").text_content() or "")
    assert page.locator("path.edge.path").count() == page.evaluate("picture.path.size") - 1
    page.click("#unmark")
    assert page.locator("path.edge.path").count() == 0


def test_gradients_of_weights(opened: Opener) -> None:
    """Inputs and targets are left out: by groups and names, or as the training set says."""
    loss, points = practised()
    weights = {
        node.name
        for node in loss.sorted_nodes()
        if not node._parents and node not in (*points.inputs, points.target)
    }
    for options in ({}, {"training": points}):
        page = opened(loss, **options)
        named = page.evaluate("names.weights().map((node) => graph.nameOf(node))")
        assert (len(named), set(named)) == (13, weights)
        page.click("#gradients summary")
        assert page.locator("#gradients-of").input_value() == "weights"
        assert "absolute value" in (page.locator("#gradients-body").text_content() or "")
        shown = page.locator("#gradients-body ul").nth(0)
        assert shown.evaluate("(list) => list.scrollHeight <= list.clientHeight")
    assert opened(dense_unit()).evaluate("names.weights().length") == 3
    w, u, v = Node(0.5, name="w"), Node(2.0, name="u"), Node(1.0, name="v")
    page = opened(w * u - v, training=TrainingSet([u], v, [[1.0, 2.0], [2.0, 3.0]]))
    assert page.evaluate("names.weights().map((node) => graph.nameOf(node))") == ["w"]


def test_leaves_stand_as_in_a_network(opened: Opener) -> None:
    """Inputs; by layer and neuron the weights and the bias, in the order of their numbers."""
    page = opened(network((2, 11, 1)))
    wanted = ["x0", "x1"]
    for i in range(11):
        leaves = (f"w{i},0", f"w{i},1", f"b{i}")
        wanted += [f"layer 1 › neuron {i + 1} › {leaf}" for leaf in leaves]
    wanted += [f"layer 2 › neuron 1 › w0,{i}" for i in range(11)] + ["layer 2 › neuron 1 › b0"]
    assert page.locator("#leaves-body .name").all_text_contents() == wanted


def test_a_relu_that_is_off_is_said_to_be(opened: Opener) -> None:
    """On its box, in the panel, and by the edges that send nothing."""
    w, x = Node(-2.0, name="w"), Node(3.0, name="x")
    page = opened((w * x).relu() + w)
    relu = page.evaluate("graph.kind.findIndex((k) => graph.forms[k]?.name === 'relu')")
    assert texts(page, relu) == ("?", "")
    page.click("#last")
    assert texts(page, relu)[0] == "0.0000 off"
    box(page, relu).click()
    said = page.locator("#step-body").text_content() or ""
    assert "Off: its input is not above 0" in said
    assert "= 0 (rule: 1 if w·x > 0, else 0)" in said.replace("(w·x)", "w·x")
    assert "so far" not in said
    assert page.locator("path.edge.nothing").count() >= 1
    assert "dotted: sends 0" in (page.locator("#legend").text_content() or "")
    page.fill('#leaves-body [aria-label="value of w"]', "2")
    assert page.locator("path.edge.nothing").count() == 0
    assert texts(page, relu)[0] == "6.0000"


def test_one_click_picks(opened: Opener) -> None:
    """Also a box that is half outside the window; no tip stays; the box is then in the window."""
    page = opened(dense_unit())
    page.click("#last")
    stage = page.locator("#stage").bounding_box()
    target = page.locator(".box.leaf").first
    place = target.bounding_box()
    assert stage is not None
    assert place is not None
    page.evaluate(f"picture.pan({stage['x'] - place['x'] - place['width'] / 2}, 0)")
    page.mouse.move(stage["x"] + 3, place["y"] + place["height"] / 2)
    tip = page.locator("#tooltip")
    assert "∂y/∂" in (tip.text_content() or "")
    page.mouse.down()
    assert not tip.is_visible()
    page.mouse.up()
    assert page.evaluate("selected") == int(target.get_attribute("data-box") or -1)
    after = target.bounding_box()
    assert after is not None
    assert stage["x"] <= after["x"] < stage["x"] + 60


def test_the_panel_follows_groups(opened: Opener) -> None:
    """A group that was unfolded or folded is what the panel shows; its place is kept."""
    page = opened(network())
    page.click("#last")
    page.locator(".box.group", has_text="layer 2").click()
    body = page.locator("#step-body")
    assert page.locator("#step-title").text_content() == "Group"
    assert "layer 2" in (body.text_content() or "")
    assert "Unfolded in the graph" in (body.text_content() or "")
    assert page.locator("#step-body ul button").count() == 12
    neuron = page.locator(".box.group", has_text="neuron 9")
    before = neuron.bounding_box()
    number = neuron.get_attribute("data-box")
    neuron.click()
    after = page.locator(f'[data-box="{number}"]').bounding_box()
    assert before is not None
    assert after is not None
    assert 0 < after["x"] < 850
    assert 0 < after["y"] < 750
    page.click("#heaviest")
    page.locator("#follow").click()
    assert page.locator("#step-title").text_content() == "Step"


def test_help_explains_the_notation(opened: Opener) -> None:
    """In the names of the graph, from its beginning; of ifs only where there are any."""
    with record_lines() as lines:
        x = Node(2.0)
        y = x * 3.0 if x < 5.0 else -x
    y.name = "y"
    for options, text in (({}, "lines=lines"), ({"lines": lines}, "the page says so")):
        page = opened(y, settings={"viewport": {"width": 1000, "height": 500}}, **options)
        page.click("#help")
        said = page.locator("#keys").text_content() or ""
        assert "∂y/∂value" in said
        assert text in said
        assert page.locator("#keys").evaluate("(dialog) => dialog.scrollTop") == 0


def test_health(opened: Opener) -> None:
    """Dead ReLUs, saturated tanhs, and where NaN and infinity come from."""
    x, z = Node(-1.0, name="x"), Node(0.0, name="z")
    page = opened(m.log(x) + x.relu() + (x * 9).tanh() + m.sqrt(z))
    page.click("#health summary")
    page.wait_for_selector("#health-body p")
    text = page.locator("#health-body").text_content() or ""
    assert "ReLUs that are off (gradient 0): 1" in text
    assert "of their steepest): 1" in text
    assert "begins at: log" in text
    assert "gradients that are NaN or infinite: 2" in text  # of x and z
    assert "2 gradients are NaN" in (page.locator("#alert").text_content() or "")
    page.click("#alert button")
    assert page.locator("path.edge.path").count() == 3
    assert page.evaluate("graph.symbolOf(selected)") == "log"
    assert page.locator(".box.odd").count() >= 2


def test_lines_of_the_program(opened: Opener) -> None:
    """Where lines were recorded, the pointer on a box shows its line."""
    with record_lines():
        y = Node(2.0) * 3.0
    page = opened(y)
    box(page, 1).hover()
    tip = page.locator("#tooltip").text_content() or ""
    assert tip.startswith("y\ny = leaf·3")
    assert "test_explorer_page.py" in tip
    assert "y = Node(2.0) * 3.0" in tip


# Size


def test_network_opens_folded(opened: Opener) -> None:
    """By layer; a click unfolds a layer, another one folds it again."""
    page = opened(network())
    assert page.locator("#summary").text_content() == "982 nodes, 339 leaves"
    titles = page.locator(".box.group .title").all_text_contents()
    assert sorted(titles) == ["▸ layer 1", "▸ layer 2", "▸ layer 3", "▸ loss"]
    page.locator(".box.group", has_text="layer 1").click()
    assert page.locator(".box.group").count() == 19
    page.locator(".box.group", has_text="neuron 7").click()
    assert page.locator(".frame").count() == 2
    assert page.locator(".box").count() > 24
    overlaps = page.evaluate("""() => {
      const rects = [...picture.rect].filter(([box]) => !picture.open.has(box)).map(([, r]) => r);
      return rects.some(([x, y, w, h], i) => rects.slice(0, i).some(
        ([u, v, p, q]) => x < u + p && u < x + w && y < v + q && v < y + h));
    }""")
    assert not overlaps
    page.click("#fold-all")
    assert page.locator(".box.group").count() == 4


def test_small_networks_open_by_neuron(opened: Opener) -> None:
    """What can be read at once is unfolded; the edges between neurons are the weights."""
    page = opened(network((2, 3, 1)))
    assert page.locator(".box.group", has_text="neuron").count() == 4
    page.click("#last")
    weights = page.evaluate(
        """() => [...picture.edges.values()]
             .filter((e) => picture.isGroup(e.tail) && picture.isGroup(e.head))
             .filter((e) => graph.titleOf(graph.parent[e.head]) === 'layer 2')
             .map((e) => [graph.local[e.slots[0]], e.path.getAttribute('class'),
               Number(e.path.getAttribute('stroke-width'))])"""
    )
    assert len(weights) == 3
    for weight, kind, _ in weights:
        assert ("negative" if weight < 0 else "positive") in kind
    widths = [width for _, _, width in sorted(weights, key=lambda item: abs(item[0]))]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_messages_are_not_cut(opened: Opener) -> None:
    """A long one below a box at the edge of the window."""
    root, history = trained()
    page = opened(root, settings={"viewport": {"width": 1920, "height": 1080}}, history=history)
    page.click("#last")
    cut = """() => [...document.querySelectorAll('.label')].filter((label) => {
      const [r, frame] = [label, picture.svg].map((e) => e.getBoundingClientRect());
      return r.left < frame.left || r.right > frame.right;
    }).length"""
    assert page.evaluate(cut) == 0


def test_groups_show_both_signs(opened: Opener) -> None:
    """A folded group has the range of its known gradients, and both colours in their parts."""
    with group("inside"):
        a, b = Node(1.0, name="a"), Node(2.0, name="b")
        y = a * 3.0 - b
    page = opened(y + 0.0)
    page.click("#fold-all")
    page.evaluate("go(walk.seedStep)")
    assert page.locator(".box.group .grad").text_content() == ""
    page.click("#next")
    assert page.locator(".box.group .grad").text_content() == "∂ 1"
    page.click("#last")
    assert page.locator(".box.group .grad").text_content() == "∂ −1 … 3"
    assert page.locator(".box.group .tint.positive").count() == 1
    assert page.locator(".box.group .tint.negative").count() == 1


def test_what_is_not_a_number_is_marked(opened: Opener) -> None:
    """On its box, on the group that hides it, and at the top of the panel."""
    page = opened(lost())
    assert page.locator(".box.odd").count() == 0  # not before it is known
    page.evaluate("go(walk.seedStep - 1)")
    odd = page.locator(".box.odd .value").all_text_contents()
    assert odd == ["NaN", "NaN", "NaN"]
    page.click("#last")
    assert "8 not finite" in page.locator(".box.odd .value").all_text_contents()
    page.click("#alert button")
    assert "log" in (page.locator("#step-body").text_content() or "")


def test_loops_are_one_box(opened: Opener) -> None:
    """One box for 252 trips, which unfolds to trips to step through."""
    page = opened(GRAPHS["loop of 252"]())
    assert page.locator(".box.group .title").all_text_contents() == ["▸ price × 252"]
    assert page.evaluate("walk.length") == 3
    page.locator(".box.group").click()
    titles = page.locator(".box.group .title, .frame > text").all_text_contents
    assert titles() == ["▾ price × 252", "▾ trip 1 of 252", "▸ trips 2 – 252"]
    for _ in range(3):
        page.click('.stepper[data-by="1"]')
    assert {"▸ trips 1 – 3", "▾ trip 4 of 252", "▸ trips 5 – 252"} < set(titles())
    steps = page.evaluate("walk.length")
    for _ in range(2):
        page.click("#next")
    assert "trip 4" in (page.locator("#step-body").text_content() or "")
    page.locator(".box.group", has_text="trips 1 – 3").click()
    assert "▾ trip 3 of 252" in titles()
    page.focus('.stepper[data-by="-1"]')
    page.keyboard.press("Enter")
    page.keyboard.press(" ")
    assert "▾ trip 1 of 252" in titles()
    page.keyboard.press("Enter")
    assert page.locator("#message").text_content() == "There is no other trip on this side"
    page.fill("#search", "price₂₀₀")
    page.keyboard.press("Enter")
    assert "▾ trip 200 of 252" in titles()
    page.locator(".frame", has_text="trip 200").click(position={"x": 20, "y": 8})
    assert page.evaluate("walk.grad.every((g, i) => Object.is(g, graph.grad[i]))") is False
    assert titles() == ["▸ price × 252"]
    assert steps == 15
    page.click("#unfold-all")
    page.click("#last")
    assert "▾ trip 200 of 252" in titles()
    assert page.evaluate("walk.grad.every((g, i) => Object.is(g, graph.grad[i]))")
    page.evaluate("select([...Array(graph.count).keys()].find((i) => graph.isLeaf(i)), true)")


def test_fifty_thousand_nodes(opened: Opener) -> None:
    """They open folded and stay usable: search, unfold, step, change a leaf."""
    x = Node(0.5, name="x")
    y = x
    for i in range(25_000):
        y = (y * x).tanh() if i % 2 else y + x
    for _ in range(12_499):
        y = y + 0.001
    page = opened(y)
    assert page.locator("#summary").text_content() == "50,000 nodes, 1 leaves"
    assert page.locator(".box").count() <= 48
    page.fill("#search", "tanh")
    assert page.locator("#search-count").text_content() == "12,500 found"
    page.click("#search-found button >> nth=0")
    assert page.evaluate("picture.rect.has(selected)")
    page.keyboard.press("Escape")
    page.fill('#leaves-body [aria-label="value of x"]', "0.25")
    page.keyboard.press("Enter")
    assert page.evaluate("graph.value[graph.root]") != y.data
    page.click("#first")
    page.click("#next")
    assert counter(page).startswith("Forward · 1 of")


# Training


def test_training_replay(opened: Opener) -> None:
    """A slider over the steps moves weights, gradients and loss."""
    w, b = Node(3.0, name="w"), Node(-1.0, name="b")
    recording = Recording([w, b])
    losses = []
    for _ in range(20):
        loss = (w * 0.5 + b - 2.0) ** 2
        w.grad = b.grad = 0.0
        loss.backward()
        recording.record(loss)
        losses.append((loss.data, w.data, w.grad))
        w.data -= 0.3 * w.grad
        b.data -= 0.3 * b.grad
    root = (w * 0.5 + b - 2.0) ** 2
    page = opened(root, history=recording)
    page.click("#last")
    for k in (0, 7, 19):
        page.evaluate(
            f"const s = byId('training'); s.value = {k}; s.dispatchEvent(new Event('input'))"
        )
        loss_then, weight, grad = losses[k]
        assert page.locator("#training-text").text_content() == f"step {k}: loss {short(loss_then)}"
        row = page.locator("#training-weights tr").nth(1).locator("td").all_text_contents()
        assert row == ["w", short(weight), short(grad)]
        index = root.sorted_nodes()[::-1].index(w)
        assert texts(page, index) == (short(weight), short(grad))
        assert page.evaluate("graph.value[graph.root]") == pytest.approx(loss_then, rel=1e-13)


# Keyboard, touch, names, accessibility


def test_keyboard_alone(opened: Opener) -> None:
    """Step, play, search, unfold, walk from box to box, get help: without a mouse."""
    page = opened(network())
    press = page.keyboard.press
    assert counter(page).startswith("Start")
    press("ArrowRight")
    press("ArrowRight")
    press("ArrowLeft")
    assert counter(page).startswith("Forward · 1 of")
    press("l")
    assert page.locator("#by").input_value() == "level"
    press("End")
    press("Space")
    wait_until(page, "timer !== null")
    press("Space")
    assert page.evaluate("timer === null")
    for _ in range(30):
        press("Tab")
        if page.evaluate("document.activeElement.matches('[data-box]')"):
            break
    focused = "graph.titleOf(Number(document.activeElement.dataset.box))"
    assert page.evaluate("document.activeElement.matches('[data-box]')")
    press("Shift+ArrowLeft")
    assert page.evaluate(focused) == "layer 3"
    press("Enter")
    assert page.locator(".frame").count() == 1
    assert page.evaluate(focused) == "layer 3"
    press("Enter")
    assert page.locator(".frame").count() == 0
    press("/")
    page.keyboard.type("x1")
    press("Enter")
    assert page.evaluate("graph.nameOf(selected)") == "x1"
    press("Escape")
    press("?")
    assert page.locator("#keys").is_visible()
    press("Escape")
    assert not page.locator("#keys").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(opened: Opener, scheme: str) -> None:
    """The checker axe-core has nothing to say; texts on tinted boxes can be read."""
    for name, (root, options) in pictured().items():
        if scheme == "dark" and name not in ("dense unit", "NaN", "loop of 252", "practice"):
            continue
        page = opened(root, settings={"color_scheme": scheme}, **options)
        page.evaluate(
            "document.querySelectorAll('details').forEach((d) => { d.open = true; });"
            "go(walk.seedStep + 1)"
        )
        if name == "loop of 252":
            page.click("#unfold-all")
        found = Axe().run(page).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
        assert page.evaluate(LEAST_CONTRAST) >= 4.5


LEAST_CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  return Math.min(...[...document.querySelectorAll('.box:not(.waiting)')].map((box) => {
    const style = (name) => getComputedStyle(box.querySelector(name));
    const base = numbers(style('.base').fill);
    const tint = numbers(style('.tint').fill);
    const part = Number(style('.tint').fillOpacity);
    const below = light(base.map((c, i) => c + (tint[i] - c) * part));
    const text = light(numbers(style('.title').fill));
    return (Math.max(below, text) + 0.05) / (Math.min(below, text) + 0.05);
  }));
}"""


def test_names_are_text(opened: Opener) -> None:
    """Markup in names is shown, not run."""
    script = "document.title='gone'"
    evil = f'<img src=x onerror="{script}"></script><script>{script}</script>🙂'
    with group(evil):
        x = Node(2.0, name=evil)
        y = x * 3.0
    page = opened(y, title=evil)
    assert page.title() == evil
    assert page.locator("#title").text_content() == evil
    assert page.locator("img").count() == 0
    assert page.locator("#leaves-body .name").text_content() == f"{evil} › {evil}"
    assert page.evaluate("graph.nameOf(0)") == evil
    for name in ("W" * 1000, "עברית " * 20, "\u202eevil\u202c", "🙂" * 50):
        with group(name):
            x = Node(math.nan, name=name)
            y = (x * 1e-300) ** 1e300
        y.name = name
        page = opened(y)
        page.click("#last")
        assert page.evaluate(UNREADABLE) == []
        page.click("#fold-all")
        assert page.evaluate(UNREADABLE) == []


def test_policy_forbids_everything_external(browser: Browser, tmp_path: Path) -> None:
    """Scripts, pictures and requests from anywhere are refused."""
    page = browser.new_page()
    page.goto(Path(explore(unit()[0], tmp_path / "a.html").save(tmp_path / "a.html")).as_uri())
    refused = page.evaluate("""async () => {
      const seen = [];
      document.addEventListener('securitypolicyviolation', (e) => seen.push(e.effectiveDirective));
      document.body.append(Object.assign(new Image(), { src: 'https://example.org/a.png' }));
      const script = document.createElement('script');
      script.textContent = 'window.ran = 1';
      document.body.append(script);
      await fetch('https://example.org/').catch(() => 0);
      await new Promise((done) => setTimeout(done, 100));
      return [window.ran, ...new Set(seen)];
    }""")
    page.close()
    assert refused[0] is None
    assert {"img-src", "script-src-elem", "connect-src"} <= set(refused[1:])


def test_phone(opened: Opener) -> None:
    """On a phone nothing is wider than the screen, and a tap unfolds."""
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = opened(network(), settings=phone)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#fit")
    page.locator(".box.group", has_text="layer 1").tap()
    assert page.locator(".frame").count() == 1
    page.locator("#next").tap()


def test_in_a_notebook(browser: Browser) -> None:
    """The frame that Jupyter shows works, and can't reach the notebook around it."""
    page = browser.new_page()
    page.set_content(f"<h1>Notebook</h1>{explore(unit()[0])._repr_html_()}")
    frame = page.frame_locator("iframe")
    frame.locator("#next").wait_for()
    frame.locator("#first").click()
    frame.locator("#next").click()
    assert (frame.locator("#counter").text_content() or "").startswith("Forward · 1 of")
    inner = page.frames[1]
    assert (
        inner.evaluate("(() => { try { return parent.document.title } catch { return 1 } })()") == 1
    )
    page.close()


def test_a_leaf_alone(opened: Opener) -> None:
    """The smallest graph."""
    page = opened(Node(2.5, name="x"))
    page.click("#last")
    assert texts(page, 0) == ("2.5000", "1.0000")
    page.click("#heaviest")
    assert counter(page) == "Backward · 1 of 1"


def test_a_long_chain_opens_in_lines(opened: Opener) -> None:
    """As text does, so that its boxes can be read; the window follows the walk."""
    y = Node(1.0, name="x")
    for i in range(120):
        y = y.sin() if i % 7 % 3 else y + 1.0
    page = opened(y)
    scale = page.evaluate("picture.view.scale")
    assert scale > 0.8
    for step in (1, 60, 120, 200):
        page.evaluate(f"go({step})")
        found = page.locator(".box.active").bounding_box()
        assert found is not None
        assert 0 < found["x"] < 850
        assert 0 < found["y"] < 750
    page.click("#fit")
    assert page.evaluate("picture.view.scale") < scale
    page.click("#fit")
    page.keyboard.press("0")
    assert page.evaluate("picture.view.scale") == scale


def test_printing(opened: Opener) -> None:
    """On paper there are the graph and the step, in light colours, without buttons."""
    page = opened(network((2, 3, 1)), settings={"color_scheme": "dark"})
    page.click("#last")
    assert len(page.pdf()) > 5000
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate(UNREADABLE) == []
    outside = """() => [...document.querySelectorAll('#paper .box')].filter((box) => {
      const [r, frame] = [box, box.closest('svg')].map((e) => e.getBoundingClientRect());
      return r.left < frame.left || r.right > frame.right || r.bottom > frame.bottom;
    }).length"""
    assert page.evaluate(outside) == 0
    assert not page.locator("#transport").is_visible()
    assert page.locator("#paper .picture").is_visible()


def test_a_small_graph_is_printed_on_one_page(opened: Opener) -> None:
    """No empty one follows."""
    page = opened(dense_unit())
    page.click("#last")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 1


def test_infinite_and_nan_leaves(opened: Opener) -> None:
    """They are shown as such, and can be typed."""
    a, b = Node(math.inf, name="a"), Node(math.nan, name="b")
    page = opened(a + b * 0.0)
    order = (a + b * 0.0).sorted_nodes()
    assert len(order) == 4
    page.click("#last")
    assert "∞" in page.locator(".box .value").all_text_contents()
    assert "NaN" in page.locator(".box .value").all_text_contents()
    page.fill('#leaves-body [aria-label="value of b"]', "-inf")
    page.keyboard.press("Enter")
    assert "−∞" in page.locator(".box .value").all_text_contents()
