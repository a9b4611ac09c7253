"""Guards the README: each command parses, each table is what the script makes of the results, each file has its row."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

import comparisons
import tables

README = (ROOT / "README.md").read_text()
PAGES = README + (ROOT / "results/README.md").read_text()
COMMANDS = sorted(set(re.findall(r"(?:^ +|`)python ([\w/]+\.py[^#`\n]*)", PAGES, re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_parsed_by_its_script(command):
    script, *flags = shlex.split(command)
    importlib.import_module(Path(script).stem).parse_args(flags)


def test_the_commands_of_the_pipeline_are_there():
    assert {"train_autoencoder.py", "train_classifier.py", "evaluate.py"} <= {command.strip() for command in COMMANDS}


TABLES = tables.tables(ROOT / "results")


def test_no_table_is_left_from_an_earlier_version():
    assert sorted(re.findall(r"^<!-- (\w+) -->", PAGES, re.MULTILINE)) == sorted(TABLES)


@pytest.mark.parametrize("name,text", TABLES.items())
def test_each_table_is_what_the_script_makes_of_the_results(name, text):
    assert PAGES.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0] == text


def test_the_chart_shows_the_results():
    shown = Image.open(ROOT / "results/section5.png").text["Description"]
    assert shown == repr(comparisons.plotted(comparisons.finished(ROOT / "results")))


def test_each_picture_is_there_and_no_table_is_empty():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)
    assert not re.search(r"<!-- (\w+) -->\s*<!-- /\1 -->", PAGES)


def test_the_makefiles_commands_are_parsed_by_their_scripts():
    plan = subprocess.run(["make", "-n", "short", "flowers"], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout
    commands = re.findall(r"python (\w+\.py.*)", plan)
    assert len(commands) == 6
    for command in commands:
        test_each_command_is_parsed_by_its_script(command)


@pytest.mark.parametrize("script", sorted(path.stem for path in ROOT.glob("*.py")
                                          if "parse_args(argv" in path.read_text()))
def test_help_shows_two_examples_that_parse(script, capsys):
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as ended:
        module.parse_args(["--help"])
    examples = re.findall(rf"^ +python {script}\.py([^#\n]*)", capsys.readouterr().out, re.MULTILINE)
    assert ended.value.code == 0 and len(examples) >= 2
    for example in examples:
        module.parse_args(shlex.split(example))


def test_help_needs_neither_matplotlib_nor_scipy_nor_torchvision():
    code = ("import sys, train_classifier, predict, experiments; "
            "print({'matplotlib', 'scipy', 'torchvision'} & sys.modules.keys())")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"


def test_each_file_has_its_row():
    rows = "".join(re.findall(r"^\| (`[^|]+) \|", README, re.MULTILINE))  # their first cells
    assert sorted(re.findall(r"`(\w+\.py)`", rows)) == sorted(path.name for path in ROOT.glob("*.py"))
