"""What ranks do in the tests, each in a process of its own, which imports this file and no more."""

from __future__ import annotations

import os
import signal
import time

import torch

from model.distributed import Ranks, Report
from model.losses import root_loss


def check_sums(ranks: Ranks, report: Report, num_rows: int) -> None:
    """Everything that ranks do together, against the same by hand."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(num_rows, 3, generator=rng).to(ranks.device)
    y = torch.randn(num_rows, generator=rng).to(ranks.device)

    def network() -> tuple[torch.nn.Linear, torch.nn.Parameter]:
        torch.manual_seed(1)
        return torch.nn.Linear(3, 1).to(ranks.device), torch.nn.Parameter(torch.ones(2))

    alone, _ = network()
    whole = root_loss((alone(x)[:, 0] - y).square().mean())
    whole.backward()
    own, unused = network()
    share = ranks.share(num_rows)
    part = (own(x[share])[:, 0] - y[share]).square().sum() / num_rows
    loss = root_loss(ranks.total(part))
    loss.backward()
    ranks.sum_gradients([*own.parameters(), unused])
    torch.testing.assert_close(loss, whole)
    torch.testing.assert_close(own.weight.grad, alone.weight.grad)
    assert unused.grad is None
    assert torch.equal(ranks.gather(x[share], num_rows), x.cpu())
    ranks.check_agreement(own.parameters())
    report((ranks.rank, own.weight.grad.tolist()))
    with torch.no_grad():
        own.bias += ranks.rank
    complaint = ""
    try:
        ranks.check_agreement(own.parameters())
    except RuntimeError as error:
        complaint = str(error)
    assert "parameters differ between ranks" in complaint


def fail_alone(ranks: Ranks, report: Report, how: str) -> None:
    """The last rank ends; the others wait for it."""
    if ranks.rank == ranks.size - 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise FloatingPointError("the loss of one rank is nan")
    ranks.total(torch.zeros(()))


def wait_forever(ranks: Ranks, report: Report) -> None:
    """Each rank says who it is and waits."""
    report(os.getpid())
    time.sleep(600)
