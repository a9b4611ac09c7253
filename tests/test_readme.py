"""Guards the README: each command parses, and each table is what the script makes of the results."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from study import intervals, tables

README = (ROOT / "README.md").read_text()
PAGES = "".join(page.read_text() for page in tables.PAGES)
COMMAND = re.compile(r"(?:^ +(?:\$ )?|`)python ((?:-m [\w.]+|[\w/]+\.py)\b[^#`\n]*)", re.MULTILINE)
COMMANDS = sorted(set(COMMAND.findall(PAGES)))


def script_of(command: str) -> tuple:
    """The module that a command runs, as in `train_classifier.py --resume`, and its flags."""
    words = shlex.split(command)
    if words[0] == "-m":
        return importlib.import_module(words[1]), words[2:]
    return importlib.import_module(Path(words[0]).stem), words[1:]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_parsed_by_its_script(command):
    script, flags = script_of(command)
    script.parse_args(flags)


def test_the_commands_of_the_pipeline_are_there():
    scripts = {command.split()[0] for command in COMMANDS}
    assert {"train_autoencoder.py", "train_classifier.py", "evaluate.py"} <= scripts


TABLES = tables.tables(intervals.finished(ROOT / "results"))


def test_no_table_is_left_from_an_earlier_version():
    assert sorted(re.findall(r"^<!-- (\w+) -->", PAGES, re.MULTILINE)) == sorted(TABLES)


@pytest.mark.parametrize("name,text", TABLES.items())
def test_each_table_is_what_the_script_makes_of_the_results(name, text):
    assert PAGES.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0] == text


def test_each_picture_is_there_and_no_table_is_empty():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)
    assert not re.search(r"<!-- (\w+) -->\s*<!-- /\1 -->", PAGES)


def test_the_makefiles_commands_are_parsed_by_their_scripts():
    plan = subprocess.run(["make", "-n", "short", "flowers"], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout
    commands = re.findall(r"^\S*python (\w+\.py.*)", plan.replace("\\\n", " "), re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        test_each_command_is_parsed_by_its_script(command)


@pytest.mark.parametrize(
    "script",
    sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (*ROOT.glob("*.py"), *ROOT.glob("[a-z]*/*.py"))
        if path.parent.name != "tests" and "def parse_args(argv" in path.read_text()
    ),
)
def test_help_shows_two_examples_that_parse(script, capsys):
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as ended:
        module.parse_args(["--help"])
    command = f"-m {script}" if "." in script else f"{script}.py"
    examples = re.findall(rf"^ +python {re.escape(command)}([^#\n]*)", capsys.readouterr().out, re.MULTILINE)
    assert ended.value.code == 0 and len(examples) >= 2
    for example in examples:
        module.parse_args(shlex.split(example))


def test_help_needs_neither_matplotlib_nor_scipy_nor_torchvision():
    code = ("import sys, train_classifier, predict, study.run; "
            "print({'matplotlib', 'scipy', 'torchvision'} & sys.modules.keys())")
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout
        == "set()\n"
    )


def test_each_file_of_the_ground_floor_and_each_room_is_named():
    for path in ROOT.glob("*.py"):
        assert path.name in README, path.name
    rooms = {path.parent.name for path in ROOT.glob("[a-z]*/*.py")}
    assert rooms == {"flowers", "support", "study", "bench", "tests"}
    assert all(f"{room}/" in README for room in rooms)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130
    assert max(map(len, TABLES["answers"].splitlines())) <= 160
