"""sendmsg: the rules of unix_stream_sendmsg, unix_dgram_sendmsg and unix_seqpacket_sendmsg, in the order of the kernel's checks.

The kernel memory that a queued message is charged to its sender is not computed but bounded. Where the bounds leave it open
whether another message fits, both outcomes are permitted.
"""

from __future__ import annotations

from . import flags as f
from .control import Attached, attach, attach_rights, lay_out
from .draft import Draft
from .operations import Kind, Number, Rights, Send
from .outcome import Ending, done, failed
from .state import RECEIVE, SEND, Condition, Message, Socket

PAGE = 4096
_STREAM, _SEQPACKET = Kind.STREAM, Kind.SEQPACKET
"""Names of their own: a member is looked up in its enum at a price."""
_MANY = 1000
"""Of so many descriptors the control data is far from the limit of its size (optmem)."""
_FOREIGN = f.CLOEXEC | f.PEEK | f.TRUNC | f.WAITALL | f.CTRUNC
"""Flags that mean something to a receive alone."""
HEAD = 3776
"""SKB_MAX_HEAD(0): the bytes beyond it are kept in pages."""
_STRUCTS = 320
"""sizeof(struct skb_shared_info), which stands behind the bytes."""


def charge(length: int, kind: Kind) -> tuple[int, int]:
    """Return bounds of the kernel memory (truesize) that a message of ``length`` bytes costs.

    What is not kept in pages is rounded up to a power of two: at most ``HEAD`` bytes of a stream's message, perhaps all of a
    packet's.
    """
    rounded = HEAD if length > HEAD and kind is _STREAM else length
    pages = 2 * PAGE if length > HEAD else 0
    return 232 + _STRUCTS + length, 1024 + 2 * (rounded + _STRUCTS) + length - rounded + pages


def send(draft: Draft, op: Send) -> list[Ending]:
    """Return the endings of a sendmsg."""
    rights = _plain_rights(op)
    # Laying control data out and reading it again costs more than the rest of most sends; those that are right need neither.
    control = b"" if rights or not (op.control or op.controllen) else lay_out(op, draft.number, draft.platform.ids)
    socket = _entry(draft, op, control)
    if isinstance(socket, str):
        return [failed(draft, socket)]
    kind = socket.kind
    data = op.data[0] if len(op.data) == 1 else b"".join(op.data)
    if op.flags or len(op.data) != 1:
        _explain_data(draft, op, data)
    error = _established(draft, socket) if kind is _SEQPACKET else None
    if error:
        return [failed(draft, error)]
    attached = attach_rights(draft, rights) if rights else attach(draft, control)
    if isinstance(attached, str):
        if op.control:
            draft.because("L05")
        return [failed(draft, attached)]
    if attached.files:
        draft.because("L01", *(["M05"] if _nests(draft, attached) else []), *([] if socket.passrights else ["S24g"]))
    endings = (_stream if kind is _STREAM else _packet)(draft, socket.id, op, data, attached)
    if attached.files:
        for ending in endings:
            if ending.seen.error:
                ending.draft.because("L05")
    return endings


def _plain_rights(op: Send) -> tuple[Number, ...]:
    """Return the descriptors of a send whose control data is one SCM_RIGHTS with its right length; () for any other."""
    if len(op.control) != 1 or op.controllen is not None:
        return ()
    (only,) = op.control
    return only.fds if isinstance(only, Rights) and only.length is None and len(only.fds) <= _MANY else ()


def _entry(draft: Draft, op: Send, control: bytes) -> Socket | str:
    """Return the socket, or the error that the call meets before AF_UNIX sees it."""
    if op.flags & f.COMPAT:
        draft.because("S26")
        return "EINVAL"
    socket = draft.socket_of(op.name)
    if isinstance(socket, str):
        draft.because("A31")
        return socket
    if len(op.data) > f.IOV_MAX:
        draft.because("V04")
        return "EMSGSIZE"
    if len(control) >= draft.platform.optmem:
        draft.because("A18")
        return "ENOBUFS"
    return socket


def _established(draft: Draft, socket: Socket) -> str | None:
    """Return the error that a seqpacket socket gives before it looks at the control data."""
    error = draft.take_error(socket.id)
    if error:
        draft.because("L12")
        return error
    if socket.condition is not Condition.ESTABLISHED:
        draft.because("S10")
        return "ENOTCONN"
    return None


def _nests(draft: Draft, attached: Attached) -> bool:
    """Whether a socket is sent that has descriptors in its own queue."""
    for file in attached.files:
        socket = draft.files[file].socket
        if socket is not None and any(message.fds for message in draft.sockets[socket].queue):
            return True
    return False


