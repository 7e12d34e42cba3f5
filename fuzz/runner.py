"""The runner: one implementation, executors for what its programs need, and the oracles that judge what they show."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ..conformance.interpose.kernel import in_the_middle, missing
from ..conformance.interpose.personality import find as personality_called
from ..conformance.layout import Layout
from ..conformance.model.kernel import Kernel as Here
from ..conformance.model.kernel import NotHere
from ..conformance.model.operations import Collect
from ..conformance.model.state import Ids, Platform
from ..impls import registry
from ..impls.errors import StartFailed, Unsupported
from ..impls.manifest import Manifest
from ..impls.mutants import PREFIX, forked, tables
from ..impls.process import Launch, launch_of
from ..impls.protocol.capabilities import PROFILES as CAPABILITIES
from ..impls.protocol.results import HelloResult
from ..impls.protocol.values import Profile
from ..impls.setup import Unavailable, prepare
from .judgement import Key, Verdict
from .offer import Offer, needs_of, offer_of
from .operations import Fail, Forge, Short
from .oracle.facts import Facts, Judged
from .program import PROFILES, Program, Side, System
from .run.calls import execute_calls
from .run.lanes import executions
from .run.replies import MODEL_LAYOUT
from .run.shown import Execution
from .run.stand import Stand

_INTERPOSED = (Fail, Short, Forge)
_BEYOND = frozenset({"options", "control-length", "several", "ancillary"})
"""What a raw testee with another layout of control data than the model's is not asked for: lengths mean other things there."""


def open_runner(
    subject: str, *, profiles: Sequence[Profile] | None = None, interpose: bool = False, cpu: int | None = None
) -> TesteeRunner:
    """Start the implementation ``subject`` (an id, ``mutant:ID``, the path of an ``impl.toml``) and return its runner.

    ``profiles``: those alone, of what it offers. ``interpose``: programs with faults, forged control data and personalities are
    offered too. ``cpu``: the core on which the testee and this process run.
    Raises UnknownImplementation, ManifestError, `Unsupported` where nothing is left to be offered or there is no interposer,
    and `StartFailed`.
    """
    if interpose and missing():
        raise Unsupported("interposer", missing())
    launch = launch_for(registry.find(subject), subject)
    runner = TesteeRunner(subject, launch, interpose=interpose, cpu=cpu)
    try:
        runner.choose(profiles)
    except BaseException:
        runner.close()
        raise
    return runner


def launch_for(manifest: Manifest, subject: str) -> Launch:
    """Return how the implementation is started: prepared, or as a fork of this process where it is a mutant."""
    if subject.startswith(PREFIX):
        mutant = tables.everything()[subject.removeprefix(PREFIX)]
        starter = forked.starter(tables.compiled(mutant), mutant.layer)
        return Launch(["a fork"], request_deadline=manifest.deadlines.request, memory=_MEMORY, starter=starter)
    prepared = prepare(manifest)
    if isinstance(prepared, Unavailable):
        raise StartFailed("start", f"{manifest.id} cannot be had here: {prepared.reason}")
    return launch_of(prepared)


_MEMORY = 2**32


