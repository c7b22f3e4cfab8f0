"""The explorer, as far as Python goes: what is in the page, its formulas and its layout."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
from array import array
from pathlib import Path
from random import Random
from typing import Any

import pytest
from references import REFERENCES

import chainrule
from chainrule import Node, Operation, Recording, TrainingSet, cli, explore, group, record_lines
from chainrule.explorer.formulas import as_text, form_of, operand_names, textbook, value
from chainrule.explorer.graph import Graph
from chainrule.explorer.layout import OUTSIDE, lay_out
from chainrule.explorer.tree import FEW, WHOLE, Group, places, tree_of
from chainrule.expressions import Expression
from chainrule.rules import OPERATIONS

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def unit() -> Node:
    """A dense unit."""
    w, b, x = Node(0.5, name="w"), Node(-0.25, name="b"), Node(2.0, name="x")
    y: Node = (w * x + b).tanh()
    y.name = "y"
    return y


def data_of(page: str) -> dict[str, Any]:
    """The data in a page."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    found: dict[str, Any] = json.loads(text)
    return found


def numbers(text: str) -> list[Any]:
    """A column of the data."""
    return array(text[0], base64.b64decode(text[1:])).tolist()


def gradients(data: dict[str, Any]) -> list[float]:
    """The gradients that the page computes, from the columns."""
    kind, operand, local = (numbers(data[name]) for name in ("kind", "operand", "local"))
    counts = [0 if k < 0 else len(data["forms"][k]["operands"]) for k in kind]
    starts = [0, *itertools.accumulate(counts)]
    grads = [0.0] * (data["count"] - 1) + [1.0]
    for i in reversed(range(data["count"])):
        for slot in range(starts[i], starts[i + 1]):
            if operand[slot] >= 0:
                grads[operand[slot]] += grads[i] * local[slot]
    return grads


def arity(name: str) -> int:
    """How many operands to try an operation with."""
    operation = OPERATIONS[name]
    return 3 if operation.variadic else len(operation.local_grads)


# Formulas


@every_operation
def test_formulas_say_what_the_rules_compute(name: str) -> None:
    """The textbook's form, which people read, has the value of the rule, which is computed."""
    operation, reference = OPERATIONS[name], REFERENCES[name]
    assert reference.ordinary is not None
    rng = Random(1)
    for _ in range(20):
        operands = reference.ordinary(rng)
        form = form_of(operation, len(operands))
        values = dict(zip(operand_names(len(operands)), operands, strict=True))
        values["y"] = operation.value(*operands)
        own = Expression(operation, [])
        for i, grad in enumerate(form.grads):
            if grad is None:
                assert form.formulas[i] == ""
                continue
            expected = operation.local_grad(i, values["y"], operands)
            assert value(grad, values) == pytest.approx(expected, rel=1e-13, abs=1e-300)
            shown = textbook(grad, own)
            assert value(shown, values) == pytest.approx(expected, rel=1e-9, abs=1e-12), (
                f"{name} {as_text(shown)}"
            )


@every_operation
def test_every_operation_runs_in_the_page(name: str) -> None:
    """All of the table has code."""
    assert form_of(OPERATIONS[name], arity(name)).code


def test_formulas_as_people_write_them() -> None:
    """A sample of the texts, with y for the value."""
    shown = {name: form_of(OPERATIONS[name], arity(name)).formulas for name in OPERATIONS}
    assert shown["tanh"] == ("1 − y²",)
    assert shown["exp"] == ("y",)
    assert shown["log"] == ("1 / x",)
    assert shown["multiply"] == ("b", "a")
    assert shown["divide"] == ("1 / b", "−y / b")
    assert shown["power"] == ("b · a^(b − 1)", "log(a) · y")
    assert shown["sqrt"] == ("0.5 / y",)
    assert shown["relu"] == ("1 if x > 0, else 0",)
    assert shown["hypot"] == ("a / y", "b / y", "c / y")
    assert shown["erf"] == ("2/√π · exp(−x²)",)
    assert shown["atan2"] == ("b / (b² + a²)", "−a / (b² + a²)")
    assert form_of(OPERATIONS["power"], 2, [None, 2.0]).formulas[0] == "2 · a"
    assert form_of(OPERATIONS["power"], 2, [None, 3.0]).formulas[0] == "3 · a²"


