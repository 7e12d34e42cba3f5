"""The oracle on executions written by hand: what implementations are free to do, and what none may."""

import pytest
from fdspec.conformance.model import flags as f
from fdspec.fuzz.run.shown import Control, Left, Trouble
from fdspec.impls.protocol.values import Profile
from oraclekit import OK, error, facts, first, got, judged, sent

HEAD = "program 1 message stream client\n"
PACKETS = "program 1 message seqpacket client\n"
FDS = "program 1 descriptors stream client\n"
TWO = 'open g0\nopen g1\nsend p0 "ab" fds=g0,g1\n'
SET_UP = (OK, OK, sent(2))
CTRUNC = f.CTRUNC
OF_FDS = facts(Profile.DESCRIPTORS, without=("flags-reported",))


# ---- receives of libraries ---------------------------------------------------------------------------------------------

TAKEN = {
    "both": ("take t0 2 room=2", got(b"ab", "g0", "g1"), None),
    "one, flagged": ("take t0 2 room=1", got(b"ab", "g0", flags=CTRUNC), None),
    "none of two, flagged": ("take t0 2 room=1", got(b"ab", flags=CTRUNC), None),
    "an error for want of room": ("take t0 2 room=1", error("ENOBUFS"), None),
    "the same with the data": ("take t0 2 room=1", error("ENOBUFS", data=(b"ab",)), None),
    "close-on-exec in the flags": ("take t0 2 room=2 flags=CLOEXEC", got(b"ab", "g0", "g1", flags=f.CLOEXEC), None),
    "one, and no flag": ("take t0 2 room=1", got(b"ab", "g0"), ("hidden-loss", "LC03")),
    "one where there is room": ("take t0 2 room=2", got(b"ab", "g0"), ("descriptors", "LC05")),
    "the same flagged": ("take t0 2 room=2", got(b"ab", "g0", flags=CTRUNC), ("descriptors", "LC05")),
    "an error for nothing": ("take t0 2 room=2", error("ENOBUFS"), ("error", "LC14")),
    "more than room": ("take t0 2 room=1", got(b"ab", "g0", "g1"), ("descriptors", "LC04")),
    "swapped": ("take t0 2 room=2", got(b"ab", "g1", "g0"), ("descriptors", "LC05")),
    "another": ("take t0 2 room=2", got(b"ab", "g0", "p0"), ("identity", "LC05")),
    "a stranger": ("take t0 2 room=2", got(b"ab", "g0", "?"), ("identity", "LC05")),
    "one too many": ("take t0 2 room=3", got(b"ab", "g0", "g1", "g1"), ("descriptors", "LC15")),
    "one that is closed": ("take t0 2 room=2", got(b"ab", "g0", "-"), ("stray-close", "LC02")),
    "a copy": ("take t0 2 room=2", got(b"ab", "g0", "g1", same=(True, False)), ("identity", "LC05")),
    "a copy, perhaps": ("take t0 2 room=2", got(b"ab", "g0", "g1", same=(True, None)), None),
    "other data": ("take t0 2 room=2", got(b"aa", "g0", "g1"), ("data", "LC15")),
    "data twice": ("take t0 2 room=2", got(b"abab", "g0", "g1"), ("data", "LC15")),
    "data in the wrong buffer": ("take t0 1,1 room=2", got((b"", b"ab"), "g0", "g1"), ("data", "LC12")),
    "an empty buffer less": ("take t0 2,4 room=2", got((b"ab",), "g0", "g1"), None),
    "a flag too many": ("take t0 2 room=2", got(b"ab", "g0", "g1", flags=CTRUNC), ("flags", "LC03")),
    "another flag": ("take t0 2 room=2", got(b"ab", "g0", "g1", flags=f.OOB), ("flags", "LC03")),
    "a control message": (
        "take t0 2 room=2",
        got(b"ab", "g0", "g1", control=(Control(1, 2, bytes(12)),)),
        ("control", "LC07"),
    ),
    "inheritable although asked": (
        "take t0 2 room=2 flags=CLOEXEC",
        got(b"ab", "g0", "g1", cloexec=(True, False)),
        ("cloexec", "LC12"),
    ),
    "inheritable": ("take t0 2 room=2", got(b"ab", "g0", "g1", cloexec=(False, False)), None),
    "one left open": ("take t0 2 room=1", got(b"ab", "g0", flags=CTRUNC, open=3), ("leak", "LC01")),
    "one closed": ("take t0 2 room=2", got(b"ab", "g0", "g1", open=2), ("stray-close", "LC02")),
    "as many as told": ("take t0 2 room=1", got(b"ab", "g0", flags=CTRUNC, open=2), None),
    "exactly": ("recv t0 2 control=20", got(b"ab", "g0", flags=CTRUNC), None),
    "exactly, and an error": ("recv t0 2 control=20", error("ENOBUFS"), None),
    "exactly, and fewer": ("recv t0 2 control=20", got(b"ab", flags=CTRUNC), ("descriptors", "LC05")),
    "exactly, with padding": ("recv t0 2 control=24", got(b"ab", "g0", "g1"), None),
    "exactly, and no flag": ("recv t0 2 control=20", got(b"ab", "g0"), ("hidden-loss", "LC03")),
    "no bytes, refused": ("take t0 0 room=2", error("EINVAL"), None),
    "no bytes": ("take t0 0 room=2", got(b"", "g0", "g1"), None),
    "more room than there can be, refused": ("take t0 2 room=254", error("EINVAL"), None),
}


