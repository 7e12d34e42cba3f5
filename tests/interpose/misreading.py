"""A recvmsg(2) of its own, by ctypes, that reads control data right; and changes of one line each that make it read wrong."""

RIGHT = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)

def recvmsg(self, fd, sizes, room, control, flags):
    ctypes, struct = self.ctypes, self.struct
    size = control if control is not None else 16 + 4 * room if room else 0
    data, memory = ctypes.create_string_buffer(sizes[0]), ctypes.create_string_buffer(size + 64)
    place = ctypes.addressof(memory)
    iovec = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(data), sizes[0]), 16)
    header = struct.pack("QI4xQQQQi4x", 0, 0, ctypes.addressof(iovec), 1, place if size else 0, size, 0)
    header = ctypes.create_string_buffer(header, 56)
    count = self.libc.recvmsg(fd, header, flags | 0x40000000)
    error = ctypes.get_errno()
    told, flags = struct.unpack_from("Qi", header, 40)
    if count < 0:
        raise OSError(error, "recvmsg")
    fds, others = self.read(place, size, min(told, size))
    others = [(1, 1, fds)] * bool(fds) + others
    return [data.raw[:count]], others, flags & ~0x40000000, None

def read(self, place, size, told):
    raw = self.ctypes.string_at(place, size)
    found, others, at = [], [], 0
    while told - at >= 16:
        length, level, kind = self.struct.unpack_from("Qii", raw, at)
        if length < 16:
            break
        data = raw[at + 16 : min(at + length, told)]
        if (level, kind) == (1, 1):
            found += self.numbers(data)
        else:
            others.append((level, kind, data))
        at += (length + 7) // 8 * 8
    return found, others

