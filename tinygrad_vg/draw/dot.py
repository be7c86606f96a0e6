"""The program that lays graphs out: the system's `dot`, or the executable of the package graphviz-pure."""

import contextlib
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import threading
from typing import Any

REMEDIES = (
    "install Graphviz (apt install graphviz, brew install graphviz, winget install graphviz), "
    "or without root: pip install graphviz-pure"
)
MOST_WORDS, MOST_PICTURE = 2000, 1 << 28  # bytes kept of its messages, and of its picture
SECONDS = 60.0  # the default limit of a layout


class LayoutError(RuntimeError):
    """The layout program has failed: its exit status was not 0.

    Attributes:
        status: that status.
        words: what it has written to its standard error.
    """

    def __init__(self, message: str, status: int, words: bytes) -> None:
        super().__init__(message)
        self.status = status
        self.words = words


def find_engine() -> str | None:
    """The path of `dot`, else of `graphviz-pure`, else None."""
    # The programs of an environment are not on the PATH if its Python is called by its full path.
    here = sysconfig.get_path("scripts")
    return shutil.which("dot") or shutil.which("graphviz-pure") or shutil.which("graphviz-pure", path=here)


def run(command: list[str], source: bytes, seconds: float) -> tuple[bytes, bytes]:
    """Run a layout program on a DOT source, and return the picture that it writes, and its messages.

    Raises:
        LayoutError: if the program fails; the message has its own words.
        RuntimeError: if it cannot be started, writes nothing or too much, or takes longer than `seconds`.
    """
    failed, late = f"{command[0]} could not draw this graph", threading.Event()
    picture, words = bytearray(), bytearray()
    with tempfile.TemporaryFile() as given:
        given.write(source)
        given.seek(0)
        pipe = subprocess.PIPE
        try:  # in a process group of its own, so that its children can be killed with it
            process = subprocess.Popen(command, stdin=given, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            raise RuntimeError(f"{failed}: it cannot be started, {error}") from error
    assert process.stdout is not None
    clock = threading.Timer(seconds, _end, (process, late))
    listener = threading.Thread(target=_read, args=(process.stderr, words, MOST_WORDS), daemon=True)
    with process:
        try:
            clock.start()
            listener.start()
            _read(process.stdout, picture, MOST_PICTURE)
            listener.join()
            process.wait()
        except BaseException:
            _end(process, late)
            raise
        finally:
            clock.cancel()
    said = words.decode(errors="replace").strip()
    if late.is_set():
        raise RuntimeError(
            f"{failed} within {seconds:g} seconds, and was killed; timeout= sets another limit. {said}".strip()
        )
    if process.returncode:
        why = said or f"it said nothing, and ended with status {process.returncode}"
        raise LayoutError(f"{failed}: {why}", process.returncode, bytes(words))
    if not 0 < len(picture) < MOST_PICTURE:
        raise RuntimeError(f"{failed}: it wrote {'too much' if picture else 'nothing'}. {said}".strip())
    return bytes(picture), bytes(words)


def _read(stream: Any, kept: bytearray, most: int) -> None:
    """Read a stream to its end, so that the writer never waits, and keep the first `most` bytes."""
    while chunk := stream.read1(1 << 16):
        kept += chunk[: most - len(kept)]


def _end(process: "subprocess.Popen[bytes]", late: threading.Event) -> None:
    """Kill the program and its children, which may hold its pipes open."""
    late.set()
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