def test_users_operations() -> None:
    """One made of the table's operations is computed in the page, another only shown."""
    x = Node(0.3, name="x")
    swish = Operation(
        "swish",
        lambda x: x * chainrule.math.sigmoid(x),
        [lambda y, x: chainrule.math.sigmoid(x) + y * (1.0 - chainrule.math.sigmoid(x))],
    )
    opaque = Operation("opaque", lambda x: math.sqrt(x), [lambda y, x: 0.5 / y])
    lying = Operation("lying", lambda x: 1.0 * x if isinstance(x, float) else x * 2.0, [_one])
    for operation, computed in ((swish, True), (opaque, False), (lying, False)):
        page = explore(operation(x)).html
        assert ("const FORMS = [\nnull\n];" not in page) == computed, operation.name
        assert data_of(page)["forms"][0]["name"] == operation.name


def _one(y: Any, x: Any) -> float:
    return 1.0


class Cubed(Node):
    """A user's own node."""

    def __init__(self, x: Node) -> None:
        super().__init__(x.data**3, (x,))
        self.x = x

    def _local_grad(self, parent: Node) -> float:
        return 3 * self.x.data**2


def test_users_subclass() -> None:
    """A node of a user's class is in the page with Python's numbers."""
    data = data_of(explore(Cubed(Node(2.0)) * 2).html)
    assert [form["name"] for form in data["forms"]] == ["Cubed", "multiply"]
    assert numbers(data["value"]) == [2.0, 8.0, 16.0]
    assert gradients(data) == [24.0, 2.0, 1.0]


# The page


def test_page_holds_pythons_numbers() -> None:
    """Values and gradients are those of backward, bit for bit, and the nodes are left alone."""
    y = unit()
    page = explore(y).html
    assert [node.grad for node in y.sorted_nodes()] == [0.0] * 6
    data = data_of(page)
    order = y.sorted_nodes()[::-1]
    assert numbers(data["value"]) == [node.data for node in order]
    y.backward()
    assert gradients(data) == [node.grad for node in order]
    assert data["title"] == "y"
    assert {int(i): name for i, name in data["names"].items()} == {
        i: node.name for i, node in enumerate(order) if node.name
    }
    assert explore(y).html == page  # the gradients kept on the nodes are not read


def test_page_loads_nothing() -> None:
    """Its policy forbids all but its own style and script, and it names no address."""
    page = explore(unit()).html
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'")
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert set(re.findall(r"https?://[^\"' )]*", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"\b(?:src|href)\s*=", page)
    assert "unsafe" not in page


EVIL = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"quoted\" 'name' & <b>",
    "🙂 \u2028 \u2029 \\ ${1} `",
    "<!-- <script>",
]


@pytest.mark.parametrize("name", EVIL)
def test_names_stay_text(name: str) -> None:
    """Nothing in a name ends the element it is in; it comes back as it was."""
    with group(name):
        x = Node(1.0, name=name)
        y = Operation(name, lambda x: 2.0 * x, [lambda y, x: 2.0])(x)
    page = explore(y, title=name).html
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    data = data_of(page)
    assert data["title"] == name
    assert data["names"]["0"] == name
    assert data["groups"][1][0] == name
    assert data["forms"][0]["name"] == name


def test_values_that_are_not_finite() -> None:
    """NaN and infinities are in the columns."""
    x, z = Node(-1.0), Node(0.0)
    found = numbers(data_of(explore(chainrule.math.log(x) + 1 / z).html)["value"])
    assert any(number != number for number in found)
    assert math.inf in found


def test_lines_are_recorded_when_asked_for() -> None:
    """The line and its text are in the page, in that context only."""
    with record_lines():
        x = Node(2.0)
        y = x * 3.0
    data = data_of(explore(y).html)
    assert [re.sub(r".*(test_explorer\.py):\d+", r"\1", source) for source in data["sources"]] == [
        "test_explorer.py  x = Node(2.0)",
        "test_explorer.py  y = x * 3.0",
    ]
    assert data["lines"] == {"0": 0, "1": 1}
    assert data_of(explore(Node(2.0) * 3.0).html)["sources"] == []
    assert (Node(2.0) * 3.0).line is None


