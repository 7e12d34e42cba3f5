"""The conversation without a process: every rule of conversation.py, and bytes in any pieces."""

import json

import msgspec
import pytest
from fdspec.impls.protocol import Anomaly, AnomalyKind, Conversation, Noise, Reply
from fdspec.impls.protocol.messages import REQUESTS, Getopt, Open, Recvmsg, Reset, Sendmsg, Steps
from fdspec.impls.protocol.results import RecvmsgResult
from hypothesis import given
from hypothesis import strategies as st


def asked(request=None, **limits):
    conversation = Conversation(**limits)
    conversation.ask(request or Getopt(fd=3, level="SOL_SOCKET", option="SO_TYPE"))
    return conversation


def feed(conversation, *lines):
    return list(conversation.feed("".join(f"{line}\n" for line in lines).encode()))


class TestReplies:
    def test_a_result_takes_the_shape_of_its_operation(self):
        conversation = asked(Recvmsg(fd=4, sizes=[16], room=1))
        [reply] = feed(conversation, '{"id":1,"result":{"buffers":["6162"],"flags":["MSG_CTRUNC",64]}}')
        assert isinstance(reply.result, RecvmsgResult)
        assert reply.result.flags == ["MSG_CTRUNC", 64]
        assert not conversation.waiting

    def test_unknown_fields_are_ignored_so_that_later_versions_may_add_some(self):
        [reply] = feed(asked(), '{"id":1,"result":{"value":3,"news":[]},"more":1}')
        assert reply.result.value == 3

    def test_an_error_may_carry_what_was_observed(self):
        [reply] = feed(
            asked(Recvmsg(fd=4)),
            '{"id":1,"error":{"type":"OSError","errno":"EMSGSIZE","observed":{"buffers":["00"],"flags":null}}}',
        )
        assert reply.error.observed == RecvmsgResult(buffers=["00"])

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ('{"id":2,"result":{"value":1}}', AnomalyKind.UNKNOWN_ID),
            ('{"id":1,"result":{"value":"x"}}', AnomalyKind.MALFORMED),
            ('{"id":1}', AnomalyKind.MALFORMED),
            ('{"id":1,"result":{"value":1},"unsupported":"no"}', AnomalyKind.MALFORMED),
            ('{"id":1,"error":"no"}', AnomalyKind.MALFORMED),
        ],
    )
    def test_replies_that_do_not_fit_are_anomalies(self, line, kind):
        [event] = feed(asked(), line)
        assert isinstance(event, Anomaly)
        assert event.kind is kind

    def test_a_second_reply_is_an_anomaly(self):
        events = feed(asked(), '{"id":1,"result":{"value":1}}', '{"id":1,"result":{"value":1}}')
        assert [type(event) for event in events] == [Reply, Anomaly]

    def test_a_late_reply_is_dropped_by_its_id(self):
        conversation = asked()
        conversation.give_up()
        conversation.ask(Reset())
        events = feed(conversation, '{"id":1,"result":{"value":1}}', '{"id":2,"result":{}}')
        assert [type(event) for event in events] == [Reply]

    def test_two_requests_at_once_are_refused(self):
        with pytest.raises(RuntimeError, match="still outstanding"):
            asked().ask(Reset())

    def test_an_unknown_operation_is_asked_by_its_name(self):
        line = Conversation().ask_unknown("xyz")
        assert json.loads(line) == {"id": 1, "op": "xyz"}


