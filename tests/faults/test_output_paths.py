"""What stands at an output path: kinds of files at random, under every writer of the system.

Whatever it is, the path keeps its kind: a device stays a device and a link a link, and a foreign file keeps its bytes.
"""

from __future__ import annotations

import ast
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.commands import Prepare, Run, run_all
from tests.fixtures.examples import share_of

import prometheus
from prometheus.core.files import OutputFile, require_writable, write_if_changed
from prometheus.errors import FileAccessError
from prometheus.files.pictures import save_figure
from prometheus.files.prototypes import write_prototypes
from prometheus.files.rejects import QuarantineFile, Rejection
from prometheus.files.tables import Reason
from prometheus.regime.picture import new_figure
from prometheus.regime.prototypes import parse_prototypes

PROTOTYPES = '{"region": "US", "embedding_dim": 1, "prototypes": {"CRISIS": {"center": [%d]}}}'
FOREIGN = b"the user's own notes\n"
NULL, FULL = os.makedev(1, 3), os.makedev(1, 7)


def _prototypes(path: Path) -> None:
    write_prototypes(parse_prototypes(PROTOTYPES % 2, "new"), path)


def _picture(path: Path) -> None:
    figure = new_figure(2, 2)
    figure.add_subplot().plot([1, 2])
    save_figure(figure, path)


def _quarantine(path: Path) -> None:
    with QuarantineFile(path, ["close"]) as file:
        file.add([Rejection("p.csv", 2, "close", Reason.NOT_A_DATE, ("x",))])
        file.publish()


def _text(path: Path) -> None:
    require_writable(path)
    write_if_changed(path, "new\n")


WRITERS: dict[str, Callable[[Path], None]] = {
    "prototypes": _prototypes, "picture": _picture, "quarantine": _quarantine, "text": _text,
}  # fmt: skip
KINDS = ("nothing", "ours", "foreign", "folder", "pipe", "read pipe", "socket", "null", "full", "disk")


@contextmanager
def standing(kind: str, path: Path, write: Callable[[Path], None]) -> Iterator[None]:
    """Put something of a kind at a path; skip a device where none can be made."""
    reader = None
    if kind == "ours":
        write(path)
        path.write_bytes(path.read_bytes() + b" ")  # of its kind, and not what is written anew
    elif kind == "foreign":
        path.write_bytes(FOREIGN)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("pipe", "read pipe"):
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if kind == "read pipe" else None
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind != "nothing":
        _make_device(kind, path)
    try:
        yield
    finally:
        if reader is not None:
            os.close(reader)


def _make_device(kind: str, path: Path) -> None:
    mode, number = {
        "null": (stat.S_IFCHR, NULL), "full": (stat.S_IFCHR, FULL), "disk": (stat.S_IFBLK, os.makedev(7, 255)),
    }[kind]  # fmt: skip
    try:
        os.mknod(path, mode | 0o666, number)
        if kind != "disk":
            os.close(os.open(path, os.O_WRONLY))
    except PermissionError:
        pytest.skip("devices can be neither made nor opened here")


def identity(path: Path) -> tuple[int, int, bytes]:
    """Return the kind of a path itself, its device number, and what a link says."""
    status = path.lstat()
    target = os.readlink(path).encode() if stat.S_ISLNK(status.st_mode) else b""  # noqa: PTH115 -- its bytes
    return stat.S_IFMT(status.st_mode), status.st_rdev, target


@given(
    st.sampled_from(sorted(WRITERS)), st.sampled_from(KINDS), st.integers(0, 3),
    st.sampled_from([0o022, 0o077, 0o002]), st.sampled_from([0o600, 0o640, 0o664]),
    st.sampled_from(["p", "p" * 255, "naïve 株式", "-o"]),
)  # fmt: skip
@settings(max_examples=share_of(400))
def test_a_path_keeps_its_kind_whoever_writes(
    writer: str, kind: str, n_links: int, umask: int, mode: int, name: str
) -> None:
    write = WRITERS[writer]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short path: a socket's may have 107 bytes
        target = Path(folder, "t") / ("s" if kind == "socket" else name)
        target.parent.mkdir()
        with standing(kind, target, write):
            if kind in ("ours", "foreign"):
                target.chmod(mode)
            path = target
            for number in range(n_links):
                link = Path(folder, f"l{number}")
                link.symlink_to(path)
                path = link
            links = [identity(each) for each in Path(folder).glob("l*")]
            before = identity(target) if kind != "nothing" else None
            refused = _written(write, path, umask)

            assert links == [identity(each) for each in Path(folder).glob("l*")]
            assert refused == (kind in ("folder", "pipe", "socket", "full", "disk") or _is_foreign(writer, kind))
            assert os.listdir(target.parent) == ([] if kind == "nothing" and refused else [target.name])  # noqa: PTH208
            if before is not None:
                assert identity(target) == before
            if kind in ("ours", "foreign"):
                assert stat.S_IMODE(target.stat().st_mode) == mode
            if kind == "nothing":
                assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
            if kind == "foreign" and refused:
                assert target.read_bytes() == FOREIGN


def _is_foreign(writer: str, kind: str) -> bool:
    return kind == "foreign" and writer != "text"


def _written(write: Callable[[Path], None], path: Path, umask: int) -> bool:
    """Return whether a writer refused, in one line that names the path."""
    before = os.umask(umask)
    said = ""
    try:
        write(path)
    except FileAccessError as error:
        said = str(error)
    finally:
        os.umask(before)
    assert not said or (said.startswith(f"{path}: ") and "; " in said and "\n" not in said)
    return bool(said)