@pytest.mark.parametrize(("line", "shown", "due"), TAKEN.values(), ids=TAKEN)
def test_what_a_receive_may_show(line, shown, due):
    assert first(judged(f"{HEAD}{TWO}{line}", *SET_UP, shown)) == due


def test_a_violation_names_what_was_seen_and_all_that_is_permitted():
    (found,) = judged(f"{HEAD}{TWO}take t0 2 room=1", *SET_UP, got(b"ab", "g0")).violations
    assert (found.at, found.operation, found.place) == (3, "take", "message/stream/testee")
    assert found.message == "descriptors g0, no CTRUNC"
    assert found.permitted == ("b'ab', descriptors g0, CTRUNC",)


def test_a_documented_silence_is_permitted():
    of = facts(truncation="silent")
    assert first(judged(f"{HEAD}{TWO}take t0 2 room=1", *SET_UP, got(b"ab", "g0"), of=of)) is None


@pytest.mark.parametrize(
    ("policy", "cloexec", "due"),
    [
        ("always", True, None),
        ("always", False, "LC06"),
        ("never", False, None),
        ("never", True, "LC06"),
        ("flag", False, None),
    ],
)
def test_close_on_exec_is_as_documented(policy, cloexec, due):
    shown = got(b"ab", "g0", "g1", cloexec=(cloexec, cloexec))
    found = first(judged(f"{HEAD}{TWO}take t0 2 room=2", *SET_UP, shown, of=facts(cloexec=policy)))
    assert (found and found[1]) == due


def test_close_on_exec_is_the_default_where_it_cannot_be_asked_for():
    of = facts(Profile.DESCRIPTORS, without=("flags-in",))
    shown = got(b"ab", "g0", "g1", cloexec=(False, False))
    assert first(judged(f"{FDS}{TWO}take t0 2 room=2", *SET_UP, shown, of=of)) == ("cloexec", "LC06")


AFTER_AN_ERROR = {
    "the next message": (got(b"next", "g0"), None),
    "what was lost": (got(b"ab", "g0", "g1"), ("data", "LC15")),
    "the rest of the lost": (got(b"next", "g1"), ("identity", "LC05")),
    "nothing": (error(), ("error", "LC14")),
}


@pytest.mark.parametrize(("shown", "due"), AFTER_AN_ERROR.values(), ids=AFTER_AN_ERROR)
def test_after_an_error_for_want_of_room_the_message_is_gone(shown, due):
    text = f'{HEAD}{TWO}send p0 "next" fds=g0\ntake t0 2 room=1\ntake t0 4 room=2'
    assert first(judged(text, *SET_UP, sent(4), error("ENOBUFS"), shown)) == due


LIMITED = {
    "flagged": (got(b"ab", "g0", flags=CTRUNC), None),
    "an error": (error("EMFILE"), None),
    "hidden": (got(b"ab", "g0"), ("hidden-loss", "LC09")),
}


