"""Which descriptor goes out with which byte: a pure matter of offsets."""

import errno
import os

import pytest
from fdspec.impls.reference.ownership import Descriptor
from fdspec.impls.reference.sendqueue import DescriptorOverrunError, SendQueue, Unsent, plan
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("marks", "head", "tail", "expected"),
    [
        ([], 0, 5, ([], 5)),
        ([0], 0, 0, ([], 0)),  # waits for data
        ([0], 0, 5, ([0], 5)),
        ([0, 0], 0, 1, ([], 0)),  # two for one byte: neither goes
        ([0, 0], 0, 2, ([0, 1], 2)),
        ([5], 0, 5, ([4], 5)),  # nothing behind it: it goes with the last byte
        ([5], 0, 6, ([5], 6)),
        ([5], 5, 5, ([], 5)),
        ([4, 4], 0, 4, ([2, 3], 4)),
        ([0, 4], 0, 4, ([0, 3], 4)),
        ([2, 2], 0, 5, ([2, 3], 5)),
        ([2, 2, 2], 0, 2, ([], 2)),  # what was written before three that are too many does not wait
        ([0, 1, 1], 0, 2, ([0], 1)),  # the byte behind two that are too many waits with them
        ([0, 0, 1, 1], 0, 3, ([0, 1], 2)),
        ([2], 4, 6, ([4], 6)),
    ],
)
def test_plan(marks, head, tail, expected):
    assert plan(marks, head, tail) == expected


@st.composite
def situations(draw):
    head = draw(st.integers(0, 20))
    tail = head + draw(st.integers(0, 20))
    marks = sorted(draw(st.lists(st.integers(0, tail), max_size=12)))
    return marks, head, tail


@given(situations())
def test_plan_keeps_its_promises(situation):
    marks, head, tail = situation
    places, stop = plan(marks, head, tail)
    assert places == sorted(set(places)), "each with a byte of its own, in order"
    assert all(head <= place < stop for place in places)
    assert head <= stop <= tail
    free = head
    for mark, place in zip(marks, places, strict=False):
        assert place <= max(mark, free), "no later than the first free byte behind it"
        free = place + 1
    if len(marks) <= tail - head:
        assert (len(places), stop) == (len(marks), tail), "all go"
    else:
        assert len(places) < len(marks)
        assert marks[len(places)] <= stop or stop == tail, "what was written before those that wait goes"
        assert not places or marks[len(places) - 1] < marks[len(places)], "a row of descriptors goes as a whole"


operations = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=8).map(lambda data: ("write", data)),
        st.just(("push", b"")),
        st.integers(1, 9).map(lambda size: ("send", size)),
    ),
    max_size=40,
)


@given(operations)
def test_any_order_of_operations_and_any_short_write(steps):
    """Whatever is written, queued and sent in parts: the bytes in order once, the descriptors in order once."""
    queue, written, pushed = SendQueue(), b"", []
    sent, gone = b"", []
    positions = []

    def send(limit):
        nonlocal sent
        chunk = queue.next()
        if chunk is None:
            return False
        count = min(limit, len(chunk.data))
        assert count
        if chunk.descriptor is not None:
            gone.append(chunk.descriptor.fileno())
            positions.append(len(sent))
        sent += chunk.data[:count]
        queue.sent(count)
        return True

    for name, value in steps:
        if name == "write":
            queue.write(value)
            written += value
        elif name == "push":
            owned = Descriptor(os.dup(0))
            pushed.append(owned)
            queue.push(owned)
        else:
            send(value)
    assert queue.unsent == Unsent(len(written) - len(sent), len(pushed) - len(gone))
    if len(pushed) - len(gone) > len(written) - len(sent):
        with pytest.raises(DescriptorOverrunError) as caught:
            queue.finish()
        assert caught.value.errno == errno.EINVAL
        assert caught.value.unsent == queue.discard()
    else:
        queue.finish()
        while send(3):
            pass
        assert sent == written
        assert len(gone) == len(pushed)
    assert len(set(positions)) == len(positions)
    assert all(one.closed for one in pushed)
    assert not queue.unsent


def test_big_data_goes_in_chunks():
    queue = SendQueue()
    queue.write(b"x" * 200_000)
    assert len(queue.next().data) == 64 * 1024


def test_nothing_sent_takes_nothing_off():
    queue = SendQueue()
    queue.push(Descriptor(os.dup(0)))
    queue.write(b"x")
    assert queue.next().descriptor is not None
    queue.sent(0)
    assert queue.unsent == Unsent(1, 1)
    assert queue.discard() == Unsent(1, 1)
