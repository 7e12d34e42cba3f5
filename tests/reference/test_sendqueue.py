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
        ([5], 0, 5, ([], 5)),  # what was written before does not wait
        ([5], 0, 6, ([5], 6)),
        ([0, 3], 0, 3, ([0], 3)),
        ([0, 1, 1], 0, 2, ([0], 1)),  # the byte behind the two waits with them
        ([0, 0, 1, 1], 0, 3, ([0, 1], 2)),  # the second pair would need bytes 2 and 3
        ([2], 4, 6, ([4], 6)),
    ],
)
def test_plan(marks, head, tail, expected):
    assert plan(marks, head, tail) == expected


@pytest.mark.parametrize(
    ("marks", "tail", "expected"),
    [([4], 4, [3]), ([4, 4], 4, [2, 3]), ([0, 4], 4, [0, 3]), ([0, 0, 0], 3, [0, 1, 2]), ([2, 2], 5, [2, 3])],
)
def test_plan_of_the_end(marks, tail, expected):
    assert plan(marks, 0, tail, final=True) == (expected, tail)


@st.composite
def situations(draw):
    head = draw(st.integers(0, 20))
    tail = head + draw(st.integers(0, 20))
    marks = sorted(draw(st.lists(st.integers(0, tail), max_size=12)))
    return marks, head, tail


@given(situations(), st.booleans())
def test_plan_keeps_its_promises(situation, final):
    marks, head, tail = situation
    if final and len(marks) > tail - head:
        return
    places, stop = plan(marks, head, tail, final=final)
    assert places == sorted(set(places)), "each with a byte of its own, in order"
    assert all(head <= place < tail for place in places)
    assert head <= stop <= tail
    if final:
        assert len(places) == len(marks)
        assert stop == tail
        return
    assert all(mark <= place < stop for mark, place in zip(marks, places, strict=False)), (
        "not before what was written first"
    )
    if len(places) < len(marks):
        waiting = marks[len(places)]
        assert waiting <= stop or stop == tail
        assert not places or marks[len(places) - 1] < waiting, "a row of descriptors goes as a whole"
    else:
        assert stop == tail


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
    queue.sent(0)
    assert queue.unsent == Unsent(1, 1)
    assert queue.discard() == Unsent(1, 1)