def test_jupyter_shows_it() -> None:
    """In a frame of its own, which can't reach the notebook."""
    shown = explore(unit())._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert 'sandbox="allow-scripts' in shown
    assert "allow-same-origin" not in shown
    assert "save('page.html')" in repr(explore(unit()))


def test_recording(tmp_path: Path) -> None:
    """Loss, weights and gradients of every step are in the page."""
    w = Node(3.0, name="w")
    recording = Recording()
    for _ in range(4):
        loss = (w - 1) ** 2
        w.grad = 0.0
        loss.backward()
        recording.record(loss)
        w.data -= 0.25 * w.grad
    assert len(recording) == 4
    replay = data_of(explore((w - 1) ** 2, history=recording).html)["history"]
    assert numbers(replay["losses"]) == [4.0, 1.0, 0.25, 0.0625]
    assert numbers(replay["values"]) == [3.0, 2.0, 1.5, 1.25]
    assert numbers(replay["grads"]) == [4.0, 2.0, 1.0, 0.5]
    assert replay["names"] == ["w"]
    assert replay["weights"] == [0]


def test_recording_of_numbers() -> None:
    """A loss may be a number where the weights are known; a long run is thinned out."""
    w = Node(1.0)
    recording = Recording([w])
    for step in range(5000):
        recording.record(5000.0 - step)
    replay = data_of(explore(w * 2, history=recording).html)["history"]
    assert replay["total"] == 5000
    assert len(replay["steps"]) == 2000
    assert replay["steps"][0] == 0
    assert replay["steps"][-1] == 4999
    with pytest.raises(TypeError, match=r"record takes the loss, a Node, not float 1.0"):
        Recording().record(1.0)
    with pytest.raises(TypeError, match="the weights of a recording are nodes, not float"):
        Recording([1.0])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="the weights of a recording are leaves"):
        Recording([w * 2])


# Bad input


