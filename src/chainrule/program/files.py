"""Programs in files: JSON that a person can read, and of which loading runs nothing.

Operations stand by their names in the table. Values are named ``%0``, ``%1`` and so on in the order
in which they are defined, loops, segments, arrays and index tables are numbered. Numbers are exact;
those that JSON has not are ``"nan"``, ``"inf"`` and ``"-inf"``. A digest shows whether a file was
altered; what is loaded is checked like any other program, whatever the digest says.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from .form import Program, ProgramError
from .reading import program_of
from .verifier import verify
from .writing import content_of

FORMAT: Final = "chainrule-program"
VERSION: Final = 2


class ProgramFileError(ProgramError):
    """A file that holds no program, or one that was altered or can't be written."""


def written(program: Program) -> bytes:
    """A program as the contents of a file.

    Raises:
        ProgramFileError: if it has operations of a user's, which are Python functions.
    """
    try:
        content = content_of(program)
    except ProgramError as error:
        raise ProgramFileError(str(error)) from None
    whole = {"format": FORMAT, "version": VERSION, "digest": _digest(content), "program": content}
    return json.dumps(whole, allow_nan=False, indent=1).encode()


def read(data: bytes, name: str = "the data") -> Program:
    """The program of the contents of a file; ``name`` is for messages.

    Raises:
        ProgramFileError: if it can't be read as a program: it is cut off, was altered, comes from a
            later version, or breaks a rule of programs.
    """
    try:
        whole = json.loads(data, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise ProgramFileError(f"{name} is no program, or cut off: {error}") from None
    try:
        if not isinstance(whole, dict) or whole.get("format") != FORMAT:
            raise ProgramError(f"its format is not {FORMAT}")
        version = whole.get("version")
        if type(version) is not int or version != VERSION:
            raise ProgramError(f"it is of version {version!r}; this chainrule reads {VERSION}")
        content = whole.get("program")
        if whole.get("digest") != _digest(content):
            raise ProgramError("it was altered after it was written")
        program = program_of(content)
        verify(program)
    except RecursionError:
        raise ProgramFileError(f"{name} can't be loaded: it is nested too deeply") from None
    except (ProgramError, OverflowError) as error:
        raise ProgramFileError(f"{name} can't be loaded: {error}") from None
    return program


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _digest(content: Any) -> str:
    try:
        text = json.dumps(content, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except ValueError:  # 1e999
        raise ProgramError("it has a number that no float is") from None
    return hashlib.sha256(text.encode()).hexdigest()