def numbers(self, data):
    every = self.struct.unpack_from("%di" % (len(data) // 4), data)
    return [one for one in every if one >= 0]
"""

SHORT = "        if length < 16:\n            break\n"
DATA = "        data = raw[at + 16 : min(at + length, told)]\n"
NEXT = "        at += (length + 7) // 8 * 8\n"
FOUND = "            found += self.numbers(data)\n"
FAILED = '    if count < 0:\n        raise OSError(error, "recvmsg")\n'
READ = "    fds, others = self.read(place, size, min(told, size))\n"

WRONG = {
    "waits for a length that is not 0": (
        "hostile.zero-length",
        SHORT,
        "        while not length:\n            pass\n" + SHORT,
    ),
    "steps over a header that tells nothing": (
        "hostile.zero-length",
        SHORT,
        "        if length < 16:\n            at += 16\n            continue\n",
    ),
    "wraps round below the header": (
        "hostile.below-header",
        SHORT,
        "        if length < 16:\n            length = told - at\n",
    ),
    "reads a damaged message to the end of the buffer": (
        "hostile.second-damaged",
        SHORT,
        "        if length < 16:\n            length = told - at\n",
    ),
    "forgets what came before the damage": (
        "hostile.second-damaged",
        SHORT,
        "        if length < 16:\n            raise OSError(74, 'damaged')\n",
    ),
    "refuses a message that is longer than the buffer": (
        "hostile.untruncated",
        DATA,
        "        if at + length > told:\n            break\n" + DATA,
    ),
    "reads as far as an untruncated length says": (
        "hostile.untruncated",
        DATA,
        "        data = self.ctypes.string_at(place + at + 16, length - 16)\n",
    ),
    "hands over what an untruncated length says and dies": (
        "hostile.untruncated-huge",
        DATA,
        "        data = self.ctypes.string_at(place + at + 16, length - 16)\n",
    ),
    "takes a length for 32 bits": (
        "hostile.untruncated-huge",
        SHORT,
        "        length &= 0xFFFFFFFF\n" + SHORT,
    ),
    "does not tell of a loss": (
        "hostile.untruncated",
        "flags & ~0x40000000, None",
        "0, None",
    ),
    "reads behind the end, in the buffer": (
        "hostile.overlong",
        "min(at + length, told)",
        "at + length",
    ),
    "refuses what is too long, and forgets it": (
        "hostile.overlong",
        DATA,
        "        if at + length > told:\n            raise OSError(74, 'damaged')\n" + DATA,
    ),
    "does not look at msg_controllen": (
        "hostile.room-untold",
        READ,
        "    fds, others = self.read(place, size, size)\n",
    ),
    "reads the buffer at the end of file": (
        "hostile.end-with-control",
        READ,
        READ.replace("min(told, size)", "min(told, size) if count else size"),
    ),
    "closes a number as often as it stands there": (
        "hostile.number-twice",
        READ,
        READ + "    if flags & 8:\n        fds = [self.libc.close(one) for one in fds][:0]\n",
    ),
    "reads behind a bare header": (
        "hostile.huge-first",
        "min(at + length, told)",
        "at + length",
    ),
    "goes backwards": (
        "hostile.huge-second",
        NEXT,
        "        at = (at + (length + 7) // 8 * 8) % 2**64\n",
    ),
    "makes room for what a length says": (
        "hostile.huge-second",
        DATA,
        "        copy = bytearray(length)\n" + DATA,
    ),
    "fills part of an int up": (
        "hostile.part-of-an-int",
        FOUND,
        "            found += self.numbers(data + bytes(-len(data) % 4))\n",
    ),
    "counts half an int": (
        "hostile.half-an-int",
        FOUND,
        "            found += self.numbers(raw[at + 16 : at + 16 + (len(data) + 3) // 4 * 4])\n",
    ),
    "refuses half an int, and forgets the others": (
        "hostile.half-an-int",
        FOUND,
        "            if len(data) % 4:\n                raise OSError(74, 'damaged')\n" + FOUND,
    ),
    "closes what is negative": (
        "hostile.refused-alone",
        "    return [one for one in every if one >= 0]\n",
        "    [self.libc.close(one) for one in every if one < 0]\n    return [one for one in every if one >= 0]\n",
    ),
    "stops at what is negative": (
        "hostile.refused-slots",
        "    return [one for one in every if one >= 0]\n",
        "    return list(every) if min(every) >= 0 else []\n",
    ),
    "reads a few bytes as a header": (
        "hostile.stray-bytes",
        "    while told - at >= 16:\n",
        "    while told - at > 0:\n        told = max(told, size)\n",
    ),
    "says that a few bytes are a loss": (
        "hostile.stray-bytes",
        "    return found, others\n\ndef numbers",
        """    if told > at:
        [os.close(one) for one in found]
        raise OSError(74, 'damaged')
    return found, others

def numbers""",
    ),
    "refuses a few bytes, and forgets the others": (
        "hostile.stray-bytes",
        "    return found, others\n\ndef numbers",
        "    if told > at:\n        raise OSError(74, 'damaged')\n    return found, others\n\ndef numbers",
    ),
    "does not align": ("hostile.misaligned", NEXT, "        at += length\n"),
    "aligns to four": ("hostile.misaligned", NEXT, "        at += (length + 3) // 4 * 4\n"),
    "does not look at the level": ("hostile.foreign-message", "(level, kind) == (1, 1)", "kind == 1"),
    "does not look at the type": ("hostile.foreign-message", "(level, kind) == (1, 1)", "level == 1"),
    "looks at one byte of the type": (
        "hostile.foreign-message",
        "(level, kind) == (1, 1)",
        "(level, kind & 255) == (1, 1)",
    ),
    "closes what it does not know": (
        "hostile.foreign-message",
        "            others.append((level, kind, data))\n",
        "            [os.close(one) for one in self.numbers(data)]\n",
    ),
    "reads the first message alone": ("hostile.several-rights", NEXT, "        break\n"),
    "reads the last SCM_RIGHTS alone": ("hostile.several-rights", "found +=", "found ="),
    "stops at what it does not know": (
        "hostile.several-rights-apart",
        "            others.append((level, kind, data))\n",
        "            break\n",
    ),
    "stops at an empty message": ("hostile.empty-rights", "length < 16", "length <= 16"),
    "has 0 where nothing is": (
        "hostile.empty-rights",
        FOUND,
        "            found += self.numbers(data) or [0]\n",
    ),
    "drops what came with a flag": (
        "hostile.flag-without-loss",
        READ,
        READ + "    fds = [] if flags & 8 else fds\n",
    ),
    "fills the list up to its room": (
        "hostile.loss-without-flag",
        FOUND,
        "            found += self.numbers(raw[at + 16 : size])\n",
    ),
    "does not look at flags": ("hostile.flag-alone", "flags & ~0x40000000, None", "0, None"),
    "sees the end, and nothing else": (
        "hostile.no-data",
        READ,
        "    if not count:\n        return [b''], [], flags, None\n" + READ,
    ),
    "closes after a failure": (
        "hostile.failure-with-control",
        FAILED,
        FAILED.replace(
            "        raise", "        [os.close(one) for one in self.read(place, size, size)[0]]\n        raise"
        ),
    ),
    "hands over after a failure": (
        "hostile.failure-with-control",
        FAILED,
        "    if count < 0 and error != 11:\n        return [b''], [(1, 1, self.read(place, size, size)[0])], 0, None\n"
        + FAILED,
    ),
    "takes a failure for the end": (
        "hostile.failure-with-control",
        FAILED,
        "    if count < 0:\n        return [b''], [], 0, None\n",
    ),
}
"""The case that finds it, the line that is changed, and into what."""

SHY = {
    "refuses all that is damaged, and closes what came": (
        (SHORT, "        if length < 16:\n            return self.refuse(found)\n"),
        (
            FOUND,
            FOUND + "            if len(data) % 4 or at + length > told:\n                return self.refuse(found)\n",
        ),
        (
            "def numbers",
            "def refuse(self, fds):\n    [os.close(one) for one in fds]\n    raise OSError(74, 'damaged')\n\ndef numbers",
        ),
    ),
    "closes all that came with a flag": (
        (READ, READ + "    if flags & 8:\n        [os.close(one) for one in set(fds)]\n        fds = []\n"),
    ),
    "makes an interrupted call again": (
        (
            FAILED,
            "    if count < 0 and error == 4:\n        return self.recvmsg(fd, sizes, room, control, 0)\n" + FAILED,
        ),
    ),
}
"""Others that are right as well."""
