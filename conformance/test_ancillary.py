"""Control messages of the caller's own making, sent through an API that takes them (capability ``ancillary``)."""

import itertools
import socket
from pathlib import Path

from fdspec.conformance.checks import drain, peer_option, released, true_credentials
from fdspec.conformance.peer import rights
from fdspec.conformance.suite import MAY, MESSAGE, MUST, SHOULD, case

RIGHTS = ("SOL_SOCKET", "SCM_RIGHTS")
CREDENTIALS = ("SOL_SOCKET", "SCM_CREDENTIALS")
FOREIGN_LEVEL = 12345
"""A level that no protocol has."""
ANCILLARY = ("ancillary",)
SEVERAL = ("ancillary", "several")


def own_credentials(link):
    """Return a struct ucred that is true of the testee."""
    return true_credentials(link.testee.pid)


def ints(*numbers):
    """Return ``numbers`` as the data of an SCM_RIGHTS control message."""
    return rights(numbers)[2]


@case("ancillary.rights-as-bytes", level=MUST, checks="S01", profiles=(MESSAGE,), needs=ANCILLARY)
def test_rights_given_as_bytes(link, objects):
    """An SCM_RIGHTS control message whose data are native ints passes the descriptors that they name, in order."""
    things = objects.files(3)
    numbers = link.open(*things)
    assert not link.send(b"x", ancillary=[(*RIGHTS, ints(*numbers))]).failed
    assert link.peer.receive().identities == [thing.identity for thing in things]


@case("ancillary.several-rights", level=SHOULD, checks="A09 LC08", profiles=(MESSAGE,), needs=SEVERAL)
def test_several_rights_all_arrive(link, objects):
    """Three SCM_RIGHTS control messages with 1, 2 and 3 descriptors: all six arrive in order, or all is refused."""
    pipe, *files = objects.fifo(), *objects.files(5)
    things = [pipe, *files]
    numbers = link.open(*things)
    sent = link.send(b"x", ancillary=[(*RIGHTS, numbers[:1]), (*RIGHTS, numbers[1:3]), (*RIGHTS, numbers[3:])])
    if sent.failed:
        link.outcome = "refused"
        assert not link.peer.pending()
        link.close(numbers[0])
        assert released(pipe)
        return
    got = link.peer.receive()
    link.outcome = "merged"
    assert (got.data, got.identities) == (b"x", [thing.identity for thing in things])


@case("ancillary.many-rights", level=SHOULD, checks="A09 A10", profiles=(MESSAGE,), needs=SEVERAL)
def test_a_descriptor_in_each_of_many(link, objects):
    """Fifty SCM_RIGHTS control messages with one descriptor each: all arrive in order, or the send is refused."""
    things = objects.files(50)
    numbers = link.open(*things)
    sent = link.send(b"x", ancillary=[(*RIGHTS, [number]) for number in numbers])
    if sent.failed:
        assert not link.peer.pending()
    else:
        assert link.peer.receive().identities == [thing.identity for thing in things]


@case("ancillary.limit-counts-all", level=MUST, checks="A10 A13 L05", profiles=(MESSAGE,), needs=SEVERAL)
def test_the_limit_counts_all_control_messages(link, objects):
    """253 descriptors and one more in a second control message are refused together; no reference is kept."""
    pipe, file = objects.fifo(), objects.file()
    number, other = link.open(pipe, file)
    sent = link.send(b"x", ancillary=[(*RIGHTS, [other] * 253), (*RIGHTS, [number])])
    assert sent.failed
    assert sent.errno in {None, "EINVAL", "EMSGSIZE"}
    assert not link.peer.pending()
    link.close(number)
    assert released(pipe)


