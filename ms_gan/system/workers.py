"""The processes that train one run together; alone, this one is the first of one.

MindSpore's launcher `msrun` starts them (:mod:`ms_gan.system.msrun`) and says so in the
environment. They talk through MindSpore: HCCL on Ascend, NCCL on GPU, its own collectives on CPU.
Every function that says *together* must be called by all workers, in the same order.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ms_gan.errors import UserError

if TYPE_CHECKING:
    import numpy as np

ROLE, NUMBER = "MS_ROLE", "MS_WORKER_NUM"  # of msrun
ASK_EVERY = 10  # steps: a wish to stop is heard at the next of them
# Seconds that MindSpore's collectives on CPU wait for a worker, by themselves 30: less than an
# evaluation may take, which the first worker makes alone.
PATIENCE = {"MS_NODE_TIMEOUT": "3600"}


class WorkersError(UserError, RuntimeError):
    """Workers that cannot find each other, or do not hold the same."""


@dataclass(frozen=True)
class Share:
    """What belongs to one worker.

    Args:
        rank: 0 .. size - 1.
        size: how many share.
    """

    rank: int = 0
    size: int = 1

    def of(self, rows: int) -> slice:
        """Its rows among so many: those of all workers are all rows, and no two have one."""
        own = rows // self.size
        return slice(self.rank * own, (self.rank + 1) * own)


ALONE = Share()
_here = ALONE
_joined = False


def share() -> Share:
    """This worker's."""
    return _here


def size() -> int:
    return _here.size


def is_first() -> bool:
    """Whether this is the worker that writes the run."""
    return _here.rank == 0


def asked() -> int:
    """How many workers msrun has started or will start; 1 where it did not start this process."""
    number = os.environ.get(NUMBER, "")
    return int(number) if is_started() and number.isdigit() else 1


def is_started() -> bool:
    """Whether msrun has started this process as a worker."""
    return os.environ.get(ROLE) == "MS_WORKER"


def schedule() -> None:
    """Where msrun started this process to bring the workers together: do so, and end with them.

    It runs the same program as the workers, and must train nothing.

    Raises:
        WorkersError: one did not come, or went away (MindSpore notices after 30 seconds).
    """
    if os.environ.get(ROLE) != "MS_SCHED":
        return
    import mindspore as ms
    from mindspore import communication

    ms.set_device("CPU")
    _found(communication.init)
    raise SystemExit(0)


def join() -> None:
    """Find the others, together: before the first tensor, as Ascend wants it, and once.

    Raises:
        WorkersError: they did not come.
    """
    global _here, _joined
    if _joined or not is_started():
        return
    from mindspore import communication

    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    _found(communication.init)
    _joined = True
    _here = Share(communication.get_rank(), communication.get_group_size())


def _found(init: Callable[[], None]) -> None:
    try:
        init()
    except (RuntimeError, ValueError) as error:
        host, port = os.environ.get("MS_SCHED_HOST", "?"), os.environ.get("MS_SCHED_PORT", "?")
        why = str(error).strip().splitlines()[0]
        if gone := re.search(r"node list is: .*?\{([\d, ]+)\}", why):
            raise WorkersError(
                f"worker {gone[1]} is gone, or its machine cannot be reached any more; start the "
                "same command again on every machine to go on from the newest checkpoint"
            ) from None
        why = why.partition(". You can")[0][:160]
        raise WorkersError(
            f"the workers did not find each other at {host}:{port} ({why}); check that "
            "address and port on every machine, and that each one started its part"
        ) from None


def gathered(values: list[int]) -> np.ndarray:
    """Whole numbers (int32) of every worker, together: [size, len(values)]."""
    import numpy as np

    mine = np.array(values, np.int32)
    if _here.size == 1:
        return mine[None]
    from mindspore import Tensor, ops

    return ops.AllGather()(Tensor(mine)).asnumpy().reshape(_here.size, -1)


def meet() -> None:
    """Wait until every worker is here, together."""
    gathered([0])


@contextmanager
def first_before_others() -> Iterator[None]:
    """The block runs on the first worker, then on all others: what it downloads is there then."""
    if not is_first():
        meet()
    yield
    if is_first():
        meet()


def check_equal(arrays: Mapping[str, np.ndarray], when: str) -> None:
    """Compare arrays with those of the first worker to the last bit, together.

    Raises:
        WorkersError: on every worker, where one of them holds something else.
    """
    if _here.size == 1:
        return
    import numpy as np

    sums = [zlib.crc32(np.ascontiguousarray(array)) for array in arrays.values()]
    every = gathered(np.array(sums, np.uint32).view(np.int32).tolist())
    different = np.argwhere(every != every[0])
    if len(different):
        rank, place = different[0]
        raise WorkersError(
            f"worker {rank} holds other values than worker 0 {when}: '{list(arrays)[place]}' "
            f"({len(set(different[:, 1]))} of {len(arrays)} arrays); use the same kind of device "
            "and the same versions on every machine"
        )


class Agreement:
    """A wish to stop that all workers have when one of them has it; called together.

    Args:
        signal: the number of one that has come to this worker; 0 or None: none has.
        stop: whether somebody else here wants it.

    Attributes:
        wished: the largest number of all, 0 as long as nobody wants to stop.
    """

    OTHER = 256  # above the number of any signal

    def __init__(self, signal: Callable[[], int | None], stop: Callable[[], bool] = lambda: False):
        self.came, self.stop = signal, stop
        self.wished = self.calls = 0

    def __call__(self) -> bool:
        if size() == 1:
            self.wished = self.wish()
        elif self.calls % ASK_EVERY == 0:
            self.wished = int(gathered([self.wish()]).max())
        self.calls += 1
        return self.wished > 0

    def wish(self) -> int:
        """This worker's."""
        return int(self.came() or self.OTHER * bool(self.stop()))

    @property
    def signal(self) -> int | None:
        """That for which all stop; None where it is for something else, or not at all."""
        return self.wished if 0 < self.wished < self.OTHER else None
