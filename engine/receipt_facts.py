"""What a display needs of a receipt: about 2 kB of the 50 kB that 50 bricks take on disk.

Receipts of a whole survey (6,900 of them) are read once; between two looks only those whose file
changed are read again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from engine.catalogue.coverage import sum_coverage
from engine.journal import Journal, Receipt
from engine.plan import RunPlan
from partitions.healpix import Pixel

_STEPS = ("decode", "build", "write", "infer")


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """One finished partition."""

    num_bricks: int
    """Bricks with rows for the catalogue; quarantined ones are not among them."""
    num_sources: int
    num_rows: int
    """Rows of the Tractor tables read."""
    num_not_primary: int
    num_dup: int
    decoded: dict[str, int]
    """Band -> image files decoded."""
    covered_deg2: dict[str, float]
    """Optical band, or `grz` for the three together -> area with an exposure."""
    targets_left_out: dict[str, dict[str, int]]
    """DESI target cuts -> reason -> bricks in which they were not made."""
    seconds: dict[str, float]
    """Step (decode, build, write, infer, fragments) -> seconds."""
    quarantined: dict[str, str]
    """Brick -> reason."""
    leaf_rows: dict[str, int]
    """Number of a leaf -> rows for it."""
    finished_at: float
    """Unix time, s."""
    elapsed_s: float
    process: int
    host: str | None
    """None in receipts that do not say."""


def receipt_facts(receipt: Receipt) -> ReceiptFacts:
    """Sum a receipt over its bricks."""
    bricks = list(receipt["bricks"].values())
    coverage = sum_coverage([receipt])
    seconds = {step: sum(facts[f"{step}_s"] for facts in bricks) for step in _STEPS}
    return ReceiptFacts(
        num_bricks=len(bricks),
        num_sources=receipt["num_sources"],
        num_rows=sum(facts["num_rows"] for facts in bricks),
        num_not_primary=sum(facts["num_not_primary"] for facts in bricks),
        num_dup=sum(facts["num_dup"] for facts in bricks),
        decoded=sum_counts(facts["decoded"] for facts in bricks),
        covered_deg2=coverage.covered_deg2,
        targets_left_out={
            name: cut.left_out for name, cut in coverage.cuts.items() if cut.left_out
        },
        seconds={**seconds, "fragments": receipt["write_s"]},
        quarantined=receipt["quarantined"],
        leaf_rows={number: leaf["rows"] for number, leaf in receipt["leaves"].items()},
        finished_at=receipt["finished_at"],
        elapsed_s=receipt["elapsed_s"],
        process=receipt["process"],
        host=receipt.get("host"),
    )


def sum_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Sum by key, in the order of the keys."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


class ReceiptReader:
    """Reads the receipts of one run again and again, each file once as long as it stays the same.

    It writes nothing, and receipts may come and go while it reads.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # File name -> (plan, mtime in ns, size) it was read at, and what it said.
        self._known: dict[str, tuple[tuple[str, int, int], ReceiptFacts]] = {}

    def read(self, plan: RunPlan) -> dict[Pixel, ReceiptFacts]:
        """The finished partitions, in pixel order.

        Raises
        ------
        UserError
            If a receipt belongs to another plan or cannot be read.
        """
        pixel_of = {f"{partition.pixel}.json": partition.pixel for partition in plan.partitions}
        known: dict[str, tuple[tuple[str, int, int], ReceiptFacts]] = {}
        for entry in self._list():
            if entry.name not in pixel_of:
                continue
            # One may be withdrawn between the listing and the reading.
            with suppress(FileNotFoundError):
                status = entry.stat()
                state = (plan.digest, status.st_mtime_ns, status.st_size)
                before = self._known.get(entry.name)
                if before is None or before[0] != state:
                    path = self._journal.receipts_folder / entry.name
                    before = (state, receipt_facts(self._journal.read_receipt(path, plan)))
                known[entry.name] = before
        self._known = known
        return {pixel: known[name][1] for name, pixel in pixel_of.items() if name in known}

    def _list(self) -> list[os.DirEntry[str]]:
        with suppress(FileNotFoundError), os.scandir(self._journal.receipts_folder) as entries:
            return list(entries)
        return []
