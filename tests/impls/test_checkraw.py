"""``check-adapter`` on testees for kernels, each of which lies about one thing."""

import json
import sys
from pathlib import Path

import pytest
from fdspec.impls import checkadapter
from fdspec.impls.checkadapter import Severity, check_adapter
from fdspec.impls.checkraw import RAW_TRIALS
from fdspec.impls.manifest import parse
from fdspec.impls.registry import find
from fdspec.impls.setup import Prepared, prepare

LIAR = """
import json, os, sys

_, testee, lie = sys.argv
ask, answer = os.pipe(), os.pipe()
if os.fork():  # this process becomes the testee, whose number the harness knows
    os.dup2(ask[0], 0)
    os.dup2(answer[1], 1)
    os.closerange(3, 20)
    os.execv(testee, [testee])
os.close(ask[0])
os.close(answer[1])
replies = os.fdopen(answer[0])
for line in sys.stdin:
    request = json.loads(line)
    op = request["op"]
    sent = eval(lie, {"request": dict(request), "op": op, "reply": None})
    os.write(ask[1], (json.dumps(sent or request) + "\\n").encode())
    reply = json.loads(replies.readline())
    changed = eval(lie, {"request": request, "op": op, "reply": reply.get("result")})
    if changed and sent is None:
        reply["result"] = changed
    print(json.dumps(reply), flush=True)
"""


def lie(op: str, change: str) -> str:
    """Return the expression that changes the replies to ``op``."""
    return f"{change} if reply and op == {op!r} else None"


def suppress(op: str, change: str) -> str:
    """Return the expression that sends another request instead of ``op``."""
    return f"{change} if reply is None and op == {op!r} else None"


FAULTS = {  # each with the rule that finds it, and with what it says
    lie("hello", "json_word(reply)"): ("_layout", "The layout"),
    lie("pair", "{'fds': [0, 1]}"): ("_pairs", "A pair is two sockets"),
    lie("census", "{'descriptors': reply['descriptors'][1:]}"): ("_census", "The census"),
    lie("census", "{'descriptors': [dict(one, inode=7) for one in reply['descriptors']]}"): ("_census", "told to be"),
    lie("census", "{'descriptors': [dict(one, cloexec=True) for one in reply['descriptors']]}"): (
        "_census",
        "cloexec is told",
    ),
    lie("raw_sendmsg", "dict(reply, returned=2)"): ("_round_trip", "one byte was sent"),
    lie("raw_recvmsg", "dict(reply, messages=[dict(one, iov=['78000000']) for one in reply['messages']])"): (
        "_round_trip",
        "0xAA",
    ),
    lie("raw_recvmsg", "dict(reply, messages=[dict(one, changed=[]) for one in reply['messages']])"): (
        "_round_trip",
        "msg_controllen",
    ),
    lie("raw_recvmsg", "dict(reply, messages=[])"): ("_round_trip", "one message was asked for"),
    suppress("raw_recvmsg", "dict(request, close=False)"): ("_closes", "A raw_recvmsg with `close`"),
    lie("raw_recvmsg", "dict(reply, messages=[dict(one, returned=0) for one in reply['messages']])"): (
        "_many",
        "msg_len",
    ),
    suppress("raw_recvmsg", "dict(request, many=False, messages=request['messages'][:1])"): (
        "_many",
        "Several messages",
    ),
    suppress("raw_call", "json_heap(request)"): ("_places", "Memory lies at the place"),
    suppress("raw_recvmsg", "dict(request, alarm=0, flags=['MSG_DONTWAIT'])"): ("_alarm", "An alarm"),
    suppress("limit", "{'id': request['id'], 'op': 'reset'}"): ("_limit", "Limit sets"),
    suppress("make", "{'id': request['id'], 'op': 'reset'}"): ("_make", "Make makes"),
    lie("fork", "dict(reply, pid=1)"): ("_children", "A forked child"),
    lie("in", "{'reply': {'result': {'returned': 1}}}"): ("_children", "answered getpid"),
    lie("collect", "{'reply': dict()}"): ("_children", "collect told"),
    lie("wait", "{'code': 3}"): ("_children", "must exit with 0"),
}

HELPERS = """
def json_word(hello):
    hello["profiles"]["raw"]["limits"]["align"] = 3
    return hello


def json_heap(request):
    return dict(request, iov=[dict(one, place="heap") for one in request["iov"]])
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_each_lie_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find("linux")
    prepared = prepare(real)
    assert isinstance(prepared, Prepared)
    script = tmp_path / "liar.py"
    script.write_text(
        HELPERS + LIAR.replace("eval(lie, {", 'eval(lie, {"json_word": json_word, "json_heap": json_heap, ')
    )
    command = [sys.executable, "-I", str(script), prepared.command[0], fault]
    text = real.file.read_text().split("[needs]")[0] + f"[start]\ncommand = {json.dumps(command)}\n"
    (tmp_path / "impl.toml").write_text(text)
    manifest = parse(text, tmp_path / "impl.toml")
    liar = prepare(manifest)
    assert isinstance(liar, Prepared), liar
    rule, seen = FAULTS[fault]
    (trial,) = (one for one in RAW_TRIALS if one.__name__ == rule)
    monkeypatch.setattr(checkadapter, "TRIALS", (trial,))
    errors = [one for one in check_adapter(manifest, liar, lambda _: None) if one.severity is Severity.ERROR]
    assert any(seen in f"{one.rule} {one.text}" for one in errors), errors
