"""Where a user's program compares, and which of its comparisons must be plain bools."""

from __future__ import annotations

import dis
from collections.abc import Iterable
from itertools import pairwise
from types import CodeType
from typing import Final

from chainrule.rewriting.decisions import TEST, Decisions

from .bounds import Bounds

MAX_ROUNDS = 20
"""The runs after which all comparisons of a function are plain bools."""

_IDENTITY: Final = dis.opmap["IS_OP"]

Site = tuple[str, int, int]
"""A place in a program: its file, the function's first line, the instruction."""


class PlainSites:
    """The places of the user's code whose comparisons are plain bools, each a guard.

    A comparison is a node, which ``where`` and ``&`` take without a guard. What asks it for its
    truth meets the outcome; ``is True``, ``match``, a key and an index do not ask, and would see a
    node. So where a run leaves a comparison that nobody has asked, or that was a key, the function
    is run again with plain bools at that place.

    Attributes:
        loops: whether loops of :mod:`chainrule.lax` may be recorded as one iteration: as long as
            one is not found to be otherwise. All traces of a function have the same guards so.
        once: what else is traced once, likewise: "while" for loops that end by a condition, "cond"
            for branches in loops, "weighted_sums" for those of layers, "gradient" for gradients of
            whole programs.
        branches: what is done where it branches.
        bounds: those of loops that end by a condition, where there are some inside loops.
        careful: whether traces do nothing but record what runs, and each comparison is a guard.
    """

    def __init__(self) -> None:
        self.loops = True
        self.once = {"while", "cond", "conditions", "weighted_sums", "gradient"}
        self.branches = Decisions()
        self.bounds = Bounds()
        self.careful = False
        self._sites: set[Site] = set()
        self._rounds = 0
        self._kept: dict[int, tuple[CodeType, frozenset[int]]] = {}  # by id: hashing code is slow

    def be_careful(self) -> None:
        """Do nothing from now on that could let traces ask other guards."""
        self.careful = True
        self.loops = self.branches.rewrite = False

    def holds(self, code: CodeType, instruction: int) -> bool:
        """Whether the comparison at an instruction is plain."""
        if self._sites and (self._rounds > MAX_ROUNDS or site_of(code, instruction) in self._sites):
            return True
        found = self._kept.get(id(code))
        if found is None:
            found = self._kept[id(code)] = code, _kept_for_identity(code)
        return instruction in found[1]

    def add(self, sites: Iterable[Site]) -> None:
        """Comparisons at these places are plain from now on."""
        self._sites.update(sites)
        self._rounds += 1


def site_of(code: CodeType, instruction: int) -> Site:
    """The place of an instruction."""
    return code.co_filename, code.co_firstlineno, instruction


def _kept_for_identity(code: CodeType) -> frozenset[int]:
    """The instructions whose result goes into a variable, in code with ``is True`` or ``match``.

    A comparison that both is used and tested this way can't be told by its use.
    """
    if not _tests_identity(code):
        return frozenset()
    instructions = [i for i in dis.get_instructions(code) if i.opname != "CACHE"]
    return frozenset(
        one.offset
        for (one, following), (_, last) in pairwise(pairwise(instructions))
        if following.opname.startswith("STORE")
        or (following.opname == "COPY" and not str(last.argval).startswith(TEST))
    )


def _tests_identity(code: CodeType) -> bool:
    """Whether the code, or a function defined in it, compares with True or False by identity."""
    truths = any(x is True or x is False for x in code.co_consts)
    if truths and _IDENTITY in code.co_code[::2]:  # else it need not be taken apart: that is slow
        for one, following in pairwise(dis.get_instructions(code)):
            compares = following.opcode == _IDENTITY and one.opname.startswith("LOAD")
            if compares and one.argval in (True, False):
                return True
    return any(_tests_identity(part) for part in code.co_consts if isinstance(part, CodeType))
