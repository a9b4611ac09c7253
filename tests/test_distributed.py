"""Guards training in several processes and on several hosts: real ones, by torchrun, against one alone."""

import contextlib
import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import OURS, ROOT, run_script
from torch.optim.optimizer import register_optimizer_step_pre_hook

import evaluate  # noqa: F401 (for the worker)
import train_autoencoder
import train_classifier
from support import distributed, parallel, run_log
from tests.kills import draw_folder

HERE = ["--dataset", "photos", "--cache-dir", "cache", "--device", "cpu", "--precision", "fp32",
        "--batch-size", "9", "--epochs", "2", "--optimizer", "sgd", "--learning-rate", "0.01"]
POOLED = [*HERE, "--head", "pooled", "--dropout", "0"]
RUNS = {  # without batch norm, whose rounding grows from step to step
    "autoencoder-report": ["--recipe", "report", "--no-batch-norm", *HERE],
    "autoencoder-strong": ["--no-batch-norm", "--weight-decay", "0.05", *HERE],
    "classifier-report": ["--recipe", "report", "--no-batch-norm", *POOLED],
    "classifier-still": [*POOLED, "--learning-rate", "1e-30"],  # batch norm is measured at the end
    # its decay is such that no ReLU's input is so near to zero that rounding decides
    "classifier-strong": ["--no-batch-norm", "--keep", "best", "--class-weights", "balanced",
                          "--weight-decay", "0.1", *POOLED]}
OF = {2: [*RUNS], 3: ["autoencoder-strong", "classifier-strong"]}  # of processes
SCRIPTS = {"autoencoder": train_autoencoder, "classifier": train_classifier}
EVALUATION = ["--classifier", "classifier-strong/classifier.pt", "--cache-dir", "cache", "--device", "cpu",
              "--precision", "fp32", "--autoencoder", "autoencoder-strong/autoencoder.pt", "--out", "tables"]
# What torchrun starts in the tests that compare: all runs, one after another, and which photos were seen.
WORKER = """
import argparse, json, test_distributed as t
from support import distributed, run_folder

def watched(self, batches, epoch):
    seen.append([index for batch in batches for index in batch.tolist()])
    return iter(batches)

def main(args):
    for name in t.OF[distributed.count()]:
        script = t.SCRIPTS[name.split("-")[0]]
        with t.last_gradients(f"{name}.gradients"):
            script.main(script.parse_args([*t.RUNS[name], "--out", name]))
    t.evaluate.main(t.evaluate.parse_args(t.EVALUATION))
    t.check_batch_norm()
    t.check_sending()
    everyones = distributed.gathered([seen])
    if distributed.rank() == 0:
        open("seen.json", "w").write(json.dumps(everyones))
    return 0

seen, run_folder.Run.progress = [], watched
distributed.run(main, argparse.Namespace)
"""


def torchrun(processes: int, *command) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
            str(processes), *map(str, command)]


@contextlib.contextmanager
def last_gradients(path) -> Iterator[None]:
    """Write the gradients of each parameter at the last step of a training to a file."""
    kept = []

    def keep(optimizer, *_):
        kept[:] = [p.grad.clone() for group in optimizer.param_groups for p in group["params"]]

    hook = register_optimizer_step_pre_hook(keep)
    yield
    hook.remove()
    if distributed.rank() == 0:
        torch.save(kept, path)


