"""Foreign text made harmless for markdown, LaTeX and spreadsheets. HTML is escaped by jinja2."""

from __future__ import annotations

import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\N{EN DASH}": "--",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOUBLE DAGGER}": r"$\ddagger$",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")
# Control characters and marks that reorder text.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def one_line(text: str) -> str:
    """Without line breaks, control characters and direction marks."""
    return _INVISIBLE.sub(" ", text)


def latex(text: str) -> str:
    """Text for a LaTeX table cell."""
    return "".join(_LATEX.get(sign, sign) for sign in one_line(text))


def markdown(text: str) -> str:
    """Text for a markdown table cell; nothing in it is markup or HTML."""
    return _MARKDOWN.sub(
        lambda found: "&" + {"<": "lt;", ">": "gt;", "&": "amp;"}[found[1]] if found[1] in "<>&" else "\\" + found[1],
        one_line(text),
    )


def spreadsheet(value: object) -> object:
    """Numbers as they are; a text that a spreadsheet would run gets a leading apostrophe."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value
