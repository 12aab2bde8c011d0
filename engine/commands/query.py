"""`engine query`: rows of a finished catalogue."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from engine.commands.options import json_option
from engine.config import UserError
from engine.query import Selection, TargetIds, query
from engine.query.arguments import parse_box, parse_cone, parse_ids, parse_pixels, parse_polygon
from engine.query.display import json_rows, plan_lines, table_lines
from engine.query.io_counter import bytes_read
from engine.query.output import check_output, write_answer
from engine.query.pictures import KINDS, check_picture, draw_picture
from engine.query.search import default_columns

_SHOWN_ROWS = 20

_path = click.Path(path_type=Path)


@click.command("query")
@click.argument("catalogue", type=_path)
@click.option("--cone", metavar="RA,DEC,RADIUS", help="Degrees, degrees, arcsec.")
@click.option("--box", metavar="RA1,RA2,DEC1,DEC2", help="Degrees; RA1 > RA2 crosses RA 0.")
@click.option("--polygon", metavar="RA,DEC;...", help="Convex; the edges are great circles.")
@click.option("--pixels", metavar="ORDER:N,N,...", help="HEALPix pixels, NESTED.")
@click.option("--ids", metavar="FILE|N,N,...", help="TARGETIDs, or a file with them.")
@click.option("--no-index", is_flag=True, help="Find --ids without the index.")
@click.option("--where", metavar="SQL", help="A condition, for example \"TYPE != 'PSF'\".")
@click.option("--columns", metavar="A,B,...", help="[default: all for a file, a few to be shown]")
@click.option("--sql", metavar="SELECT", help="One statement FROM catalogue (DuckDB).")
@click.option("--limit", type=click.IntRange(min=0), help="Rows at most.")
@click.option(
    "--output", type=_path, help=".csv, .parquet, .fits or .vot; FITS and VOTable in memory."
)
@click.option(
    "--plot",
    type=(click.Choice(list(KINDS)), _path),
    metavar="KIND FILE.png",
    help=f"Draw the rows: {', '.join(KINDS)}.",
)
@click.option("--explain", is_flag=True, help="Say what is read, and what was.")
@json_option
def query_command(
    catalogue: Path,
    cone: str | None,
    box: str | None,
    polygon: str | None,
    pixels: str | None,
    ids: str | None,
    no_index: bool,
    where: str | None,
    columns: str | None,
    sql: str | None,
    limit: int | None,
    output: Path | None,
    plot: tuple[str, Path] | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Rows of a catalogue: by position, pixel, id, condition, or SQL.

    A row is in all parts that are named (--cone and --where, ...). Only leaves and row groups that
    can hold such rows are read.

    \b
    Examples:
      engine query run/catalogue --cone 8.03,5.09,60
      engine query run/catalogue --box 8,9,5,6 --where "Z_PHOT_MEDIAN > 1" --output far.fits
      engine query run/catalogue --sql "SELECT TYPE, count(*) FROM catalogue GROUP BY TYPE"
    """
    parsers = ((cone, parse_cone), (box, parse_box), (polygon, parse_polygon),
               (pixels, parse_pixels), (ids, parse_ids))  # fmt: skip
    selections: list[Selection] = [parse(text) for text, parse in parsers if text is not None]
    if no_index:
        if ids is None:
            raise UserError("--no-index: is about --ids; leave it out, or name ids")
        selections = [replace(one, use_index=False) if isinstance(one, TargetIds) else one
                      for one in selections]  # fmt: skip
    if output is not None:
        check_output(output)
    if plot is not None:
        if sql is not None or limit is not None:
            raise UserError("--plot: draws all selected rows; leave out --sql and --limit")
        check_picture(plot[1])
        num_drawn = draw_picture(*plot, catalogue, selections, where)
        if not as_json:
            click.echo(f"{plot[1]}: {plot[0]} of {num_drawn:,} rows")
        if output is None and not explain and not as_json:
            return
    wanted = None if columns is None else columns.split(",")
    if wanted is None and sql is None and output is None:
        wanted = default_columns(catalogue)
    before = bytes_read()
    with query(catalogue, *selections, columns=wanted, where=where, sql=sql, limit=limit) as answer:
        if explain and not as_json:
            click.echo("\n".join(plan_lines(catalogue, answer)))
        report: dict[str, Any] = {"output": None if output is None else str(output)}
        if output is not None:
            num_rows = write_answer(answer, output)
        else:
            shown = answer.head(_SHOWN_ROWS if limit is None else limit)
            num_rows = shown.num_rows
            if as_json:
                report["rows"] = json_rows(shown)
            else:
                click.echo("\n".join(table_lines(shown)))
        # A statement's rows are counted a second time only if some were left out.
        is_cut = num_rows == (_SHOWN_ROWS if limit is None and output is None else limit)
        report["num_rows"] = num_rows
        report["num_matching"] = answer.count() if is_cut else num_rows
        report["num_ids_missing"] = answer.count_missing_ids() if ids is not None else 0
        after = bytes_read()
        report["read_bytes"] = None if before is None or after is None else after - before
        report["planned_bytes"] = answer.planned_bytes if as_json else None
        report["num_row_groups"] = answer.plan.num_row_groups
        report["leaves"] = [str(path.relative_to(catalogue)) for path in answer.plan.kept]
    if as_json:
        click.echo(json.dumps(report))
    else:
        _say(report, explain)


def _say(report: dict[str, Any], explain: bool) -> None:
    """Counts, and what of it was left out."""
    num_rows, left_out = report["num_rows"], report["num_matching"] - report["num_rows"]
    where = f"{report['output']}: " if report["output"] else ""
    rest = f"; {left_out:,} left out" if left_out else ""
    advice = ": --limit N or --output FILE for more" if left_out and not where else ""
    click.echo(f"{where}{num_rows:,} of {report['num_matching']:,} rows{rest}{advice}")
    if report["num_ids_missing"]:
        click.echo(
            f"{report['num_ids_missing']:,} ids are not in the selected part of the catalogue"
        )
    if explain:
        read = report["read_bytes"]
        click.echo("bytes read  " + ("not counted on this system" if read is None else f"{read:,}")
                   + ", footers and repeated reads included")  # fmt: skip
