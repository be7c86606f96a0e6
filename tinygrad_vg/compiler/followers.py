"""Followers: instruments that take the gradients of a run as arrays, so that their hooks need not be called."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from tinygrad_vg.compiler.shown import Shown, owner_of
from tinygrad_vg.compiler.trace import Backward
from tinygrad_vg.engine.following import Follower, Room, Watch
from tinygrad_vg.engine.hooks import LISTENERS
from tinygrad_vg.engine.recording import changes

Show = Callable[[Callable[[Any], bool]], None]  # calls the hooks of those owners for which its argument is True


class Followers:
    """The followers of a compiled step, and the gradients that each of them takes.

    Args:
        shown: the events of the step that hooks see.
        begin: the place of the first array of `shown.ready` among the outputs of a run.
        moving: the arrays that a run writes into.
        machine: the function that runs; a `Machine` can write into the rooms of followers.
    """

    def __init__(self, shown: Shown, begin: int, moving: list[Any], machine: Any) -> None:
        self.shown, self.begin, self.moving, self.machine = shown, begin, moving, machine
        self.count = -1  # of changes, when it was found who follows
        # Into which the machine writes, or what it watches, with the numbers of the outputs.
        self.rooms: list[tuple[Room | Watch, list[int]]] = []
        self.watches: list[Watch] = []
        self.left = 0  # the number of runs for which there is room
        self.found: list[tuple[Follower, list[int]]] = []  # each with the numbers of the outputs that it takes
        self.others = True  # whether somebody has hooks who does not follow

    def are_served(self) -> bool:
        """Whether the machine gives each follower its gradients in the next run, and nobody else looks at it."""
        if self.left > 0 and changes.count == self.count:
            self.left -= 1
            return not self.found
        self.leave()
        return False

    def leave(self) -> None:
        """Let the machine serve nobody: each follower gets its gradients in the next run."""
        if self.rooms:
            self.rooms, self.watches, self.left, self.count = [], [], 0, -1
            self.machine.follow(self.rooms)

    def note_runs(self, count: int, given: list[Any], show: Show) -> None:
        """Tell those who watch how many runs there were, and how the last of them, which had these arrays, is shown."""
        self.machine.see(given, self.machine.views)
        for watch in self.watches:
            watch.runs += count
            watch.show = show

    def runs_at_once(self) -> int:
        """For how many runs the machine can give all followers their gradients."""
        return self.left if self.rooms and not self.found and changes.count == self.count else 0

    def told(self, outputs: list[Any], show: Show) -> None:
        """Give each follower its gradients; call the hooks of all others, and of a follower that cannot take them."""
        is_new = changes.count != self.count
        if is_new:
            self.find(outputs)
        told = [
            owner
            for owner, numbers in self.found
            if owner.take([outputs[number] for number in numbers], show)
        ]  # fmt: skip
        if self.others or len(told) < len(self.found):
            show(lambda owner: all(owner is not other for other in told))
            self.count = -1
        elif is_new and hasattr(self.machine, "follow"):
            self.make_room()

    def make_room(self) -> None:
        """Ask the followers for rooms, into which the machine writes in the next runs."""
        taking = []
        for owner, numbers in self.found:
            room = owner.room()
            if room is not None and self.machine.can_follow(room, numbers):
                self.rooms.append((room, numbers))
            else:
                taking.append((owner, numbers))
        self.found = taking
        if self.rooms:
            self.left = min(room.left for room, _ in self.rooms)
            self.watches = [room for room, _ in self.rooms if isinstance(room, Watch)]
            self.machine.follow(self.rooms)
            self.count = changes.count  # the followers have closed their rooms before

    def find(self, outputs: list[Any]) -> None:
        """Find the followers among the owners of hooks and listeners."""
        self.found, self.others = [], False
        calls = [id(owner) for owner in self.owners_of_calls()]
        backwards = [event for event in self.shown.events if isinstance(event, Backward)]
        numbers = {
            v: self.begin + len(self.shown.tensors) + i for i, v in enumerate(next(iter(self.shown.gradients), ()))
        }
        seen: list[Any] = []
        for owner in self.owners():
            if any(owner is other for other in seen):
                continue
            seen.append(owner)
            kind: Any = type(owner)
            needed = owner.needs() if is_follower(kind) and len(backwards) == 1 else None
            if needed is not None and id(owner) not in calls and not any(v in backwards[0].gradients for v in needed):
                continue  # it looks at another network
            is_lasting = id(owner) not in calls or self.is_kept(outputs)
            if needed is None or any(v not in numbers for v in needed) or not is_lasting:
                self.others = True
            else:
                self.found.append((owner, [numbers[v] for v in needed]))
        self.count = changes.count if not self.others else -1

    def is_kept(self, outputs: list[Any]) -> bool:
        """Whether the run writes into none of the arrays that it shows."""
        return not any(np.may_share_memory(a, b) for a in outputs[self.begin :] for b in self.moving)

    def owners(self) -> Iterator[Any]:
        """The owners of the hooks and listeners that see the step."""
        yield from map(owner_of, LISTENERS.values())
        yield from self.owners_of_calls()
        for kept in (*self.shown.gradients, *self.shown.later):
            for vertex in kept:
                yield from map(owner_of, (vertex.hooks or {}).values())

    def owners_of_calls(self) -> Iterator[Any]:
        """The owners of the hooks on the modules that the step calls."""
        for event in self.shown.events:
            if not isinstance(event, Backward):
                yield from map(owner_of, (event[0]._forward_hooks or {}).values())


@cache
def is_follower(kind: Any) -> bool:
    """Whether the objects of a class are followers. Python takes long to compare a class with a protocol."""
    return issubclass(kind, Follower)
