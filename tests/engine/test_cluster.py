"""Groups of workers: what may be asked, what two processes on this machine do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from training.data.pipeline import Shard
from training.engine import cluster
from training.engine.cluster import Group

ROOT = Path(__file__).parents[2]
TWO = ("127.0.0.1:2001", "127.0.0.1:2002")
SMALL = ["--arch", "resnet20", "--set", "image_size=16", "--epochs", "3"]


def test_a_group_from_the_command_line_or_from_tf_config():
    assert cluster.group(None, None, None) == Group()
    assert cluster.group("a:1, b:2", 1, None) == Group(("a:1", "b:2"), 1)
    jobs = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    config = json.dumps({"cluster": jobs, "task": {"type": "worker", "index": 1}})
    assert cluster.group(None, None, config) == Group(("a:1", "b:2", "c:3"), 2)
    assert cluster.group("d:4,e:5", 0, config) == Group(("d:4", "e:5"), 0)
    assert Group().alone
    assert Group(TWO, 0).chief
    assert not Group(TWO, 1).chief


@pytest.mark.parametrize(
    ("workers", "index", "config", "says"),
    [
        ("a:1,b:1", None, None, "must be given together"),
        (None, 1, None, "must be given together"),
        ("a:1,b", 0, None, "must be host:port,host:port,..., got 'b'"),
        ("a:1,b:70000", 0, None, "got 'b:70000'"),
        ("a:1,a:1", 0, None, "must all differ"),
        ("a:1,b:2", 2, None, "from 0 to 1, got 2"),
        (None, None, "{", "TF_CONFIG is invalid"),
        (None, None, "[]", "TF_CONFIG is invalid"),
        (
            None,
            None,
            '{"cluster": {"ps": ["a:1"], "worker": ["b:2"]}}',
            "jobs must be chief and worker, got ps, worker",
        ),
        (None, None, '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": 7}}', "from 0 to 1, got 7"),
    ],
)
def test_what_cannot_be_a_group(workers, index, config, says):
    with pytest.raises(ValueError, match=says):
        cluster.group(workers, index, config)


@pytest.mark.parametrize(("batch", "count"), [(12, 1), (12, 2), (12, 3), (7, 1), (6, 2), (64, 4)])
def test_shares_are_the_whole_batch_and_keep_pairs(batch, count):
    shares = [Shard(i, count).columns(batch) for i in range(count)]
    assert sorted(np.concatenate(shares)) == list(range(batch))
    assert {len(share) for share in shares} == {batch // count}
    if batch // count % 2 == 0:
        for share in shares:  # turned round, a share pairs the images that the batch turned round pairs
            assert (share + share[::-1] == batch - 1).all()


def launch(*args, **options):
    command = [sys.executable, ROOT / "training" / "launch.py", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def end(process, seconds=500):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def result(folder):
    return json.loads((folder / "result.json").read_text())


def wait_for(path, process, seconds=300):
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def children(process):
    """Process ids of the workers, in order."""
    return list(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers") / "run"
    status, out, err = end(launch("--", *SMALL, "--run", folder))
    assert status == 0, err[-3000:]
    return folder, out


@pytest.mark.slow
def test_two_workers_make_one_run(unbroken):
    folder, out = unbroken
    assert "devices: 1 CPU on each of 2 workers" in out
    assert out.count("done: test top-1") == 1, "only the chief reports"
    found = result(folder)
    assert (found["replicas"], found["finished"]) == (2, True)
    assert found["test"]["top1"] > 0.7
    assert json.loads((folder / "config.json").read_text())["workers"] == 2
    status, out, _ = end(launch("--", *SMALL, "--run", folder))
    assert status == 0
    assert "finished already" in out


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_killed_worker_ends_the_others_and_all_go_on(unbroken, tmp_path, who):
    process = launch("--restarts", 1, "--", *SMALL, "--run", tmp_path / "run")
    wait_for(tmp_path / "run" / "checkpoints" / "step_00000019", process)
    os.kill(children(process)[who], signal.SIGKILL)
    status, out, err = end(process)
    assert status == 0, err[-3000:]
    assert f"launch.py: worker {who} ended with status -9; all start again in 1 s (1 of 1)" in err
    lines = [line for line in err.splitlines() if line.startswith("fit.py")]
    assert len(lines) == 1, err
    assert "another worker has ended" in lines[0]
    assert "continuing after epoch 1 of 3" in out
    assert result(tmp_path / "run")["weights_sha256"] == result(unbroken[0])["weights_sha256"]


@pytest.mark.slow
def test_a_worker_that_hangs_is_given_up_and_restarts_are_bounded(tmp_path):
    process = launch("--restarts", 0, "--", *SMALL, "--epochs", 100, "--run", tmp_path / "run")
    wait_for(tmp_path / "run" / "checkpoints" / "step_00000019", process)
    os.kill(children(process)[1], signal.SIGSTOP)
    status, _, err = end(process, 150)
    assert status == 1
    assert "another worker has ended" in err
    assert err.splitlines()[-1].endswith("after 0 restarts")


@pytest.mark.slow
def test_a_signal_to_one_worker_stops_all_after_the_same_step(tmp_path):
    process = launch("--", *SMALL, "--epochs", 100, "--run", tmp_path / "run")
    wait_for(tmp_path / "run" / "checkpoints" / "step_00000019", process)
    os.kill(children(process)[1], signal.SIGTERM)
    status, _, err = end(process, 150)
    assert status == 143, err[-3000:]
    assert "terminated; continue with: " in err
    kept = [p.name for p in (tmp_path / "run" / "checkpoints").glob("step_*")]
    assert max(kept) > "step_00000019"


@pytest.mark.slow
def test_workers_that_differ_are_refused(tmp_path):
    ports = [2000 + os.getpid() % 20_000 + i for i in (30_000, 30_001)]
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    fit = [sys.executable, ROOT / "training" / "fit.py", *SMALL, "--workers", addresses]
    both = [
        subprocess.Popen(
            [*fit, "--worker-index", str(i), "--seed", str(i), "--run", tmp_path / "run"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in both:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 2, err
        assert err == "fit.py: all workers must be started alike, got seed '0' on the chief and '1' on worker 1\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_worker_whose_peer_never_comes_gives_up(tmp_path):
    port = 32_000 + os.getpid() % 20_000
    fit = [
        sys.executable,
        ROOT / "training" / "fit.py",
        *SMALL,
        "--worker-timeout",
        "5",
        "--run",
        tmp_path / "run",
    ]
    group = ["--workers", f"127.0.0.1:{port},127.0.0.1:{port + 1}", "--worker-index", "0"]
    done = subprocess.run([*fit, *group], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"worker 0 waits for 127.0.0.1:{port + 1}, 5 seconds at most\n"


def two(*arguments):
    """Two processes of `two_workers.py`."""
    port = 33_000 + os.getpid() % 20_000
    command = [
        sys.executable,
        Path(__file__).with_name("two_workers.py"),
        f"127.0.0.1:{port},127.0.0.1:{port + 1}",
    ]
    return [
        subprocess.Popen([*command, str(i), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]


@pytest.mark.slow
def test_a_worker_that_lives_but_does_nothing_is_given_up():
    waiting, idle = two("idle")
    try:
        _, err = waiting.communicate(timeout=200)
    finally:
        idle.kill()
        idle.communicate()
    assert waiting.returncode == 1
    last = err.splitlines()[-1]
    assert last == f"two_workers.py: no step for 10 seconds: another worker hangs; {cluster.RESTART}"


@pytest.mark.slow
def test_validation_counts_every_image_once_where_workers_have_unequal_shares():
    """5 images in shares of 3 and 2, in batches of 2: one worker has a batch more."""
    found = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in two()]
    assert found[0] == found[1]
    assert found[0]["under"] == pytest.approx(found[0]["alone"], rel=1e-5)
    np.testing.assert_allclose(found[0]["losses"], found[0]["reference"], rtol=2e-6)
    assert found[0]["sent"] == found[0]["received"]
