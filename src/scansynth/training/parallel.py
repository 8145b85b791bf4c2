"""Several processes that compute one step together, and a sum that does not depend on how many they are.

They are started by torchrun, as many as are wanted on one machine, with the command line of one:

    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --rdzv-backend c10d --rdzv-conf store_type=file \\
        --nproc-per-node 2 -m scansynth.train ...

torchrun meets its processes through a file then. Otherwise, and with --standalone too, it listens on all interfaces for
as long as it runs. The processes of one node meet through a file in any case, and listen on the loopback alone; those
of several nodes (--nnodes) listen on the network between them.
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from scansynth.device import best_device
from scansynth.errors import ScansynthError

PATIENCE = timedelta(hours=4)  # a process may have to wait for another run of the same experiment to end


@dataclass(frozen=True)
class Group:
    """This process among those that train together. The first one, of rank 0, alone writes files."""

    rank: int = 0
    size: int = 1

    def block(self, parts: int) -> range:
        """Which of a step's ``parts`` this process computes.

        Raises:
            ScansynthError: unless both numbers are powers of two, and there is a part for each process.
        """
        for key, number in (("train.accumulate", parts), ("the number of processes", self.size)):
            if number & (number - 1):
                raise ScansynthError(f"{key} is {number}, and has to be a power of two: 1, 2, 4, ...")
        if parts < self.size:
            raise ScansynthError(
                f"{self.size} processes share the {parts} part(s) of a step: set train.accumulate to {self.size} or a "
                "larger power of two, or start fewer processes"
            )
        share = parts // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: list[Tensor]) -> list[Tensor]:
        """Sum over all processes of each of ``values``, by the same tree in each of them."""
        if self.size == 1:
            return values
        flat = torch.cat([value.reshape(-1) for value in values])
        gathered = [torch.empty_like(flat) for _ in range(self.size)]
        dist.all_gather(gathered, flat)
        (total,) = tree_sum([each] for each in gathered)
        pieces = total.split([value.numel() for value in values])
        # Copied into tensors with the strides that a single process has.
        pairs = zip(values, pieces, strict=True)
        return [torch.empty_like(value).copy_(piece.view(value.shape)) for value, piece in pairs]

    def tell(self, value: Any = None) -> Any:
        """The first process's ``value`` (of JSON), in all of them."""
        if self.size == 1:
            return value
        text = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=best_device())
        length = torch.tensor([len(text)], device=text.device)
        dist.broadcast(length, 0)
        text = text if self.rank == 0 else text.new_empty(int(length))
        dist.broadcast(text, 0)
        return json.loads(bytes(text.tolist()))


def tree_sum(parts: Iterable[list[Tensor]]) -> list[Tensor]:
    """Sum of lists of tensors, a power of two of them: neighbours in pairs, then pairs of pairs, and so on.

    The sum of neighbouring blocks' sums is thus the sum of all, to the bit, however large the blocks. No more partial
    sums are held than the tree has levels.
    """
    waiting: list[tuple[int, list[Tensor]]] = []
    for values in parts:
        count = 1
        while waiting and waiting[-1][0] == count:
            values = torch._foreach_add(waiting.pop()[1], values)
            count *= 2
        waiting.append((count, values))
    ((_, total),) = waiting
    return total


def join() -> Group:
    """The group of processes that torchrun started; this process alone where it did not.

    Raises:
        ScansynthError: if there are more processes than CUDA devices.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        return Group()
    cuda, local = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
    if cuda:
        if local >= (devices := torch.cuda.device_count()):
            raise ScansynthError(f"{size} processes, but {devices} GPU(s): start no more processes than there are GPUs")
        torch.cuda.set_device(local)
    backend = "nccl" if cuda else "gloo"
    if int(os.environ["GROUP_WORLD_SIZE"]) > 1:
        # On several nodes, where torchrun has met, and over the network that the environment names, if it does.
        dist.init_process_group(backend, timeout=PATIENCE)
        return Group(rank, size)
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    # A name that all processes of this start have in common, and no other start has.
    name = "-".join([str(os.getppid()), *(os.environ[key] for key in ("MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"))])
    meeting = Path(".scansynth") / "processes" / name
    meeting.parent.mkdir(parents=True, exist_ok=True)
    store = dist.FileStore(str(meeting), size)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    return Group(rank, size)


def leave(group: Group) -> None:
    """End what ``join`` began."""
    if group.size > 1:
        dist.destroy_process_group()