@pytest.mark.parametrize(("shown", "due"), LIMITED.values(), ids=LIMITED)
def test_at_the_limit_of_numbers(shown, due):
    text = f"{HEAD}{TWO}room 1\ntake t0 2 room=2"
    assert first(judged(text, *SET_UP, OK, shown)) == due


def test_at_the_limit_the_message_may_be_left_there_or_be_gone():
    text = f"{HEAD}{TWO}room 0\ntake t0 2 room=2\nroom off\ntake t0 2 room=2"
    for last in (got(b"ab", "g0", "g1"), error()):
        assert first(judged(text, *SET_UP, OK, error("EMFILE"), OK, last)) is None


NOTHING = {
    "told by its number": (error(), None),
    "told by its type": (error("", "BlockingIOError"), None),
    "told by nothing": (error("", "OSError"), ("error", "LC14")),
    "another error": (error("EINVAL"), ("error", "LC14")),
    "an end": (got(b""), ("error", "LC14")),
    "data": (got(b"x"), ("data", "LC15")),
    "a descriptor": (got(b"", "g0"), ("descriptors", "LC15")),
    "a descriptor beside the error": (error(files=("g0",)), ("descriptors", "LC15")),
}


@pytest.mark.parametrize(("shown", "due"), NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_to_be_received(shown, due):
    assert first(judged(f"{HEAD}open g0\ntake t0 2 room=1", OK, shown)) == due


CREDENTIALS = Control(1, 2, bytes.fromhex("c80000000000000000000000"))
BESIDE = {
    "everything": (got(b"ab", "g0", "g1", control=(CREDENTIALS,)), None),
    "without the credentials": (got(b"ab", "g0", "g1", flags=CTRUNC), None),
    "credentials cut": (got(b"ab", flags=CTRUNC, control=(Control(1, 2, CREDENTIALS.data[:8]),)), None),
    "an error": (error("ENOBUFS"), None),
    "other credentials": (got(b"ab", "g0", "g1", control=(Control(1, 2, b"\x09" * 12),)), ("control", "LC07")),
    "hidden": (got(b"ab", control=(CREDENTIALS,)), ("hidden-loss", "LC07")),
}


@pytest.mark.parametrize(("shown", "due"), BESIDE.values(), ids=BESIDE)
def test_beside_credentials_room_in_bytes_is_the_callers_affair(shown, due):
    text = f"{HEAD}set t0 passcred 1\n{TWO}take t0 2 room=2"
    assert first(judged(text, OK, *SET_UP, shown)) == due


def test_beside_credentials_room_in_descriptors_is_not():
    text = f"{FDS}set t0 passcred 1\n{TWO}take t0 2 room=2"
    for shown, breach in ((got(b"ab", flags=CTRUNC), "descriptors"), (error("ENOBUFS"), "error")):
        assert first(judged(text, OK, *SET_UP, shown)) == (breach, "LC07")


CUT = {
    "flagged": (got(b"a", "g0", "g1", flags=f.TRUNC), None),
    "an error": (error("EMSGSIZE"), None),
    "not flagged": (got(b"a", "g0", "g1"), ("hidden-loss", "LC12")),
    "beyond the buffer": (got(b"ab", "g0", "g1", flags=f.TRUNC), ("data", "LC15")),
}


@pytest.mark.parametrize(("shown", "due"), CUT.values(), ids=CUT)
def test_a_packet_that_is_cut(shown, due):
    assert first(judged(f"{PACKETS}{TWO}take t0 1 room=2", *SET_UP, shown)) == due


def test_a_peek_that_takes_the_message_away_is_one_whose_flag_has_no_effect():
    text = f"{HEAD}{TWO}take t0 2 room=2 flags=PEEK\ntake t0 2 room=2"
    both = got(b"ab", "g0", "g1")
    assert first(judged(text, *SET_UP, both, both)) is None
    found = judged(text, *SET_UP, both, error())
    assert first(found) == ("error", "LC12")
    assert "as if the flags before it had not been given" in found.violations[0].message


ONE = {
    "the only one": ('send p0 "x" fds=g0', got(b"x", "g0", flags=None), None),
    "none of none": ('send p0 "x"', got(b"x", flags=None), None),
    "an error for none": ('send p0 "x"', error("ENOENT", "NoDescriptor"), None),
    "an error for two": ('send p0 "x" fds=g0,g0', error("ENOBUFS"), None),
    "one of two, unseen": ('send p0 "x" fds=g0,g0', got(b"x", "g0", flags=None), ("hidden-loss", "LC03")),
    "two of two": ('send p0 "x" fds=g0,g0', got(b"x", "g0", "g0", flags=None), ("descriptors", "LC04")),
}


@pytest.mark.parametrize(("line", "shown", "due"), ONE.values(), ids=ONE)
def test_the_call_for_one_descriptor(line, shown, due):
    assert first(judged(f"{FDS}open g0\n{line}\ntake-one t0 1", OK, sent(), shown, of=OF_FDS)) == due


# ---- sends of libraries ------------------------------------------------------------------------------------------------

SENT = {
    "the count": ('send t0 "ab" fds=f0', sent(2), None),
    "no count": ('send t0 "ab" fds=f0', OK, None),
    "a wrong count": ('send t0 "ab" fds=f0', sent(1), ("result", "LC10")),
    "refused": ('send t0 "ab" fds=f0', error("EIO"), ("error", "LC11")),
    "a bad number": ('send t0 "ab" fds=f0,-1', error("EBADF"), None),
    "a bad number by a type": ('send t0 "ab" fds=f0,-1', error("", "ValueError"), None),
    "a bad number, not told": ('send t0 "ab" fds=f0,-1', error("", "OSError"), ("error", "LC14")),
    "a bad number by another error": ('send t0 "ab" fds=f0,-1', error("EIO"), ("error", "LC14")),
    "a bad number, sent": ('send t0 "ab" fds=f0,-1', sent(2), ("error", "LC11")),
    "no data": ('send t0 "" fds=f0', error("EINVAL"), None),
    "no data, none taken": ('send t0 "" fds=f0', sent(0), None),
    "no data, and nothing told": ('send t0 "" fds=f0', OK, ("error", "LC11")),
    "no buffers, refused": ("send t0", error("EMSGSIZE"), None),
    "an odd flag, refused": ('send t0 "ab" fds=f0 flags=PEEK', error("EINVAL"), None),
    "several rights, refused": ('send t0 "ab" fds=f0 fds=f0', error("EINVAL"), None),
    "a foreign level, refused": ('send t0 "ab" fds=f0 cmsg=41,1,00', error("EINVAL"), None),
    "urgent data in a flag that is dropped": ('send t0 "" flags=OOB', sent(0), ("error", "LC12")),
    "own credentials, refused": ('send t0 "ab" fds=f0 creds=own', error("EINVAL"), ("error", "LC11")),
}


@pytest.mark.parametrize(("line", "shown", "due"), SENT.values(), ids=SENT)
def test_what_a_send_may_show(line, shown, due):
    assert first(judged(f"{HEAD}open f0\n{line}", OK, shown)) == due


REFUSED_STAYS_REFUSED = {
    "nothing came": (error(), None),
    "it came all the same": (got(b"ab", "f0"), ("descriptors", "LC10")),
}


@pytest.mark.parametrize(("shown", "due"), REFUSED_STAYS_REFUSED.values(), ids=REFUSED_STAYS_REFUSED)
def test_what_was_refused_does_not_arrive(shown, due):
    text = f'{HEAD}open f0\nsend t0 "ab" fds=f0 flags=PEEK\nrecv p0 2 control=24'
    assert first(judged(text, OK, error("EINVAL"), shown)) == due


ARRIVED = {
    "as sent": (got(b"ab", "f0", "f1"), None),
    "one descriptor": (got(b"ab", "f0"), ("descriptors", "LC05")),
    "swapped": (got(b"ab", "f1", "f0"), ("descriptors", "LC05")),
    "another": (got(b"ab", "f0", "t0"), ("identity", "LC05")),
    "other data": (got(b"ba", "f0", "f1"), ("data", "LC10")),
    "data twice": (got(b"abab", "f0", "f1"), ("data", "LC10")),
    "nothing": (error(), ("error", "LC10")),
    "a copy": (got(b"ab", "f0", "f1", same=(False, True)), ("identity", "LC05")),
    "more than room": (got(b"ab", "f0", "f1", flags=CTRUNC), ("descriptors", "LC05")),
}


@pytest.mark.parametrize(("shown", "due"), ARRIVED.values(), ids=ARRIVED)
def test_what_the_peer_receives_tells_what_was_sent(shown, due):
    text = f'{HEAD}open f0\nopen f1\nsend t0 "ab" fds=f0,f1\nrecv p0 8 control=24'
    found = judged(text, OK, OK, sent(2), shown)
    assert first(found) == due
    assert not due or found.violations[0].place == "message/stream/peer"


def test_a_message_sent_twice_is_found_by_whoever_receives_again():
    text = f'{HEAD}open f0\nsend t0 "ab" fds=f0\nrecv p0 8 control=24\nrecv p0 8 control=24'
    twice = got(b"ab", "f0")
    assert first(judged(text, OK, sent(2), twice, twice)) == ("descriptors", "LC10")


def test_a_short_send_takes_as_much_as_it_says():
    text = f'{HEAD}set t0 sndbuf 4608\nopen f0\nsend t0 "ab"*60000 fds=f0\nrecv p0 60000 control=20'
    (found,) = judged(text, OK, OK, sent(59999), error()).violations
    assert (found.breach, found.at) == ("result", 2)
    taken = int(next(one for one in found.permitted if one != "EAGAIN").removeprefix("returns "))
    assert 0 < taken < 60000
    part = (b"ab" * 30000)[: min(taken, 2240)]
    assert first(judged(text, OK, OK, sent(taken), got(part, "f0"))) is None
    assert first(judged(text, OK, OK, sent(taken), got(part + b"a", "f0"))) == ("data", "LC10")


# ---- raw ---------------------------------------------------------------------------------------------------------------

RAW = {
    "as the kernel": (got(b"ab", "g0", flags=CTRUNC, controllen=20), None),
    "none of two": (got(b"ab", flags=CTRUNC, controllen=0), ("descriptors", "T01")),
    "no flag": (got(b"ab", "g0", controllen=20), ("hidden-loss", "T01")),
    "another length": (got(b"ab", "g0", flags=CTRUNC, controllen=24), ("control", "T01b")),
    "an error": (error("ENOBUFS"), ("error", "T01")),
}


@pytest.mark.parametrize(("shown", "due"), RAW.values(), ids=RAW)
def test_a_raw_testee_shows_what_the_kernel_does(shown, due):
    assert first(judged(f"{HEAD}{TWO}recv t0 2 control=20", *SET_UP, shown, of=facts(raw=True))) == due


def test_an_error_of_a_kernel_breaks_what_it_is_about():
    text = f'{HEAD}open f0\nsend t0 "x" fds={",".join(["f0"] * 253)}'
    assert first(judged(text, OK, error("ENOMEM"), of=facts(raw=True))) == ("error", "M01")


# ---- what the model does not know --------------------------------------------------------------------------------------


def test_beside_what_the_model_does_not_know_data_and_identity_are_compared():
    text = f"{PACKETS}option t0 timestamp 1\n{TWO}take t0 2 room=2"
    time = Control(1, 29, bytes(16))
    for shown in (got(b"ab", "g0", "g1", control=(time,)), got(b"ab", "g0", flags=CTRUNC, control=(time,))):
        assert first(judged(text, OK, *SET_UP, shown)) is None
    assert first(judged(text, OK, *SET_UP, got(b"ba", "g0", "g1"))) == ("data", "LC15")
    assert first(judged(text, OK, *SET_UP, got(b"ab", "g1"))) == ("descriptors", "LC07")


def test_who_may_have_process_descriptors_sends_credentials_as_well():
    text = f'{PACKETS}option p0 passpidfd 1\nsend p0 "x"\nset t0 passcred 1\ntake t0 1 room=4'
    for pid in (bytes(12), CREDENTIALS.data):
        assert first(judged(text, OK, sent(), OK, got(b"x", control=(Control(1, 2, pid),)))) is None


def test_a_process_descriptor_that_nobody_shows_is_a_leak():
    text = f'{HEAD}option t0 passpidfd 1\nsend p0 "x"\ntake t0 1 room=4'
    pidfd = Control(1, 4, bytes(4))
    assert first(judged(text, OK, sent(), got(b"x", control=(pidfd,), open=1), left=Left(("t0",)))) is None
    assert first(judged(text, OK, sent(), got(b"x", open=2))) == ("leak", "LC01")
    assert first(judged(text, OK, sent(), got(b"x"), left=Left(("?", "t0"), (), ("?",)))) == ("leak", "LC01")


def test_a_send_on_an_object_that_is_a_socket_is_not_followed():
    text = f'{HEAD}make socket g0\nsend p0 "x" fds=g0\ntake t0 1 room=1 as=r0_\nsend r0_0 "y"\ntake r0_0 1'
    assert first(judged(text, OK, sent(), got(b"x", "g0"), sent(), error())) is None


def test_a_file_can_be_read():
    text = f'{HEAD}make file f0\nsend t0 "x" fds=f0\nrecv p0 1 control=20 as=q0_\nrecv q0_0 4 via=read\nrecv q0_0 4'
    assert first(judged(text, OK, sent(), got(b"x", "f0"), got(b"0123", flags=None), error("ENOTSOCK"))) is None
    assert first(judged(text, OK, sent(), got(b"x", "f0"), got(b"0123", flags=None), got(b"0123"))) is not None


def test_a_length_that_reaches_over_a_header_makes_the_rest_unknown():
    text = f'{HEAD}send p0 "a" fds=:25 fds=p0,p0 controllen=39\ntake t0 1 room=4'
    assert first(judged(text, sent(), got(b"a", "?", "?"))) is None


# ---- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("acted", [True, False])
def test_a_fault_that_acted_may_be_reported(acted):
    text = f'{HEAD}open f0\nfail send ENOBUFS\nsend t0 "ab" fds=f0\nrecv p0 8 control=20'
    shown = (OK, OK, error("ENOBUFS"), error())
    assert first(judged(text, *shown, acted=(1,) if acted else ())) == (None if acted else ("error", "LC11"))
    kept_going = (OK, OK, error("ENOBUFS"), got(b"ab", "f0"))
    assert first(judged(text, *kept_going, acted=(1,))) == ("descriptors", "LC10")


def test_a_receive_that_fails_has_taken_nothing():
    text = f"{HEAD}{TWO}fail receive EINTR\ntake t0 2 room=2\ntake t0 2 room=2"
    both = got(b"ab", "g0", "g1")
    assert first(judged(text, *SET_UP, OK, error("EINTR", "InterruptedError"), both, acted=(3,))) is None
    assert first(judged(text, *SET_UP, OK, both, error(), acted=(3,))) is None
    assert first(judged(text, *SET_UP, OK, error("EINTR"), error(), acted=(3,))) == ("error", "LC14")


def test_a_close_that_fails_has_closed():
    text = f"{HEAD}open f0\nfail close EIO\nclose f0\nclose f0"
    assert first(judged(text, OK, OK, error("EIO"), error("EBADF"), acted=(1,))) is None
    assert first(judged(text, OK, OK, error("EIO"), error("EBADF"))) == ("stray-close", "LC02")


SHORT = {
    "as far as it went": (sent(1), got(b"a", "f0"), None),
    "the rest, too": (sent(2), got(b"a", "f0"), None),
    "the rest with descriptors": (sent(2), got(b"ab", "f0", "f0"), ("descriptors", "LC05")),
    "more than went": (sent(1), got(b"ab", "f0"), ("data", "LC10")),
}


@pytest.mark.parametrize(("reply", "arrived", "due"), SHORT.values(), ids=SHORT)
def test_a_send_that_is_cut_short(reply, arrived, due):
    text = f'{HEAD}open f0\nshort 1\nsend t0 "ab" fds=f0\nrecv p0 8 control=24'
    assert first(judged(text, OK, OK, reply, arrived, acted=(1,))) == due


FORGED = {
    "what came": (got(b"ab", "g0", "g1"), None),
    "some of it": (got(b"ab", "g1"), None),
    "twice": (got(b"ab", "g0", "g0"), None),
    "nothing": (got(b""), None),
    "an error": (error("EBADMSG"), None),
    "the bait": (got(b"ab", "g0", "f0"), ("identity", "HC01")),
    "what is nothing of the program's": (got(b"ab", "?"), ("identity", "HC01")),
}


@pytest.mark.parametrize(("shown", "due"), FORGED.values(), ids=FORGED)
def test_forged_control_data(shown, due):
    text = f"{HEAD}open f0\n{TWO}forge beyond numbers=4 bait=f0\ntake t0 2 room=2"
    assert first(judged(text, OK, *SET_UP, OK, shown, acted=(4,))) == due


def test_under_another_system_only_strangers_are_looked_for():
    head = "program 1 message stream client system=freebsd\n"
    assert first(judged(f"{head}{TWO}take t0 2 room=2", *SET_UP, got(b"a", "g0"))) is None
    assert first(judged(f"{head}{TWO}take t0 2 room=2", *SET_UP, got(b"ab", "?"))) == ("identity", "LC05")


# ---- the account -------------------------------------------------------------------------------------------------------

ACCOUNT = {
    "clean": (Left(("f0", "t0"), (), (), {"f0": True}), []),
    "not told": (Left(("f0", "t0"), (), (), {"f0": None}), []),
    "one too many": (Left(("f0", "f0", "t0")), [("leak", "LC01")]),
    "a stranger": (Left(("?", "f0", "t0")), [("leak", "LC01")]),
    "one missing": (Left(("t0",)), [("stray-close", "LC02")]),
    "open after the reset": (Left(("f0", "t0"), (), ("f0",)), [("leak", "LC01")]),
    "held": (Left(("f0", "t0"), (), (), {"f0": False}), [("leak", "LC01")]),
    "behind the caller's back": (Left(("f0", "t0"), ("number 9 was closed",)), [("stray-close", "LC02")]),
}


@pytest.mark.parametrize(("left", "due"), ACCOUNT.values(), ids=ACCOUNT)
def test_the_account(left, due):
    found = judged(f"{HEAD}open f0", OK, left=left).violations
    assert [(one.breach.value, one.requirement) for one in found] == due
    assert all((one.at, one.operation) == (1, "end") for one in found)


def test_what_only_refers_to_itself_is_nobodys_leak():
    text = f'{HEAD}open f0\nsend t0 "x" fds=t0,f0'
    assert not judged(text, OK, sent(), left=Left(("f0", "t0"), (), (), {"f0": False})).violations


@pytest.mark.parametrize("breach", ["crash", "hang", "noise", "protocol"])
def test_trouble(breach):
    (found,) = judged(f"{HEAD}open f0\nclose f0", OK, None, trouble=Trouble(breach, 1, "it died")).violations
    assert (found.breach, found.requirement, found.at, found.operation) == (breach, breach, 1, "close")


def test_the_first_in_time_comes_first():
    text = f"{HEAD}{TWO}take t0 2 room=1\nclose g0"
    found = judged(text, *SET_UP, got(b"ab", "g0"), None, trouble=Trouble("crash", 4, "it died")).violations
    assert [one.breach for one in found] == ["hidden-loss", "crash"]


def test_close_on_exec_hides_nothing_else():
    of = facts(Profile.DESCRIPTORS, without=("flags-in",))
    text = f"{FDS}{TWO}take t0 2 room=2\ntake t0 1"
    shown = got(b"ab", "g0", "g1", cloexec=(False, False))
    found = judged(text, *SET_UP, shown, got(b"x"), of=of).violations
    assert [(str(one.breach), one.at) for one in found] == [("data", 4), ("cloexec", 3)]


# ---- features ----------------------------------------------------------------------------------------------------------


def test_features_tell_what_was_seen():
    features = judged(f"{HEAD}{TWO}take t0 2 room=1", *SET_UP, got(b"ab", "g0", flags=CTRUNC)).features
    assert {"t take: received 1 of 2", "p send: sent", "t take I02"} <= features
    assert features == judged(f"{HEAD}{TWO}take t0 2 room=1", *SET_UP, got(b"ab", "g0", flags=CTRUNC)).features
    other = judged(f"{HEAD}{TWO}take t0 2 room=2", *SET_UP, got(b"ab", "g0", "g1")).features
    assert other != features
