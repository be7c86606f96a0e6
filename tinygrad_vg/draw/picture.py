"""A `graphviz.Digraph` with a time limit, which uses graphviz-pure where there is no `dot`.

The first picture drawn imports this module.
"""

import contextlib
import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import graphviz
from graphviz.backend import dot_command

from tinygrad_vg.draw.dot import REMEDIES, SECONDS, LayoutError, find_engine, run
from tinygrad_vg.draw.svg import finished


class Picture(graphviz.Digraph):  # type: ignore[misc]  # graphviz has no types
    """A `Digraph` whose `pipe`, `render` and display in Jupyter have a time limit, and also work with graphviz-pure.

    It behaves as a plain Digraph, without a limit, if there is no program, and for options that only `dot` has. The
    program that the user has set in `graphviz.backend.dot_command.DOT_BINARY` comes first.

    >>> picture = Picture()
    >>> picture.edge("a", "b")
    >>> picture.source.split()
    ['digraph', '{', 'a', '->', 'b', '}']
    """

    def __repr__(self) -> str:
        return f"<Picture of {len(self.body)} lines of DOT: draw.save(picture, 'picture.svg') draws it>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **options: Any) -> dict[str, Any]:
        """What a notebook shows: the picture, or in words why there is none."""
        if _program() is None:
            return {"text/plain": f"{self!r}, not drawn, for there is no program that lays graphs out: {REMEDIES}"}
        shown: dict[str, Any] = super()._repr_mimebundle_(include, exclude, **options)
        return shown

    def _repr_image_svg_xml(self) -> str:
        # Quiet: `dot` without a font for σ or ∂ warns of each, and draws them all the same.
        return str(self.pipe("svg", encoding="utf-8", quiet=True))

    def pipe(self, format: str | None = None, timeout: float = SECONDS, **options: Any) -> bytes | str:
        """The picture in a format such as "svg": bytes, or with `encoding=` a string; see `Digraph.pipe`.

        Args:
            format: the format; by default that of the picture.
            timeout: the seconds that the layout may take.
            **options: those of `Digraph.pipe`.

        Raises:
            graphviz.ExecutableNotFound: if there is neither `dot` nor `graphviz-pure`.
            graphviz.CalledProcessError: if the program fails.
            RuntimeError: if it takes too long, and is killed, or writes nothing.
        """
        drawn: bytes | str
        program = _program()
        encoding: str | None = options.get("encoding")
        if program is None or options.keys() - {"encoding", "engine", "quiet"}:
            drawn = super().pipe(format, **options)
            return drawn
        command = [program, f"-K{options.get('engine') or self.engine}", f"-T{format or self.format}"]
        try:
            drawn, words = run(command, self.source.encode(), timeout)
        except LayoutError as error:
            raise graphviz.CalledProcessError(error.status, command, b"", error.words) from error
        if words and not options.get("quiet"):
            sys.stderr.write(words.decode(errors="replace"))
        if command[2] == "-Tsvg":
            with contextlib.suppress(ElementTree.ParseError):  # what is no XML stays as the program has written it
                drawn = finished(drawn)
        return drawn.decode(encoding) if encoding else drawn

    def render(
        self,
        filename: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        timeout: float = SECONDS,
        **options: Any,
    ) -> str:
        """Write the source and the picture to two files, and return the picture's path; see `Digraph.render`.

        Raises:
            graphviz.ExecutableNotFound: if there is neither `dot` nor `graphviz-pure`.
            graphviz.CalledProcessError: if the program fails.
            RuntimeError: if it takes longer than `timeout` seconds, and is killed, or writes nothing.
        """
        if _program() is None or options.keys() - {"engine", "quiet", "quiet_view"}:
            options |= {"directory": directory, "view": view, "cleanup": cleanup, "format": format}
            path: str = super().render(filename, **options)
            return path
        source = Path(self.save(filename, directory=directory))
        picture = source.with_name(f"{source.name}.{format or self.format}")
        same = {name: options[name] for name in ("engine", "quiet") if name in options}
        picture.write_bytes(self.pipe(format, timeout, **same))  # type: ignore[arg-type]  # no encoding
        if cleanup:
            source.unlink()
        quiet_view: bool = options.get("quiet_view", False)
        if view or quiet_view:
            graphviz.view(picture, quiet=quiet_view)
        return str(picture)


def _program() -> str | None:
    """The path of the program that the user has chosen, else of `dot` or graphviz-pure; None if it is missing."""
    chosen = str(dot_command.DOT_BINARY)
    return find_engine() if chosen == "dot" else shutil.which(chosen)