def check_batch_norm() -> None:
    """In each process: steps of a small net, in float64, are those of one process with whole batches."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(144, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 1)).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    alone = copy.deepcopy(net)
    together = parallel.data_parallel(net, torch.device("cpu"))
    for size in (7, 5):
        x = torch.randn(size, 3, 8, 8, generator=generator, dtype=torch.float64)
        mine = distributed.part(x)
        alone(x).square().mean().backward()
        (distributed.count() * len(mine) / size * together(mine).square().mean()).backward()
        for here, there in zip(net.parameters(), alone.parameters()):
            torch.testing.assert_close(here.grad, there.grad, rtol=1e-9, atol=1e-9)
        for here, there in zip(net.buffers(), alone.buffers()):
            torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            for parameter in (*net.parameters(), *alone.parameters()):
                parameter -= 0.01 * parameter.grad
    torch.testing.assert_close(together.eval()(x), alone.eval()(x), rtol=1e-9, atol=1e-9)


def check_sending() -> None:
    """In each process: what the first has comes as it is, bits and places in memory, of whatever types."""
    torch.manual_seed(0)
    weights = torch.randn(4, 3, 2, 2)
    last = weights.to(memory_format=torch.channels_last)
    sent = {"a": [weights.bfloat16(), {"b": last}], "step": weights[0, 0, 0, 0],
            "gaps": weights[:, :, 0], "none": weights[:0], "flags": {"on": True, "names": ["rosé", None]},
            "rows": torch.arange(5)}
    come = distributed.from_first(lambda: sent)
    assert [come["flags"], come["a"][1]["b"].stride()] == [sent["flags"], sent["a"][1]["b"].stride()]
    for here, there in ((come["a"][0], sent["a"][0]), (come["a"][1]["b"], sent["a"][1]["b"]),
                        *((come[name], sent[name]) for name in ("step", "gaps", "none", "rows"))):
        assert here.dtype == there.dtype and torch.equal(here, there)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The folder of what one process makes of each of RUNS, and of their evaluation."""
    root = tmp_path_factory.mktemp("alone")
    draw_folder(root / "photos")
    for name, flags in RUNS.items():
        with last_gradients(root / f"{name}.gradients"):
            done = run_script(root, f"train_{name.split('-')[0]}", *flags, "--out", name)
        assert done.returncode == 0, done.stderr
    assert run_script(root, "evaluate", *EVALUATION).returncode == 0
    return root


def weights_of(path: Path) -> torch.Tensor:
    """All weights and statistics of a product, as one row."""
    content = torch.load(path, weights_only=True)
    parts = [content[part] for part in ("model", "encoder", "classifier") if part in content]
    return torch.cat([value.flatten().float() for part in parts for value in part.values()])


