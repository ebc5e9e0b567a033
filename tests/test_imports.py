"""The rooms of asd/ and who may know whom; every import counts, also one within a function."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "asd"

LAYERS = (
    ("__main__",),
    ("cli",),
    ("__init__",),  # public names, imported when they are used
    ("api",),
    ("search",),
    ("jobs", "monitoring"),
    ("pages",),
    ("report",),
    ("submission",),
    ("evaluation",),
    ("detector", "config"),
    ("differences",),
    ("run_parameters", "systems"),
    ("backends", "encoders", "scores", "synthetic"),
    ("audio", "challenge"),
    ("schema", "extensions", "archives", "csvfiles", "locks", "logs"),
    ("clips", "files", "output", "processes", "threads", "memory", "products"),
    ("errors",),
    ("words",),
)
"""Rooms from the top down: each may import what lies below it, and itself."""

NEVER = {
    "evaluation": {"systems", "detector", "config"},
    "submission": {"systems", "detector", "config"},
    "report": {"systems", "detector", "config", "audio"},
    "challenge": {"audio"},
    "audio": {"challenge"},
    "systems": {"challenge"},
    "synthetic": {"scores", "backends"},
}
"""Rooms that must not know others, though these lie below them."""


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(room):
    return next(i for i, rooms in enumerate(LAYERS) if room in rooms)


def imported_modules(source):
    """Full names of the modules and names of asd that a module's text imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name for name in names if name.startswith("asd.")}
    return found - {"asd.__version__"}


def forbidden(room, source):
    """Rooms that a module of a room imports and must not."""
    rooms = {name.split(".")[1] for name in imported_modules(source)} - {room}
    return {
        other
        for other in rooms
        if layer_of(other) <= layer_of(room) or other in NEVER.get(room, ())
    }


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
        ("evaluation", "from asd.systems.base import System", {"systems"}),
        ("challenge", "from asd.audio.wav import find_sound", {"audio"}),
        ("errors", "from asd.files import write_text", {"files"}),
        ("systems", "from asd.audio.features import Features\nimport asd.errors", set()),
    ],
)
def test_a_wrong_import_would_be_found(room, line, expected):
    assert forbidden(room, line) == expected


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(imports):
    """Groups of modules that import each other, from module -> imported modules."""
    reached = {}
    for module in imports:
        seen, waiting = set(), [module]
        while waiting:
            new = imports.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        reached[module] = seen
    return {
        frozenset({a, b}) for a, seen in reached.items() for b in seen if a in reached.get(b, ())
    }


def test_no_two_files_import_each_other():
    names = {module_name(path): path for path in MODULES}
    imports = {}
    for module, path in names.items():
        found = imported_modules(path.read_text(encoding="utf-8"))
        own = {n if n in names else n.rpartition(".")[0] for n in found}
        imports[module] = (own & set(names)) - {module, "asd"}
    assert circles(imports) == set()


def test_a_circle_would_be_found():
    chain = {"a": {"b"}, "b": {"c"}, "c": set()}
    assert circles(chain) == set()
    assert frozenset({"a", "c"}) in circles({**chain, "c": {"a"}})


def loaded_by(statement):
    """Top-level modules that a fresh Python has loaded after `statement`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in done.stdout.split("\n")[-2].split()}


HEAVY = {
    "torch", "librosa", "matplotlib", "pandas", "seaborn", "sklearn", "scipy", "soundfile",
    "requests",
}  # fmt: skip


def test_help_loads_no_command_and_a_command_no_other():
    run = "from asd.cli import main\ntry: main(['{}', '--help'])\nexcept SystemExit: pass\n"
    seen = "import sys; print(*(name for name in sys.modules if name.startswith('asd')))"

    def loaded(word):
        done = subprocess.run(
            [sys.executable, "-c", run.format(word) + seen],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return set(done.stdout.splitlines()[-1].split())

    assert loaded("--help") & {"asd.config", "asd.cli.models", "asd.systems.registry"} == set()
    assert loaded("train") & {"asd.cli.models", "asd.cli.data"} == {"asd.cli.models"}


@pytest.mark.parametrize(
    "statement",
    [
        "import asd.cli",
        "from asd.cli import main; main(['train', '-d', '--epochs', 'x'])",
        "import asd.config; asd.config.load_config(None, {}).machines",
        "import asd.challenge.labels, asd.challenge.unify",
    ],
)
def test_the_command_line_answers_without_loading_heavy_libraries(statement):
    assert loaded_by(statement) & HEAVY == set()


@pytest.mark.parametrize("name", ["create", "load", "load_challenge", "recordings", "Detector"])
def test_a_name_of_the_api_is_known_before_anything_is_loaded(name):
    """`import asd` takes hundredths of a second, also where all of numpy and torch take seconds."""
    statement = f"import asd; assert {name!r} in dir(asd)"
    assert loaded_by(statement) & {*HEAVY, "numpy", "yaml", "tqdm"} == set()


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
