"""Compiles the engine where a C compiler is found; elsewhere the same files run as they are."""

import os
import sys

from setuptools import setup
from setuptools.command.build_ext import build_ext

ENGINE = ["annotations", "backpropagation", "copying", "ieee", "node", "rules", "special"]


class OptionalBuildExt(build_ext):
    """Builds all extensions, or leaves all of them out."""

    def run(self) -> None:
        """Build; on any failure, say so and go on without."""
        try:
            super().run()
        except Exception as error:
            print(f"chainrule: no compiled engine, plain Python it is: {error}", file=sys.stderr)
            for output in self.get_outputs():
                if os.path.exists(output):
                    os.remove(output)
            self.extensions = []


def extensions() -> list:
    """The engine's extension modules, none where they can't or should not be compiled."""
    if os.environ.get("CHAINRULE_PURE"):
        return []
    try:
        from mypyc.build import mypycify

        return mypycify([f"src/chainrule/{name}.py" for name in ENGINE], opt_level="3")
    except (Exception, SystemExit) as error:
        print(f"chainrule: no compiled engine, plain Python it is: {error}", file=sys.stderr)
        return []


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuildExt})
