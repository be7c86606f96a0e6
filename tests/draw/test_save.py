"""A picture to a file: with either program, in every format, whole or not at all."""

import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest

import tinygrad_vg as tg
from tests.draw.conftest import ENGINES, SAVE, path_of
from tests.draw.reading import SVG, read, read_svg
from tinygrad_vg import draw
from tinygrad_vg.draw import dot as engines
from tinygrad_vg.draw import picture as pictures

LINK = "{http://www.w3.org/1999/xlink}"
STARTS = {"svg": b"<?xml", "png": b"\x89PNG\r\n", "pdf": b"%PDF", "dot": b"digraph {"}


@pytest.fixture
def digraph() -> graphviz.Digraph:
    b = tg.Tensor(0.5, requires_grad=True, name="b")
    cost = tg.ops.sigmoid(2.0 * b)
    cost.backward()
    return draw.graph(cost)


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "dot", "SVG", "Png"])
@pytest.mark.parametrize("as_text", [False, True])
def test_every_format(digraph, suffix, as_text, engine, tmp_path):
    path = tmp_path / f"picture.{suffix}"
    if suffix == "pdf" and Path(engine).stem == "graphviz-pure":
        with pytest.raises(
            RuntimeError, match=r"graphviz-pure writes no PDF: save as .svg or .png, or install Graphviz"
        ):
            draw.save(digraph, path)
        assert os.listdir(tmp_path) == []
        return
    draw.save(digraph, str(path) if as_text else path)
    assert path.read_bytes().startswith(STARTS[suffix.lower()])
    assert os.listdir(tmp_path) == [path.name]
    before = path.read_bytes()
    draw.save(digraph, path)
    if suffix.lower() != "pdf":  # which has the date
        assert path.read_bytes() == before


def test_tooltips_are_titles(digraph, engine, tmp_path):
    draw.save(digraph, tmp_path / "picture.svg")
    picture = read(digraph)
    wanted = [item.attributes["tooltip"] for item in (*picture.nodes.values(), *picture.edges)]
    assert len(wanted) == 5
    _, _, titles = read_svg(tmp_path / "picture.svg")
    assert sorted(title for title in titles if title.strip()) == sorted(wanted)
    root = ElementTree.parse(tmp_path / "picture.svg").getroot()
    for group in root.iter(f"{SVG}g"):
        if group.get("class") in ("node", "edge"):
            assert group[0].tag == f"{SVG}title"  # browsers look at the first child only
    assert not [element for element in root.iter() if element.tag == f"{SVG}a" or f"{LINK}title" in element.attrib]


def test_a_graph_of_one_s_own(engine, tmp_path):
    own = graphviz.Digraph(engine="neato")
    own.node("a[1]", label="first", tooltip="what a is", URL="https://example.org/?a=1")
    own.node("graph")
    own.edge("a[1]", "graph", label="edge")
    with own.subgraph(name="cluster") as inner:
        inner.attr(label="inside")
        inner.node("b = c")
    with pytest.raises(ValueError, match="has 3 nodes, more than max_nodes=2"):
        draw.save(own, tmp_path / "own.svg", max_nodes=2)
    draw.save(own, tmp_path / "own.svg", max_nodes=3)
    root = ElementTree.parse(tmp_path / "own.svg").getroot()
    (link,) = root.iter(f"{SVG}a")
    assert link.get(f"{LINK}href") == "https://example.org/?a=1"
    assert {text.text for text in root.iter(f"{SVG}text")} >= {"first", "graph", "b = c", "edge"}
    titles = {title.text for title in root.iter(f"{SVG}title")}
    assert {"graph", "b = c", "a[1]->graph"} <= titles  # who has no tooltip keeps the name


def test_its_layout_is_by_the_program_it_asks_for(engine, tmp_path):
    files = []
    for layout in ("dot", "circo"):
        own = graphviz.Digraph(engine=layout)
        own.edges(["ab", "bc", "ca", "ad"])
        draw.save(own, tmp_path / f"{layout}.svg")
        files.append((tmp_path / f"{layout}.svg").read_bytes())
    assert files[0] != files[1]


# What cannot be saved leaves nothing behind, and what was there before.


