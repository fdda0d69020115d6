"""The house keeps its walls: who may import whom, how long files and functions are, what is never written down."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src/facemae").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_LOOP = 330, 60, 120
LOOPS = {"src/facemae/train/pretrain.py", "src/facemae/train/recognize.py"}
PUBLISHED = [
    path
    for name in (
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "pyproject.toml",
        "docs",
        "src",
        "tests",
        "benchmarks",
        "results",
    )
    for path in ([ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*")))
    if path.suffix in {".md", ".py", ".toml", ".json", ".html", ".txt", ".csv", ""} and path.is_file()
]
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:work|tmp|home|root|mnt|var|Users)/\w")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_there_is_a_house() -> None:
    assert len(SOURCES) > 50
    assert ROOT / "README.md" in PUBLISHED


def test_rooms_see_only_what_lies_below() -> None:
    # In a process of its own: it makes itself at home in the streams of the one it runs in.
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    ended = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    long = {
        f"{relative(path)}: {name}": length
        for path in SOURCES
        for name, length in functions(path)
        if length > (LONGEST_LOOP if relative(path) in LOOPS else LONGEST_FUNCTION)
    }
    assert long == {}


def test_only_the_command_line_prints() -> None:
    def prints(path: Path) -> bool:
        calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
        return any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)

    assert [relative(path) for path in SOURCES if prints(path) and path.parent.name != "cli"] == []


@pytest.mark.slow
def test_every_module_says_what_it_is() -> None:
    silent = [
        relative(path)
        for path in SOURCES
        if path.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


@pytest.mark.slow
def test_every_module_is_imported_without_a_warning() -> None:
    script = (
        "import importlib, pkgutil, facemae\n"
        "for module in pkgutil.walk_packages(facemae.__path__, 'facemae.'):\n"
        "    if module.name != 'facemae.__main__': importlib.import_module(module.name)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_path_of_a_machine_is_written_down() -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in PUBLISHED
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []
