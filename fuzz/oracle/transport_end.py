"""What must have become of every connection by the end of a program, when nothing moves any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ...conformance.model.operations import Receive
from ..operations import Ending
from ..run.shown import UNKNOWN
from ..run.transport_names import FIRST, SMALLEST
from .transport_judge import Judge
from .transport_state import Connection, Snapshot
from .transport_streams import Sort, brief


def judge_end(judge: Judge) -> None:
    """Take what still came at the end, and say what is missing."""
    judge.limited = False
    judge.loop_ran()
    for one in judge.execution.drained:
        if one.message[:1] == "t" and one.message in judge.connections:
            judge.loop_ran()
            judge.tell(judge.connections[one.message], one)
        elif one.message[:1] == "p":
            judge.receive(Receive(one.message, (65536,), 4096), one)
    if judge.tainted or judge.faults.foreign:
        return
    for conn in judge.connections.values():
        for check in _CHECKS:
            before = len(judge.found)
            check(judge, conn)
            if len(judge.found) > before:
                break  # one thing is said of a connection's end, the first: the others may be its consequence
    if not judge.found:
        _open_in_the_end(judge)


# ---- the loss ----------------------------------------------------------------------------------------------------------


def _raised(judge: Judge, conn: Connection) -> None:
    if not conn.raised:
        return
    if conn.lost is None:
        judge.says(
            "raise-forgotten", f"{conn.name}: a callback raised, and the connection lives on", ["it ends in an error"]
        )
    elif not conn.told_error:
        judge.says("raise-silent", f"{conn.name}: a callback raised, and a regular end was told", ["an error is told"])


def _overrun(judge: Judge, conn: Connection) -> None:
    """More descriptors than bytes to carry them end in an error, and none of them goes out before that."""
    then = conn.certain_overrun
    if then is None and conn.crowd is not None and conn.ending is Ending.CLOSE and conn.told_error:
        then = conn.crowd[:2] if conn.crowd[2] == len(conn.out.data) else None  # it waited, and no more data came
    if then is None or conn.ending is Ending.ABORT or judge.faults.ended:
        return
    if not conn.told_error:
        judge.says(
            "overrun-silent",
            f"{conn.name}: more descriptors were queued than bytes to carry them, and no error was told",
            ["an error is told"],
        )
    elif not conn.wrong_out and (conn.out.got > then[0] or conn.out.arrived > then[1]):
        data, fds = conn.out.got - then[0], conn.out.arrived - then[1]
        judge.says(
            "out-part",
            f"{conn.name}: with more descriptors than bytes, {data} bytes and {fds} descriptors went out before the error",
            ["nothing goes out"],
        )


def _bad_number(judge: Judge, conn: Connection) -> None:
    out = conn.out
    bad = next((index for index, one in enumerate(out.queue) if one.sort is Sort.BAD), None)
    if bad is None or conn.told_error or conn.ending is Ending.ABORT or _peer_ended(judge, conn):
        return
    data, _ = _missing(conn)
    if conn.lost is None and (_most(conn) > data or conn.late or bad >= _due(conn).fds):
        return  # it waits for data
    judge.says(
        "bad-number", f"{conn.name}: a number that is not open was queued, and no error was told", ["an error is told"]
    )


def _lost(judge: Judge, conn: Connection) -> None:
    """A connection ends for a reason, and in an error where something was lost."""
    if conn.lost is None or conn.ending is Ending.ABORT or conn.passed:
        return
    peers = _peer_ended(judge, conn)
    if conn.told_error:
        if not judge.may_end(conn) and not conn.wrong_in and not conn.wrong_out:
            _unasked(judge, conn, f"ended in {conn.lost.error or 'an error'}")
        return
    if not peers and conn.ending is not Ending.CLOSE:
        _unasked(judge, conn, "ended as if that had been asked for")
        return
    if peers or conn.shut_reading or conn.late or conn.wrong_out:
        return
    data, fds = _missing(conn)
    if data > 0 or fds > 0:
        judge.says(
            "lost-silently",
            f"{conn.name}: {max(0, data)} bytes and {max(0, fds)} descriptors were not sent, and a regular end was told",
            ["everything goes out before the end", "an error is told"],
        )


def _peer_ended(judge: Judge, conn: Connection) -> bool:
    """Whether the testee may have seen the end of what the peer sends."""
    return conn.gone or conn.shut_writing or judge.faults.ended


def _unasked(judge: Judge, conn: Connection, how: str) -> None:
    untold = conn.into.missing[1]
    if conn.into.fds and not judge.program.receiver.descriptors:
        what = "lost-plain"
    else:
        what = "lost-taking" if untold else "lost-waiting" if conn.out.waiting else "lost-unasked"
    judge.says(what, f"{conn.name} {how}, and there is no reason for it", ["the connection lives on"])


def _not_lost(judge: Judge, conn: Connection) -> None:
    """What was ended, by either side, must have ended."""
    if conn.lost is not None or conn.wrong_in or conn.wrong_out:
        return
    if conn.ending is Ending.ABORT:
        judge.says(
            "not-lost", f"{conn.name} was aborted, and its protocol was not told of the end", ["the end is told"]
        )
    elif conn.passed:
        return
    elif conn.ending is Ending.CLOSE and not conn.produces:
        judge.says("not-lost", f"{conn.name} was closed, and its protocol was not told of the end", ["the end is told"])
    elif (conn.gone or conn.shut_writing) and conn.reading and conn.ending in (None, Ending.HALF):
        judge.says(
            "no-end", f"{conn.name}: the peer has ended, and the protocol was not told of the end", ["the end is told"]
        )
    elif conn.shut_reading and _missing(conn)[0] >= max(1, _most(conn)) and not conn.late:
        judge.says(
            "not-lost", f"{conn.name}: the peer receives no more, and the protocol was not told", ["an error is told"]
        )


def _reset(judge: Judge, conn: Connection) -> None:
    """A peer that closes with data unread breaks the connection: what was not even sent is lost, and that is told."""
    if conn.lost is None or not conn.gone or conn.shut_writing or conn.passed or conn.ending or conn.told_error:
        return
    kept = (
        4 * SMALLEST if conn.name == FIRST and "options" in judge.facts.offer.names else 2 * judge.facts.platform.sndbuf
    )
    if conn.unread > kept and conn.reading:
        judge.says(
            "lost-silently",
            f"{conn.name}: the peer went with {conn.unread} bytes unread, of which at most {kept} had left,"
            " and a regular end was told",
            ["an error is told"],
        )


# ---- what goes out -----------------------------------------------------------------------------------------------------


def _due(conn: Connection) -> Snapshot:
    """Return how much has to go out: what was queued before the end was asked for."""
    return conn.due or conn.snapshot


def _missing(conn: Connection) -> tuple[int, int]:
    """Return how many bytes and descriptors that have to go out have not arrived; below 0: more has."""
    due = _due(conn)
    return due.data - conn.out.got, due.fds - max(conn.out.at)


def _most(conn: Connection) -> int:
    """Return how many descriptors that have to go out may not have arrived; some may have been dropped by the peer's receives."""
    return _due(conn).fds - conn.out.arrived