def test_large_graphs_are_refused_but_as_dot(digraph, tmp_path):
    draw.save(digraph, tmp_path / "picture.dot", max_nodes=1)
    with pytest.raises(ValueError, match=r"has 3 nodes, more than max_nodes=2.*draw.layers folds.*\.dot takes any"):
        draw.save(digraph, tmp_path / "picture.svg", max_nodes=2)
    y = tg.Tensor(0.5, requires_grad=True)
    for _ in range(1000):
        y = np.tanh(y)
    with pytest.raises(ValueError, match="has 1001 nodes, more than max_nodes=1000"):
        draw.save(draw.graph(y), tmp_path / "deep.png")
    assert os.listdir(tmp_path) == ["picture.dot"]


@pytest.mark.parametrize("name", ["picture.jpg", "picture", ".svg", "picture.svg.gz"])
def test_other_suffixes(digraph, tmp_path, name):
    with pytest.raises(ValueError, match=r"a picture is saved as .svg, .png, .pdf, .dot; .* ends in none of them"):
        draw.save(digraph, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", ["svg", "dot"])
def test_a_folder_that_is_not_there(digraph, tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*missing' to save picture.* in"):
        draw.save(digraph, tmp_path / "missing" / f"picture.{suffix}")
    assert os.listdir(tmp_path) == []


WHOLE = '<svg xmlns="http://www.w3.org/2000/svg"><g></g></svg>'
BROKEN = {
    "fails": ("echo 'syntax error in line 1' >&2; exit 1", "syntax error in line 1"),
    "fails after all": (f"echo '{WHOLE}'; exit 3", ""),
    "is killed": (f"echo '{WHOLE}'; kill -9 $$", ""),
    "says nothing": ("exit 0", ""),
    "stops early": (f"echo '{WHOLE[:40]}'", "its SVG is broken"),
    "fails without a word": ("exit 7", "it said nothing, and ended with status 7"),
    "floods": ("yes complaint | head -c 10000000 >&2; exit 1", "(complaint\n){199}complaint$"),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("is_there", [False, True])
def test_a_program_that_breaks_down(digraph, how, is_there, tmp_path, monkeypatch):
    script, message = BROKEN[how]
    broken = executable(tmp_path / "bin" / "dot", script)
    monkeypatch.setattr(SAVE, "find_engine", lambda: str(broken))
    folder = tmp_path / "out"
    folder.mkdir()
    if is_there:
        (folder / "picture.svg").write_text("as it was")
    with pytest.raises(RuntimeError, match=f"{broken} could not draw this graph: .*{message}"):
        draw.save(digraph, folder / "picture.svg")
    assert os.listdir(folder) == (["picture.svg"] if is_there else [])
    assert not is_there or (folder / "picture.svg").read_text() == "as it was"


@pytest.mark.parametrize("suffix", ["png", "pdf"])
@pytest.mark.parametrize("what", ["text", "the first half"])
def test_what_is_no_picture_is_not_written_as_one(digraph, suffix, what, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    written = {"text": b"this is no picture", "the first half": STARTS[suffix] + b"\x1a\n-1.4 and so on"}[what]
    (tmp_path / "bin" / "written").write_bytes(written)
    program = executable(tmp_path / "bin" / "dot", f"cat '{tmp_path}/bin/written'")
    monkeypatch.setattr(SAVE, "find_engine", lambda: str(program))
    with pytest.raises(
        RuntimeError, match=f"dot could not draw this graph: what it wrote is not a complete {suffix.upper()}"
    ):
        draw.save(digraph, tmp_path / f"picture.{suffix}")
    assert os.listdir(tmp_path) == ["bin"]


@pytest.mark.parametrize("content", [None, b"", b"#!/nonexistent\n"], ids=["a folder", "nothing", "of no interpreter"])
def test_a_program_that_cannot_be_started(digraph, content, tmp_path, monkeypatch):
    path = tmp_path / "dot"
    path.mkdir() if content is None else path.write_bytes(content)
    path.chmod(0o755)
    monkeypatch.setattr(SAVE, "find_engine", lambda: str(path))
    with pytest.raises(RuntimeError, match=r"dot could not draw this graph: it cannot be started, \[Errno"):
        draw.save(digraph, tmp_path / "picture.svg")
    assert os.listdir(tmp_path) == ["dot"]


@pytest.mark.parametrize("how", ["hangs", "hangs in a child", "leaves a child behind", "floods without end"])
def test_a_program_that_does_not_end_is_ended(digraph, how, tmp_path, monkeypatch):
    """With what it has started: a child that lives on would hold its pipes open."""
    script = {"hangs": "exec sleep 1000", "hangs in a child": "sleep 1000; exit 0",
              "leaves a child behind": "sleep 1000 & exit 0",
              "floods without end": "yes picture & exec yes complaint >&2"}[how]  # fmt: skip
    program = executable(tmp_path / "bin" / "dot", f"echo thinking >&2; {script}")
    monkeypatch.setattr(SAVE, "find_engine", lambda: str(program))
    (tmp_path / "out").mkdir()
    start = time.monotonic()
    with pytest.raises(
        RuntimeError, match=r"dot could not draw this graph within 0\.3 seconds, and was killed; .*think"
    ):
        draw.save(digraph, tmp_path / "out" / "picture.svg", timeout=0.3)
    assert time.monotonic() - start < 10
    assert os.listdir(tmp_path / "out") == []


def test_all_that_a_program_says_is_waited_for(digraph, tmp_path, monkeypatch):
    """Also what a child of it says after its end."""
    program = executable(tmp_path / "bin" / "dot", "(sleep 0.2; echo too late >&2) >&- & exit 3")
    monkeypatch.setattr(SAVE, "find_engine", lambda: str(program))
    with pytest.raises(RuntimeError, match="dot could not draw this graph: too late"):
        draw.save(digraph, tmp_path / "picture.svg")


# Which program.


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_system_s_dot_comes_first_and_an_environment_s_program_last(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(engines.sysconfig, "get_path", lambda name: str(tmp_path / name))
    assert engines.find_engine() is None
    for folder, name in (("scripts", "graphviz-pure"), ("bin", "graphviz-pure"), ("bin", "dot")):
        path = executable(tmp_path / folder / name, "exit 1")
        assert engines.find_engine() == str(path)


def test_without_any_program_both_remedies_are_named(digraph, tmp_path, monkeypatch):
    monkeypatch.setattr(SAVE, "find_engine", lambda: None)
    remedies = r"apt install graphviz.*pip install graphviz-pure; .dot files need none"
    for suffix in ("svg", "png", "pdf"):
        with pytest.raises(RuntimeError, match=remedies):
            draw.save(digraph, tmp_path / f"picture.{suffix}")
    draw.save(digraph, tmp_path / "picture.dot")
    assert os.listdir(tmp_path) == ["picture.dot"]


@pytest.mark.parametrize("name", ENGINES)
def test_the_ways_of_the_package_graphviz_find_the_program_and_change_nothing_of_it(name, tmp_path):
    """In a process of its own, whose PATH has no other program."""
    (tmp_path / name).symlink_to(path_of(name))
    code = """
import pathlib, pickle
import graphviz
import graphviz.backend.dot_command as command
import tinygrad_vg as tg
before = {key: dict(vars(part)) for key, part in (("package", graphviz), ("command", command))}
b = tg.Tensor(0.5, requires_grad=True, name="b")
digraph = tg.draw.graph(tg.ops.sigmoid(b))
assert isinstance(digraph, graphviz.Digraph)
for picture in (digraph, digraph.copy(), pickle.loads(pickle.dumps(digraph))):
    assert picture.source == digraph.source
    assert "sigmoid" in picture.pipe("svg", encoding="utf-8")
    assert picture.pipe("png")[1:4] == b"PNG"
    assert "sigmoid" in picture._repr_mimebundle_()["image/svg+xml"]
path = digraph.render("graph", "out", format="svg", cleanup=True)
assert pathlib.Path(path) == pathlib.Path("out/graph.svg") and "sigmoid" in pathlib.Path(path).read_text("utf-8")
assert [file.name for file in pathlib.Path("out").iterdir()] == ["graph.svg"]
assert before == {key: dict(vars(part)) for key, part in (("package", graphviz), ("command", command))}
"""
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["dot", "graphviz-pure", "my-dot"])
@pytest.mark.parametrize("how", ["piped", "rendered", "shown in Jupyter"])
def test_the_ways_of_the_package_graphviz_wait_for_no_program_for_ever(digraph, name, how, tmp_path, monkeypatch):
    program = executable(tmp_path / "bin" / name, "echo thinking >&2; sleep 1000")
    if name == "my-dot":
        monkeypatch.setattr(pictures.dot_command, "DOT_BINARY", program)
    else:
        monkeypatch.setattr(pictures, "find_engine", lambda: str(program))
    if how == "shown in Jupyter":
        monkeypatch.setattr(pictures.Picture.pipe, "__defaults__", (None, 0.2))
    draw_it = {
        "piped": lambda: digraph.pipe("svg", timeout=0.2),
        "rendered": lambda: digraph.render(tmp_path / "own.gv", format="svg", timeout=0.2),
        "shown in Jupyter": digraph._repr_mimebundle_,
    }[how]
    with pytest.raises(
        RuntimeError, match=rf"{name} could not draw this graph within 0\.2 seconds, .* killed; .*think"
    ):
        draw_it()
    assert not (tmp_path / "own.gv.svg").exists()


def test_what_the_program_says_is_told_unless_nobody_wants_it(digraph, tmp_path, monkeypatch, capsys):
    program = executable(tmp_path / "bin" / "dot", "echo complaint >&2; echo picture")
    monkeypatch.setattr(pictures, "find_engine", lambda: str(program))
    assert digraph.pipe("svg", quiet=True) == b"picture\n"
    digraph.render(tmp_path / "own.gv", quiet=True)
    assert capsys.readouterr().err == ""
    assert digraph.pipe("svg", encoding="ascii") == "picture\n"
    assert capsys.readouterr().err == "complaint\n"


def test_a_chosen_program_that_is_missing_is_missing(digraph, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures.dot_command, "DOT_BINARY", tmp_path / "none")
    with pytest.raises(graphviz.ExecutableNotFound):
        digraph.pipe("svg")


@pytest.fixture
def only_pure(tmp_path, monkeypatch):
    """A graphviz-pure that tells its arguments in place of a picture, and no dot."""
    path = tmp_path / "graphviz-pure"
    path.write_text('#!/bin/sh\n[ "$1" = -Kcirco ] && { echo no circles >&2; exit 3; }\necho "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr(pictures, "find_engine", lambda: str(path))
    monkeypatch.setenv("PATH", "/nonexistent")
    return path


def test_layout_program_and_format_are_those_asked_for(digraph, only_pure):
    assert digraph.pipe(encoding="ascii").split() == ["-Kdot", "-Tpdf"]
    assert digraph.pipe("svg", engine="neato").split() == [b"-Kneato", b"-Tsvg"]
    with pytest.raises(graphviz.CalledProcessError, match=r"exit status 3.*no circles"):
        digraph.pipe("svg", engine="circo")


def test_render_keeps_the_source_and_shows_the_picture(digraph, only_pure, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures.graphviz, "view", lambda path, quiet: shown.append(str(path)))
    drawn = digraph.render(tmp_path / "own.gv", format="png")
    assert drawn == str(tmp_path / "own.gv.png")
    assert (tmp_path / "own.gv").read_text("utf-8") == digraph.source
    assert shown == []
    assert digraph.view(tmp_path / "own.gv") == str(tmp_path / "own.gv.pdf")
    assert shown == [str(tmp_path / "own.gv.pdf")]


def test_what_only_dot_can_do_is_left_to_it(digraph, only_pure, tmp_path):
    with pytest.raises(graphviz.ExecutableNotFound):
        digraph.pipe("svg", renderer="cairo")
    with pytest.raises(graphviz.ExecutableNotFound):
        digraph.render(outfile=tmp_path / "picture.svg")


def test_a_program_chosen_by_the_user_stays(digraph, only_pure, tmp_path, monkeypatch):
    import graphviz.backend.dot_command as command

    monkeypatch.setattr(command, "DOT_BINARY", executable(tmp_path / "own" / "my-dot", "echo mine"))
    assert digraph.pipe("svg").strip() == b"mine"
    assert Path(digraph.render(tmp_path / "own.gv", format="svg")).name == "own.gv.svg"
