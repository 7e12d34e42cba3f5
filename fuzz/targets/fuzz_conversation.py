"""Whatever a testee writes, the conversation makes events of it, the same however its bytes are cut, and never fails."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.impls.protocol import messages as m
    from fdspec.impls.protocol.conversation import KEPT_NOISE, Anomaly, Conversation, Noise, Reply

from fdspec.fuzz.targets import support  # what it brings is not looked at

REQUESTS: tuple[m.Request, ...] = (
    m.Hello(),
    m.Close(fd=3),
    m.Recvmsg(fd=3, sizes=[16], room=1),
    m.RecvFds(fd=3, sizes=[16], room=1),
    m.Sendmsg(fd=3, buffers=["78"]),
    m.TransportEvents(transport=1),
    m.Steps(steps=[m.Close(fd=3), m.Recvmsg(fd=3, sizes=[16], room=1)]),
    m.Steps(steps=[m.Close(fd=3), m.Close(fd=4)], go_on=True),
)
"""What is outstanding, by the first byte of the input; the second says how the rest is cut."""


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Feed the input whole and in pieces."""
    which, size, stream = data[:1], data[1:2], data[2:]
    request = REQUESTS[(which or b"\0")[0] % len(REQUESTS)]
    step = 1 + (size or b"\0")[0]
    whole = events(request, [stream])
    pieces = events(request, [stream[at : at + step] for at in range(0, len(stream), step)])
    support.hold(whole == pieces, f"in pieces of {step} bytes: {pieces!r}, whole: {whole!r}")


def events(request: m.Request, pieces: list[bytes]) -> list[Reply | Noise | Anomaly]:
    """Return what a conversation with small bounds makes of the pieces; after an anomaly nothing may come."""
    conversation = Conversation(max_line=2048, max_noise=1024)
    conversation.ask(request)
    found: list[Reply | Noise | Anomaly] = []
    for piece in pieces:
        for event in conversation.feed(piece):
            support.hold(
                not isinstance(event, Noise) or len(event.line) <= KEPT_NOISE, "more noise is kept than may be"
            )
            found.append(event)
        if found and isinstance(found[-1], Anomaly):
            break
    support.hold(sum(isinstance(one, Reply) for one in found) <= 1, f"one request, several replies: {found!r}")
    support.hold(conversation.waiting or any(isinstance(one, (Reply, Anomaly)) for one in found), "the reply is lost")
    return found


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
