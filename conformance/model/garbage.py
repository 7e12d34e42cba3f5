"""Descriptors in flight that nobody can receive any more, and the collector that takes them when it likes (unix_gc).

A queue keeps the files in it alive. A socket that waits in a queue which only itself leads to is unreachable, and so is
all that its own queue holds. The kernel's collector drops the queues of the sockets at the root of that, those which hold one
another in a ring; the files that it lets go of are released a little later by another thread of the kernel's, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from .draft import Draft, embryos
from .state import INHERITED, Condition, State

_GROUPS = 3
"""Of so many groups each may have been collected, or not; of more, all or none."""

Group = frozenset[int]


def unreachable(state: State) -> list[Group]:
    """Return the groups of files that live though no number of the table leads to them. Files linked by a queue are one group."""
    tabled = {entry.file for entry in state.table.values()}
    tabled.add(INHERITED)
    if state.other:
        tabled.update([entry.file for entry in state.other.table.values()])
    if len(tabled) == len(state.files) or not _hidden(state, tabled):
        return []
    reached: set[int] = set()
    todo = list(tabled)
    links = {file: _held(state, file) for file in state.files}
    while todo:
        file = todo.pop()
        if file not in reached:
            reached.add(file)
            todo += links[file]
    groups: list[set[int]] = []
    for file in links.keys() - reached:
        linked = {file, *(links[file] - reached)}
        joined = [group for group in groups if group & linked]
        groups = [group for group in groups if not group & linked]
        groups.append(linked.union(*joined))
    return sorted((frozenset(group) for group in groups), key=min)


def _hidden(state: State, tabled: set[int]) -> bool:
    """Whether a socket is in no table, or a file is dying. If not, every queue is that of a socket in a table."""
    for identity, file in state.files.items():
        if file.socket is not None and identity not in tabled:
            return True
    return not state.dying.isdisjoint(state.files)


def _held(state: State, file: int) -> set[int]:
    """Return the files that a file leads to: those in its socket's queue, and in the queues of what waits to be accepted."""
    socket = state.files[file].socket
    found: set[int] = set()
    todo = [] if socket is None else [socket]
    while todo:
        one = state.sockets[todo.pop()]
        todo += embryos(one)
        for message in one.queue:
            found.update(message.fds)
    return found


def roots(state: State, group: Group) -> set[int]:
    """Return the files of a group that are held in a ring, by nothing outside of it."""
    links = {file: _held(state, file) & group for file in group}
    leads = {file: _closure(links, file) for file in group}
    found: set[int] = set()
    for file in group:
        ring = {other for other in leads[file] if file in leads[other]}
        if ring and not any(links[other] & ring for other in group - ring):
            found |= ring
    return found


def _closure(links: dict[int, set[int]], start: int) -> set[int]:
    """Return what ``start`` leads to, itself only where it is in a ring."""
    found: set[int] = set()
    todo = list(links[start])
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += links[file]
    return found


def drop(state: State, groups: Iterable[Group]) -> State:
    """Return the state after the collector has dropped the queues at the roots of these groups, and released nothing yet.

    A listening socket keeps its queue: it is the queues of those who wait in it that are dropped (unix_collect_queue).
    """
    draft = Draft(state)
    for group in groups:
        for file in roots(state, group):
            socket = state.files[file].socket
            for one in [] if socket is None else [socket, *embryos(state.sockets[socket])]:
                if draft.sockets[one].condition is not Condition.LISTENING:
                    draft.change(one, queue=(), oob=None)
        draft.dying |= group
    return draft.freeze()


def collect(state: State, groups: Iterable[Group]) -> State:
    """Return the state after everything in these groups is collected and released."""
    wanted = frozenset[int]().union(*groups)
    while wanted & state.files.keys():
        alive = wanted & state.files.keys()
        after = release(drop(state, [alive]), alive)
        if after == state:
            break
        state = after
    return state


def release(state: State, files: Iterable[int]) -> State:
    """Return the state after those of these dying files that nothing refers to are released."""
    draft = Draft(state)
    wanted = list(files)
    draft.dying = draft.dying.difference(wanted)
    draft.dropped += wanted
    draft.settle()
    return draft.freeze()


def variants(state: State) -> Iterator[tuple[State, str]]:
    """Yield what the state may have become by the work of the collector, with words for it."""
    groups = unreachable(state)
    if not groups:
        return
    sizes = range(1, len(groups) + 1) if len(groups) <= _GROUPS else (len(groups),)
    chosen = [subset for size in reversed(sizes) for subset in combinations(groups, size)]
    for subset in chosen:
        yield collect(state, subset), ", after collection"
    for subset in chosen:
        dropped = drop(state, subset)
        yield dropped, ", during collection"
        for file in sorted(dropped.dying & dropped.files.keys()):
            yield release(dropped, [file]), ", during collection"
