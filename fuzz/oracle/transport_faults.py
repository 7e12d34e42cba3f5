"""What faults of the kernel permit a transport that it may not otherwise do.

A call that was interrupted, put off or cut short permits nothing. Any other error of a send or a receive may end the connection,
if the protocol is told of an error; where it does not, nothing is lost. Which connection a fault has met nobody says, so it is
any of them.
"""

from __future__ import annotations

from msgspec import Struct

from ...conformance.interpose.faults import Trouble
from ..forging import Builder
from ..operations import Calls, Fail, Forge
from ..program import System
from ..run.shown import Execution

PUT_OFF = (Trouble.EINTR, Trouble.EAGAIN)
LINUXES = (System.HOST, System.LINUX)


class Faults(Struct, frozen=True):
    """What the planned faults that acted permit.

    ``sending``, ``receiving``: calls failed that may end a connection. ``closing``: a close reported an error.
    ``unsealed``: close-on-exec could not be set. ``forged``: control data was shown that is not what came. ``ended``: a receive
    was shown no data, which is the end. ``foreign``: the kernel showed itself as another system.
    """

    sending: bool = False
    receiving: bool = False
    closing: bool = False
    unsealed: bool = False
    forged: bool = False
    ended: bool = False
    foreign: bool = False

    @property
    def ends(self) -> bool:
        """Whether a connection may end in an error because of them."""
        return self.sending or self.receiving or self.forged or self.unsealed or self.foreign


def faults_of(execution: Execution) -> Faults:
    """Return what the faults of an execution permit."""
    program = execution.program
    acted = [program.operations[index] for index in execution.acted]
    failed = {(one.calls, one.error in PUT_OFF) for one in acted if isinstance(one, Fail)}
    return Faults(
        sending=(Calls.SEND, False) in failed,
        receiving=(Calls.RECEIVE, False) in failed,
        closing=any(calls is Calls.CLOSE for calls, _ in failed),
        unsealed=any(calls is Calls.FCNTL for calls, _ in failed),
        forged=any(isinstance(one, Forge) for one in acted),
        ended=any(isinstance(one, Forge) and one.builder in (Builder.NO_DATA, Builder.UNTOLD) for one in acted),
        foreign=program.system not in LINUXES,
    )