class TesteeRunner:
    """A `Runner` for one implementation in processes of its own."""

    def __init__(self, subject: str, launch: Launch, *, interpose: bool = False, cpu: int | None = None) -> None:
        self._subject = subject
        self._launch = launch
        self._interpose = interpose
        self._cpu = cpu
        self._stands: dict[System | None, Stand] = {None: Stand(launch, cpu=cpu)}
        self._offers: dict[Profile, Offer] = {}
        self._raw = False
        self._known: set[Key] = set()
        """Of what has shown in programs that were executed alone."""
        self._platform: Platform | None = None
        self._facts: tuple[object, Facts] | None = None

    # ---- what it is ----------------------------------------------------------------------------------------------------

    @property
    def subject(self) -> str:
        """What is tested, as it was named."""
        return self._subject

    @property
    def restarts(self) -> int:
        """How many testees were started after the first of each stand."""
        return sum(max(0, stand.started - 1) for stand in self._stands.values())

    @property
    def version(self) -> str:
        """The version of the implementation as its testee tells it."""
        return self._hello.implementation.version

    @property
    def offers(self) -> Sequence[Offer]:
        """What the implementation offers, one per profile that a program can have."""
        return tuple(self._offers.values())

    @property
    def stand(self) -> Stand:
        """The stand of the programs that are not interposed."""
        return self._stands[None]

    def kept(self) -> int:
        """Return how many descriptors of this process's own it keeps open by design."""
        return sum(one.own_descriptors() for one in self._stands.values())

    @property
    def _hello(self) -> HelloResult:
        return self.stand.hello

    def choose(self, profiles: Sequence[Profile] | None) -> None:
        """Take note of what the testee offers, of ``profiles`` alone where they are given. Raises Unsupported for nothing."""
        hello = self._hello
        self._raw = Profile.MESSAGE not in hello.profiles and Profile.RAW in hello.profiles
        found = {one: offer_of(hello, one, interpose=self._interpose) for one in PROFILES if one in hello.profiles}
        if self._raw:
            found[Profile.MESSAGE] = raw_offer(hello)
        self._offers = {one: offer for one, offer in found.items() if profiles is None or one in profiles}
        if not self._offers:
            offered = ", ".join(found) or ", ".join(hello.profiles)
            raise Unsupported("profile", f"{self._subject} offers no program in these profiles; it has {offered}")

    def facts(self, profile: Profile, stand: Stand | None = None) -> Facts:
        """Return what an oracle has to know of the implementation, and of the place and the testee of a program just executed.

        Raises KeyError where the profile is not offered.
        """
        stand = stand or self.stand
        key = (profile, stand.pid, frozenset(stand.baseline))
        if self._facts is None or self._facts[0] != key:
            hello = self._hello
            offered = hello.profiles[Profile.RAW if self._raw else profile]
            policies = {name: one.outcome for name, one in hello.policies.items() if one.source}
            here = self._here(stand)
            self._facts = key, Facts(self._offers[profile], policies, self._raw, dict(offered.limits), here)
        return self._facts[1]

    def _here(self, stand: Stand) -> Platform:
        """Return the platform, with the credentials of both processes."""
        if self._platform is None:
            self._platform = platform()
        ids = replace(self._platform.ids, pid=stand.pid or os.getpid())
        taken = frozenset(stand.baseline) or self._platform.taken
        return replace(self._platform, ids=ids, limit=stand.numbers(), taken=taken)

    # ---- running -------------------------------------------------------------------------------------------------------

    def run(self, programs: Sequence[Program]) -> list[Verdict]:
        """Run many programs fast, a verdict each in order."""
        found: dict[int, Verdict] = {}
        together: list[int] = []
        for index, program in enumerate(programs):
            if reason := self.lacks(program):
                found[index] = Verdict(unsupported=reason)
            elif program.profile is Profile.TRANSPORT or is_interposed(program):
                found[index] = self._alone(program, careful=False)
            else:
                together.append(index)
        chosen = [programs[index] for index in together]
        for at, done in executions(self.stand, chosen):
            verdict = Verdict(unsupported=str(done)) if isinstance(done, Unsupported) else self._proved(done)
            found[together[at]] = verdict
        return [found[index] for index in range(len(programs))]

    def _proved(self, done: Execution) -> Verdict:
        """Return what is said of an execution among others; what is said against it only where it shows alone, too."""
        verdict = self._judged(done, self.stand)
        if not verdict.violations or {one.key for one in verdict.violations} <= self._known:
            return verdict
        again = replace(self._alone(done.program, careful=True), transcript=())
        if not any(isinstance(one, Collect) for one in done.program.operations):  # where alone it is done
            self._known |= {one.key for one in again.violations}
        return again

    def observe(self, program: Program) -> Execution:
        """Execute one program carefully, and judge nothing. What it cannot run at all shows nothing and has no account."""
        try:
            return self._execute(program, careful=True) if not self.lacks(program) else unreached(program)
        except Unsupported:
            return unreached(program)

    def examine(self, program: Program) -> Verdict:
        """Run one program alone and carefully."""
        reason = self.lacks(program)
        return Verdict(unsupported=reason) if reason else self._alone(program, careful=True)

    def close(self) -> None:
        """End every testee and remove everything."""
        for stand in self._stands.values():
            stand.close()

    def lacks(self, program: Program) -> str:
        """Return why a program cannot be run here; '' where it can be."""
        offer = self._offers.get(program.profile)
        if offer is None:
            return f"profile {program.profile} is not offered"
        missed = needs_of(program) - offer.names
        return f"not offered: {', '.join(sorted(missed))}" if missed else ""

    def _alone(self, program: Program, *, careful: bool) -> Verdict:
        try:
            done = self._execute(program, careful=careful)
        except Unsupported as reason:
            return Verdict(unsupported=str(reason))
        return self._judged(done, self._stand_of(program))

    def _execute(self, program: Program, *, careful: bool) -> Execution:
        if is_interposed(program):
            from .run.interposed import execute_interposed  # noqa: PLC0415 - for who interposes

            return execute_interposed(self._interposed(program.system), program)
        stand = self.stand
        if program.profile is Profile.TRANSPORT:
            from .run.transports import execute_transport  # noqa: PLC0415 - for who has transports

            return execute_transport(stand, program, careful=careful)
        return execute_calls(stand, program, careful=careful)

    def _interposed(self, system: System) -> Stand:
        """Return the stand whose kernel shows itself as ``system``, made on first use."""
        found = self._stands.get(system)
        if found is None:
            personality = None if system is System.HOST else personality_called(system.value)
            found = Stand(self._launch, kernel=in_the_middle(personality), cpu=self._cpu)
            self._stands[system] = found
        return found

    def _stand_of(self, program: Program) -> Stand:
        return self._interposed(program.system) if is_interposed(program) else self.stand

    def _judged(self, done: Execution, stand: Stand) -> Verdict:
        judged = self._judge(done.program.profile)(done, self.facts(done.program.profile, stand))
        return Verdict(judged.violations, judged.features, transcript=done.transcript)

    @staticmethod
    def _judge(profile: Profile) -> Callable[[Execution, Facts], Judged]:
        if profile is Profile.TRANSPORT:
            from .oracle.transports import judge_transport  # noqa: PLC0415 - for who has transports

            return judge_transport
        from .oracle.calls import judge_calls  # noqa: PLC0415 - the model is not small

        return judge_calls


