"""`engine export`: the catalogue in the formats of others."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from engine.catalogue.read import read_leaf_pixels, read_properties
from engine.commands.options import json_option
from engine.config import UserError, check_folder
from engine.export.ensemble import EnsembleCounts, check_h5py, export_ensemble
from engine.export.sweep import (
    SweepCounts,
    export_sweep,
    find_sweeps,
    output_paths,
    read_spectroscopy,
    read_sweep,
)
from engine.progress import Progress


@click.command()
@click.argument("catalogue", type=click.Path(path_type=Path))
@click.option(
    "--sweep",
    "sweep_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Sweep file, or a folder of them, to write the photo-z table of; may be repeated.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="With --sweep: NAME-pz.fits, or a folder for <sweep>-pz.fits.  [default: this folder]",
)
@click.option(
    "--truth",
    "truth_path",
    type=click.Path(path_type=Path),
    help="With --sweep: table of known redshifts for Z_SPEC and SURVEY (`engine truth` makes one).",
)
@click.option(
    "--qp",
    "qp_path",
    type=click.Path(path_type=Path),
    metavar="NAME.hdf5",
    help="Write all posteriors as a qp ensemble, which RAIL reads.",
)
@json_option
def export(
    catalogue: Path,
    sweep_paths: tuple[Path, ...],
    output: Path | None,
    truth_path: Path | None,
    qp_path: Path | None,
    as_json: bool,
) -> None:
    """Write a catalogue in the formats of others: photo-z sweeps (FITS), qp ensembles (HDF5).

    The table of a sweep has its rows in its order, the columns of the survey's own photo-z
    sweeps, then ours; -99 where there is no value.

    \b
    Examples:
      engine export cosmos/catalogue --sweep sweep-150p000-155p005.fits --output mine-pz.fits
      engine export cosmos/catalogue --sweep dr10/south/sweep/10.1 --output photo-z
      engine export cosmos/catalogue --qp cosmos.hdf5
    """
    if not sweep_paths and qp_path is None:
        raise UserError("nothing to export: give --sweep FILE or --qp NAME.hdf5")
    for option, path in (("--output", output), ("--truth", truth_path)):
        if path is not None and not sweep_paths:
            raise UserError(f"{option} {path}: goes with --sweep; give --sweep, or leave it out")
    read_properties(catalogue)  # Refuses what is no finished catalogue.
    report: dict[str, Any] = {"catalogue": str(catalogue)}
    if sweep_paths:
        counts = _export_sweeps(catalogue, sweep_paths, output or Path(), truth_path, as_json)
        report["sweeps"] = [asdict(item) for item in counts]
    if qp_path is not None:
        report["qp"] = asdict(_export_qp(catalogue, qp_path, as_json))
    if as_json:
        click.echo(json.dumps(report))


def _export_sweeps(
    catalogue: Path,
    paths: tuple[Path, ...],
    output: Path,
    truth_path: Path | None,
    as_json: bool,
) -> list[SweepCounts]:
    sweeps = find_sweeps(paths)
    outputs = output_paths(sweeps, output)
    for folder in dict.fromkeys(path.parent for path in outputs):
        check_folder("--output", folder)
    spectroscopy = read_spectroscopy(truth_path) if truth_path is not None else None
    counts = []
    for path, target in zip(sweeps, outputs, strict=True):
        counts.append(export_sweep(catalogue, read_sweep(path), target, spectroscopy))
        if not as_json:
            _show_sweep(counts[-1])
    return counts


def _show_sweep(counts: SweepCounts) -> None:
    click.echo(
        f"{counts.output}: {counts.num_rows:,} rows, {counts.num_matched:,} in the catalogue, "
        f"{counts.num_not_in_catalogue:,} not (-99); {counts.num_leaves} leaves read"
    )
    lacking = {bands: number for bands, number in counts.num_lacking_bands.items() if number}
    for bands, number in lacking.items():
        suffix = "_I" if "i" in bands else ""
        click.echo(f"  {number:,} without an exposure in each of {bands}: -99 in Z_PHOT_*{suffix}")
    if counts.num_known:
        click.echo(f"  {counts.num_known:,} with a known redshift (Z_SPEC)")
    if counts.num_repeated:
        click.echo(f"  {counts.num_repeated:,} repeat RELEASE, BRICKID, OBJID of another row")


def _export_qp(catalogue: Path, path: Path, as_json: bool) -> EnsembleCounts:
    check_h5py()
    if path.suffix.lower() not in (".hdf5", ".h5") or path.is_dir():
        raise UserError(f"--qp {path}: name a file that ends in .hdf5 or .h5")
    check_folder("--qp", path.parent)
    num_leaves = len(read_leaf_pixels(catalogue))
    with Progress("leaves", num_leaves, "leaves", quiet=as_json) as progress:
        counts = export_ensemble(catalogue, path, lambda rows: progress.advance())
    if not as_json:
        click.echo(f"{path}: {counts.num_rows:,} posteriors of {counts.num_levels} quantiles")
    return counts
