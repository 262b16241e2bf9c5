"""What a guest may look like to a read, given what was already told of it.

Each change that a writer makes appends the states that it leads through before it is sent (from then on they may
be seen), and *tells* the state up to which the API's answers have been handed over (from then on nothing older may
be seen, by anybody). A read is right if what it shows is a state between the one that was told when the read began
and the newest one when it ended, and not older than what the same reader saw before in the same place.

`go/timeline.go` is the same in Go.
"""

import dataclasses
import threading


@dataclasses.dataclass(frozen=True)
class State:
    """Everything of a guest that is compared. Without a node it does not exist."""

    node: str | None = None
    name: str = ""
    description: str = ""
    status: str = "stopped"
    lock: str = ""
    snapshots: frozenset = frozenset()

    def but(self, **changed):
        return dataclasses.replace(self, **changed)


# What each read shows of a state. The names and states in /cluster/resources are up to 12 s old by the API's own
# doing; what exists, where, and its lock are not.
VIEWS = {
    "config": lambda state: (state.name, state.description, state.lock),
    "status": lambda state: (state.name, state.status, state.lock),
    "list": lambda state: (state.name, state.status, state.lock),
    "snapshots": lambda state: state.snapshots,
    "resources": lambda state: (state.node, state.lock),
}


def shown(view, node, state):
    """What `view` on `node` (resources: of any) shows of a guest in `state`; None where it is not there."""
    if state.node is None or (node is not None and state.node != node):
        return None
    return VIEWS[view](state)


class Timeline:
    """The states of one guest, in order."""

    def __init__(self, vmid):
        self.vmid = vmid
        self._states = [State()]
        self._told = 0
        self._seen = {}
        self._lock = threading.Lock()

    def last(self):
        return self._states[-1]

    def may_be(self, state):
        """From here on `state` may be seen. Gives what to tell once it has been handed over."""
        with self._lock:
            self._states.append(state)
            return len(self._states) - 1

    def tell(self, number):
        """From here on nothing older than state `number` may be seen."""
        with self._lock:
            self._told = max(self._told, number)

    def told(self):
        with self._lock:
            return self._told

    def judge(self, reader, view, node, told, seen):
        """Why a read that began when `told` was told must not have shown `seen`; None if it may have."""
        with self._lock:
            place = (reader, view, node)
            floor = max(told, self._seen.get(place, 0))
            for number in range(floor, len(self._states)):
                if shown(view, node, self._states[number]) == seen:
                    self._seen[place] = number
                    return None
            older = [number for number in range(floor) if shown(view, node, self._states[number]) == seen]
            then = f"as it was {floor - older[-1]} states before" if older else "as it never was"
            return {
                "reader": reader,
                "guest": self.vmid,
                "read": f"{view} on {node or 'any node'}",
                "shown": f"{seen}, {then}",
                "told": str(self._states[told]),
                "seen before by this reader": str(self._states[floor]) if floor > told else None,
                "newest": str(self._states[-1]),
            }


class Tasks:
    """Which state each task leads to; whoever learns of its end tells that state."""

    def __init__(self):
        self._leads = {}
        self._ended = set()
        self._lock = threading.Lock()

    def started(self, upid, timeline, number):
        with self._lock:
            self._leads[upid] = (timeline, number)
            ended = upid in self._ended
        if ended:
            timeline.tell(number)

    def ended(self, upid):
        """The end of a task was shown to somebody."""
        with self._lock:
            self._ended.add(upid)
            leads = self._leads.get(upid)
        if leads:
            leads[0].tell(leads[1])
