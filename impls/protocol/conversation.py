"""The harness's side of the conversation, without any I/O.

Rules, stated first:

1. One request is outstanding at a time. ``ask`` numbers it and returns the line to write.
2. A line that is no JSON object, or an object without an integer ``id``, is *noise*: kept, and of no effect.
3. A reply whose ``id`` was asked before and has been given up (a deadline passed) is *late*: dropped.
4. A reply whose ``id`` was never asked, or is answered a second time, is an anomaly: the testee is not to be trusted further.
5. A reply to the outstanding request must have exactly one of ``result``, ``error``, ``unsupported``, of the right shape.
6. A line longer than ``MAX_LINE``, more noise than ``MAX_NOISE``, bytes that are not UTF-8: anomalies.

The owner feeds bytes as they come and takes events out; nothing here blocks, reads, writes or keeps time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import msgspec
from msgspec import UNSET

from .messages import Request, Steps
from .results import ErrorReply, ReplyEnvelope, StepsResult

MAX_LINE = 16 * 2**20
"""Bytes in one line: a reply with 4 MiB of data as hexadecimal fits twice."""
MAX_NOISE = 2**20
"""Bytes of noise that a testee may write between two replies."""
KEPT_NOISE = 4096
"""Bytes of one noisy line that are kept."""


class AnomalyKind(StrEnum):
    """How a testee can break the protocol."""

    TOO_LONG = "too-long"
    FLOOD = "flood"
    NOT_UTF8 = "not-utf-8"
    UNKNOWN_ID = "unknown-id"
    MALFORMED = "malformed"
    CLAIMED = "claimed-capability"


@dataclass(frozen=True)
class Anomaly:
    """The testee broke the protocol. ``detail`` says what was expected and what came."""

    kind: AnomalyKind
    detail: str


@dataclass(frozen=True)
class Noise:
    """A line that is no reply, shortened to ``KEPT_NOISE`` bytes."""

    line: str


@dataclass(frozen=True)
class Reply:
    """The answer to the outstanding request.

    Exactly one of ``result``, ``error`` and ``unsupported`` is not None. For ``steps`` the result is a `StepsResult`, whose
    replies are `Reply` again.
    """

    result: Any = None
    error: ErrorReply | None = None
    unsupported: str | None = None


_ENVELOPE = msgspec.json.Decoder(ReplyEnvelope)
_ENCODER = msgspec.json.Encoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises of a line that somebody else wrote; the last one where it is nested too deeply."""
_RESULTS: dict[type[msgspec.Struct], msgspec.json.Decoder[Any]] = {}


class Unknown(Request, frozen=True, tag="?"):
    """An operation that does not exist."""


class _StepReply(msgspec.Struct, frozen=True):
    result: msgspec.Raw | msgspec.UnsetType = UNSET
    error: ErrorReply | msgspec.UnsetType = UNSET
    unsupported: str | msgspec.UnsetType = UNSET


class _RawSteps(msgspec.Struct, frozen=True):
    replies: list[_StepReply]


def _decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    decoder = _RESULTS.get(kind)
    if decoder is None:
        decoder = _RESULTS[kind] = msgspec.json.Decoder(kind)
    return decoder


def _shape(
    request: Request, reply: ReplyEnvelope | _StepReply, where: str, decoder: msgspec.json.Decoder[Any] | None = None
) -> Reply | Anomaly:
    """Give ``reply`` the types that ``request`` calls for, or tell what is wrong with it."""
    result, error, unsupported = reply.result, reply.error, reply.unsupported
    given = (result is not UNSET) + (error is not UNSET) + (unsupported is not UNSET)
    if given != 1:
        return Anomaly(
            AnomalyKind.MALFORMED, f"{where}: exactly one of result, error, unsupported expected, {given} came"
        )
    if error is not UNSET:
        return _shape_error(request, error, where)
    if unsupported is not UNSET:
        return Reply(unsupported=unsupported)
    raw = cast("msgspec.Raw", result)
    if isinstance(request, Steps) and decoder is None:
        return _shape_steps(request, raw, where)
    try:
        return Reply(result=(decoder or _decoder(request.result_type)).decode(raw))
    except _UNREADABLE as fault:
        return Anomaly(AnomalyKind.MALFORMED, f"{where}: result does not fit: {fault}")


def _shape_error(request: Request, error: ErrorReply, where: str) -> Reply | Anomaly:
    if error.observed is None:
        return Reply(error=error)
    try:
        observed = msgspec.convert(error.observed, request.result_type)
    except (msgspec.ValidationError, RecursionError) as fault:
        return Anomaly(AnomalyKind.MALFORMED, f"{where}: error.observed does not fit: {fault}")
    return Reply(error=msgspec.structs.replace(error, observed=observed))


