"""The page: sections in order, one style, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from pathlib import Path

from engine.report import sections
from engine.report.gather import RunReport

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 0 16px 48px; background: #fff; color: #1b1b1b;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 24px 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 36px 0 8px; border-bottom: 2px solid #0072B2; }
p { max-width: 72ch; overflow-wrap: anywhere; }
nav { font-size: .9rem; }
nav a { margin-right: 14px; white-space: nowrap; display: inline-block; padding: 4px 0; }
a { color: #00558a; }
.figures { display: grid; gap: 20px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
figure { margin: 0; min-width: 0; max-width: 620px; }
figcaption { font-weight: 600; font-size: .95rem; }
figure > svg { width: 100%; height: auto; display: block; }
svg text { font-size: 12px; fill: #333; }
.grid { stroke: #e4e4e4; stroke-width: 1; }
.frame { fill: none; stroke: #555; stroke-width: 1.2; }
.legend { margin: 2px 0 0; font-size: .85rem; }
.legend span { display: inline-block; margin-right: 14px; }
.key { width: 22px; height: 12px; margin-right: 5px; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; margin: 8px 0; }
th, td { text-align: left; vertical-align: top; padding: 4px 12px 4px 0;
  border-bottom: 1px solid #e4e4e4; }
.noted td { border-bottom: none; padding-bottom: 0; }
.noted .note td { border-bottom: 1px solid #e4e4e4; padding: 0 0 6px; color: #555;
  overflow-wrap: anywhere; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; min-width: 7em; }
.facts th { font-weight: 600; min-width: 7em; }
@media (max-width: 480px) {
  table { font-size: .78rem; }
  th, td { padding-right: 6px; }
}
code { font-size: .85rem; user-select: all; }
"""


def report_page(report: RunReport) -> str:
    """The whole page as HTML."""
    found = report.catalogue
    parts = [sections.overview(report), sections.sky(report)]
    if found is not None and found.num_rows:
        parts += [
            sections.redshifts(found),
            sections.accuracy(report, found),
            sections.flags(found),
            sections.bands(found),
            sections.training(report, found),
        ]
    else:
        text = "No row is published yet: the catalogue's sections are missing (engine finish)."
        parts.append(sections.section("Catalogue", sections.paragraph(text)))
    parts += [
        sections.left_out(report),
        sections.slowest(report),
        sections.throughput(report),
        sections.provenance(report),
    ]
    title = f"Run {Path(report.status.run).resolve().name}"
    links = "".join(
        f'<a href="#{part.split(chr(34))[1]}">{part.split("<h2>")[1].split("</h2>")[0]}</a>'
        for part in parts
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Without an icon of its own a page makes the browser ask a server for one.
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"</head><body><header><h1>{escape(title)}</h1>"
        f"<p>Photometric redshifts, {escape(report.made_at)}.</p><nav>{links}</nav></header>"
        f"<main>{''.join(parts)}</main></body></html>\n"
    )
