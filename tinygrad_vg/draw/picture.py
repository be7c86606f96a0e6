"""A `graphviz.Digraph` that uses graphviz-pure where there is no `dot`. The first picture drawn imports this module."""

import os
import subprocess
from pathlib import Path
from typing import Any

import graphviz
from graphviz.backend import dot_command

from tinygrad_vg.draw.dot import find_engine


class Picture(graphviz.Digraph):  # type: ignore[misc]  # graphviz has no types
    """A `Digraph` whose `pipe`, `render` and display in Jupyter also work with graphviz-pure.

    It behaves as a plain Digraph if there is a `dot`, if the user has set another program in
    `graphviz.backend.dot_command.DOT_BINARY`, if there is no program, and for options that only `dot` has.

    >>> picture = Picture()
    >>> picture.edge("a", "b")
    >>> picture.source.split()
    ['digraph', '{', 'a', '->', 'b', '}']
    """

    def pipe(self, format: str | None = None, **options: Any) -> bytes | str:
        """The picture in a format such as "svg": bytes, or with `encoding=` a string; see `Digraph.pipe`.

        Raises:
            graphviz.ExecutableNotFound: if there is neither `dot` nor `graphviz-pure`.
            graphviz.CalledProcessError: if the program fails.
        """
        drawn: bytes | str
        program = _pure()
        encoding: str | None = options.get("encoding")
        if program is None or options.keys() - {"encoding", "engine", "quiet"}:
            drawn = super().pipe(format, **options)
            return drawn
        command = [program, f"-K{options.get('engine') or self.engine}", f"-T{format or self.format}"]
        result = subprocess.run(command, input=self.source.encode(), capture_output=True)
        if result.returncode:
            raise graphviz.CalledProcessError(result.returncode, command, result.stdout, result.stderr)
        drawn = result.stdout.decode(encoding) if encoding else result.stdout
        return drawn

    def render(
        self,
        filename: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        **options: Any,
    ) -> str:
        """Write the source and the picture to two files, and return the picture's path; see `Digraph.render`.

        Raises:
            graphviz.ExecutableNotFound: if there is neither `dot` nor `graphviz-pure`.
            graphviz.CalledProcessError: if the program fails.
        """
        if _pure() is None or options.keys() - {"engine", "quiet", "quiet_view"}:
            options |= {"directory": directory, "view": view, "cleanup": cleanup, "format": format}
            path: str = super().render(filename, **options)
            return path
        source = Path(self.save(filename, directory=directory))
        picture = source.with_name(f"{source.name}.{format or self.format}")
        picture.write_bytes(self.pipe(format, engine=options.get("engine")))  # type: ignore[arg-type]  # no encoding
        if cleanup:
            source.unlink()
        quiet_view: bool = options.get("quiet_view", False)
        if view or quiet_view:
            graphviz.view(picture, quiet=quiet_view)
        return str(picture)


def _pure() -> str | None:
    """The path of graphviz-pure, if the package graphviz would call a `dot` that is missing; else None."""
    program = find_engine()
    chosen = str(dot_command.DOT_BINARY) != "dot"
    return None if program is None or chosen or Path(program).stem == "dot" else program
