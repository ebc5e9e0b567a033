"""The rooms of asd/ and who may know whom; every import counts, also one within a function."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "asd"

LEAVES = {"clips", "csvfiles", "errors", "files", "memory", "parameters", "words"}
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "cli": {
        "config",
        "jobs",
        "systems",
        "audio",
        "challenge",
        "evaluation",
        "report",
        "scores",
        "submission",
        "synthetic",
        "logs",
    },
    "config": {"systems", "challenge"},
    "jobs": {
        "config",
        "systems",
        "audio",
        "backends",
        "challenge",
        "evaluation",
        "report",
        "scores",
        "submission",
        "logs",
    },
    "systems": {"audio", "backends", "challenge", "schema", "scores"},
    "submission": {"challenge", "evaluation"},
    "report": {"evaluation", "submission"},
    "evaluation": {"challenge", "scores"},
    "scores": set(),
    "backends": {"schema"},
    "synthetic": {"audio", "challenge"},
    "audio": {"challenge"},
    "challenge": set(),
    "schema": set(),
    "logs": set(),
    "clips": set(),
    "csvfiles": {"errors", "files"},
    "errors": set(),
    "files": {"errors"},
    "memory": set(),
    "parameters": set(),
    "words": set(),
}
"""Room -> rooms it may import beside itself and, unless it is one of them, the leaves."""


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source):
    """Names of the rooms that a module's text imports from."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("asd.")}
    return rooms - {"__version__"}


def forbidden(room, source):
    allowed = MAY_IMPORT[room] | {room} | (set() if room in LEAVES else LEAVES)
    return imported_rooms(source) - allowed


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    assert forbidden(room_of(path), path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("room", "line", "expected"),
    [
        ("systems", "from asd.jobs.jobs import Job", {"jobs"}),
        ("report", "import asd.config", {"config"}),
        ("evaluation", "def f():\n    from asd import cli", {"cli"}),
        ("challenge", "from asd.audio.wav import read_header", {"audio"}),
        ("errors", "from asd.files import write_text", {"files"}),
        ("systems", "from asd.audio.features import Features\nimport asd.errors", set()),
    ],
)
def test_a_wrong_import_would_be_found(room, line, expected):
    assert forbidden(room, line) == expected


def loaded_by(statement):
    """Top-level modules that a fresh Python has loaded after `statement`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in done.stdout.split("\n")[-2].split()}


HEAVY = {"torch", "librosa", "matplotlib", "seaborn", "sklearn", "scipy", "soundfile"}


@pytest.mark.parametrize(
    "statement",
    [
        "import asd.cli",
        "from asd.cli import main; main(['train', '-d', '--epochs', 'x'])",
        "import asd.config; asd.config.load_config(None, {}).machines",
    ],
)
def test_the_command_line_answers_without_loading_heavy_libraries(statement):
    assert loaded_by(statement) & HEAVY == set()


def test_waiting_threads_are_told_to_sleep_before_torch_is_loaded():
    program = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None); from asd.cli import main; "
        "main(['train', '-d', '--epochs', 'x']); "
        "sys.exit('torch' in sys.modules or os.environ['OMP_WAIT_POLICY'] != 'PASSIVE')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_loading_would_be_noticed():
    assert "scipy" in loaded_by("import scipy.linalg")


def test_help_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "asd", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.split("\n")}
    assert "argparse" in loaded
    assert loaded & HEAVY == set()
    assert "COMMAND" in done.stdout
