"""The machine that code is compiled for, and the way from LLVM's text to loaded code.

Two environment variables simulate other machines: ``CHAINRULE_CPU`` (LLVM's name of a CPU, such as
``haswell`` or ``x86-64``) and ``CHAINRULE_VECTOR_MATH`` (``none``, ``sse``, ``avx2`` or ``avx512``:
the widest variant of libmvec that is used, where there is a libmvec).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import platform
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from chainrule.backends.llvm.layout import BLOCK
from chainrule.forking import take_around_forks
from chainrule.tracing import NotCompilable

_local = threading.local()
_importing = threading.RLock()

_VARIANTS: Final = {"sse": "b", "avx2": "d", "avx512": "e"}  # letters of the x86 vector ABI
_VARIANT_WIDTHS: Final = {"b": 2, "d": 4, "e": 8}
_LIBRARIES: Final = 64  # of a linker: it keeps 9 kB of each, until it goes with the last of them
_numbers = itertools.count()  # of the libraries


class Machine(NamedTuple):
    """What code is compiled for.

    Args:
        triple: LLVM's name of the platform.
        cpu: LLVM's name of the CPU.
        features: LLVM's list of what it can do, beyond what its name says.
        width: how many float64 one of its registers holds: 2, 4 or 8.
        fused: whether it has an instruction for x * y + z, rounded once.
        variant: the letter of libmvec's functions that are used, "" for none.
    """

    triple: str
    cpu: str
    features: str
    width: int
    fused: bool
    variant: str

    @property
    def tag(self) -> str:
        """What tells the vector functions of one machine from those of another."""
        return f"{self.width}{self.variant or 'n'}"

    @property
    def variant_width(self) -> int:
        """How many numbers one call of libmvec takes; 0 without libmvec."""
        return _VARIANT_WIDTHS.get(self.variant, 0)

    def target_machine(self, level: int) -> Any:
        """LLVM's code generator."""
        return _target_machine(self.triple, self.cpu, self.features, level)

    def compile(
        self, text: str, level: int, parts: Sequence[str] | None = None, unroll: bool = True
    ) -> bytes:
        """Object code of a module of LLVM's assembly language.

        Args:
            text: the module.
            level: how much LLVM's code generator is to optimize it: 0, or 2.
            parts: modules with functions that it calls and that become part of it; then it is
                optimized before code is generated. None: it is not.
            unroll: whether to write several iterations of a loop one after the other. Without, less
                is tried: what is written here is simple, and the rest gains nothing.

        Raises:
            NotCompilable: if LLVM fails.
        """
        # Closed here: the collector of cycles, which an exception may make, might take the context
        # first, and end the process with the module.
        with (
            _failures(),
            binding().create_context() as context,
            binding().parse_assembly(text, context) as module,
        ):
            llvm = binding()
            generators = _local.__dict__.setdefault("generators", {})
            generator = generators.get((self, level))
            if generator is None:  # making one takes longer than compiling a small module
                generator = generators[self, level] = self.target_machine(level)
            if parts is not None:
                for part in parts:
                    module.link_in(llvm.parse_assembly(part, context))
                module.triple = self.triple
                module.data_layout = str(generator.target_data)
                options = llvm.create_pipeline_tuning_options(speed_level=level if unroll else 1)
                options.loop_unrolling = unroll
                # LLVM's assertions end the process where its two models of cost disagree.
                options.loop_vectorization = options.slp_vectorization = False
                builder = llvm.create_pass_builder(generator, options)
                builder.getModulePassManager().run(module, builder)
            code: bytes = generator.emit_object(module)
            return code

    def load(
        self, objects: Iterable[bytes], names: Iterable[str], imports: Mapping[str, int]
    ) -> Mapping[str, int]:
        """Put object code into memory.

        Args:
            objects: object code.
            names: the functions in it that are wanted.
            imports: the addresses of the functions it calls, by name; those of C's library are
                found without.

        Returns:
            the addresses of the functions wanted, by name. The code stays as long as this object.

        Raises:
            NotCompilable: if LLVM fails.
        """
        with _failures():
            llvm = binding()
            llvm.check_jit_execution()  # where the system refuses, JITLink would end the process
            library = llvm.JITLibraryBuilder().add_current_process()
            for code in objects:
                library.add_object_img(code)
            for name in names:
                library.export_symbol(name)
            for name, address in imports.items():
                library.import_symbol(name, address)
            number = next(_numbers)
            loaded: Mapping[str, int] = library.link(
                _linker(self, number // _LIBRARIES), str(number)
            )
            return loaded


@functools.lru_cache(maxsize=1)
def _linker(target: Machine, generation: int) -> Any:
    """LLVM's linker; the libraries that it made keep it alive.

    JITLink puts the sections of an object side by side, and gives it stubs for what is far away.
    The older linker, the only one that llvmlite has for Windows, ends the process where sections
    of one object come to lie more than 2 GB apart.
    """
    jit_link = sys.platform != "win32"
    return binding().create_lljit_compiler(
        target.target_machine(0), use_jit_link=jit_link, suppress_errors=True
    )


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn LLVM's errors into NotCompilable: the function then runs eagerly.

    What the handler of a signal raises goes on to who called. It may fall between llvmlite's taking
    its lock and the call under it; the lock would then stay with this thread, and the others would
    wait for ever.
    """
    try:
        yield
    except BaseException as error:
        ffi = sys.modules.get("llvmlite.binding.ffi")
        lock = None if ffi is None else ffi.lib._lock._lock
        while lock is not None and lock._is_owned():
            lock.release()
        if isinstance(error, (RuntimeError, OSError)) and _is_of_llvmlite(error):
            raise NotCompilable(f"LLVM failed: {error}") from error
        raise


def _is_of_llvmlite(error: BaseException) -> bool:
    """Whether it was raised there."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and at.tb_frame.f_globals.get("__name__", "").startswith("llvmlite.")


@functools.cache
def binding() -> Any:
    """llvmlite's binding of LLVM, imported and initialized at the first use."""
    with _importing:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        for library in ("libm.so.6", "libm.so", "libSystem.dylib", "ucrtbase.dll"):
            with contextlib.suppress(RuntimeError):  # usually Python has loaded it
                llvm.load_library_permanently(library)
                break
        return llvm


@contextlib.contextmanager
def _nobody_in_llvm() -> Iterator[None]:
    """Wait until no thread is in LLVM or imports it; a forked child then finds it whole."""
    with _importing, contextlib.ExitStack() as stack:
        ffi = sys.modules.get("llvmlite.binding.ffi")
        if ffi is not None:
            stack.enter_context(ffi.lib._lock)  # under which llvmlite makes all calls of LLVM
        yield


take_around_forks(_nobody_in_llvm)


@functools.cache
def libmvec() -> ctypes.CDLL | None:
    """The vector mathematics of glibc, where it exists."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        return ctypes.CDLL("libmvec.so.1")
    except OSError:
        return None


def machine() -> Machine:
    """The machine as it is, or as the environment variables say.

    Raises:
        ValueError: if a variable has no meaning.
        NotCompilable: if LLVM fails.
    """
    with _failures():
        return _machine(
            os.environ.get("CHAINRULE_CPU", ""), os.environ.get("CHAINRULE_VECTOR_MATH", "")
        )


@functools.cache
def _machine(cpu: str, vector_math: str) -> Machine:
    llvm = binding()
    triple = llvm.get_process_triple()
    features = ""
    if not cpu:
        cpu = llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features().flatten()
    elif triple.startswith("x86_64"):
        features = "+64bit,+sse2"  # LLVM ends the process over a name that lacks them
    assembly = _sample(triple, cpu, features)
    width = 8 if "zmm" in assembly else 4 if "ymm" in assembly else 2
    fused = "fmadd" in assembly or "fmla" in assembly
    return Machine(triple, cpu, features, width, fused, _variant(width, vector_math))


def _variant(width: int, wanted: str) -> str:
    """The widest variant of libmvec that fits the registers and the wish."""
    if wanted and wanted != "none" and wanted not in _VARIANTS:
        raise ValueError(
            f"CHAINRULE_VECTOR_MATH must be none, {', '.join(_VARIANTS)}, not {wanted!r}"
        )
    library = libmvec()
    if library is None or wanted == "none":
        return ""
    most = min(width, _VARIANT_WIDTHS[_VARIANTS[wanted]] if wanted else BLOCK)
    fitting = [v for v, lanes in _VARIANT_WIDTHS.items() if lanes <= most]
    found = [v for v in fitting if hasattr(library, f"_ZGV{v}N{_VARIANT_WIDTHS[v]}v_exp")]
    return found[-1] if found else ""


def _target_machine(triple: str, cpu: str, features: str, level: int) -> Any:
    # LLVM's fast instruction selection, which makes level 0 fast, handles calls in the small code
    # model only. Position-independent code may be loaded anywhere, as its calls go through stubs.
    target = binding().Target.from_triple(triple)
    return target.create_target_machine(
        cpu=cpu, features=features, opt=level, codemodel="small", reloc="pic"
    )


def _sample(triple: str, cpu: str, features: str) -> str:
    """What the CPU makes of x * y + z on vectors, in its own assembly language."""
    vector = "<8 x double>"
    parameters = ",".join([vector] * 3)
    text = f"""
        declare {vector} @llvm.fma.v8f64({parameters})
        define {vector} @f({vector} %x, {vector} %y, {vector} %z) {{
        %r = call {vector} @llvm.fma.v8f64({vector} %x, {vector} %y, {vector} %z)
        %s = fadd {vector} %r, %x
        ret {vector} %s
        }}"""
    module = binding().parse_assembly(text)
    assembly: str = _target_machine(triple, cpu, features, 0).emit_assembly(module)
    return assembly
