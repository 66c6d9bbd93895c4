"""Pieces of HTML from plain values: text is escaped here, and every picture has an alternative text."""

import base64
import dataclasses
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --soft: #595959; --line: #ddd; --box: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --back: #161616; --soft: #ababab; --line: #3a3a3a; --box: #242424; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--back); overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: 0.2rem 0.6rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td { max-width: 40rem; overflow-wrap: anywhere; min-width: 4ch; }
td.number { text-align: right; } caption { text-align: left; color: var(--soft); padding: 0.3rem 0; }
img { max-width: 100%; height: auto; background: #fff; } figure { margin: 0.5rem; display: inline-block; }
figcaption { font-size: 0.85rem; max-width: 11rem; }
pre { background: var(--box); padding: 0.6rem; overflow-x: auto; } .scroll { overflow-x: auto; }
.wide { overflow-x: auto; } .wide img { min-width: 38rem; } .wide figure { margin: 0.5rem 0; }
.answer { font-size: 1.25rem; margin: 0.6rem 0; } .answer b { font-size: 1.5rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 0.6rem; }
.cards figure { margin: 0; padding: 0.5rem; background: var(--box); border-radius: 0.3rem; }
.cards img { display: block; margin-bottom: 0.3rem; } .cards figcaption { max-width: none; }
.cards small { display: block; color: var(--soft); }
"""


def page(title: str, sections: Iterable[tuple[str, str]]) -> bytes:
    """Returns a page that needs no other file: a title, and sections with a heading, as text, and a body, as HTML."""
    body = "\n".join(f"<section><h2>{escape(heading)}</h2>\n{content}</section>" for heading, content in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # A page of a run is opened from the disk: nothing is to be fetched, nothing to be run.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        "'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main><h1>{escape(title)}</h1>\n{body}\n"
        "</main></body></html>\n"
    ).encode("utf-8", "backslashreplace")


@dataclasses.dataclass(frozen=True, repr=False)
class Inline:
    """A page that a notebook shows, where a cell ends with it."""

    page: bytes
    """As `page` returns it."""

    def __repr__(self) -> str:
        return f"a page of {len(self.page):,} bytes, which a notebook shows"

    def _repr_html_(self) -> str:
        source = escape(self.page.decode(errors="replace"))
        return f'<iframe srcdoc="{source}" style="width: 100%; height: 45rem; border: 0"></iframe>'


def details(summary: str, content: str) -> str:
    """Returns HTML that a click on `summary`, a text, opens."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def paragraph(text: str) -> str:
    """Returns a paragraph of text."""
    return f"<p>{escape(text)}</p>\n"


def answer(main: str, rest: str) -> str:
    """Returns a sentence in large letters, its beginning larger."""
    return f'<p class="answer"><b>{escape(main)}</b> {escape(rest)}</p>\n'


def items(texts: Iterable[str]) -> str:
    """Returns a list of sentences."""
    return "<ul>\n" + "".join(f"<li>{escape(text)}</li>\n" for text in texts) + "</ul>\n"


def code(text: str) -> str:
    """Returns text to be copied."""
    return f"<pre>{escape(text)}</pre>\n"


def table(rows: Iterable[Sequence[Any]], head: Sequence[str] = (), caption: str = "") -> str:
    """Returns a table of plain values, numbers at the right; the first of each row is its name."""
    lines = [f"<caption>{escape(caption)}</caption>"] if caption else []
    if head:
        lines.append("<tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head) + "</tr>")
    for first, *rest in rows:
        cells = "".join(_cell(cell) for cell in rest)
        lines.append(f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>')
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>\n"


def _cell(value: Any) -> str:
    return f"<td{' class=number' if isinstance(value, int | float) else ''}>{escape(str(value))}</td>"


def shaded(counts: Sequence[Sequence[int]], names: Sequence[str], caption: str) -> str:
    """Returns a confusion matrix, (classes, classes) counts: darker where there are more of its row."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", *names))
    lines = [f"<caption>{escape(caption)}</caption>", f"<tr>{head}</tr>"]
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        cells = []
        for j, count in enumerate(row):
            share = count / max(sum(row), 1)
            color = f"rgba({'0,110,60' if i == j else '200,30,30'},{0.6 * share:.2f})"
            cells.append(f'<td class="number" style="background:{color}">{count or ""}</td>')
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>\n"


def picture(content: bytes, words: str, caption: str = "") -> str:
    """Returns a PNG inside the page, with `words` as its alternative text."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{_image(content, words)}{below}</figure>\n"


def _image(content: bytes, words: str) -> str:
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    return f'<img alt="{escape(words)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


def wide(content: str) -> str:
    """Returns a picture that is scrolled on a narrow screen, as it couldn't be read smaller."""
    return f'<div class="wide">{content}</div>\n'


def card(pictures: Sequence[bytes], words: str, lines: Sequence[str]) -> str:
    """Returns pictures, PNG or JPEG with one alternative text, above lines of text, the last in small letters."""
    *first, last = map(escape, lines)
    images = "".join(_image(picture, words) for picture in pictures)
    return f"<figure>{images}<figcaption>{'<br>'.join(first)}<small>{last}</small></figcaption></figure>\n"


def cards(parts: Iterable[str]) -> str:
    """Returns cards side by side, as many in a row as there is room for."""
    return f'<div class="cards">\n{"".join(parts)}</div>\n'