def test_a_pipe_that_is_read_gets_every_byte(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    content = bytes(range(256)) * 200  # less than a pipe holds
    assert write_if_changed(tmp_path / "pipe", content)
    assert os.read(reader, 1 << 20) == content
    os.close(reader)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(FileAccessError, match="too many levels of symbolic links"):
        write_if_changed(tmp_path / "a", "text")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]  # noqa: PTH208


def test_standard_output_is_written_through_by_its_name(run: Run, tmp_path: Path) -> None:
    """``--output /dev/stdout > FILE`` goes on in the same file."""
    target = tmp_path / "out"
    kept, opened = os.dup(1), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(opened, 1)
    try:
        os.write(1, b"before\n")
        write_if_changed(Path("/dev/stdout"), "written\n")
        os.write(1, b"after\n")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(opened)
    assert target.read_bytes() == b"before\nwritten\nafter\n"


def test_what_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(FOREIGN)
    with suppress(ZeroDivisionError), OutputFile(tmp_path / "p") as output:
        output.write(b"half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["p"]  # noqa: PTH208
    assert (tmp_path / "p").read_bytes() == FOREIGN


INDEX = ["--region", "SPX", "--instrument-id", "GSPC.INDX"]
COMMANDS = {
    "calibrate": ["calibrate", *INDEX, "--until", "2007-12-31", "--output"],
    "plot_regimes": ["plot_regimes", *INDEX, "--output"],
    "report": ["report", "--region", "SPX", "--output"],
    "compute_regime_prototypes": [
        "compute_regime_prototypes", "--region", "SPX", "--model-id", "num-regime-core-v2", "--window",
        "CRISIS=2008-09-01:2008-10-31", "--output",
    ],
    "evaluate_events": ["evaluate_events", "--region", "SPX", "--dates", "dates.txt", "--output"],
    "fit_scale_free_constants": [
        "fit_scale_free_constants", "--instrument-id", "GSPC.INDX", "--start", "2000-01-01", "--end", "2005-12-31",
        "--output",
    ],
    "ingest": ["ingest", "prices", "bad.csv", "--on-error", "quarantine", "--quarantine-path"],
}  # fmt: skip


@pytest.fixture
def labelled(run: Run, prepare: Prepare) -> None:
    """Regimes of 2008, and what the commands read."""
    calibrate = ["calibrate", *INDEX, "--until", "2007-12-31", "--output", "p.json"]
    label = ["run_numeric_regime", *INDEX, "--prototypes", "p.json", "--date-range", "2008-01-01", "2008-12-31"]
    prepare("outputs", lambda: run_all(run, calibrate, label), after="sample")
    Path("dates.txt").write_text("2008-09-15\n2008-10-06\n")
    rows = "".join(f"X,2024-01-{day:02},{close}\n" for day, close in enumerate([*"123456789", "x", "1"], 2))
    Path("bad.csv").write_text(f"ticker,date,close\n{rows}")


@pytest.mark.usefixtures("labelled")
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_replaces_its_own_file_and_no_other(name: str, run: Run) -> None:
    command = COMMANDS[name]
    own = 3 if name == "ingest" else 0
    Path("foreign").write_bytes(FOREIGN)
    Path("link").symlink_to("real")
    os.mkfifo("pipe")

    assert run(*command, "real").exit_code == own
    written = Path("real").read_bytes()
    Path("real").write_bytes(written + b"\n")
    assert run(*command, "link").exit_code == own
    assert Path("link").is_symlink()
    assert Path("real").read_bytes() == written
    for path in ("foreign", "pipe"):
        done = run(*command, path)
        assert done.exit_code == 5, path
        assert len(done.errors) == 1
        assert f"{path}: " in done.errors[0]
    assert Path("foreign").read_bytes() == FOREIGN
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    if name != "ingest":
        assert run(*command, "foreign", "--force").exit_code == 0
        assert Path("foreign").read_bytes() == written


WRITING = {"write_text", "write_bytes", "NamedTemporaryFile", "mkstemp", "savefig", "to_csv", "to_parquet"}
ROOMS = {
    "core/files.py": "the one writer",
    "cli/streams.py": "the null device, in place of a closed stream",
    "files/pictures.py": "draws into memory",
    "results/figures.py": "draws into memory",
    "files/folder_stores.py": "a store's own folder",
    "encoders/texts/built_files.py": "the cache of text models",
    "encoders/texts/bert_graph.py": "the cache of text models",
    "encoders/texts/graph_file.py": "the cache of text models",
    "server/cluster.py": "the embedded server's own folder",
    "server/bootstrap.py": "the embedded server's own folder",
    "app/backups.py": "a new folder, which appears when it is whole",
    "app/model_sources.py": "a new folder beside the models, which appears when it is whole",
}


def test_no_other_module_writes_a_file() -> None:
    root = Path(prometheus.__file__).parent
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if _writes(path)}
    assert found <= set(ROOMS), sorted(found - set(ROOMS))


def _writes(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [
            each.value
            for each in [*node.args, *(each.value for each in node.keywords)]
            if isinstance(each, ast.Constant)
        ]
        if name in WRITING or (
            name in ("open", "fdopen") and {"w", "wb", "a", "ab", "x", "xb", "w+", "w+b"} & set(map(str, modes))
        ):
            return True
    return False
