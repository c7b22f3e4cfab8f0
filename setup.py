"""Builds the engine in C where there is a compiler; elsewhere its Python reference runs alone."""

import os
import sys
import textwrap
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ENGINE = Path("src/chainrule/_engine")
PURE = "CHAINRULE_PURE was set when it was installed" if os.environ.get("CHAINRULE_PURE") else ""
UNIX = ["-std=c11", "-O2", "-ffp-contract=off", "-fvisibility=hidden"]
MSVC = ["/std:c11", "/O2", "/fp:precise"]  # none changes results: no contraction, no fast maths


class ExplainedBuildPy(build_py):
    """Copies the package, and the reason where its engine in C is not wanted."""

    def run(self) -> None:
        """Copy."""
        super().run()
        explain(self.build_lib, PURE)


class OptionalBuildExt(build_ext):
    """Builds the extension, or leaves the reason in its place."""

    def build_extension(self, ext: Extension) -> None:
        """Build with the compiler's own flags; on any failure, say so and go on without."""
        microsoft = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = MSVC if microsoft else UNIX
        ext.libraries = [] if microsoft else ["m"]  # or the loader takes the oldest exp and pow
        try:
            super().build_extension(ext)
        except Exception as error:
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            explain(self.build_lib, textwrap.shorten(str(error), 160, placeholder=" …"))


def explain(build: str, why: str) -> None:
    """Leave a reason, if there is one, where chainrule.build_info() finds it."""
    reason = Path(build, "chainrule", "not_compiled.txt")
    reason.unlink(missing_ok=True)  # of an earlier build
    if why:
        print(f"chainrule: the engine in C is left out: {why}", file=sys.stderr)
        reason.parent.mkdir(parents=True, exist_ok=True)
        reason.write_text(why, encoding="utf-8")


sources, headers = (sorted(map(str, ENGINE.glob(pattern))) for pattern in ("*.c", "*.h"))
extension = Extension("chainrule._engine", sources, depends=headers, optional=True)
setup(
    ext_modules=[] if PURE else [extension],
    cmdclass={"build_py": ExplainedBuildPy, "build_ext": OptionalBuildExt},
)