@case("ancillary.limit-exactly", level=SHOULD, checks="A10 A09", profiles=(MESSAGE,), needs=SEVERAL)
def test_the_limit_may_be_reached_by_several(link, objects):
    """200 and 53 descriptors in two control messages make 253, which arrive; or having two is refused."""
    file = objects.file()
    numbers = link.open(file)
    if link.send(b"x", ancillary=[(*RIGHTS, numbers * 200), (*RIGHTS, numbers * 53)]).failed:
        assert not link.peer.pending()
    else:
        assert link.peer.receive().identities == [file.identity] * 253


@case("ancillary.empty-rights", level=SHOULD, checks="A04", profiles=(MESSAGE,), needs=ANCILLARY)
def test_empty_rights(link, objects):
    """An SCM_RIGHTS control message without a descriptor: the data arrives alone, or is refused; later sends work."""
    file = objects.file()
    numbers = link.open(file)
    for content in (b"", []):
        if link.send(b"x", ancillary=[(*RIGHTS, content)]).failed:
            assert not link.peer.pending(), content
        else:
            got = link.peer.receive()
            assert (got.data, got.fds, got.ancillary) == (b"x", [], []), content
    assert not link.send(b"y", numbers).failed
    assert link.peer.receive().identities == [file.identity]


@case("ancillary.empty-rights.not-passed", level=MAY, checks="S24d", profiles=(MESSAGE,), needs=ANCILLARY)
def test_empty_rights_to_a_receiver_that_passes_none(link):
    """Empty rights to a peer that has switched SO_PASSRIGHTS off: the data arrives, or is refused without a trace."""
    peer_option(link, "SO_PASSRIGHTS", 0)
    if link.send(b"x", ancillary=[(*RIGHTS, b"")]).failed:
        assert not link.peer.pending()
    else:
        got = link.peer.receive()
        assert (got.data, got.fds) == (b"x", [])


@case("ancillary.empty-beside", level=SHOULD, checks="A11", profiles=(MESSAGE,), needs=SEVERAL)
def test_empty_rights_beside_others(link, objects):
    """Empty SCM_RIGHTS control messages in front of or behind one with descriptors: just the descriptors arrive."""
    things = objects.files(2)
    numbers = link.open(*things)
    empty, full = (*RIGHTS, b""), (*RIGHTS, numbers)
    for control in ([empty, full], [full, empty], [empty, full, empty, empty]):
        place = ["full" if one is full else "empty" for one in control]
        if link.send(b"x", ancillary=control).failed:
            assert not link.peer.pending(), place
        else:
            assert link.peer.receive().identities == [thing.identity for thing in things], place


@case("ancillary.part-of-an-int", level=SHOULD, checks="A04 A06", profiles=(MESSAGE,), needs=ANCILLARY)
def test_parts_of_an_int(link, objects):
    """1 to 3 bytes alone pass nothing; behind a whole int they are ignored. Or all is refused without a trace."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    for whole, rest in itertools.product((0, 1), (1, 2, 3)):
        content = ints(*[number] * whole) + b"\xff" * rest
        sent = link.send(b"x", ancillary=[(*RIGHTS, content)])
        if sent.failed:
            assert not link.peer.pending(), (whole, rest)
        else:
            assert link.peer.receive().identities == [pipe.identity] * whole, (whole, rest)
    link.peer.close_received()
    link.close(number)
    assert released(pipe)


@case("ancillary.part-of-an-int.between", level=SHOULD, checks="A06 A09", profiles=(MESSAGE,), needs=SEVERAL)
def test_part_of_an_int_between_rights(link, objects):
    """One and a half ints in front of another control message: both whole ints arrive in order, or all is refused."""
    things = objects.files(2)
    one, other = link.open(*things)
    if link.send(b"x", ancillary=[(*RIGHTS, ints(one) + b"\xff\xff"), (*RIGHTS, ints(other))]).failed:
        assert not link.peer.pending()
    else:
        assert link.peer.receive().identities == [thing.identity for thing in things]


@case("ancillary.unknown-type", level=MUST, checks="A08", profiles=(MESSAGE,), needs=ANCILLARY)
def test_unknown_types_are_refused(link):
    """Control messages of level SOL_SOCKET with types that nothing can be sent as are refused with EINVAL."""
    for kind in (0, 3, 4, 99, 30000, -1):
        sent = link.send(b"x", ancillary=[("SOL_SOCKET", kind, b"\0\0\0\0")])
        assert sent.failed, kind
        assert sent.errno in {None, "EINVAL"}, kind
        assert not link.peer.pending(), kind


@case("ancillary.unknown-beside-rights", level=MUST, checks="A08 A26 L05", profiles=(MESSAGE,), needs=SEVERAL)
def test_an_unknown_type_beside_rights(link, objects):
    """An unknown type in front of or behind good rights: all is refused, nothing arrives and no reference is kept."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    good, bad = (*RIGHTS, [number]), ("SOL_SOCKET", 99, b"data")
    for control in ([good, bad], [bad, good], [good, bad, good]):
        assert link.send(b"x", ancillary=control).failed, len(control)
        assert not link.peer.pending(), len(control)
    link.close(number)
    assert released(pipe)


