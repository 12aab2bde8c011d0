"""When decoding the tiles that stamps touch is cheaper than decoding the whole image.

    python benchmarks/tile_reading.py --survey dr10 --brick 0091p035 --band r

Without --survey a full-size mock brick is written and measured. For a growing number of stamps,
scattered at random, it opens the image, decodes it either way and cuts the stamps; the stamps must
be the same to the bit. Times are CPU times. The costs of one call of the decoder and of one tile
follow from sections of known size: their ratio is `partitions.tiles.CALL_COST_TILES`. The result
is added to benchmarks/results/tile_reading.json under the name of the brick.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from machine import describe_machine

from partitions.cutouts import Stamps, cut_stamps, stamp_corner
from partitions.dr10 import open_coadd, open_survey, read_bricks
from partitions.mock import MockConfig, write_mock_survey
from partitions.tiles import Box, boxes_to_decode, cost_tiles, count_tiles, cover, tiles_touched

RESULTS = Path(__file__).parent / "results" / "tile_reading.json"
NUM_STAMPS = (1, 3, 10, 30, 60, 100, 140, 200, 300, 500, 1000)
REPEATS = 5


@click.command()
@click.option("--survey", type=click.Path(path_type=Path), help="Use this survey, not a mock one.")
@click.option("--brick", "brick_name", help="Its brick.  [default: the first]")
@click.option("--band", default="r", show_default=True)
@click.option("--side-px", type=int, default=64, show_default=True, help="Side of the stamps.")
def main(survey: Path | None, brick_name: str | None, band: str, side_px: int) -> None:
    """Measure, print and record."""
    with tempfile.TemporaryDirectory(prefix="photoz-benchmark-") as folder:
        what = "real"
        if survey is None:
            what, survey = "mock", Path(folder)
            print("writing one full-size mock brick ...", flush=True)
            write_mock_survey(survey, MockConfig.full_brick(), num_workers=1)
        name = f"{what} brick, {band}, {side_px} px stamps"
        result = measure(survey, brick_name, band, side_px)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {"machine": describe_machine(), **result}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\na call costs as much as {result['call_cost_tiles']:.1f} tiles; in {RESULTS}")


def measure(survey: Path, brick_name: str | None, band: str, side_px: int) -> dict[str, Any]:
    """Both ways for every number of stamps."""
    layout = open_survey(survey)
    bricks = read_bricks(layout)
    brick = bricks[brick_name or next(iter(bricks))]
    coadd = open_coadd(layout, brick, band)
    (height, width), tile_shape = coadd.shape, coadd.tile_shape
    rng = np.random.default_rng(0)
    rows = []
    print(f"{'stamps':>6} {'touched':>8} {'calls':>6} {'tiles ms':>9} {'whole ms':>9}  rule")
    for num_stamps in NUM_STAMPS:
        x, y = rng.uniform(0, width - 1, num_stamps), rng.uniform(0, height - 1, num_stamps)
        corners = stamp_corner(x, side_px), stamp_corner(y, side_px)
        touched = tiles_touched(coadd.shape, tile_shape, *corners, side_px)
        boxes = cover(touched)
        pixel_boxes = [box.scaled(tile_shape, coadd.shape) for box in boxes]

        def cut(boxes: list[Box] | None, x: Any = x, y: Any = y) -> Stamps:
            return cut_stamps(open_coadd(layout, brick, band).decode(boxes), x, y, side_px)

        sparse_s, sparse = best_of(lambda cut=cut, b=pixel_boxes: cut(b))
        whole_s, whole = best_of(lambda cut=cut: cut(None))
        for field in ("pixels", "coverage", "clipped"):
            np.testing.assert_array_equal(getattr(sparse, field), getattr(whole, field))
        rule = boxes_to_decode(coadd.shape, tile_shape, *corners, side_px)
        row = {
            "num_stamps": num_stamps,
            "touched_fraction": float(touched.mean()),
            "num_calls": len(boxes),
            "cost_tiles": cost_tiles(boxes),
            "tilewise_ms": 1e3 * sparse_s,
            "whole_ms": 1e3 * whole_s,
            "rule": "whole" if rule is None else "tiles",
        }
        rows.append(row)
        print(
            f"{num_stamps:6d} {touched.mean():8.3f} {len(boxes):6d} {1e3 * sparse_s:9.1f} "
            f"{1e3 * whole_s:9.1f}  {row['rule']}",
            flush=True,
        )
    call_s, tile_s = call_and_tile_s(coadd.decode, coadd.shape, tile_shape)
    return {
        "shape": list(coadd.shape),
        "tile_shape": list(tile_shape),
        "num_tiles": count_tiles(coadd.shape, tile_shape),
        "file_bytes": coadd.path.stat().st_size,
        "call_ms": 1e3 * call_s,
        "tile_ms": 1e3 * tile_s,
        "call_cost_tiles": call_s / tile_s,
        "stamps": rows,
    }


def call_and_tile_s(
    decode: Callable[[list[Box]], Any], shape: tuple[int, int], tile_shape: tuple[int, int]
) -> tuple[float, float]:
    """Seconds of a call and of a tile: calls of one tile against one call of a row of tiles."""
    (tile_y, tile_x), width = tile_shape, shape[1]
    middle = shape[0] // tile_y // 2
    many = [
        Box(middle, middle + 1, column, column + 1).scaled(tile_shape, shape)
        for column in range(-(-width // tile_x))
    ]
    one = [Box(middle * tile_y, (middle + 1) * tile_y, 0, width)]
    many_s, one_s = best_of(lambda: decode(many))[0], best_of(lambda: decode(one))[0]
    call_s = (many_s - one_s) / (len(many) - 1)
    return call_s, (one_s - call_s) / len(many)


def best_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Least CPU seconds of some repeats, and what the work returned; it runs on one thread."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        result = work()
        times.append(time.process_time() - begin)
    return min(times), result


if __name__ == "__main__":
    main()
