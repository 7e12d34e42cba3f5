"""A whole adapter in one file: socket.send_fds and socket.recv_fds (profile `descriptors`), standard library only."""

import json
import os
import re
import socket
import sys

TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
OFFER = ["buffers-out", "empty-out", "plain-out", "many", "flags-in", "flags-out", "flags-reported"]
ME = {"name": "socket.send_fds and recv_fds", "version": sys.version.split()[0], "language": "Python"}
PROFILE = {"descriptors": {"types": list(TYPES), "capabilities": OFFER}}
HELLO = {"version": 1, "implementation": ME, "profiles": PROFILE, "capabilities": ["steps", "options", "listen"]}
numbers, ours = {}, set()  # this platform's constants by name; the sockets that this testee made, for reset to close


class Sock(socket.socket):  # an object for a number, which it does not close
    __del__ = socket.socket.detach


def resolve(value, earlier):
    if isinstance(value, list):
        return [resolve(item, earlier) for item in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    step, *path = value[1:].split(".")
    found = earlier[int(step)]["result"]
    for part in path:
        found = found[int(part) if isinstance(found, list) else part]
    return found


def carry_out(op, ask, fd):
    flags = sum(numbers.get(flag, flag) for flag in ask.get("flags", []))
    level, option = (numbers.get(ask.get(field), ask.get(field)) for field in ("level", "option"))
    match op:
        case "hello":
            return numbers.update(ask["constants"]) or HELLO
        case "connect" | "listen":
            sock = Sock(socket.AF_UNIX, TYPES[ask["type"]])
            ours.add(sock.fileno())
            name = ask.get("bind") if op == "connect" else ask["address"]
            if name is not None:
                sock.bind(re.sub("^@", "\0", name))
            if op == "connect":
                sock.connect(re.sub("^@", "\0", ask["address"]))
            elif ask["type"] != "dgram":
                sock.listen(ask["backlog"])
            return {"fd": sock.fileno()}
        case "accept":
            sock, peer = Sock(fileno=fd).accept()
            ours.add(sock.fileno())
            return {"fd": sock.detach(), "address": os.fsdecode(peer).replace("\0", "@")}
        case "open":
            return {"fd": os.open(ask["path"], flags | os.O_CLOEXEC, 0o600)}
        case "close":
            ours.discard(fd)
            return os.close(fd) or {}
        case "reset":
            closed = [(fd, answer("close", {"fd": fd})) for fd in (*ours, *ask["close"])]
            return {"failed": [{"fd": fd, "errno": got["error"]["errno"]} for fd, got in closed if "error" in got]}
        case "setopt" if level == "fcntl":
            return Sock(fileno=fd).setblocking(not ask["value"]) or {}
        case "setopt":
            return Sock(fileno=fd).setsockopt(level, option, ask["value"]) or {}
        case "getopt":
            return {"value": Sock(fileno=fd).getsockopt(level, option)}
        case "shutdown":
            return Sock(fileno=fd).shutdown(numbers[ask["how"]]) or {}
        case "send_fds" if not ask["single"] and "address" not in ask:
            data = [bytes.fromhex(one) for one in ask["buffers"]]
            return {"sent": socket.send_fds(Sock(fileno=fd), data, ask["fds"], flags)}
        case "recv_fds" if not ask["single"] and len(ask["sizes"]) < 2:
            data, fds, flags, _ = socket.recv_fds(Sock(fileno=fd), sum(ask["sizes"]), ask["room"], flags)
            return {"buffers": [data.hex()], "fds": fds, "flags": [flags]}
        case "steps":
            replies = []
            for step in ask["steps"]:
                replies.append(answer(step["op"], step, replies))
                if "result" not in replies[-1] and not ask["go_on"]:
                    break
            return {"replies": replies}
    raise NotImplementedError(f"{op}: not among what hello declares")


def answer(op, ask, earlier=()):
    try:
        ask = {name: resolve(value, earlier) for name, value in ask.items()}
    except (LookupError, ValueError) as fault:
        return {"error": {"type": "Reference", "message": repr(fault)}}
    try:
        return {"result": carry_out(op, ask, ask.get("fd"))}
    except NotImplementedError as fault:
        return {"unsupported": str(fault)}
    except Exception as fault:
        return {"error": {"type": type(fault).__name__, "errno": getattr(fault, "errno", None), "message": str(fault)}}


for request in map(json.loads, sys.stdin):
    print(json.dumps({"id": request["id"], **answer(request["op"], request)}), flush=True)
