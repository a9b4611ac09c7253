"""Guards the house: which way imports point, how long files and mains are, where the step stands."""

import ast
import difflib
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

LISTED = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True).stdout.split()
FILES = [path for path in LISTED if not path.startswith("tests/")]
ROOMS = ("flowers", "support", "study", "bench", "tests")
# what each file of the ground floor may import, besides flowers and support; rooms: which rooms they may
MAY_IMPORT = {
    "inverse_maxpool": set(), "models": {"inverse_maxpool"}, "data": set(), "recipes": set(),
    "augment": {"data"}, "training": {"augment", "data", "recipes"}, "predict": {"augment", "evaluate"},
    "export": {"evaluate"},
    "evaluate": {"data", "augment", "models"},
    "train_autoencoder": {"data", "augment", "models", "recipes", "training", "evaluate"},
    "train_classifier": {"data", "augment", "models", "recipes", "training", "evaluate"}}
GROUND = set(MAY_IMPORT)


def imported(path: str) -> set[str]:
    """The names of our own modules and rooms that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found & (GROUND | set(ROOMS))


def lines(path: str) -> int:
    return len((ROOT / path).read_text().splitlines())


@pytest.mark.parametrize("path", FILES)
def test_arrows_point_one_way(path):
    room = path.split("/")[0] if "/" in path else None
    allowed = {"support": {"support"}, "flowers": {"flowers", "support"},
               "study": GROUND | {"flowers", "support", "study"},
               "bench": GROUND | {"flowers", "support", "bench", "tests"},
               None: MAY_IMPORT.get(Path(path).stem, set()) | {"flowers", "support"}}[room]
    assert imported(path) <= allowed
    if room is None:
        assert Path(path).stem in GROUND, f"{path} has no place on the ground floor"


def test_of_the_tests_the_benches_import_the_reports_code_alone():
    for path in (path for path in FILES if path.startswith("bench/")):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "tests":
                assert (node.module, [alias.name for alias in node.names]) == ("tests", ["reference"])


def test_no_path_is_touched_and_torchruns_rank_is_asked_in_one_place():
    for path in FILES:
        text = (ROOT / path).read_text()
        assert "sys.path" not in text, path
        assert "LOCAL_RANK" not in text or path == "support/distributed.py", path


OVER = pytest.mark.xfail(reason="training in several processes and the mapped cache came", strict=True)


@pytest.mark.parametrize("what,bound", (("the ground floor", 1350), ("study and bench", 1600),
                                        pytest.param("all", 4500, marks=OVER)))
def test_the_rooms_keep_to_their_bounds(what, bound):
    """Of lines, all Python outside tests/."""
    counted = {"the ground floor": [path for path in FILES if "/" not in path],
               "study and bench": [path for path in FILES if path.startswith(("study/", "bench/"))],
               "all": FILES}[what]
    assert sum(map(lines, counted)) <= bound


def test_files_keep_to_their_bounds():
    for path in FILES:
        assert lines(path) <= (260 if path == "evaluate.py" else 200), path


def depth(node: ast.AST) -> int:
    """How many statements with a body of their own stand inside each other below a node; elif counts."""
    compound = (ast.For, ast.While, ast.If, ast.With, ast.Try)
    below = ast.iter_child_nodes(node)
    return max((isinstance(child, compound) + depth(child) for child in below), default=0)


def functions(script: str) -> dict[str, ast.FunctionDef]:
    """The functions of a script on the ground floor, by name."""
    return {node.name: node for node in ast.parse((ROOT / f"{script}.py").read_text()).body
            if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("script", sorted(name for name in GROUND if "main" in functions(name)))
def test_a_scripts_main_is_short_and_flat(script):
    main = functions(script)["main"]
    assert main.end_lineno - main.lineno + 1 <= 50 and depth(main) <= 3


@pytest.mark.parametrize("script", ("train_autoencoder", "train_classifier"))
def test_a_training_scripts_step_stands_in_plain_sight(script):
    (backward,) = (node for node in ast.walk(functions(script)["train_one_epoch"])
                   if isinstance(node, ast.Attribute) and node.attr == "backward")
    assert backward.col_offset <= 12


def test_the_training_scripts_have_few_lines_in_common():
    """Runs of two lines or more, imports apart."""
    texts = [[line.strip() for line in (ROOT / f"train_{stage}.py").read_text().splitlines()
              if line.strip() and not line.startswith(("import ", "from "))]
             for stage in ("autoencoder", "classifier")]
    blocks = difflib.SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks()
    assert sum(block.size for block in blocks if block.size >= 2) <= 20
