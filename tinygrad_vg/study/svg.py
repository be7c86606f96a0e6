"""SVG that stands inside a page: without what a page does not need, and with names of its own."""

import itertools
import re

_NAMES = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')
_UNUSED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>|<!--.*?-->", re.DOTALL)
_PLACES = re.compile(r'\b(d|points|x|y)="([^"]*)"')
_DIGITS = re.compile(r"-?\d+\.\d{3,}")
_count = itertools.count()  # so that no two figures of a page have the same names inside


def inline(name: str, text: str) -> str:
    """An SVG file as an element of a page.

    Places are rounded to a hundredth of a point. A style sheet would hold for the whole page, which the browser would
    style anew at each figure; so it is left out, as are metadata, comments, and spaces between elements.

    >>> inline("a", '<?xml version="1.0"?><svg><style>*{}</style>\\n <path d="M 1.23456 -0.0001\\nL 2 3"/>\\n</svg>')
    '<svg><path d="M 1.23 0 L 2 3"/></svg>'
    """
    text = _UNUSED.sub("", text[text.index("<svg") :])
    text = re.sub(r">\s+<", "><", _PLACES.sub(_rounded, text)).rstrip()
    prefix = f"{name}{next(_count)}-"
    return _NAMES.sub(lambda found: f"{found[1]}{prefix}{found[2]}", text)


def _rounded(found: re.Match[str]) -> str:
    places = _DIGITS.sub(lambda number: f"{round(float(number[0]), 2) + 0.0:g}", found[2])
    return f'{found[1]}="{" ".join(places.split())}"'
