"""A whole adapter in one file: socket.send_fds and socket.recv_fds (profile `descriptors`), standard library only."""

import json
import os
import platform
import socket
import sys

TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
OFFER = ["buffers-out", "empty-out", "plain-out", "many", "flags-in", "flags-out", "flags-reported"]
ME = {"name": "socket.send_fds and recv_fds", "version": platform.python_version(), "language": "Python"}
HELLO = {"version": 1, "implementation": ME, "profiles": {"descriptors": {"types": list(TYPES), "capabilities": OFFER}}}
names, ours = {}, {}  # constants by name; the sockets that we made, by number


class Borrowed(socket.socket):
    def __del__(self):  # an object for a number that is not ours to close
        self.detach()


def number(value):
    return names[value] if isinstance(value, str) else value


def new(type, bind=None):
    sock = socket.socket(socket.AF_UNIX, TYPES[type])
    if bind is not None:
        sock.bind(bind.replace("@", "\0") if bind.startswith("@") else bind)
    return sock


def keep(sock, **more):
    ours[sock.fileno()] = sock
    return {"fd": sock.fileno(), **more}


class Operations:
    def hello(self, ask):
        names.update(ask["constants"])
        return HELLO

    def connect(self, ask):
        sock = new(ask["type"], ask.get("bind"))
        sock.connect(ask["address"])
        return keep(sock)
