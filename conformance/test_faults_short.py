"""Sends on a stream of which the kernel takes less than it was given, as it may at any byte (area ``faults``).

The harness stands between the testee and its kernel. An implementation returns the count, and the case sends the rest as its
caller would; or it sends the rest by itself. Either way the peer has each byte once, and each descriptor once, with the first.
"""

from fdspec.conformance.checks import drain
from fdspec.conformance.interpose.kernel import SEND
from fdspec.conformance.suite import DESCRIPTORS, MUST, STREAM, case

DATA = b"0123456789ab"
PARTS = ([b"01", b"", b"23456", b"789ab"], [b"", b"0123456789", b"a", b"b"])
"""The same in uneven buffers, with an empty one in front and among them."""


def deliver(link, data, fds, **how):
    """Send as a caller who heeds what is said does: the rest without the descriptors, or all again. Return what came.

    An error after a part was taken tells no count, so what came is looked at. Raises AssertionError for a false count.
    """
    total = data if isinstance(data, bytes) else b"".join(data)
    came, place, rest = [], 0, data
    for _ in range(len(total) + 1):
        sent = link.send(rest, fds, **how)
        new = [] if came or not link.peer.pending() else [link.peer.receive(1)]
        new += drain(link)  # a receive of more than the first byte might get descriptors that came with a later one
        came += new
        taken = sum(len(message.data) for message in new)
        told = len(total) - place if sent.count is None else sent.count
        assert sent.failed or taken == told, f"{told} bytes of {rest} were sent, it says, and {taken} came"
        place += taken
        if place >= len(total):
            return came
        if taken:
            rest, fds, how = total[place:], [], {}
    raise AssertionError(f"after {len(total) + 1} sends {place} of {len(total)} bytes have come, the last: {sent}")


def check(came, data, things, what):
    """See that ``came`` is ``data`` once, and ``things`` once, with its first byte. Raises AssertionError."""
    total = b"".join(message.data for message in came)
    assert total == data, f"{what}: {total} came"
    descriptors = [message.identities for message in came if message.fds]
    assert descriptors == [[one.identity for one in things]], f"{what}: the descriptors did not come once"
    assert came[0].fds, f"{what}: the descriptors did not come with the first byte"


@case("faults.short-write", level=MUST, checks="LC10", types=(STREAM,))
def test_a_short_write(link, objects, kernel):
    """Of 12 bytes with two descriptors 1, 2, ... 11 are taken: all come once in the end, the descriptors with the first."""
    files = objects.files(2)
    fds = link.open(*files)
    for count in range(1, len(DATA)):
        kernel.takes(count)
        check(deliver(link, DATA, fds), DATA, files, f"{count} bytes were taken")
        link.peer.close_received()


@case("faults.short-write.buffers", level=MUST, checks="LC10 LC12", types=(STREAM,), needs=("buffers-out",))
def test_a_short_write_of_several_buffers(link, objects, kernel):
    """Of 12 bytes in uneven buffers, empty ones among them, 1, 2, ... 11 are taken: all come once, and in order."""
    files = objects.files(2)
    fds = link.open(*files)
    for parts in PARTS:
        for count in range(1, len(DATA)):
            kernel.takes(count)
            check(deliver(link, parts, fds), DATA, files, f"{count} bytes of {parts} were taken")
            link.peer.close_received()


@case(
    "faults.short-write.single", level=MUST, checks="LC10", types=(STREAM,), profiles=(DESCRIPTORS,), needs=("single",)
)
def test_a_short_write_by_the_call_for_one(link, objects, kernel):
    """The call for one descriptor has 1, 6, 11 of 12 bytes taken: all come once in the end, the descriptor with the first."""
    file = objects.file()
    fds = link.open(file)
    for count in (1, 6, 11):
        kernel.takes(count)
        check(deliver(link, DATA, fds, single=True), DATA, [file], f"{count} bytes were taken")
        link.peer.close_received()


@case("faults.short-write.byte-by-byte", level=MUST, checks="LC10", types=(STREAM,))
def test_one_byte_at_a_time(link, objects, kernel):
    """Every send takes one byte: twelve sends later all have come, and the descriptors with the first."""
    files = objects.files(2)
    fds = link.open(*files)
    kernel.takes(1, times=len(DATA))
    check(deliver(link, DATA, fds), DATA, files, "one byte was taken each time")


@case("faults.short-write.next-message", level=MUST, checks="LC10 LC15", types=(STREAM,))
def test_a_short_write_and_the_next_message(link, objects, kernel):
    """A short write, and then a message with other descriptors: each has its own, and the second is sent whole."""
    first, second = objects.files(2), objects.files(1)
    fds, others = link.open(*first), link.open(*second)
    kernel.takes(5)
    check(deliver(link, DATA, fds), DATA, first, "the first message")
    check(deliver(link, b"next", others), b"next", second, "the next message")


@case("faults.short-write.then-interrupted", level=MUST, checks="LC10 LC13", types=(STREAM,))
def test_a_short_write_and_an_interruption(link, objects, kernel):
    """After a short write the send of the rest gets EINTR: nothing is sent twice, neither bytes nor descriptors."""
    _short_and_then(link, objects, kernel, "EINTR")


@case("faults.short-write.then-not-ready", level=MUST, checks="LC10", types=(STREAM,))
def test_a_short_write_and_a_full_buffer(link, objects, kernel):
    """After a short write the send of the rest gets EAGAIN: nothing is sent twice, neither bytes nor descriptors."""
    _short_and_then(link, objects, kernel, "EAGAIN")


@case("faults.short-write.then-refused", level=MUST, checks="LC10 KC01", types=(STREAM,))
def test_a_short_write_and_a_refusal(link, objects, kernel):
    """After a short write the send of the rest gets ENOBUFS: nothing is sent twice, neither bytes nor descriptors."""
    _short_and_then(link, objects, kernel, "ENOBUFS")


def _short_and_then(link, objects, kernel, error):
    files = objects.files(2)
    fds = link.open(*files)
    for count in (1, 5, 11):
        kernel.takes(count)
        kernel.fails(error, SEND)
        check(deliver(link, DATA, fds), DATA, files, f"{count} bytes were taken, then {error}")
        link.peer.close_received()