@pytest.fixture(scope="module", params=OF)
def together(request, alone, tmp_path_factory) -> tuple[int, Path]:
    """The same of so many processes."""
    root = tmp_path_factory.mktemp("together")
    (root / "photos").symlink_to(alone / "photos")
    (root / "worker.py").write_text(WORKER)
    paths = {**OURS, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(torchrun(request.param, "worker.py"), cwd=root, env=paths, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert all(done.stdout.count(f"wrote {name}/") == 1 for name in OF[request.param])  # by the first one
    return request.param, root


def test_processes_train_as_one_does(alone, together):
    """The log, the gradients of the fourth step, of 3 photos, and the weights after it."""
    processes, root = together
    for name in OF[processes]:
        one, many = (torch.load(folder / f"{name}.gradients") for folder in (alone, root))
        # in float32 batch norm of 3 photos rounds more, and biases before it have no gradient but rounding
        rtol, atol = (1e-2, 1e-4) if name == "classifier-still" else (2e-5, 0)
        for own, expected in zip(many, one, strict=True):
            assert (own - expected).norm() <= rtol * expected.norm() + atol
        product = f"{name}/{name.split('-')[0]}.pt"
        one, many = weights_of(alone / product), weights_of(root / product)
        # statistics of millions of values in float32: one process, too, rounds them in its own way
        torch.testing.assert_close(many, one, rtol=1e-4, atol=2e-5 if name == "classifier-still" else 2e-6)
        (begun, *log), (header, *rows) = (
            map(json.loads, (folder / name / "log.jsonl").read_text().splitlines())
            for folder in (alone, root))
        assert (begun["processes"], header["processes"]) == (1, processes)
        for row, expected in zip(rows, log, strict=True):
            assert row.keys() == expected.keys()
            assert row["cost"] == pytest.approx(expected["cost"], rel=1e-5)
            assert row.get("val_accuracy") == expected.get("val_accuracy")
            assert row.get("train_accuracy") == expected.get("train_accuracy")
        assert sorted(os.listdir(root / name)) == sorted(os.listdir(alone / name))


def test_each_photo_is_seen_once_an_epoch_by_one_process(together):
    processes, root = together
    everyones = json.loads((root / "seen.json").read_text())  # of each process, of each epoch: its photos
    assert len(everyones) == processes and len(everyones[0]) == 2 * len(OF[processes])
    for parts in zip(*everyones):
        assert sorted(index for part in parts for index in part) == list(range(12))
        assert max(map(len, parts)) - min(map(len, parts)) <= 2  # one a batch


def test_an_evaluation_by_processes_is_that_of_one(alone, together):
    _, root = together
    one, many = (json.loads((folder / "tables/evaluation.json").read_text()) for folder in (alone, root))
    for split, expected in one["splits"].items():
        for name, value in expected.items():
            assert many["splits"][split][name] == pytest.approx(value, rel=1e-4), name
    for name in ("per_class.csv", "predictions.csv"):
        one, many = ((folder / "tables" / name).read_text().splitlines() for folder in (alone, root))
        assert [line.rpartition(",")[0] for line in many] == [line.rpartition(",")[0] for line in one]


def test_parts_hold_a_batch_in_order_and_differ_by_one(monkeypatch):
    for size in (0, 1, 9, 64):
        for processes in (1, 2, 3, 8):
            monkeypatch.setattr(distributed, "count", lambda processes=processes: processes)
            parts = []
            for number in range(processes):
                monkeypatch.setattr(distributed, "rank", lambda number=number: number)
                parts.append(distributed.part(list(range(size))))
            assert [each for part in parts for each in part] == list(range(size))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def start(root: Path, *flags) -> subprocess.Popen:
    """train_autoencoder.py in two processes that have finished the third epoch and saved it."""
    command = torchrun(2, ROOT / "train_autoencoder.py", *RUNS["autoencoder-report"], "--epochs", "100000",
                       "--save-every", "1", "--out", "run", *flags)
    job = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    job.printed = ""
    for line in job.stdout:
        job.printed += line
        if re.match("Epoch : [4-9] ", line):
            break
    return job


def children(pid: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_run_goes_from_one_process_to_two_that_are_killed_and_back(alone, tmp_path):
    """The killed process's peer says so in a line, and no process stays; what was saved goes on."""
    (tmp_path / "photos").symlink_to(alone / "photos")
    flags = [*RUNS["autoencoder-report"], "--out", "run"]
    assert run_script(tmp_path, "train_autoencoder", *flags, "--epochs", "2").returncode == 0
    job = start(tmp_path, "--resume")
    assert "was made with processes 1, this is 2\n" in job.printed
    assert "resuming run/last.pt after epoch 2\n" in job.printed
    workers, killed = children(job.pid), time.monotonic()
    os.kill(workers[1], signal.SIGKILL)
    _, complaints = job.communicate(timeout=60)
    assert job.returncode == 1 and time.monotonic() - killed < 40
    ours = [line for line in complaints.splitlines() if line.startswith("train_autoencoder.py: ")]
    assert len(ours) == 1 and "another process ended" in ours[0] and "--resume" in ours[0]
    assert "[rank" not in complaints  # no traceback of ours
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    done = torch.load(tmp_path / "run/last.pt", weights_only=True)["epoch"]
    assert done >= 3
    resumed = run_script(tmp_path, "train_autoencoder", *flags, "--resume", "--epochs", done + 1)
    assert resumed.returncode == 0 and "was made with processes 2, this is 1\n" in resumed.stdout
    header, rows = run_log.read_log(tmp_path / "run/log.jsonl")
    assert [row["epoch"] for row in rows] == list(range(1, done + 2))
    assert [resume["processes"] for resume in header["resumes"]] == [2, 1]


def test_an_interrupt_of_torchrun_ends_all_processes_after_the_same_epoch(alone, tmp_path):
    (tmp_path / "photos").symlink_to(alone / "photos")
    job = start(tmp_path)
    job.send_signal(signal.SIGTERM)
    printed, complaints = job.communicate(timeout=60)
    assert "stopped after epoch" in printed and "train_autoencoder.py: error" not in complaints
    done = torch.load(tmp_path / "run/last.pt", weights_only=True)["epoch"]
    assert len(run_log.read_log(tmp_path / "run/log.jsonl")[1]) == done


# --- several hosts: network namespaces, joined by a virtual cable ---

HOSTS = {"first": "10.77.0.1", "second": "10.77.0.2"}  # addresses: torchrun counts hosts in their order
# A training run in which something happens to the second host, amid an epoch, at the first two starts.
TROUBLED = """
import datetime, os, signal, subprocess
import train_autoencoder
from support import distributed, run_folder

def troubled(self, batches, epoch):
    for i, batch in enumerate(progress(self, batches, epoch)):
        if (distributed.rank(), epoch, i) == (1, 2, 1) and int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < 2:
            TROUBLE
        yield batch

progress, run_folder.Run.progress = run_folder.Run.progress, troubled
distributed.TIMEOUT = datetime.timedelta(seconds=8)
distributed.run(train_autoencoder.main, train_autoencoder.parse_args)
"""


def ip(*command) -> bool:
    done = subprocess.run(["ip", *command], capture_output=True, text=True)
    return done.returncode == 0


@pytest.fixture
def hosts():
    """Names of two network namespaces in which `cable` leads to the other one."""
    names, can = [f"flowers-{os.getpid()}-{host}" for host in HOSTS], shutil.which("ip") and os.geteuid() == 0
    if not can or subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no network namespaces can be made here: that takes Linux, its ip, and root")
    try:
        assert all(ip("netns", "add", name) for name in names)
        cable = [word for name in names for word in ("name", "cable", "netns", name, "type", "veth", "peer")]
        assert ip("link", "add", *cable[:-3])
        for name, address in zip(names, HOSTS.values()):
            assert ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            assert ip("-n", name, "link", "set", "cable", "up") and ip("-n", name, "link", "set", "lo", "up")
            # seconds, not 15 minutes, until Linux tells torchrun itself that the other host is out of reach
            assert ip("netns", "exec", name, "sh", "-c", "echo 3 > /proc/sys/net/ipv4/tcp_retries2")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name)


def run_on(hosts: list[str], root: Path, photos: Path, trouble: str, *flags) -> list[tuple[int, str]]:
    """Two epochs in a process a host, each in its own folder: their exit status, and what they printed."""
    jobs = []
    for name, (host, address) in zip(hosts, HOSTS.items()):
        (root / host).mkdir()
        (root / host / "photos").symlink_to(photos)
        (root / host / "worker.py").write_text(TROUBLED.replace("TROUBLE", trouble))
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run",
                   "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "flowers",
                   "--rdzv-endpoint", f"{HOSTS['first']}:29400", "--local-addr", address,
                   "--rdzv-conf", f"is_host={int(host == 'first')}", *flags, "worker.py",
                   *RUNS["autoencoder-report"], "--out", "run"]
        environment = {**OURS, "GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1"}
        with open(root / host / "printed.txt", "w") as printed:
            jobs.append(subprocess.Popen(command, cwd=root / host, stdout=printed, stderr=subprocess.STDOUT,
                                         env=environment))
    try:
        return [(job.wait(timeout=180), (root / host / "printed.txt").read_text())
                for job, host in zip(jobs, HOSTS)]
    finally:
        for job in jobs:
            job.kill()


@pytest.mark.parametrize("together", (2,), indirect=True)
def test_a_host_whose_process_is_killed_twice_is_joined_again_to_the_bits_of_a_run_that_is_not(
        together, alone, hosts, tmp_path):
    """The hosts share no folder: the first alone has a last.pt."""
    (status, printed), (other, _) = run_on(
        hosts, tmp_path, alone / "photos", "os.kill(os.getpid(), signal.SIGKILL)", "--max-restarts", "2")
    assert (status, other) == (0, 0), printed
    for line in ("worker.py: error: another process ended", "resuming run/last.pt after epoch 1\n",
                 "torchrun started this run again, so it goes on from run/last.pt\n"):
        assert printed.count(line) == 2, printed
    assert "not the same bits" not in printed
    one, many = (weights_of(run / "autoencoder.pt")
                 for run in (together[1] / "autoencoder-report", tmp_path / "first/run"))
    assert torch.equal(one, many) and not (tmp_path / "second/run").exists()


def test_a_process_that_is_cut_off_does_not_wait_for_an_answer(monkeypatch):
    monkeypatch.setattr(distributed, "ANSWER", 0.1)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    class Silent:
        def add(self, *what):
            threading.Event().wait()

    assert distributed._is_first_to_fail(Silent(), 0)
    store = torch.distributed.HashStore()
    assert [distributed._is_first_to_fail(store, 0) for _ in range(3)] == [True, False, False]
    assert distributed._is_first_to_fail(store, 3)  # the next time that torchrun starts all


def test_hosts_that_hear_no_more_of_each_other_end_with_a_line(alone, hosts, tmp_path):
    (status, printed), (other, _) = run_on(
        hosts, tmp_path, alone / "photos", "subprocess.run(['ip', 'link', 'set', 'cable', 'down'])")
    assert status != 0 and other != 0
    assert printed.count("worker.py: error: another process ended, was silent for 0:00:08") == 1
    assert torch.load(tmp_path / "first/run/last.pt", weights_only=True)["epoch"] == 1


def test_what_all_processes_refuse_is_said_once(tmp_path):
    command = torchrun(2, ROOT / "train_autoencoder.py", *HERE, "--dataset", "nowhere")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout == "" and "[rank" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("train_autoencoder.py: "))
    assert "there is no such folder" in line
