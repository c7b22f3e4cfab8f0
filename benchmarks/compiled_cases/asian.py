"""The three cases of the Asian option: as it is, with very many steps, and with a barrier."""

from __future__ import annotations

from compiled_cases.asian_by_hand import expected, load_c, load_numpy
from compiled_cases.asian_option import KNOCK_OUT, LONG, PLAIN, operations
from compiled_cases.asian_peers import load_casadi, load_chainrule, load_jax, load_torch
from compiled_cases.common import Build, Case, Peer, Setting

STEPS = 252


def load_nothing(setting: Setting) -> Build:
    """For a peer that is listed but not measured."""
    raise NotImplementedError


CASE = Case(
    title="Asian option, 8,192 paths, value and 4 gradients",
    expected=expected(PLAIN),
    peers={
        "chainrule": Peer("chainrule", "chainrule", load_chainrule(PLAIN)),
        "c": Peer("C, adjoint by hand", None, load_c(PLAIN)),
        "numpy": Peer("NumPy, adjoint by hand", "numpy", load_numpy(PLAIN)),
        "jax_blocks": Peer("JAX, scan over blocks of paths", "jax", load_jax(PLAIN, "blocks")),
        "jax_scan": Peer("JAX, scan over all paths", "jax", load_jax(PLAIN, "scan")),
        "jax_unrolled": Peer("JAX, unrolled", "jax", load_jax(PLAIN, "unrolled"), slow=True),
        "torch": Peer("PyTorch", "torch", load_torch(PLAIN)),
        "casadi": Peer("CasADi, virtual machine", "casadi", load_casadi(PLAIN)),
        "casadi_jit": Peer("CasADi, C code", "casadi", load_casadi(PLAIN, jit=True)),
        "aadc": Peer(
            "AADC",
            "aadc",
            load_nothing,
            not_measured="its licence forbids use as a performance baseline and publishing results",
        ),
    },
    size_name="steps",
    sizes=(STEPS,),
    unit="operation and path",
    units=PLAIN.units,
    threads=(1, 2),
)

LONG_CASE = Case(
    title="Asian option with many steps, 8 paths",
    expected=expected(LONG),
    peers={
        "chainrule": Peer(
            "chainrule, plain loop", "chainrule", load_chainrule(LONG), largest=200_000
        ),
        "chainrule_scan": Peer("chainrule, scan", "chainrule", load_chainrule(LONG, scan=True)),
        "c": Peer("C, adjoint by hand", None, load_c(LONG)),
        "jax_scan": Peer("JAX, scan", "jax", load_jax(LONG, "scan")),
    },
    size_name="steps",
    sizes=(STEPS, 5_000, 30_000, 200_000, 1_000_000),
    unit="operation and path",
    units=LONG.units,
    nodes=operations,
)

MEMORY_CASE = Case(
    title="memory of an Asian option by scan with and without checkpoints, 8 paths",
    expected=expected(LONG),
    peers={
        "chainrule": Peer("chainrule, as it is", "chainrule", load_chainrule(LONG, scan=True)),
        "chainrule_all": Peer(
            "chainrule, checkpoint=1_000_000: everything kept",
            "chainrule",
            load_chainrule(LONG, scan=True, checkpoint=1_000_000),
        ),
        "chainrule_binomial": Peer(
            'chainrule, checkpoint="binomial"',
            "chainrule",
            load_chainrule(LONG, scan=True, checkpoint="binomial"),
        ),
        "jax_scan": Peer("JAX, scan", "jax", load_jax(LONG, "scan")),
        "jax_checkpoint": Peer(
            "JAX, scan of scans with jax.checkpoint", "jax", load_jax(LONG, "checkpoint")
        ),
    },
    size_name="steps",
    sizes=(1_000_000,),
    unit="operation and path",
    units=LONG.units,
    shows_memory=True,
)

KNOCK_OUT_CASE = Case(
    title="Asian option with a knock-out barrier, 8,192 paths",
    expected=expected(KNOCK_OUT),
    peers={
        "chainrule": Peer("chainrule, if at each step", "chainrule", load_chainrule(KNOCK_OUT)),
        "chainrule_branchless": Peer(
            "chainrule, where at each step", "chainrule", load_chainrule(KNOCK_OUT, branchless=True)
        ),
        "c": Peer("C, adjoint by hand", None, load_c(KNOCK_OUT)),
        "numpy": Peer("NumPy, adjoint by hand", "numpy", load_numpy(KNOCK_OUT)),
        "jax_blocks": Peer(
            "JAX, where, scan over blocks of paths", "jax", load_jax(KNOCK_OUT, "blocks")
        ),
        "jax_scan": Peer("JAX, where, scan over all paths", "jax", load_jax(KNOCK_OUT, "scan")),
    },
    size_name="steps",
    sizes=(STEPS,),
    unit="operation and path",
    units=KNOCK_OUT.units,
    threads=(1, 2),
)