class TestSteps:
    steps = Steps(steps=[Open(path="/x"), Sendmsg(fd="$0.fd")])

    def test_replies_are_shaped_one_by_one(self):
        [reply] = feed(asked(self.steps), '{"id":1,"result":{"replies":[{"result":{"fd":3}},{"result":{"sent":2}}]}}')
        assert [one.result for one in reply.result.replies][1].sent == 2

    def test_the_last_may_be_an_error_that_ended_them(self):
        [reply] = feed(asked(self.steps), '{"id":1,"result":{"replies":[{"error":{"type":"OSError"}}]}}')
        assert reply.result.replies[0].error.type == "OSError"

    @pytest.mark.parametrize(
        "replies",
        ["[]", '[{"result":{"fd":3}}]', '[{"result":{"fd":"x"}},{"result":{"sent":1}}]', '[{"result":{"fd":3}},{}]'],
    )
    def test_too_few_or_misshapen_ones_are_anomalies(self, replies):
        [event] = feed(asked(self.steps), f'{{"id":1,"result":{{"replies":{replies}}}}}')
        assert isinstance(event, Anomaly)

    def test_go_on_wants_a_reply_for_every_step(self):
        steps = Steps(steps=self.steps.steps, go_on=True)
        [event] = feed(asked(steps), '{"id":1,"result":{"replies":[{"error":{"type":"OSError"}}]}}')
        assert isinstance(event, Anomaly)


class TestNoise:
    @pytest.mark.parametrize("line", ["hello", "", "[1]", '{"id":"x"}', '{"a":1}', "12", "null", '{"id":true}'])
    def test_a_line_that_is_no_reply_is_kept_and_does_no_harm(self, line):
        events = feed(asked(), line, '{"id":1,"result":{"value":1}}')
        assert [type(event) for event in events] == [Noise, Reply]

    def test_a_flood_is_an_anomaly(self):
        event = feed(asked(max_noise=100), *["x" * 50] * 3)[-1]
        assert event.kind is AnomalyKind.FLOOD

    def test_a_line_without_end_is_an_anomaly(self):
        [event] = list(asked(max_line=100).feed(b"x" * 101))
        assert event.kind is AnomalyKind.TOO_LONG

    def test_a_long_line_with_an_end_is_one_too(self):
        [event] = list(asked(max_line=100).feed(b"x" * 101 + b"\n"))
        assert event.kind is AnomalyKind.TOO_LONG

    def test_bytes_that_are_not_utf_8_are_an_anomaly(self):
        [event] = list(asked().feed(b"\xff\xfe\n"))
        assert event.kind is AnomalyKind.NOT_UTF8

    def test_a_reply_with_a_string_that_is_not_utf_8_is_one_too(self):
        [event] = list(asked().feed(b'{"id":1,"unsupported":"\xff"}\n'))
        assert isinstance(event, Anomaly)


CHATTER = st.lists(
    st.one_of(
        st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=["Cs"]), max_size=20),
        st.just('{"id":1,"result":{"value":7}}'),
        st.just('{"id":9,"result":{}}'),
    ),
    max_size=6,
)


@given(CHATTER, st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(lines, data):
    stream = "".join(f"{line}\n" for line in lines).encode()
    whole = list(asked().feed(stream))
    conversation, events, left = asked(), [], stream
    while left and not any(isinstance(event, Anomaly) for event in events):
        size = data.draw(st.integers(1, len(left)))
        events += conversation.feed(left[:size])
        left = left[size:]
    assert events == whole


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(stream):
    for event in asked().feed(stream):
        assert isinstance(event, Reply | Noise | Anomaly)


@pytest.mark.parametrize("request_type", REQUESTS)
def test_every_request_says_its_operation_and_survives_a_round_trip(request_type):
    required = {
        field.encode_name: {"fd": 3, "messages": [], "steps": [], "request": {}, "ancillary": []}.get(field.name)
        for field in msgspec.structs.fields(request_type)
        if field.required
    }
    samples = {
        "address": "/a", "type": "stream", "path": "/p", "level": 1, "option": 2, "value": 3, "how": "SHUT_WR", "transport": 1,
        "data": "00", "on": True, "name": "read", "control": "", "process": 1, "resource": "RLIMIT_NOFILE", "soft": 9, "kind": "file",
    }  # fmt: skip
    table = {name: value if value is not None else samples[name] for name, value in required.items()}
    request = msgspec.convert({"op": request_type.__struct_config__.tag, **table}, request_type)
    line = json.loads(Conversation().ask(request))
    assert line["id"] == 1
    assert line["op"] == request_type.__struct_config__.tag
    assert msgspec.convert(line, request_type) == request