def _shape_steps(request: Steps, raw: msgspec.Raw, where: str) -> Reply | Anomaly:
    try:
        replies = _decoder(_RawSteps).decode(raw).replies
    except _UNREADABLE as fault:
        return Anomaly(AnomalyKind.MALFORMED, f"{where}: result does not fit: {fault}")
    count, asked = len(replies), len(request.steps)
    complete = count == asked or (0 < count < asked and not request.go_on and replies[-1].result is UNSET)
    if not complete:
        return Anomaly(AnomalyKind.MALFORMED, f"{where}: {asked} steps were asked, {count} replies came")
    shaped: list[Reply] = []
    for index, (step, reply) in enumerate(zip(request.steps, replies, strict=False)):
        one = _shape(step, reply, f"{where}, step {index} ({step.__struct_config__.tag})")
        if isinstance(one, Anomaly):
            return one
        shaped.append(one)
    return Reply(result=StepsResult(replies=shaped))


def reply_to(request: Request, answer: object) -> Reply | Anomaly:
    """Give an ``answer`` that came inside another result (of ``in`` and ``collect``) the types that ``request`` calls for."""
    where = f"answer to {request.__struct_config__.tag}"
    try:
        reply = _decoder(_StepReply).decode(_ENCODER.encode(answer))
    except _UNREADABLE as fault:
        return Anomaly(AnomalyKind.MALFORMED, f"{where}: {fault}")
    return _shape(request, reply, where)


class Conversation:
    """One testee's conversation as the harness leads it."""

    def __init__(self, *, max_line: int = MAX_LINE, max_noise: int = MAX_NOISE) -> None:
        self._max_line = max_line
        self._max_noise = max_noise
        self._buffer = bytearray()
        self._scanned = 0
        self._next_id = 1
        self._pending: tuple[int, Request, msgspec.json.Decoder[Any] | None] | None = None
        self._given_up: set[int] = set()
        self._noise = 0

    @property
    def waiting(self) -> bool:
        """Whether a request is outstanding."""
        return self._pending is not None

    def ask(self, request: Request, decoder: msgspec.json.Decoder[Any] | None = None) -> bytes:
        """Number ``request`` and return its line. Raises RuntimeError while another is outstanding.

        ``decoder`` makes the whole result of what came, in place of the request's own type.
        """
        if self._pending is not None:
            raise RuntimeError(f"request {self._pending[0]} is still outstanding; give it up first")
        number = self._next_id
        self._next_id += 1
        self._pending = (number, request, decoder)
        self._noise = 0
        return b'{"id":%d,%b\n' % (number, _ENCODER.encode(request)[1:])

    def ask_unknown(self, name: str) -> bytes:
        """Ask for an operation called ``name``, which no version has: the one honest answer is ``unsupported``."""
        line = self.ask(Unknown())
        return line.replace(b'"op":"?"', b'"op":' + _ENCODER.encode(name), 1)

    def give_up(self) -> None:
        """Stop waiting for the outstanding request (its deadline passed): its reply, should it come, is late."""
        if self._pending is not None:
            self._given_up.add(self._pending[0])
            self._pending = None

    def feed(self, data: bytes) -> Iterator[Reply | Noise | Anomaly]:
        """Take bytes as they were read and yield what they amount to. After an `Anomaly` nothing more is yielded."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end < 0:
                self._scanned = len(self._buffer)
                if self._scanned > self._max_line:
                    yield Anomaly(AnomalyKind.TOO_LONG, f"a line of more than {self._max_line} bytes")
                return
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._scanned = 0
            event = self._line(line)
            if event is None:
                continue
            yield event
            if isinstance(event, Anomaly):
                return

    def _line(self, line: bytes) -> Reply | Noise | Anomaly | None:
        if len(line) > self._max_line:
            return Anomaly(AnomalyKind.TOO_LONG, f"a line of {len(line)} bytes, at most {self._max_line} are taken")
        try:
            reply = _ENVELOPE.decode(line)
        except _UNREADABLE as fault:
            return self._no_reply(line, fault)
        pending = self._pending
        if pending is None or reply.id != pending[0]:
            if reply.id in self._given_up:
                return None
            expected = "none is outstanding" if pending is None else f"{pending[0]} is outstanding"
            return Anomaly(AnomalyKind.UNKNOWN_ID, f"a reply with id {reply.id}; {expected}")
        self._pending = None
        return _shape(pending[1], reply, f"reply {reply.id} to {pending[1].__struct_config__.tag}", pending[2])

    def _no_reply(self, line: bytes, fault: Exception) -> Noise | Anomaly:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return Anomaly(AnomalyKind.NOT_UTF8, f"a line that is not UTF-8 at byte {error.start}: {line[:64]!r}")
        if self._looks_like_reply(line):
            return Anomaly(AnomalyKind.MALFORMED, f"a reply that does not fit: {fault}")
        self._noise += len(line) + 1
        if self._noise > self._max_noise:
            return Anomaly(AnomalyKind.FLOOD, f"more than {self._max_noise} bytes that are no reply")
        return Noise(text[:KEPT_NOISE])

    def _looks_like_reply(self, line: bytes) -> bool:
        """Tell a reply that went wrong (an object with the outstanding id) from chatter that happens to be JSON."""
        try:
            value: object = msgspec.json.decode(line)
        except _UNREADABLE:
            return False
        if not isinstance(value, dict):
            return False
        number = cast("dict[str, object]", value).get("id")
        return self._pending is not None and number == self._pending[0] and not isinstance(number, bool)
