"""One rank of the all-to-all test: dispatch tokens to their experts, combine what comes back, compare with NumPy.

    python all_to_all_rank.py --rank 0 --ranks 2 --rendezvous /tmp/x/meet --seed 1

Exit status: 0 right, 3 wrong numbers, anything else a death.  ``--plant`` makes a rank misbehave, so that
it can be seen that misbehaviour is noticed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import routing
import torch  # type: ignore[import-not-found]
import torch.distributed as dist  # type: ignore[import-not-found]
from ranks import LAST, WRONG

TOLERANCE = 1e-5


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def exchange(rows: Any, sent: list[int], received: list[int]) -> Any:
    """Send ``sent[r]`` rows to each rank r and get ``received[r]`` from it."""
    shape = (sum(received), *rows.shape[1:])
    found = torch.empty(shape, dtype=rows.dtype, device=rows.device)
    dist.all_to_all_single(found, rows.contiguous(), received, sent)
    return found


def one_case(case: str, rank: int, ranks: int, seed: int, device: Any, *, wrong: bool) -> str:
    """What is wrong with one case on this rank; empty if nothing is. ``wrong`` makes this rank's experts miscompute."""
    share = routing.draw(case, ranks, seed)[rank]
    plan = routing.dispatch(share, ranks)
    counts = torch.tensor(plan.counts, device=device)
    say(f"at {case}: counts")
    received = exchange(counts, [1] * ranks, [1] * ranks).tolist()
    sent = counts.tolist()
    say(f"at {case}: dispatch")
    tokens = exchange(torch.tensor(share.tokens[plan.rows], device=device), sent, received)
    experts = exchange(torch.tensor(plan.experts, device=device), sent, received)
    results = tokens * (experts + 1 + wrong).to(tokens.dtype).unsqueeze(1)
    say(f"at {case}: combine")
    back = exchange(results, received, sent).cpu().numpy()
    makers = routing.makers_of_wrong_rows(back, routing.results(share, plan), plan, TOLERANCE)
    if makers:
        return f"{case}: rows computed by rank {', '.join(map(str, makers))} are off"
    error = routing.worst(routing.combine(share, plan, back), routing.answer(share))
    return "" if error <= TOLERANCE else f"{case}: largest relative error {error:g}, {TOLERANCE:g} is allowed"


def misbehave(plant: str, rank: int) -> None:
    """Die or hang if it is this rank's turn."""
    if plant == f"die:{rank}":
        os.kill(os.getpid(), signal.SIGKILL)
    if plant == f"exit:{rank}":
        os._exit(0)
    if plant == f"hang:{rank}":
        threading.Event().wait()


def main() -> int:
    """Run every case; the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--rendezvous", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", default="", help="die:RANK, exit:RANK, hang:RANK or wrong:RANK")
    chosen = parser.parse_args()
    rank, ranks = chosen.rank, chosen.ranks
    gpus = torch.cuda.device_count()
    device = torch.device("cuda", rank % gpus) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    say("at rendezvous")
    backend, meet = ("nccl" if gpus else "gloo"), f"file://{chosen.rendezvous.resolve()}"
    dist.init_process_group(backend, init_method=meet, rank=rank, world_size=ranks)
    say(f"at start: {backend} on {device}")
    misbehave(chosen.plant, rank)
    for case in routing.CASES:
        trouble = one_case(case, rank, ranks, chosen.seed, device, wrong=chosen.plant == f"wrong:{rank}")
        if trouble:
            say(trouble)
            return WRONG
        say(f"at {case}: right")
    dist.barrier()
    dist.destroy_process_group()
    say(f"at {LAST}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
