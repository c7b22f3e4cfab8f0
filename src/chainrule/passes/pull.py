"""Reverse mode: cotangents pulled back through a region, by the same statements backwards."""

from __future__ import annotations

from chainrule import rules
from chainrule.passes.derivative import Changes, Derivative, Ends
from chainrule.passes.local_gradients import LocalGradients
from chainrule.passes.messages import Message, combined, total
from chainrule.passes.region import Region
from chainrule.program import nests
from chainrule.program.builder import Builder
from chainrule.program.form import (
    READS,
    SUMS,
    WRITES,
    Array,
    Compute,
    Enter,
    Index,
    Leave,
    Loop,
    Operand,
    Statement,
)


def pull_back(
    builder: Builder, region: Region, local_gradients: LocalGradients, ends: Ends
) -> None:
    """Build the statements that pull cotangents of a region's outputs back to its inputs."""
    _PullBack(builder, region, local_gradients, ends).run()


class _PullBack(Derivative):
    """A pass backwards.

    What comes to a value from its own body is summed as a value; from loops in it, in an array.
    """

    def __init__(
        self, builder: Builder, region: Region, local_gradients: LocalGradients, ends: Ends
    ) -> None:
        super().__init__(builder, region, local_gradients, ends)
        self._loops = self.reach.loops([*region.enters, *ends.masks])
        self._sums: list[dict[Statement, Message]] = [{}]  # of each body that is open
        self._from_loops: dict[Statement, Changes] = {}
        self._enters = set(region.enters)
        self._condition: Operand | None = None  # of all that is still to be sent

    def run(self) -> None:
        """Build it."""
        self._body(None)

    def _body(self, loop: Loop | None) -> None:
        some = self.reach.some
        for statement in reversed(self.region.bodies[loop]):
            if isinstance(statement, Loop):
                if statement in self._loops:
                    self.builder.note = statement.note
                    self._loop(statement)
            elif statement in self._enters:
                assert isinstance(statement, Enter)
                self.builder.note = statement.note
                self.result(statement.place, self._total(statement))
            elif statement in some:
                self.builder.note = statement.note
                self._statement(statement)

    def _total(self, enter: Enter) -> Operand:
        """What is sent back to an input."""
        message = self._come(enter)
        if message is None:
            return 0.0
        if self._condition is None:
            return total(self.builder, message)
        return self.builder.compute(rules.where, (self._condition, message.value, 0.0))

    def _loop(self, loop: Loop) -> None:
        self._sums.append({})
        with self.loop(loop):
            self._body(loop)
            for x, message in self._sums.pop().items():
                changes, number = self._outer(x)
                changes.add(self.builder, number, message)

    def _statement(self, statement: Statement) -> None:
        if isinstance(statement, Leave):
            y = statement.value
            if isinstance(y, Statement) and y in self.reach.some:
                self._add(y, self.given(statement, statement.place))
            return
        if isinstance(statement, WRITES):
            index = self.primal.index(statement.index)
            changes = self.changes(statement.array)
            always = statement in self.reach.always
            message = changes.load(self.builder, index, always, self.by_value(statement))
            assert isinstance(statement.value, Statement)
            self._add(statement.value, message)
            return
        come = self._come(statement)
        if come is None:
            return
        if isinstance(statement, READS):
            changes = self.changes(statement.array)
            index = self.primal.index(statement.index)
            changes.add(self.builder, index, come, self.by_value(statement))
        elif isinstance(statement, Enter):
            assert isinstance(statement.value, Statement)
            self._add(statement.value, come)
        else:
            assert isinstance(statement, Compute)
            local = self.local(statement)
            for position, x, _ in self.region.sources[statement]:
                sent = self.sent(statement, come, local, position)
                if sent is not None:
                    self._add(x, sent)

    def _add(self, x: Statement, message: Message) -> None:
        sums = self._sums[-1]
        sums[x] = combined(self.builder, sums.get(x), message)

    def _come(self, x: Statement) -> Message | None:
        """All that has come to a value; None for nothing."""
        message = self._sums[-1].pop(x, None)
        if x in self._from_loops:
            changes, number = self._outer(x)
            found = changes.load(self.builder, number, False)
            message = combined(self.builder, message, found)
        if message is None:
            if x in self.reach.gates:
                self._condition = 0.0
            return None
        if x in self.reach.gates and message.condition is not None:
            before = self._condition
            self._condition = message.condition
            if before is not None:
                both = (before, message.condition, 0.0)
                self._condition = self.builder.compute(rules.where, both)
            return Message(message.value)
        return Message(message.value) if x in self.reach.always else message

    def _outer(self, x: Statement) -> tuple[Changes, Index]:
        """Where messages from loops come to a value outside of them, and its number there."""
        depth = len(self._around) + len(self.region.paths.get(x, ()))
        loops = tuple(self.builder.loops[:depth])
        number = self.instance(loops)
        changes = self._from_loops.get(x)
        if changes is None:
            size = nests.count(loops)
            flags = None if x in self.reach.always else Array(SUMS, size, "reached")
            changes = Changes(Array(SUMS, size, "adjoint"), flags, Index())
            self._from_loops[x] = changes
        return changes, number