@case("ancillary.bad-number-in-second", level=MUST, checks="A26 S05 L05", profiles=(MESSAGE,), needs=SEVERAL)
def test_a_bad_number_in_the_second_of_two(link, objects):
    """Good rights and a second control message with -1: EBADF, nothing arrives and no reference is kept."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    sent = link.send(b"x", ancillary=[(*RIGHTS, [number]), (*RIGHTS, [-1])])
    assert sent.failed
    assert sent.errno in {None, "EBADF", "EINVAL"}
    assert not link.peer.pending()
    link.close(number)
    assert released(pipe)


@case("ancillary.foreign-level", level=MAY, checks="A07", profiles=(MESSAGE,), needs=ANCILLARY)
def test_a_foreign_level_alone(link):
    """A control message of a level that AF_UNIX has nothing to do with is skipped, or refused with EINVAL."""
    sent = link.send(b"x", ancillary=[(FOREIGN_LEVEL, 1, b"data")])
    if sent.failed:
        link.outcome = "refused"
        assert sent.errno in {None, "EINVAL"}
        assert not link.peer.pending()
    else:
        link.outcome = "skipped"
        got = link.peer.receive()
        assert (got.data, got.fds, got.ancillary) == (b"x", [], [])


@case("ancillary.foreign-level-beside-rights", level=MAY, checks="A07 A26 L05", profiles=(MESSAGE,), needs=SEVERAL)
def test_a_foreign_level_beside_rights(link, objects):
    """Odd lengths of foreign data on both sides of rights: the rights arrive, or all is refused without a trace."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    for size in (0, 1, 4, 5, 7, 8, 9):
        foreign = (FOREIGN_LEVEL, 1, b"\xff" * size)
        sent = link.send(b"x", ancillary=[foreign, (*RIGHTS, [number]), foreign])
        link.outcome = "refused" if sent.failed else "skipped"
        if sent.failed:
            assert not link.peer.pending(), size
        else:
            assert link.peer.receive().identities == [pipe.identity], size
    link.peer.close_received()
    link.close(number)
    assert released(pipe)


@case("ancillary.level-is-looked-at", level=MUST, checks="A07", profiles=(MESSAGE,), needs=ANCILLARY)
def test_rights_of_another_level_are_none(link, objects):
    """Data of type SCM_RIGHTS under another level passes no descriptor."""
    numbers = link.open(objects.file())
    if link.send(b"x", ancillary=[(FOREIGN_LEVEL, socket.SCM_RIGHTS, ints(*numbers))]).failed:
        assert not link.peer.pending()
    else:
        assert link.peer.receive().fds == []