def test_bad_input(tmp_path: Path) -> None:
    """Errors say what was given and what to do."""
    y = unit()
    with pytest.raises(TypeError, match=r"explore takes a Node, not float 3.0"):
        explore(3.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"history is a chainrule.Recording, not list"):
        explore(y, history=[])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the history is empty"):
        explore(y, history=Recording())
    with pytest.raises(TypeError, match=r"lines are what record_lines gives .* not list"):
        explore(y, lines=[])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="training is a TrainingSet, not list"):
        explore(y, training=[])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="title is text, not int"):
        explore(y, title=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'page.txt' should end in .html"):
        explore(y, tmp_path / "page.txt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        explore(y, tmp_path / "no" / "page.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        explore(y, tmp_path / "folder.html")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]
    x = Node(1.0, name="x")
    z = x * 2
    x.data = 3.0
    with pytest.raises(ValueError, match=r"changed after multiply had used it"):
        explore(z)


def test_graphs_that_have_no_derivative_yet() -> None:
    """A cycle, and a value inside of a transformation."""
    x = Node(1.0)
    loop = Cubed(x)
    loop._parents = (loop,)
    with pytest.raises(ValueError, match="the graph has a cycle"):
        explore(loop)
    with pytest.raises(chainrule.TracedValueError, match="inside grad"):
        chainrule.grad(lambda x: explore(x * x))(1.0)


def test_too_large() -> None:
    """The error says where the nodes are."""
    x = Node(1.0)
    with group("layer 1"):
        for _ in range(50):
            x = x + 1.0
    with pytest.raises(ValueError, match=r'51 nodes is too large.* fold="layer 1" \(50 nodes\)'):
        explore(x, max_nodes=50)
    assert data_of(explore(x, max_nodes=50, fold="layer 1").html)["count"] == 2
    with pytest.raises(ValueError, match=r"name its parts \(with chainrule.group"):
        explore(Node(1.0) + 1.0, max_nodes=1)
    with pytest.raises(ValueError, match=r"no group 'layer' in this graph; there are: layer 1"):
        explore(x, fold=["layer"])


def test_folded_groups_are_one_node_for_each_result() -> None:
    """Its local gradients are the derivatives through the inside; all gradients stay the same."""
    x, z = Node(0.3, name="x"), Node(-1.2, name="z")
    outputs = []
    with group("inside"):
        w = Node(0.7, name="w")
        shared = x * w
        for i in range(3):
            outputs.append((shared * z + (x * i).tanh()).exp() if i else shared * x)
    with group("after"):
        y = outputs[0] * outputs[1] - outputs[2] * w
    data = data_of(explore(y, fold=["inside"]).html)
    y.backward()
    kept = [node for node in y.sorted_nodes()[::-1] if "inside" not in node.groups]
    kept = [n for n in y.sorted_nodes()[::-1] if n in kept or n in outputs or n is w]
    assert numbers(data["value"]) == [node.data for node in kept]
    assert {form["name"] for form in data["forms"]} == {"inside", "multiply", "subtract"}
    assert gradients(data) == pytest.approx([node.grad for node in kept], rel=1e-12)


def test_training_sets() -> None:
    """Their nodes and points are looked at when they are made, or put in a page."""
    x, t = Node(1.0, name="x"), Node(2.0, name="t")
    y = x * 3.0
    assert data_of(explore(y - t, training=TrainingSet([x], t, [(1, 2)], output=y)).html)[
        "training"
    ] == {"inputs": [0], "target": 2, "output": 1, "points": [[1.0, 2.0]]}
    with pytest.raises(ValueError, match="of the training set is not in the graph"):
        explore(y, training=TrainingSet([x], t, [(1, 2)]))
    with pytest.raises(TypeError, match=r"takes nodes, not float 1\.0"):
        TrainingSet([1.0], t, [(1, 2)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="inputs and target are leaves, not"):
        TrainingSet([x], y, [(1, 2)])
    for inputs in ([], [x, x], [t]):
        with pytest.raises(ValueError, match="one leaf for each input and one for the target"):
            TrainingSet(inputs, t, [(1, 2)])
    with pytest.raises(ValueError, match="1 to 500 points, not 0"):
        TrainingSet([x], t, [])
    for point in ((1,), (1, 2, 3), (math.nan, 1)):
        with pytest.raises(ValueError, match="each point is 2 finite numbers"):
            TrainingSet([x], t, [point])


def test_comparisons_are_noted() -> None:
    """With what they compare, as far as the graph has a part in it, in their order."""
    with record_lines() as lines:
        x, other = Node(2.0, name="x"), Node(5.0)
        y = x
        while y < 50.0:
            y = y * 3.0
        assert other > 1.0
        assert y * x > y
    assert len(lines.decisions) == 6
    data = data_of(explore(y, lines=lines).html)
    count = data["count"]
    assert [(name, outcome) for name, _, _, outcome, _ in data["decisions"]] == [
        *[("less", True)] * 3,
        *[("less", False)],
        *[("less", True)],
    ]
    assert [a for _, a, *_ in data["decisions"]] == [0, 1, 2, 3, 3]
    assert data["decisions"][-1][2] == count  # y * x comes after what is shown
    assert len(numbers(data["value"])) == count + 1
    assert data_of(explore(y).html)["decisions"] == []


# Groups and layout


def chain(count: int) -> Node:
    """Operations in a chain that do not repeat."""
    rng, y = Random(5), Node(1.0)
    functions = [chainrule.math.sin, chainrule.math.cos, chainrule.math.tanh, chainrule.math.sinh]
    for _ in range(count - 1):
        y = rng.choice(functions)(y)
    return y


def tree(root: Node) -> Group:
    """The groups of a graph."""
    graph = Graph(root.sorted_nodes())
    return tree_of(graph, graph.names())


def test_small_graphs_are_not_cut() -> None:
    """Up to some hundred nodes there are only the user's groups."""
    assert tree(chain(WHOLE)).boxes == list(range(WHOLE))


@pytest.mark.parametrize("count", [WHOLE + 1, FEW * FEW, FEW * FEW + 1, 50_000])
@pytest.mark.parametrize("repeats", [False, True])
def test_large_graphs_are_cut(count: int, repeats: bool) -> None:
    """No group has more boxes than can be read, and every node is in one."""
    y = Node(1.0)
    for _ in range(count - 1):
        y = y * 1.5
    whole = tree(y if repeats else chain(count))
    found: list[int] = []

    def visit(group: Group) -> int:
        assert len(group.boxes) >= 1
        assert len(group.boxes) <= FEW or group.loop
        size = 0
        for box in group.boxes:
            if isinstance(box, int):
                found.append(box)
            size += 1 if isinstance(box, int) else visit(box)
        assert group.size == size
        return size

    assert visit(whole) == count
    assert sorted(found) == list(range(count))


def test_loops_of_a_program() -> None:
    """What repeats is one box with its trips; a loop within a trip too, where that is long."""
    rate, y = Node(0.1, name="rate"), Node(1.0, name="start")
    with record_lines():
        for _ in range(252):
            price = y * (1 + rate / 252)
            y = price
    graph = Graph(y.tanh().sorted_nodes())
    names = graph.names()
    loop = tree_of(graph, names).boxes[-2]
    assert isinstance(loop, Group)
    assert loop.name == "price"
    assert [trip.size for trip in loop.trips] == [3] * 252
    assert [names[max(trip.nodes())] for trip in loop.trips[:2]] == ["price₁", "price₂"]


def test_loops_in_loops() -> None:
    """A loop of two statements within each trip of another, whose lengths differ."""
    x, y = Node(0.3), Node(1.0, name="y")
    for i in range(40):
        for _ in range(20 + i % 3):
            y = (y * x).tanh()
        y = y.exp() - x
    loop = tree(y).boxes[-1]
    assert isinstance(loop, Group)
    assert len(loop.trips) == 40
    inner = [box for trip in loop.trips for box in trip.boxes if isinstance(box, Group)]
    assert [len(box.trips) for box in inner] == [20 + i % 3 for i in range(40)]
    assert {len(trip.boxes) for box in inner for trip in box.trips} == {2}


def test_leaves_stand_where_they_are_used() -> None:
    """A weight in its neuron, an input that two of them use outside."""
    x = Node(1.0, name="x")
    ws = [Node(2.0), Node(3.0)]
    ys = []
    for i, w in enumerate(ws):
        with group(f"neuron {i}"):
            ys.append(w * x)
    whole = tree(ys[0] + ys[1])
    groups = [box for box in whole.boxes if isinstance(box, Group)]
    assert [len(group.boxes) for group in groups] == [2, 2]
    assert len(whole.boxes) == 4


def test_names_from_the_program() -> None:
    """Variables, elements of lists, attributes; values that one variable holds after another."""

    class Model:
        pass

    model: Any = Model()
    with record_lines():
        a, b = Node(1.0), Node(2.0)
        cs = [Node(3.0), Node(4.0)]
        ds = [Node(float(i)) for i in range(2)]
        model.weight = Node(5.0)
        total = a * b
        for value in [*cs, *ds, model.weight]:
            total = total + value
        total += a
        (named := total * b).name = "given"
        y: Node = named.tanh()
    names = Graph(y.sorted_nodes()).names()
    assert set(names.values()) == {
        *("a", "b", "cs[0]", "cs[1]", "ds[0]", "ds[1]", "weight", "given", "y"),
        *(f"total{i}" for i in "₁₂₃₄₅₆₇"),
    }


def test_pages_hold_no_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program was."""
    program = tmp_path / "secret" / "model.py"
    program.parent.mkdir()
    program.write_text("y = Node(2.0) * 3.0\n")
    values: dict[str, Any] = {"Node": Node}
    with record_lines():
        exec(compile(program.read_text(), str(program), "exec"), values)
    page = explore(values["y"]).html
    assert "secret" not in page
    assert data_of(page)["sources"] == ["model.py:1  y = Node(2.0) * 3.0"]
    monkeypatch.chdir(tmp_path)
    assert data_of(explore(values["y"]).html)["sources"][0].startswith("secret/model.py:1")


def test_names_of_a_megabyte() -> None:
    """Are cut; the page stays small."""
    name = "n" * 1_000_000
    with group(name):
        y = Operation(name, lambda x: 2.0 * x, [lambda y, x: 2.0])(Node(1.0, name=name))
    assert len(explore(y, title=name).html) < 200_000


def test_layout() -> None:
    """Boxes of a column never overlap, edges go to the right, bends stand beside boxes."""
    rng = Random(2)
    for count in (1, 2, 5, 20, 60):
        edges = [
            (i, j) for j in range(count) for i in range(j) if rng.random() < 2.0 / max(count, 1)
        ]
        heights = [rng.choice([56.0, 64.0]) for _ in range(count)]
        layout = lay_out(tuple(heights), tuple(edges))
        boxes = list(zip(layout.column, layout.y, heights, strict=True))
        for i, (column, y, height) in enumerate(boxes):
            assert y >= -1e-9
            for other, v, q in boxes[:i]:
                assert column != other or y + height <= v or v + q <= y
        for i, j in edges:
            assert layout.column[i] < layout.column[j]
            assert len(layout.bends.get((i, j), [])) == layout.column[j] - layout.column[i] - 1
        crossing = [(OUTSIDE, count - 1), (0, OUTSIDE)]
        layout = lay_out(tuple(heights), tuple(edges), tuple(crossing))
        boxes = list(zip(layout.column, layout.y, heights, strict=True))
        for edge in crossing:
            bends = layout.bends.get(edge, [])
            passed = range(layout.column[0] + 1, max(layout.column) + 1)
            passed = range(layout.column[-1]) if edge[0] == OUTSIDE else passed
            assert [column for column, _ in bends] == list(passed)
            for column, height in bends:
                for other, y, size in boxes:
                    assert column != other or not y < height < y + size


def test_shared_weights_are_called_by_their_neuron() -> None:
    """Leaves that the same neuron of all samples uses; not inputs that several neurons use."""
    x = Node(1.0)
    w = [Node(2.0), Node(3.0)]
    total = Node(0.0)
    for sample in range(2):
        with group(f"sample {sample}"):
            for i in range(2):
                with group("layer"), group(f"neuron {i}"):
                    total = total + w[i] * x
    graph = Graph(total.sorted_nodes())
    found = {place: [graph.nodes[i] for i in leaves] for place, leaves in places(graph).items()}
    assert found == {f"layer › neuron {i}": [w[i]] for i in range(2)}


def test_layout_of_cycles() -> None:
    """Groups that depend on each other are laid out too."""
    layout = lay_out((10.0,) * 3, ((0, 1), (1, 2), (2, 0)))
    assert sorted(layout.column) == [0, 1, 2]


def test_layout_without_crossings_finds_one() -> None:
    """Two chains that begin crossed are uncrossed."""
    layout = lay_out((10.0,) * 4, ((0, 3), (1, 2)))
    assert (layout.y[0] < layout.y[1]) == (layout.y[3] < layout.y[2])


# The command line

PROGRAM = """
from chainrule import Node
w, x = Node(2.0, name="w"), Node(3.0, name="x")
loss = (w * x).tanh()
"""


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``chainrule explore`` writes the page, and opens it if asked."""
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", ["chainrule"])
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    Path("model.py").write_text(PROGRAM)
    assert cli.main(["explore", "model.py:loss"]) == 0
    assert capsys.readouterr().out == "loss.html\n"
    assert data_of(Path("loss.html").read_text(encoding="utf-8"))["title"] == "loss"
    assert opened == []
    arguments = ["explore", "model.py:loss", "-o", "p.html", "--lines", "--title", "T", "--open"]
    assert cli.main(arguments) == 0
    data = data_of(Path("p.html").read_text(encoding="utf-8"))
    assert data["title"] == "T"
    assert "model.py:4  loss = (w * x).tanh()" in data["sources"]
    assert opened == [(tmp_path / "p.html").resolve().as_uri()]
    assert cli.main(["explore", "model.py:nothing"]) == 2
    assert cli.main(["explore", "model.py:loss", "-o", "page.pdf"]) == 2
    assert cli.main(["explore", "model.py:loss", "-o", "no/page.html"]) == 2
    assert "there is no folder" in capsys.readouterr().err
