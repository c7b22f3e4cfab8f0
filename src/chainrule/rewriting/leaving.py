"""Which branches of a function may leave it, a loop or an iteration for some lanes alone.

What follows runs on for the others, so it must be harmless; and what stands in a ``try`` or
``with`` is not left this way.
"""

from __future__ import annotations

import ast

from .harmless import EXITS, exits, why_not

Loop = ast.For | ast.While


class Leaving:
    """What the branches of a function say about its exits.

    Args:
        body: of the function.
        outside: the names that belong to others than the function.

    Attributes:
        why: by the id of a branch or a ``while`` why it may not leave for some lanes alone.
        returns: whether some may return.
        broken: the ids of the loops that some may break.
        continued: the ids of those whose iterations some may end.
    """

    def __init__(self, body: list[ast.stmt], outside: frozenset[str]) -> None:
        self._outside = outside
        self.why: dict[int, str] = {}
        self.returns = False
        self.broken: set[int] = set()
        self.continued: set[int] = set()
        self._block(body, {ast.Return: ""}, None)

    def _block(
        self, statements: list[ast.stmt], after: dict[type[ast.stmt], str], loop: Loop | None
    ) -> None:
        """Look at statements.

        Args:
            statements: these.
            after: by the kind of exit why what follows may not run in vain.
            loop: that around them.
        """
        found: list[tuple[ast.stmt, dict[type[ast.stmt], str]]] = []
        for statement in reversed(statements):
            found.append((statement, after))
            here = why_not([statement], self._outside)
            if here:
                after = {kind: why or here for kind, why in after.items()}
        for statement, following in reversed(found):
            self._statement(statement, following, loop)

    def _statement(
        self, node: ast.stmt, after: dict[type[ast.stmt], str], loop: Loop | None
    ) -> None:
        if isinstance(node, ast.If):
            self._note(node, exits([*node.body, *node.orelse]), after, loop)
            self._block(node.body, after, loop)
            self._block(node.orelse, after, loop)
        elif isinstance(node, (ast.For, ast.While)):
            whole = why_not([node], self._outside)
            if node.orelse and not whole:
                whole = "its loop has an else"
            inside = {ast.Return: whole or after.get(ast.Return, ""), ast.Break: whole}
            if isinstance(node, ast.While):
                self._note(node, {ast.Break}, inside, node)
            self._block(node.body, {**inside, ast.Continue: ""}, node)
            self._block(node.orelse, dict.fromkeys(EXITS, "it is in an else"), loop)
        elif hasattr(node, "body") and not isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ):
            nothing: dict[type[ast.stmt], str] = {
                kind: f"it is in a {type(node).__name__.lower()}" for kind in EXITS
            }
            for part in (node, *getattr(node, "handlers", ())):
                for name in ("body", "orelse", "finalbody"):
                    self._block(getattr(part, name, []), nothing, loop)

    def _note(
        self,
        node: ast.If | ast.While,
        kinds: set[type[ast.stmt]],
        after: dict[type[ast.stmt], str],
        loop: Loop | None,
    ) -> None:
        """Note whether a branch may leave by some kinds of exits."""
        why = next((after.get(kind, "") for kind in kinds if after.get(kind)), "")
        if isinstance(node, ast.If):
            why = why_not([*node.body, *node.orelse], self._outside) or why
        self.why[id(node)] = why
        if why:
            return
        self.returns |= ast.Return in kinds
        if ast.Break in kinds:
            self.broken.add(id(loop))
        if ast.Continue in kinds:
            self.continued.add(id(loop))


def leaves(statements: list[ast.stmt]) -> bool:
    """Whether nothing goes on after statements."""
    if not statements:
        return False
    last = statements[-1]
    if isinstance(last, ast.If):
        return leaves(last.body) and leaves(last.orelse)
    return isinstance(last, EXITS)