def _explain_data(draft: Draft, op: Send, data: bytes) -> None:
    if not op.data:
        draft.because("S22")
    elif not data and len(op.data) > 1:
        draft.because("S23")
    elif len(op.data) > 1:
        draft.because("V01")
    if op.flags & _FOREIGN:
        draft.because("S26b")
    if op.flags & f.EOR:
        draft.because("S30")


def _message(draft: Draft, sender: Socket, data: bytes, attached: Attached, *, files: bool) -> Message:
    """Make what unix_scm_to_skb and unix_maybe_add_creds make. The receiver is the sender's peer."""
    ids = attached.ids
    if ids is None:
        peer = draft.sockets[sender.peer] if sender.peer is not None else sender
        if sender.passcred or peer.passcred or peer.file is None:
            ids = draft.platform.ids
    least, most = charge(len(data), sender.kind)
    return Message(draft.new_id(), data, sender.id, least, most, attached.files if files else (), ids)


def _too_many(draft: Draft, attached: Attached) -> bool:
    """Whether the limit of descriptors in flight refuses these (too_many_unix_fds)."""
    in_flight = draft.in_flight()
    if in_flight <= draft.limit:
        if attached.files and in_flight + len(attached.files) > draft.limit:
            draft.because("M02d")
        return False
    if draft.platform.privileged:
        if attached.files:
            draft.because("M02h")
        return False
    draft.because(*(["M02"] if attached.files else ["M02b", "M02c"]))
    return bool(attached.files)


def _crowd(draft: Draft, attached: Attached) -> list[Ending]:
    """Return the refusal that descriptors in flight of the user's other processes may bring about."""
    where = draft.platform
    if where.alone or where.privileged or not attached.files or draft.in_flight() > draft.limit:
        return []
    other = draft.copy()
    other.because("M02")
    return [failed(other, "ETOOMANYREFS")]


def _fit(draft: Draft, sender: int) -> tuple[bool, bool]:
    """Return whether the send buffer may have room for another message, and whether it may have none.

    It is decided by the memory charged to the sender (sock_alloc_send_pskb).
    """
    least = most = 0
    for socket in draft.sockets.values():
        for message in socket.queue:
            if message.sender == sender:
                least += message.least
                most += message.most
    limit = draft.sockets[sender].sndbuf
    return least < limit, most >= limit


# ---- stream ------------------------------------------------------------------------------------------------------------


