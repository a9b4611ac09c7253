"""Guards the README: each command parses, each table is what the script makes of the results, each file has its row."""

import importlib
import re
import shlex

import pytest
from conftest import ROOT

import tables

README = (ROOT / "README.md").read_text()
PAGES = README + (ROOT / "results/README.md").read_text()
COMMANDS = sorted(set(re.findall(r"^ +python (\w+\.py[^#\n]*)", README, re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_parsed_by_its_script(command):
    script, *flags = shlex.split(command)
    importlib.import_module(script.removesuffix(".py")).parse_args(flags)


def test_the_commands_of_the_pipeline_are_there():
    assert {"train_autoencoder.py", "train_classifier.py", "evaluate.py"} <= {command.strip() for command in COMMANDS}


@pytest.mark.parametrize("name,text", tables.tables(ROOT / "results").items())
def test_each_table_is_what_the_script_makes_of_the_results(name, text):
    assert PAGES.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0] == text


def test_each_file_has_its_row():
    listed = set(re.findall(r"`(\w+\.py)`", README))
    assert {path.name for path in ROOT.glob("*.py")} <= listed
