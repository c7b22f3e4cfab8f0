"""Forward mode: tangents pushed forward through a region, by the same statements once more."""

from __future__ import annotations

from chainrule.passes.derivative import Derivative, Ends
from chainrule.passes.local_gradients import LocalGradients
from chainrule.passes.messages import Message, combined, total
from chainrule.passes.region import Region
from chainrule.program.builder import Builder
from chainrule.program.form import (
    READS,
    VALUES,
    WRITES,
    Compute,
    Enter,
    Leave,
    Loop,
    Operand,
    Scatter,
    Statement,
    Store,
)


def push_forward(
    builder: Builder,
    region: Region,
    local_gradients: LocalGradients,
    ends: Ends,
    passed: Region | None = None,
) -> None:
    """Build the statements that push tangents of a region's inputs forward to its outputs."""
    _PushForward(builder, region, local_gradients, ends, passed).run()


class _PushForward(Derivative):
    """A pass forwards; tangents are values of the bodies that stand for those of the region."""

    def __init__(
        self,
        builder: Builder,
        region: Region,
        local_gradients: LocalGradients,
        ends: Ends,
        passed: Region | None,
    ) -> None:
        super().__init__(builder, region, local_gradients, ends, passed)
        stores = [x for x in self.passed.order if isinstance(x, WRITES)]
        self._arrays = {x.array for x in stores if x in self.reach.some}
        zeros = [x for x in stores if x.array in self._arrays]
        self._loops = self.reach.loops([*self.passed.leaves, *zeros])
        self._tangents: dict[Statement, Message] = {}

    def run(self) -> None:
        """Build it."""
        self._body(None)

    def _body(self, loop: Loop | None) -> None:
        for statement in self.passed.bodies[loop]:
            self.builder.note = statement.note
            if isinstance(statement, Loop):
                if statement in self._loops:
                    with self.loop(statement):
                        self._body(statement)
            elif isinstance(statement, WRITES):
                if statement.array in self._arrays:
                    self._store(statement)
            elif isinstance(statement, Leave):
                if statement.segment is self.region.segment:
                    self._leave(statement)
            elif statement in self.reach.some:
                message = self._tangent(statement)
                if message is not None:
                    if statement in self.reach.always:
                        message = Message(message.value)
                    self._tangents[statement] = message

    def _tangent(self, statement: Statement) -> Message | None:
        if isinstance(statement, READS):
            index = self.primal.index(statement.index)
            always = statement in self.reach.always
            changes = self.changes(statement.array)
            return changes.load(self.builder, index, always, self.by_value(statement))
        if isinstance(statement, Enter):
            if statement.segment is self.region.segment:
                return self.given(statement, statement.place)
            assert isinstance(statement.value, Statement)
            return self._tangents.get(statement.value)
        assert isinstance(statement, Compute)
        local = self.local(statement)
        found: Message | None = None
        for position, x, _ in self.passed.sources[statement]:
            if x in self._tangents:
                message = self.sent(statement, self._tangents[x], local, position)
                if message is not None:
                    found = combined(self.builder, found, message)
        return found

    def _store(self, statement: Store | Scatter) -> None:
        index = self.primal.index(statement.index)
        changes = self.changes(statement.array)
        message = None
        if isinstance(statement.value, Statement):
            message = self._tangents.get(statement.value)
        if changes.array.kind == VALUES:
            value = 0.0 if message is None else message.value
            changes.store(self.builder, index, value)
            if message is not None:
                changes.mark(self.builder, index, message)
        elif message is not None:
            changes.add(self.builder, index, message, self.by_value(statement))

    def _leave(self, leave: Leave) -> None:
        value: Operand = 0.0
        if isinstance(leave.value, Statement) and leave.value in self._tangents:
            value = total(self.builder, self._tangents[leave.value])
        self.result(leave.place, value)
