"""Executions for the tests of the oracle, written by hand, and damage to real ones."""

from fdspec.conformance.model import Ids, Platform
from fdspec.fuzz import everything, parse
from fdspec.fuzz.oracle.calls import judge_calls
from fdspec.fuzz.oracle.facts import Facts
from fdspec.fuzz.run.shown import Execution, Shown
from fdspec.impls.protocol.values import Profile
from msgspec.structs import replace

PLATFORM = Platform(ids=Ids(100, 0, 0), peer_ids=Ids(200, 0, 0), privileged=True)


def facts(profile=Profile.MESSAGE, *, raw=False, without=(), **policies):
    """Return facts of an implementation that offers everything but ``without``."""
    offer = everything(profile)
    return Facts(replace(offer, names=offer.names - set(without)), policies, raw, {}, PLATFORM)


def execution(text, *shown, left=None, acted=(), trouble=None):
    """Return an execution of the program in ``text``, of which the operations showed ``shown``."""
    program = parse(text)
    assert len(shown) == len(program.operations), "one Shown an operation"
    return Execution(program, shown, left, trouble, acted=acted)


def judged(text, *shown, of=None, **how):
    """Return what the oracle says of such an execution."""
    profile = parse(text).profile
    return judge_calls(execution(text, *shown, **how), of or facts(profile))


def first(found):
    """Return breach and requirement of the first violation; None where there is none."""
    return (found.violations[0].breach.value, found.violations[0].requirement) if found.violations else None


OK = Shown()


def sent(value=1):
    return Shown(value=value)


def got(data=b"x", *files, flags=0, **more):
    return Shown(data=(data,) if isinstance(data, bytes) else data, files=files, flags=flags, **more)


def error(name="EAGAIN", kind="OSError", **more):
    return Shown(error=name, kind=kind, message="no", **more)
