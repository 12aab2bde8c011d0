"""Redshifts of real BOSS galaxies from u, g, r, i, z alone: our ensemble against the baselines.

    python benchmarks/boss.py --table boss_dr10_0.csv --table boss_dr10_1.csv ...

Tables have the columns MAG_U, MAGERR_U, ... MAG_Z, MAGERR_Z and Z, as in the examples of ANNZ
(Sadeh, Abdalla & Lahav 2016; public SDSS data). Rows that repeat another one and negative redshifts
are left out. For each seed 6,000 rows are held out; all methods learn from the others and are
judged on the same held-out rows. Settings are the defaults of `engine table train`; they were
chosen on rows that no seed of 0, 1, 2 holds out.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from machine import describe_machine

from engine.table.config import BandColumns, Reading, TableConfig
from engine.table.reading import KnownRows, read_known_rows
from engine.table.report import fit_lines
from engine.table.training import train_table
from model.table import FitConfig, MemberEpoch

RESULTS = Path(__file__).parent / "results"
BANDS = "ugriz"


def boss_config(tables: tuple[Path, ...]) -> TableConfig:
    """How the tables are read."""
    bands = tuple(BandColumns(b, f"MAG_{b.upper()}", f"MAGERR_{b.upper()}") for b in BANDS)
    return TableConfig(tables, "Z", Reading(bands, reference="r"), FitConfig())


def plain_tables(tables: tuple[Path, ...], folder: Path) -> tuple[Path, ...]:
    """Copies with a plain header: ANNZ writes `#F:MAG_U;F:MAGERR_U;...;D:Z` above commas."""
    copies = []
    for table in tables:
        header, rows = table.read_text().split("\n", 1)
        names = [name.partition(":")[2] for name in header.lstrip("#").split(";")]
        copies.append(folder / table.name)
        copies[-1].write_text(",".join(names) + "\n" + rows)
    return tuple(copies)


def judge_seed(known: KnownRows, config: TableConfig) -> dict[str, Any]:
    """All methods on the held-out rows of one seed."""
    begin = time.perf_counter()

    def on_epoch(epoch: MemberEpoch) -> None:
        if epoch.epoch == config.fit.epochs:
            seconds = time.perf_counter() - begin
            print(
                f"seed {config.fit.seed}: member {epoch.member} after {seconds:.0f} s", flush=True
            )

    fit = train_table(known, config, baselines=True, progress=on_epoch)
    print("\n".join(fit_lines(fit)), flush=True)
    provenance = fit.weights.provenance
    return {
        "seed": config.fit.seed,
        "seconds": round(time.perf_counter() - begin),
        "best_epochs": provenance["best_epochs"],
        "validation": provenance["validation"],
        **fit.report(),
    }


@click.command()
@click.option("--table", "tables", type=click.Path(path_type=Path), multiple=True, required=True)
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2), show_default=True)
@click.option("--held-out", "num_held_out", default=6000, show_default=True, help="Rows.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=RESULTS / "boss.json", show_default=True
)
def main(tables: tuple[Path, ...], seeds: tuple[int, ...], num_held_out: int, output: Path) -> None:
    """Fit, predict, compare, record."""
    with tempfile.TemporaryDirectory(prefix="photoz-boss-") as folder:
        config = boss_config(plain_tables(tables, Path(folder)))
        known = read_known_rows(config)
    held_out = num_held_out / len(known.z_true)
    results = []
    for seed in seeds:
        fit = replace(config.fit, seed=seed, held_out=held_out)
        results.append(judge_seed(known, replace(config, fit=fit)))
    content = {
        "machine": describe_machine(),
        "tables": [path.name for path in tables],
        "seeds": results,
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
