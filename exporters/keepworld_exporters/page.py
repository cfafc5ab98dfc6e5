"""``report.html``: the report for people, one file that asks nothing of the network. All text is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STYLE = """
:root{color-scheme:light dark;--ink:#1d2125;--soft:#5d6670;--line:#d9dee3;
--paper:#fbfbfa;--card:#fff;--accent:#2c6e49;--path:#2c6e49}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#98a1ab;--line:#31373d;--paper:#16191c;--card:#1e2226;--accent:#7fc29b;--path:#7fc29b}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 18px 60px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:40px 0 12px}
p{margin:6px 0 12px;max-width:70ch}
.soft,figcaption,th,dt{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:1.5rem;font-weight:600}
.tile span{color:var(--soft);font-size:.85rem}
img,svg,video{max-width:100%;height:auto;border-radius:8px;display:block}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:14px}
figure{margin:0}
figcaption{font-size:.85rem;margin-top:5px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.map{background:var(--card);border:1px solid var(--line)}
.map .path{fill:none;stroke:var(--path);stroke-width:2.5;stroke-linejoin:round}
.map .cone{fill:var(--path);opacity:.22}
.map text{font:13px system-ui,sans-serif;fill:var(--ink)}
.map .event circle{fill:#c8742a}
.map .event text{fill:#fff;font-weight:600}
.map .start circle{fill:var(--card);stroke:var(--path);stroke-width:3}
.map .end circle{fill:var(--path)}
.map .scale path{fill:none;stroke:var(--soft)}
ol{padding-left:1.3em}
footer{margin-top:48px;color:var(--soft);font-size:.85rem}
"""
POLICY = "default-src 'none';img-src data:;media-src data:;style-src 'unsafe-inline'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A picture as a JPEG file, and what is to be read under it."""

    jpeg: bytes
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What the page shows, in order. `map_svg` is drawn by `walk_map`, which escapes; everything else is escaped here."""

    title: str
    summary: str
    tiles: Sequence[tuple[str, str]]
    comparisons: Sequence[Figure]
    views: Sequence[Figure]
    film: bytes | None
    film_caption: str
    sheet: Figure
    map_svg: str
    events: Sequence[str]
    tables: Mapping[str, Sequence[Sequence[str]]]
    notes: Sequence[str]


def render_page(page: Page) -> bytes:
    """Turn a page into a file."""
    tiles = "".join(
        f'<div class="tile"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for name, value in page.tiles
    )
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>",
        f'<meta http-equiv=Content-Security-Policy content="{POLICY}">',
        f"<title>{_text(page.title)}</title><style>{STYLE}</style><main>",
        f"<h1>{_text(page.title)}</h1><p class=soft>{_text(page.summary)}</p><div class=tiles>{tiles}</div>",
    ]
    if page.comparisons:
        parts.append("<h2>Held-out frames, and what the files show from the same cameras</h2>")
        parts.append("<p class=soft>These frames were not used to make anything.</p>")
        parts += [f"<div style='margin-bottom:14px'>{_figure(figure)}</div>" for figure in page.comparisons]
    if page.views:
        parts.append(f"<h2>What the files hold</h2><div class=pair>{''.join(map(_figure, page.views))}</div>")
    if page.film is not None:
        parts.append(f"<h2>From all round</h2>{_film(page.film, page.film_caption)}")
    parts.append("<h2>The walk</h2><div class=pair>" + page.map_svg + "<div>")
    if page.events:
        parts.append("<p>On the way:</p><ol>" + "".join(f"<li>{_text(text)}</li>" for text in page.events) + "</ol>")
    parts.append("<p class=soft>Seen from above; wedges show where the camera looks.</p></div></div>")
    parts.append(f"<div style='margin-top:14px'>{_figure(page.sheet)}</div>")
    parts += [f"<h2>{_text(name)}</h2>{_table(rows)}" for name, rows in page.tables.items()]
    parts.append("<h2>How to read the figures</h2>" + "".join(f"<p>{_text(note)}</p>" for note in page.notes))
    parts.append("<footer>Written by keepworld. This page loads nothing from elsewhere.</footer></main></html>")
    return "".join(parts).encode()


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.jpeg).decode()
    caption = _text(figure.caption)
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )


def _film(mp4: bytes, caption: str) -> str:
    data = base64.b64encode(mp4).decode()
    return (
        f'<figure><video autoplay loop muted playsinline controls src="data:video/mp4;base64,{data}"></video>'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head; columns after the first that hold numbers are set to the right."""
    numeric = [all(row[k][:1].isdigit() or row[k] in ("", "–") for row in rows[1:]) for k in range(len(rows[0]))]

    def line(row: Sequence[str], tag: str) -> str:
        cells = (f"<{tag}{' class=n' if numeric[k] and k else ''}>{_text(cell)}</{tag}>" for k, cell in enumerate(row))
        return f"<tr>{''.join(cells)}</tr>"

    return f"<div class=scroll><table>{line(rows[0], 'th')}{''.join(line(row, 'td') for row in rows[1:])}</table></div>"