def _can_see(judge: Judge, conn: Connection) -> bool:
    """Whether the peer has received all that there was."""
    has = judge.names.peer.get(f"p{conn.name[1:]}") != ""
    return has and not (conn.gone or conn.shut_reading or conn.wrong_out)


def _sent(judge: Judge, conn: Connection) -> None:
    if conn.lost is not None or not _can_see(judge, conn) or conn.late or conn.refuses or conn.poisoned:
        return
    crowded = conn.tight and not judge.facts.platform.privileged  # the limit is that of descriptors in flight, too
    if crowded or conn.ending is Ending.CLOSE or (conn.produces and conn.ending):
        return
    data, fds = _missing(conn)
    out = conn.out
    most = _most(conn)
    if data > 0 >= most:
        judge.says(
            "out-missing",
            f"{conn.name}: of {len(out.data)} bytes {out.got} have arrived, and nothing goes out any more",
            [f"{brief(bytes(out.data[out.got :]))} arrives"],
        )
    elif fds > 0 and data >= most:
        first = out.queue[max(out.at)]
        judge.says(
            "out-withheld",
            f"{conn.name}: {fds} descriptors and {data} bytes wait, and nothing goes out any more",
            [f"{first.label} arrives"],
        )
    elif fds > 0 and judge.facts.policies.get("overrun") == "error":
        judge.says(
            "overrun-silent",
            f"{conn.name}: {fds} descriptors wait with {max(0, data)} bytes to carry them, and no error was told",
            ["an error is told"],
        )
    elif fds > 0 and out.queue[out.arrived].mark > out.got:
        judge.says(
            "out-missing",
            f"{conn.name}: {out.got} bytes have arrived, and nothing goes out any more",
            [f"all {out.queue[out.arrived].mark} bytes before the descriptor that waits for data arrive"],
        )


