"""What pages of the documentation show: outputs of their snippets, tables of files and programs.

``python tests/pages.py`` writes all of it into the pages again. After a block of Python, a block
marked ``text`` shows what it prints; a comment ``<!-- files: FOLDER -->`` stands before the table
of the files of a folder, ``<!-- programs -->`` before the one of recorded programs.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from expand import rebuilt
from recorded_programs import PROGRAMS, recorded

from chainrule.passes.going_on import going_on
from chainrule.passes.gradients import with_gradients
from chainrule.passes.roll import rolled
from chainrule.program.form import Loop, Program, statements

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RUN = """
import io, json, linecache, sys
from contextlib import redirect_stdout
from importlib.abc import MetaPathFinder

page, blocks, absent = json.load(sys.stdin)

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
values = {"__name__": "__main__"}
printed = []
for i, block in enumerate(blocks):
    name = f"{page}, block {i + 1}"
    linecache.cache[name] = len(block), None, block.splitlines(keepends=True), name  # as of a file
    with redirect_stdout(io.StringIO()) as output:
        exec(compile(block, name, "exec"), values)
    printed.append(output.getvalue())
print()
print(json.dumps(printed))
"""


def snippets(page: Path) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def run(page: Path, folder: Path, absent: Sequence[str] = ()) -> list[str]:
    """Run the blocks of a page one after the other; gives what each prints.

    Args:
        page: the page.
        folder: where.
        absent: modules that are not to be found.

    Raises:
        RuntimeError: if one fails, or warns.
    """
    given = json.dumps([page.name, snippets(page), [*absent]])
    words = [sys.executable, "-W", "error", "-c", RUN]
    done = subprocess.run(words, input=given, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    printed: list[str] = json.loads(done.stdout.splitlines()[-1])
    return printed


def with_outputs(text: str, printed: Sequence[str]) -> str:
    """A page with what its blocks print; lines of the snippets are those of ``example.py``."""
    outputs = iter(printed)

    def replaced(found: re.Match[str]) -> str:
        output = re.sub(r"\w+\.md, block \d+:", "example.py:", next(outputs))
        return found[0] if found[2] is None else f"{found[1]}\n```text\n{output}```\n"

    pattern = r"(^```python\n(?:.*?)^```\n)(\n```text\n(?:.*?)^```\n)?"
    return re.sub(pattern, replaced, text, flags=re.MULTILINE | re.DOTALL)


def _with_tables(text: str, mark: str, table: Callable[[str, str], str]) -> str:
    """A page whose tables after a mark are made anew, of what the mark says and the old one."""
    pattern = rf"(<!-- {mark}(?:: (\S+))? -->\n)((?:\|.*\n)*)"
    return re.sub(pattern, lambda found: found[1] + table(found[2], found[3]), text)


def with_tables(text: str) -> str:
    """A page with its tables."""
    return _with_tables(_with_tables(text, "files", files), "programs", lambda *_: programs())


def files(folder: str, before: str) -> str:
    """The table of a folder's files, in the order of the one before: what each says it is."""
    found = {path.name: path for path in sorted((ROOT / folder).glob("*.py"))}
    found.pop("__init__.py", None)
    named = [name for name in re.findall(r"(?m)^\| `(\S+)`", before) if name in found]
    rows = ["| file | |", "| --- | --- |"]
    for name in dict.fromkeys([*named, *found]):
        says = ast.get_docstring(ast.parse(found[name].read_text())) or ""
        rows.append(f"| `{name}` | {says.splitlines()[0].replace('``', '`')} |")
    return "\n".join(rows) + "\n"


def programs() -> str:
    """The table of recorded programs: rows, and what is left of them.

    For each the sum of what it gives, and its gradient by all inputs.
    """
    rows = [
        "| program | operations of the run | loops | statements | with its gradient |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, (function, count) in PROGRAMS.items():
        random = Random(0)
        point = [random.uniform(-1.0, 1.0) for _ in range(count)]
        recording, outputs, _ = recorded(lambda x, f=function: sum(f(x)), point)
        length = len(recording)
        program = rolled(recording, outputs)
        loops = sum(isinstance(x, Loop) for x in statements(program.body))
        derived = going_on(with_gradients(rebuilt(program), range(count)), 0)
        says = (function.__doc__ or "").rstrip(".").replace("\n", " ")
        cells = [f"{x:,}" for x in (length, loops, size(program), size(derived))]
        rows.append(f"| `{name}`: {says[0].lower()}{says[1:]} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def size(program: Program) -> int:
    """How many statements a program has."""
    return sum(1 for _ in statements(program.body))


def main() -> None:
    """Write what the pages show."""
    for page in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            printed = run(page, Path(folder)) if "```text" in page.read_text() else []
        text = page.read_text()
        page.write_text(with_tables(with_outputs(text, printed) if printed else text))


if __name__ == "__main__":
    main()