def raw_offer(hello: HelloResult) -> Offer:
    """Return what a testee of profile raw offers to programs of profile message: everything, by calls made to the letter.

    Nothing is interposed: it is the kernel that is tested, and no other one can be put in front of it.
    """
    offered = hello.profiles[Profile.RAW]
    beside = {Side.SERVER.value} if "listen" in hello.capabilities else set[str]()
    names = {*map(str, offered.types), *CAPABILITIES[Profile.MESSAGE], *map(str, hello.objects), *hello.capabilities}
    names |= {Side.CLIENT.value, "payload"} | beside
    if Layout.of(offered.limits) != MODEL_LAYOUT:
        names -= _BEYOND
    return Offer(Profile.MESSAGE, frozenset(names))


def is_interposed(program: Program) -> bool:
    """Whether the testee's calls have to be met by the harness."""
    return program.system is not System.HOST or any(isinstance(one, _INTERPOSED) for one in program.operations)


def unreached(program: Program) -> Execution:
    """Return the execution of what was not executed."""
    return Execution(program, (None,) * len(program.operations))


def platform() -> Platform:
    """Return the kernel's figures, and the harness's credentials for both processes."""
    ids = Ids(os.getpid(), os.getuid(), os.getgid())
    numbers = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        with Here() as here:
            found = here.begin()
    except NotHere:
        found = Platform()
    return replace(found, ids=ids, peer_ids=ids, peer_limit=numbers, alone=False, taken=frozenset({0, 1, 2}))
