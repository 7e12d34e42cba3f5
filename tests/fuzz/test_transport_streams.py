"""What may arrive of what was queued, and be told of what was sent: where it may stand, and when no place is left."""

import pytest
from fdspec.fuzz.oracle.transport_streams import NEVER, Inbound, Mismatch, Outbound, Sort
from hypothesis import given
from hypothesis import strategies as st


def outbound(*parts):
    """Return what was queued: data as bytes, descriptors by label."""
    made = Outbound()
    for one in parts:
        made.write(one) if isinstance(one, bytes) else made.push(one, one)
    return made


def inbound(*messages):
    made = Inbound()
    for data, *labels in messages:
        made.send(data, labels, urgent=False)
    return made


def test_the_last_byte_for_each_descriptor():
    """A descriptor comes with the write behind it at the latest; two in a row have a byte each."""
    made = outbound("a", b"123", "b", "c", b"4", b"56", "d")
    assert [made.latest(index) for index in range(4)] == [2, 3, 5, NEVER]


def test_what_was_dropped_leaves_more_than_one_place():
    """A receive without room may have dropped any number; what comes next narrows that down."""
    made = outbound("a", "a", "b", "c", b"12345678")
    made.receive(b"12", (), dropped=True)
    assert made.at == {0, 1, 2}  # no more than bytes
    made.receive(b"34", ("b",), dropped=False)
    assert made.at == {3}


def test_a_look_takes_nothing():
    made = outbound("a", b"12")
    for _ in range(2):
        made.receive(b"12", ("a",), dropped=False, taken=False)
    made.receive(b"12", ("a",), dropped=False)
    assert (made.got, made.at, made.waiting) == (2, {1}, 0)


def test_a_receive_of_no_bytes_takes_descriptors():
    """Linux gives the descriptors of the next message to a receive of no bytes."""
    made = outbound("a", b"1")
    made.receive(b"", ("a",), dropped=False)
    made.receive(b"1", (), dropped=False)
    assert made.at == {1}


@pytest.mark.parametrize(
    ("parts", "data", "labels", "what"),
    [
        ((b"12",), b"1x", (), "out-data"),
        ((b"12",), b"123", (), "out-data"),
        (("a", b"12"), b"12", (), "out-late"),
        (("a", "b", b"12"), b"12", ("b",), "out-descriptors"),
        (("a", "a", b"12"), b"1", ("a", "a"), "out-crowd"),
        (("a", b"12"), b"12", ("?",), "out-identity"),
        (("a", b"12"), b"12", ("a", "a"), "out-descriptors"),
    ],
)
def test_what_has_no_place(parts, data, labels, what):
    with pytest.raises(Mismatch) as found:
        outbound(*parts).receive(data, labels, dropped=False)
    assert found.value.what == what


def test_what_may_become_of_a_number_that_was_closed():
    """A bad one never arrives, one that is nobody's fault as itself alone, one that is the caller's as anything."""
    for sort, label, permitted in [
        (Sort.BAD, "a", False),
        (Sort.WEAK, "a", True),
        (Sort.WEAK, "b", False),
        (Sort.WILD, "b", True),
    ]:
        made = outbound("a", b"1")
        made.queue[0].sort = sort
        if permitted:
            made.receive(b"1", (label,), dropped=False)
            continue
        with pytest.raises(Mismatch):
            made.receive(b"1", (label,), dropped=False)


@given(st.lists(st.sampled_from(["a", "b", b"1", b"23", b"456"]), max_size=8), st.data())
def test_whatever_a_good_transport_does_is_permitted(parts, data):
    """Each descriptor goes with the first byte behind it that none before it has; the peer reads in any pieces."""
    made = outbound(*parts)
    places = {}
    for index, one in enumerate(made.queue):
        places[index] = max(one.mark, places[index - 1] + 1 if index else 0)
    stop = min((place for place in places.values() if place >= len(made.data)), default=None)
    end = len(made.data) if stop is None else min(len(made.data), made.queue[len(places) - 1].mark)
    at = 0
    while at < end:
        carriers = sorted(place for place in places.values() if at <= place < end)
        most = next((place for place in carriers if place > at), end) if carriers else end
        size = data.draw(st.integers(1, most - at))
        labels = [one.label for index, one in enumerate(made.queue) if at <= places[index] < at + size]
        made.receive(bytes(made.data[at : at + size]), labels, dropped=False)
        at += size


def test_descriptors_come_before_their_data():
    made = inbound((b"12", "a"), (b"3",), (b"4", "b"))
    made.tell_descriptor("a")
    made.tell_data(b"1", first=True)
    made.tell_data(b"23", first=True)
    assert made.missing == (1, ["b"])
    with pytest.raises(Mismatch) as found:
        made.tell_data(b"4", first=True)
    assert found.value.what == "in-order"


def test_an_urgent_byte_may_be_missing_with_its_descriptors():
    for told, complete in (((b"1",), True), ((b"1", b"2"), True), ((b"2",), False)):
        made = Inbound()
        made.send(b"1", (), urgent=False)
        made.send(b"2", ("a",), urgent=True)
        if complete:
            for one in told:
                made.tell_data(one, first=True)
            assert made.missing == (0, [])
            continue
        with pytest.raises(Mismatch):
            made.tell_data(told[0], first=True)


def test_what_is_lost_for_want_of_a_number_is_known():
    made = inbound((b"1", "a"), (b"2", "b"))
    made.squeeze()
    made.tell_descriptor("b")
    assert made.lossy
    assert made.missing == (2, [])


def test_a_stream_has_no_empty_message():
    """Descriptors without a byte are gone: the kernel takes no such message."""
    made = inbound((b"", "a"))
    assert made.fds == []
