"""Compiles the engine where a C compiler is found; elsewhere the same files run as they are."""

import ast
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

PACKAGE = Path("src/chainrule")
ENGINE = [
    "annotations",
    "backpropagation",
    "compiler/lower",
    "compiler/outcomes",
    "compiler/tape",
    "copying",
    "differentiation",
    "domain",
    "ieee",
    "node",
    "rules",
    "special",
]


REASON = PACKAGE.name + "/not_compiled.txt"  # in the package: why it runs as plain Python
_why: list[str] = []


class ExplainedBuildPy(build_py):
    """Copies the package, with the reason if there is nothing to compile."""

    def run(self) -> None:
        """Copy."""
        super().run()
        _explain(Path(self.build_lib))


class OptionalBuildExt(build_ext):
    """Builds all extensions, or leaves all of them out."""

    def run(self) -> None:
        """Build; on any failure, say so and go on without."""
        try:
            super().run()
        except Exception as error:
            for output in self.get_outputs():
                Path(output).unlink(missing_ok=True)
            self.extensions = []
            _why.append(textwrap.shorten(str(error), 160, placeholder=" …"))
            _explain(Path(self.build_lib))


def extensions() -> list[Any]:
    """The engine's extension modules, none where they can't or should not be compiled."""
    if os.environ.get("CHAINRULE_PURE"):
        _why.append("CHAINRULE_PURE was set when it was installed")
        return []
    try:
        from mypyc.build import mypycify

        files = [str(PACKAGE / f"{name}.py") for name in ENGINE]
        built: list[Any] = mypycify(
            [
                "--config-file=",  # strictness is for development
                "--ignore-missing-imports",  # libraries are not there while building
                "--follow-imports=skip",  # what is not compiled is looked at when it runs
                *files,
            ],
            opt_level="3",
        )
    except (Exception, SystemExit) as error:
        _why.append(f"mypyc: {error}")
        return []
    if os.name == "posix":
        for extension in built:
            extension.extra_compile_args += [
                "-Wno-error",  # a warning is no reason to go without
                "-fvisibility=hidden",  # calls between the engine's functions can be inlined
            ]
    for source in {source for extension in built for source in extension.sources}:
        _insert_docstrings(Path(source))
        _refuse_deletion(Path(source))
        _insert_tracebacks(Path(source))
    return built


def _explain(build: Path) -> None:
    """Leave the reason, if there is one, where chainrule.build_info() finds it."""
    if _why:
        print(f"chainrule: the engine is not compiled: {_why[-1]}", file=sys.stderr)
        (build / REASON).write_text(_why[-1])


def _insert_docstrings(source: Path) -> None:
    """Put the docstrings, which mypyc leaves out, into the C code it wrote.

    Each pattern has three groups: what stands before, the key of the docstring, and the text so
    far (a signature) or NULL.
    """
    patterns = (
        r'(\(PyCFunction\)CPyPy_(\w+),\s*METH_[^"]*?PyDoc_STR\()("[^"]*")',  # functions, methods
        r'(\.tp_doc = PyDoc_STR\((?="(\w+)\())("[^"]*")',  # classes
        r"(\(getter\)(\w+),(?:\s*\(setter\)\w+,)?\s*)(NULL)(?=, NULL\})",  # properties
    )
    docs = _docstrings()
    text = source.read_text()
    for pattern in patterns:
        text = re.sub(pattern, lambda m: m[1] + _with_doc(m[3], docs.get(m[2])), text)
    source.write_text(text)


def _refuse_deletion(source: Path) -> None:
    """Let ``del`` of a property raise AttributeError: mypyc hands its setter a null pointer."""
    setter = (
        r"(?P<head>\n\s*\w+___(?P<owner>\w+?)_set_(?P<name>\w+)"
        r"\(\w+ \*self, PyObject \*value, void \*closure\)\s*\{)(?P<body>\s*char retval)"
    )
    refusal = (
        r"\g<head>\n    if (value == NULL) {\n"
        r"        PyErr_SetString(PyExc_AttributeError,"
        r""" "property '\g<name>' of '\g<owner>' object has no deleter");\n"""
        r"        return -1;\n    }\g<body>"
    )
    source.write_text(re.sub(setter, refusal, source.read_text()))


TRACEBACKS = r"""
#ifdef MS_WINDOWS
#define SEPARATOR '\\'
#else
#define SEPARATOR '/'
#endif

static int chainrule_traceback_here(PyFrameObject *frame)
{
    const char *wanted = getenv("CHAINRULE_TRACEBACKS");
    return wanted && strcmp(wanted, "full") == 0 ? PyTraceBack_Here(frame) : 0;
}

static PyCodeObject *chainrule_code(
    const char *file, const char *function, int line, PyObject *values)
{
    char path[4096];
    PyObject *module = PyDict_GetItemString(values, "__file__");
    const char *beside = module ? PyUnicode_AsUTF8(module) : NULL;
    const char *end = beside ? strrchr(beside, SEPARATOR) : NULL;
    const char *name = strrchr(file, '/') ? strrchr(file, '/') : strrchr(file, SEPARATOR);
    PyErr_Clear();
    if (end && name) {
        PyOS_snprintf(path, sizeof path, "%.*s%s", (int)(end - beside), beside, name);
        file = path;
    }
    return PyCode_NewEmpty(file, function, line);
}

#define PyTraceBack_Here chainrule_traceback_here
#define PyCode_NewEmpty(file, function, line) chainrule_code(file, function, line, globals)
#include <exc_ops.c>
#undef PyTraceBack_Here
#undef PyCode_NewEmpty
"""


def _insert_tracebacks(source: Path) -> None:
    """Let the engine leave no frames in tracebacks, as other extensions written in C.

    Where they are asked for (see chainrule.tracebacks) they name the file beside the extension.
    """
    text = source.read_text()
    inserted = text.replace("\n#include <exc_ops.c>\n", TRACEBACKS, 1)
    source.write_text(inserted)


def _docstrings() -> dict[str, str]:
    """The engine's docstrings by the names of mypyc's C functions; a class's by its own name."""
    docs = {}
    for module in ENGINE:
        tree = ast.parse((PACKAGE / f"{module}.py").read_text())
        for owner in ast.walk(tree):
            if not isinstance(owner, (ast.Module, ast.ClassDef)):
                continue
            prefix = module if isinstance(owner, ast.Module) else f"{module}___{owner.name}"
            for item in owner.body:
                if isinstance(item, (ast.FunctionDef, ast.ClassDef)):
                    doc = ast.get_docstring(item)
                    if doc and isinstance(item, ast.ClassDef):
                        docs[item.name] = doc
                    elif doc:
                        docs[f"{prefix}___{item.name}"] = doc
                        docs[f"{prefix}_get_{item.name}"] = doc
    return docs


def _with_doc(so_far: str, doc: str | None) -> str:
    """A C string literal continued by a docstring."""
    if doc is None:
        return so_far
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in doc.encode()
    )
    return f'"{escaped}"' if so_far == "NULL" else f'{so_far[:-1]}{escaped}"'


setup(
    ext_modules=extensions(), cmdclass={"build_py": ExplainedBuildPy, "build_ext": OptionalBuildExt}
)