@case("ancillary.credentials-length", level=MUST, checks="A22 L05", profiles=(MESSAGE,), needs=SEVERAL)
def test_credentials_of_a_wrong_length(link, objects):
    """SCM_CREDENTIALS of 0, 4, 11 and 13 bytes are refused with EINVAL, with the rights in front of them."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    true = own_credentials(link)
    for content in (b"", true[:4], true[:11], true + b"\0"):
        sent = link.send(b"x", ancillary=[(*RIGHTS, [number]), (*CREDENTIALS, content)])
        assert sent.failed, len(content)
        assert sent.errno in {None, "EINVAL"}, len(content)
        assert not link.peer.pending(), len(content)
    link.close(number)
    assert released(pipe)


@case("ancillary.credentials-unasked", level=MUST, checks="C03", profiles=(MESSAGE,), needs=SEVERAL)
def test_credentials_that_nobody_asked_for(link, objects):
    """True credentials in front of or behind rights, to a receiver without SO_PASSCRED: only the rights arrive."""
    file = objects.file()
    creds, passed = (*CREDENTIALS, own_credentials(link)), (*RIGHTS, link.open(file))
    for control in ([creds, passed], [passed, creds]):
        assert not link.send(b"x", ancillary=control).failed
        got = link.peer.receive()
        assert (got.identities, got.ancillary) == ([file.identity], [])
        assert "MSG_CTRUNC" not in got.flags


@case("ancillary.credentials-asked", level=MUST, checks="C01", profiles=(MESSAGE,), needs=SEVERAL)
def test_credentials_that_were_asked_for(link, objects):
    """True credentials in front of or behind rights, to a receiver with SO_PASSCRED: both arrive."""
    file = objects.file()
    true = own_credentials(link)
    creds, passed = (*CREDENTIALS, true), (*RIGHTS, link.open(file))
    link.peer.option("SOL_SOCKET", "SO_PASSCRED", 1)
    for control in ([creds, passed], [passed, creds]):
        assert not link.send(b"x", ancillary=control).failed
        got = link.peer.receive()
        assert got.identities == [file.identity]
        assert got.ancillary == [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, true)]


@case("ancillary.credentials-forged", level=MUST, checks="C04 A26 L05", profiles=(MESSAGE,), needs=SEVERAL)
def test_credentials_of_no_process(link, objects):
    """Credentials of a process that cannot exist behind good rights: ESRCH or EPERM, and no reference is kept."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    forged = true_credentials(2**31 - 1)
    sent = link.send(b"x", ancillary=[(*RIGHTS, [number]), (*CREDENTIALS, forged)])
    assert sent.failed
    assert sent.errno in {None, "ESRCH", "EPERM"}
    assert not link.peer.pending()
    link.close(number)
    assert released(pipe)


@case("ancillary.too-much", level=SHOULD, checks="A18 L05", profiles=(MESSAGE,), needs=SEVERAL)
def test_more_control_data_than_the_system_takes(link, objects):
    """Rights and foreign data beyond net.core.optmem_max: ENOBUFS; nothing arrives and no reference is kept."""
    limit = int(Path("/proc/sys/net/core/optmem_max").read_text(encoding="ascii"))
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    sent = link.send(b"x", ancillary=[(*RIGHTS, [number]), (FOREIGN_LEVEL, 1, bytes(limit))])
    assert sent.failed
    assert sent.errno in {None, "ENOBUFS", "EINVAL", "EMSGSIZE"}
    assert not link.peer.pending()
    link.close(number)
    assert released(pipe)


@case("ancillary.refused-then-good", level=MUST, checks="A08 A26 LC11", profiles=(MESSAGE,), needs=ANCILLARY)
def test_a_good_send_after_refused_ones(link, objects):
    """After ten refused sends of all kinds a good one arrives as if nothing had been, and nothing else arrives."""
    first, second = objects.files(2)
    one, other = link.open(first, second)
    for content in ([one, -1], [one] * 254):
        for _ in range(5):
            assert link.send(b"bad", ancillary=[(*RIGHTS, content)]).failed, len(content)
    assert not link.send(b"good", ancillary=[(*RIGHTS, [other])]).failed
    assert [(one.data, one.identities) for one in drain(link)] == [(b"good", [second.identity])]