def _stream(draft: Draft, identity: int, op: Send, data: bytes, attached: Attached) -> list[Ending]:
    socket = draft.sockets[identity]
    urgent = bool(op.flags & f.OOB)
    if urgent and not data:
        draft.because("S28b")
        return [failed(draft, "EOPNOTSUPP")]
    if socket.peer is None:
        draft.because("S10")
        return [failed(draft, "ENOTCONN")]
    if socket.shut & SEND:
        draft.because("S11a" if draft.sockets[socket.peer].dead else "R17b")
        return [failed(draft, "EPIPE", sigpipe=not op.flags & f.NOSIGNAL)]
    passrights = draft.sockets[socket.peer].passrights
    if not data and attached.files:
        draft.because("S20", *([] if passrights else ["S24c"]))
    if "A04" in draft.why and not attached.files:
        draft.because(*(["B12"] if data else []), *([] if passrights else ["S24d"]))
    plain = data[:-1] if urgent else data
    most = min(socket.sndbuf // 2 - 64, draft.platform.chunk)
    pieces = [plain[at : at + most] for at in range(0, len(plain), most)]
    if len(pieces) > 1 and attached.files:
        draft.because("B09")
    return _pieces(draft, identity, [*pieces, data[-1:]] if urgent else pieces, attached, urgent=urgent)


def _pieces(draft: Draft, identity: int, pieces: list[bytes], attached: Attached, *, urgent: bool) -> list[Ending]:
    """Queue one message after the other; the descriptors go with the first."""
    endings: list[Ending] = []
    sent = 0
    for index, piece in enumerate(pieces):
        may, may_not = _fit(draft, identity)
        if may_not:
            full = draft.copy() if may else draft
            full.because("S16" if sent else "S15")
            endings.append(_sent(full, sent, "EAGAIN", len(pieces) > 1))
        if not may:
            return endings[::-1]
        endings += [] if index else _crowd(draft, attached)
        refused = None if index else _refused(draft, identity, attached)
        if refused:
            return [failed(draft, refused), *endings[::-1]]
        socket = draft.sockets[identity]
        assert socket.peer is not None, "checked by the caller"  # noqa: S101 - for the type checker
        message = _message(draft, socket, piece, attached, files=not index)
        draft.push(socket.peer, message)
        if urgent and index == len(pieces) - 1:
            _urgent(draft, socket.peer, message, len(pieces))
        sent += len(piece)
    _explain_sent(draft, attached, sent)
    return [done(draft, sent, "sent"), *endings[::-1]]


def _refused(draft: Draft, identity: int, attached: Attached) -> str | None:
    if _too_many(draft, attached):
        return "ETOOMANYREFS"
    peer = draft.sockets[draft.sockets[identity].peer or 0]
    if attached.files and not peer.passrights:
        draft.because("S24a", *(["S24f"] if peer.file is None else []))
        return "EPERM"
    return None


def _sent(draft: Draft, sent: int, error: str, several: bool) -> Ending:
    if not sent:
        return failed(draft, error)
    return done(draft, sent, f"sent {sent}" if several else "sent")


def _urgent(draft: Draft, peer: int, message: Message, pieces: int) -> None:
    """The last byte is the urgent one; an urgent byte before it becomes plain data (queue_oob)."""
    draft.change(peer, oob=message.id)
    if message.fds:
        draft.because("S27a")
    elif pieces > 1:
        draft.because("S27d")


def _explain_sent(draft: Draft, attached: Attached, sent: int) -> None:
    if attached.files and sent:
        draft.because("M06")
        if len(attached.files) == f.SCM_MAX_FD:
            draft.because("M01")


# ---- datagram and seqpacket --------------------------------------------------------------------------------------------


def _packet(draft: Draft, identity: int, op: Send, data: bytes, attached: Attached) -> list[Ending]:
    socket = draft.sockets[identity]
    if op.flags & f.OOB:
        draft.because("S28")
        return [failed(draft, "EOPNOTSUPP")]
    if len(data) > socket.sndbuf - 32:
        draft.because("D07")
        return [failed(draft, "EMSGSIZE")]
    error = draft.take_error(identity)
    if error:
        draft.because("L12")
        return [failed(draft, error)]
    if socket.shut & SEND:
        gone = socket.peer is not None and draft.sockets[socket.peer].dead
        draft.because(*(["S11c"] if gone and socket.kind is Kind.SEQPACKET else []), *([] if gone else ["R17b"]))
        return [failed(draft, "EPIPE")]
    may, may_not = _fit(draft, identity)
    endings: list[Ending] = []
    if may_not:
        full = draft.copy() if may else draft
        full.because("S15")
        endings.append(failed(full, "EAGAIN"))
    if not may:
        return endings
    endings += _crowd(draft, attached)
    return [_post(draft, identity, data, attached), *endings]


def _post(draft: Draft, identity: int, data: bytes, attached: Attached) -> Ending:  # noqa: PLR0911 - the kernel's checks
    """Find the receiver and queue the packet, or say why not."""
    if _too_many(draft, attached):
        return failed(draft, "ETOOMANYREFS")
    socket = draft.sockets[identity]
    if socket.peer is None:
        draft.because("S10")
        return failed(draft, "ENOTCONN")
    peer = draft.sockets[socket.peer]
    if peer.peer not in {None, identity}:
        return failed(draft, "EPERM")
    if peer.dead:
        draft.because("S11b")
        draft.change(identity, peer=None, condition=Condition.UNCONNECTED)
        disconnected(draft, identity, peer.id)
        return failed(draft, "ECONNREFUSED")
    if peer.shut & RECEIVE:
        return failed(draft, "EPIPE")
    if attached.files and not peer.passrights:
        draft.because("S24a", *([] if data else ["S24c"]), *(["S24f"] if peer.file is None else []))
        return failed(draft, "EPERM")
    if identity not in {peer.id, peer.peer} and len(peer.queue) > peer.backlog:
        draft.because("D06")
        return failed(draft, "EAGAIN")
    message = _message(draft, socket, data, attached, files=True)
    draft.push(peer.id, message)
    if attached.files and not data:
        draft.because("S21")
    _explain_sent(draft, attached, len(data))
    return done(draft, len(data), "sent")


def disconnected(draft: Draft, identity: int, old_peer: int) -> None:
    """A datagram socket that loses its peer drops what is queued (unix_dgram_disconnected)."""
    if not draft.sockets[identity].queue:
        return
    draft.change(identity, queue=())
    old = draft.sockets.get(old_peer)
    if old and not old.dead and old.peer == identity:
        draft.change(old_peer, error="ECONNRESET")
