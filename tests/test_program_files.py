"""Programs in files: they come back as they were, or with an error."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from random_forms import (
    PICKS,
    ROUGH,
    SMOOTH,
    SPECIAL_NUMBERS,
    bits,
    random_inputs,
    random_program,
)

import chainrule
from chainrule import rules
from chainrule.annotations import Annotation
from chainrule.program import files
from chainrule.program.builder import Builder
from chainrule.program.files import ProgramFileError, read, written
from chainrule.program.form import (
    INPUT,
    VALUES,
    Array,
    Carry,
    Compute,
    Index,
    Last,
    Load,
    Loop,
    Program,
    ProgramError,
    Slice,
    statements,
)
from chainrule.program.interpreter import interpret

ALL = (*SMOOTH, *PICKS, *ROUGH)


def _random(seed: int) -> Program:
    kind = seed % 3
    return random_program(seed, ALL, SPECIAL_NUMBERS, guards=kind == 1, segments=kind == 2)


@pytest.mark.parametrize("seed", range(90))
def test_there_and_back(seed: int) -> None:
    """All that a program says, and each number to the last bit."""
    program = _random(seed)
    data = written(program)
    again = read(data)
    assert written(again) == data
    assert str(again) == str(program)
    assert again.guards == program.guards
    if seed % 3 != 2:
        inputs = random_inputs(seed, program, special=True)
        outputs, guard = interpret(program, inputs)
        found, found_guard = interpret(again, inputs)
        assert bits(found) == bits(outputs)
        assert found_guard == guard


def test_carries_notes_and_names(tmp_path: Path) -> None:
    """What random programs have not."""
    x = Array(INPUT, 1, "größe")
    first = Load(x, Index())
    loop = Loop(Index(4))
    loop.name = "step"
    one, other = Carry(first), Carry(-0.0)
    total = Compute(rules.add, (one, other))
    loop.carries, loop.body = [one, other], [total]
    one.next, other.next = total, one
    last = Last(loop, other)
    first.note = Annotation(None, (), "cell 4, line 2")
    total.note = Annotation("sum", ("outer", "inner"), "walk.py:3")
    program = Program(x, [first, loop, last], [last, Slice(x, 0, 1)])
    path = tmp_path / "walk.json"
    program.save(path)
    again = chainrule.Program.load(path)
    assert str(again) == str(program)
    assert "walk.py:3  sum  in outer / inner" in str(again)
    assert interpret(again, [2.0]) == interpret(program, [2.0])


def test_numbers_are_exact() -> None:
    """Constants of statements, and tables."""
    numbers = [0.1, -0.0, 0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 3.0]
    b = Builder(1)
    table = b.table(numbers)
    out = Array(VALUES, len(numbers), "v")
    with b.loop(len(numbers)) as loop:
        i = Index(0, ((loop, 1),))
        b.store(out, i, b.load(table, i))
    program = b.finish([Slice(out, 0, len(numbers)), *numbers])
    found, _ = interpret(read(written(program)), [0.0])
    assert bits(found) == bits([*numbers, *numbers])


def test_cut_off() -> None:
    """Wherever it ends."""
    data = written(_random(1))
    for length in random.Random(0).sample(range(len(data)), 200):
        with pytest.raises(ProgramFileError):
            read(data[:length])


def test_altered() -> None:
    """A byte that is another one is noticed, or means the same."""
    data = written(_random(2))
    rng = random.Random(0)
    refused = 0
    for _ in range(1000):
        place = rng.randrange(len(data))
        altered = bytes([*data[:place], rng.randrange(256), *data[place + 1 :]])
        try:
            again = read(altered)
        except ProgramFileError:
            refused += 1
        else:
            assert written(again) == data
    assert refused > 500


def _forged(content: Any) -> bytes:
    """A file that says that it was not altered."""
    whole = {"format": files.FORMAT, "version": files.VERSION, "program": content}
    try:
        whole["digest"] = files._digest(content)
    except ProgramError:
        whole["digest"] = ""
    return json.dumps(whole).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    found = []
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, x in items:
        found.append((content, key))
        if isinstance(x, (dict, list)):
            found += _places(x)
    return found


def test_forged() -> None:
    """Whatever stands in the place of something: a well-formed program comes of it, or an error."""
    rng = random.Random(0)
    good = 0
    for seed in range(800):
        content = json.loads(written(random_program(seed % 50, size=3, segments=seed % 2 == 0)))
        places = _places(content["program"])
        for _ in range(rng.choice([1, 1, 2])):
            holder, key = rng.choice(places)
            other_holder, other_key = rng.choice(places)
            odd: list[Any] = [
                None,
                True,
                -1,
                0,
                1,
                2**31,
                2**63,
                10**30,
                1.5,
                "",
                "nan",
                "%0",
                "%99",
                "%x",
            ]
            odd += ["compute", "__init__", "program", [], {}, [1], other_holder[other_key]]
            odd += [holder[key] + 1, holder[key] - 1] if type(holder[key]) is int else []
            holder[key] = rng.choice(odd)
        try:
            data = _forged(content["program"])
        except ValueError:  # a part in itself
            continue
        try:
            program = read(data)
        except ProgramFileError:
            continue
        good += 1
        assert read(written(program)) is not program
        if not any(type(x).__name__ == "Derive" for x in statements(program.body)):
            try:
                interpret(program, [0.5] * program.inputs.size)
            except IndexError:  # an index that is a value is checked where it is known
                assert any(
                    isinstance(x, Compute) and x.operation is rules.gather
                    for x in statements(program.body)
                )
    assert good > 50


def _small() -> Any:
    b = Builder(2)
    out = Array(VALUES, 4, "v")
    with b.loop(4) as loop:
        b.store(out, Index(0, ((loop, 1),)), b.compute(rules.exp, (b.input(1),)))
    return json.loads(written(b.finish([Slice(out, 0, 4)])))["program"]


def _loops(*trips: int) -> Any:
    """Nested loops around nothing much."""
    content = _small()
    inner = content["body"][-1]["body"]
    inner[0]["index"] = 0
    for n in trips:
        inner = [
            {"do": "loop", "name": "", "trips": n, "initial": [], "next": [], "body": inner},
        ]
    content["body"][-1] = inner[0]
    return content


def _with(**changes: Any) -> Any:
    return {**_small(), **changes}


HOSTILE: list[tuple[bytes, str]] = [
    (b"", "the data is no program, or cut off"),
    (b"\x80\x04\x95", "no program, or cut off"),
    (b"[" * 100_000, "no program, or cut off"),
    (b'{"format": NaN}', "NaN is no JSON"),
    (b"[]", "its format is not chainrule-program"),
    (b'{"format": "other"}', "its format is not chainrule-program"),
    (b'{"format": "chainrule-program", "version": 3}', "of version 3; this chainrule reads 2"),
    (b'{"format": "chainrule-program", "version": true}', "of version True"),
    (b'{"format": "chainrule-program"}', "of version None"),
    (_forged(_with(guards=1e999)).replace(b"Infinity", b"1e999"), "a number that no float is"),
    (_forged(_loops(10**6, 10**6, 10**6)), "more than 33,554,432 statements of it can run"),
    (_forged(_loops(*[2] * 40)), "more than 33,554,432 statements of it can run"),
    (_forged(_loops(-1)), "a loop of -1 iterations"),
    (_forged(_with(arrays=[{"kind": "input", "size": 10**9, "name": ""}])), "more than 33,554,432"),
    (_forged(_with(arrays=[])), "its first array is not that of the inputs"),
    (_forged(_with(arrays=[{"kind": "thread", "size": 1, "name": ""}])), "array of kind 'thread'"),
    (_forged(_with(outputs=[[1, 0, 5]])), r"outputs 0 and on of v\[4\]"),
    (_forged(_with(outputs=["%5"])), "there is no value 5"),
    (_forged(_with(outputs=["%" + "9" * 5000])), "names no value"),
    (_forged(_with(body=[{"do": "__init__"}])), "it has a statement '__init__'"),
    (_forged(_with(body=[{"do": "compute"}])), "'operation' is missing"),
    (
        _forged(_with(body=[{"do": "compute", "operation": "eval", "operands": []}])),
        "there is no operation 'eval'",
    ),
    (_forged(_with(body=5)), "'body' is 5"),
    (_forged(_with(tables=[[2**31]])), "2147483648 is no number of an index"),
    (_forged(7), "7 stands where something with 'arrays' is expected"),
]


@pytest.mark.parametrize("place", range(len(HOSTILE)))
def test_hostile(place: int) -> None:
    """Each with an error that says what is wrong."""
    data, message = HOSTILE[place]
    with pytest.raises(ProgramFileError, match=message):
        read(data)


def test_operations_of_users_are_refused(tmp_path: Path) -> None:
    """They are Python functions; nothing is written."""
    shifted = chainrule.Operation("shifted", lambda x: x + 1.0, [lambda y, x: 1.0])
    b = Builder(1)
    program = b.finish([b.compute(shifted, (b.input(0),))])
    with pytest.raises(ProgramFileError, match="a program with shifted, an operation of a user's"):
        program.save(tmp_path / "program.json")
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """As any file; an error of the contents names the file."""
    with pytest.raises(FileNotFoundError):
        chainrule.Program.load(tmp_path / "none.json")
    path = tmp_path / "cut.json"
    path.write_bytes(b"{")
    with pytest.raises(ProgramFileError, match=r"cut\.json is no program"):
        chainrule.Program.load(path)
