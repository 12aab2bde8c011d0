"""A process that builds bricks for another one: `python -m partitions.reader FD`.

It takes one brick at a time from a connection and ends when the other side goes away. Reading
survey files is what crashes and hangs, and what keeps the network waiting: in a process of its
own it can be killed without losing a worker, and goes on while the network computes.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from partitions.bricks import Brick, SurveyLayout
from partitions.build import BrickCounts, build_brick_arrays
from partitions.schema import StampSize


class BuildOrder(NamedTuple):
    """What to build: the arguments of `build_brick_arrays`."""

    layout: SurveyLayout
    brick: Brick
    stamp_size: StampSize
    path: Path


def serve(connection: Connection) -> None:
    """Build what is asked for until the other side closes; answers counts or the exception."""
    while True:
        try:
            order: BuildOrder = connection.recv()
        except EOFError:
            return
        answer: BrickCounts | Exception
        try:
            answer = build_brick_arrays(*order)
        except Exception as error:  # Raised again on the other side.
            answer = error
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