def _ended(judge: Judge, conn: Connection) -> None:
    """The peer sees the end of what has ended, and of nothing else."""
    if not _can_see(judge, conn):
        return
    data, _ = _missing(conn)
    halved = conn.ending is Ending.HALF and not (conn.late or conn.produces) and data <= 0 and _most(conn) <= 0
    if (conn.lost is not None or halved) and not conn.peer_end:
        judge.says("out-no-end", f"{conn.name} has ended, and the peer waits for ever", ["the peer sees the end"])
    elif conn.peer_end and conn.lost is None and conn.ending is None:
        judge.says("out-end", f"{conn.name} has not ended, and the peer sees: {conn.peer_end}", ["no end"])


# ---- what comes in -----------------------------------------------------------------------------------------------------


def _told(judge: Judge, conn: Connection) -> None:
    if conn.wrong_in or conn.raised or conn.closed_by_callback or not conn.reading or judge.faults.forged:
        return
    if conn.ending in (Ending.CLOSE, Ending.ABORT):
        return
    data, fds = conn.into.missing
    fds = fds if judge.program.receiver.descriptors else []
    if data <= 0 and not fds:
        return
    said = f"{conn.name}: {data} bytes and {len(fds)} descriptors that the peer sent were not handed over"
    if conn.lost is None:
        judge.says("in-missing", said, ["everything is handed over"])
    elif (conn.gone or conn.shut_writing) and not _has_own_reason(judge, conn):
        judge.says("in-before-end", f"{said} before the end", ["everything is handed over before the end"])


def _has_own_reason(judge: Judge, conn: Connection) -> bool:
    """Whether the connection may have ended for another reason than that the peer has."""
    own = conn.poisoned or conn.overrun or conn.late or conn.refuses or conn.tight or conn.shut_reading
    return own or judge.faults.ends


def _unseen(judge: Judge, conn: Connection) -> None:
    receiver = judge.program.receiver
    if conn.wrong_in or not receiver.descriptors or not conn.into.lossy or judge.faults.forged:
        return
    if not conn.told_error and not any(one.name == "log" for one in conn.events):
        judge.says(
            "in-unseen",
            f"{conn.name}: descriptors were lost for want of a free number, and nothing tells so",
            ["an error", "a log"],
        )


def _unlogged(judge: Judge, conn: Connection) -> None:
    if (
        judge.program.receiver.descriptors
        or "log" not in judge.facts.offer.names
        or conn.wrong_in
        or judge.faults.forged
    ):
        return
    told = min(conn.into.positions)
    closed = any(one.place < told and not one.optional and not one.tight for one in conn.into.fds)
    if closed and not any(one.name == "log" for other in judge.connections.values() for one in other.events):
        judge.says(
            "plain-unlogged", f"{conn.name}: descriptors were closed that nobody takes, without a log", ["a log"]
        )


def _resumed(judge: Judge, conn: Connection) -> None:
    drained = _missing(conn)[0] <= 0 and _most(conn) <= 0
    if conn.paused and conn.lost is None and conn.ending is None and _can_see(judge, conn) and drained:
        judge.says("not-resumed", f"{conn.name} is drained, and its producer is still paused", ["it is resumed"])


_CHECKS: tuple[Callable[[Judge, Connection], None], ...] = (
    _raised,
    _overrun,
    _bad_number,
    _lost,
    _not_lost,
    _reset,
    _sent,
    _ended,
    _told,
    _unseen,
    _unlogged,
    _resumed,
)


# ---- what is open ------------------------------------------------------------------------------------------------------


def _open_in_the_end(judge: Judge) -> None:
    """Hold what the testee had open before its reset against what it could: the caller's, and what transports hold."""
    left = judge.execution.left
    if left is None or judge.faults.forged:
        return
    due = Counter(label for label in judge.names.testee.values() if label)
    due.update(label for one in judge.execution.drained if one.message[:1] == "t" for label in one.files)
    for conn in judge.connections.values():
        if conn.lost is None:
            due[conn.name] += 1
            due.update(one.label for one in conn.out.queue[conn.out.arrived :])
    kept = Counter(label for label in left.open if label != UNKNOWN) - due
    if kept:
        names = " ".join(sorted(kept.elements()))
        judge.says(
            "kept", f"open although nobody needs it any more: {names}", ["a transport closes what it does not need"]
        )
