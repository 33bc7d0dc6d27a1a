"""The chief's care for its workers, with programs in their place that only die."""

import time
from types import SimpleNamespace

import pytest

from training.errors import RunError
from training.search import chief
from training.search import trials as folders
from training.search.chief import MAX_IDLE_CRASHES, VARIABLES, Workers, role


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Workers that run a line of shell; what they work at; what the oracle was told."""
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "8000")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    made = []

    def begin(line, trial=None, serves=True):
        told = []
        oracle = SimpleNamespace(
            ongoing_trials={}, end_trial=lambda r: (told.append(r), oracle.ongoing_trials.clear())
        )
        if trial is not None:
            folders.place(tmp_path, trial).mkdir(parents=True)
            oracle.ongoing_trials["local0"] = SimpleNamespace(trial_id=str(trial), status="RUNNING", message="")
        served = SimpleNamespace(oracle=oracle, serves=lambda: serves, fault=None)
        made.append(Workers(tmp_path, 1, ["sh", "-c", line], served, told.append))
        return made[-1], told

    yield begin
    for workers in made:
        workers.stop()


def turns(workers, until, most=200):
    """Looks until something is so, or nobody works any more."""
    for _ in range(most):
        if until() or not workers.look():
            return
        time.sleep(0.02)
    raise AssertionError("nothing happened")


def test_a_deadly_trial_is_given_up(start, tmp_path):
    workers, told = start("kill -9 $$", trial=3)
    turns(workers, lambda: len(told) >= 3)
    assert told[0] == "local0 crashed in trial 3 (signal 9); another worker continues it"
    why = "its process crashed 2 times (signal 9): out of memory?"
    assert (told[2].status, told[2].message) == ("FAILED", why)
    assert "out of memory?" in (tmp_path / "trials" / "0003" / "failed.json").read_text()


def test_workers_that_never_get_to_a_trial(start):
    workers, _ = start("echo no such file >&2; kill -6 $$")
    message = f"local0 crashed {MAX_IDLE_CRASHES} times before it had a trial: no such file"
    with pytest.raises(RunError, match=message):
        turns(workers, lambda: False)


def test_what_a_worker_cannot_mend_ends_the_search(start):
    workers, _ = start("echo 'tune.py: /full: No space left on device'; exit 1", trial=0)
    with pytest.raises(RunError, match=r"local0: tune.py: /full: No space left on device"):
        turns(workers, lambda: False)


def test_worn_workers_are_replaced_without_blame(start, tmp_path):
    workers, told = start(f"echo once >> {tmp_path}/starts; exit {chief.RESTART}", trial=0)
    turns(workers, lambda: (tmp_path / "starts").exists() and (tmp_path / "starts").read_text().count("once") >= 4)
    assert told == []


def test_the_end(start):
    workers, _ = start("exit 0")
    turns(workers, lambda: False)
    assert not workers.look()
    late, _ = start("kill -9 $$", serves=False)  # nothing more to do: whoever dies now is not missed
    turns(late, lambda: False)


def test_workers_end_with_their_chief(start, tmp_path):
    """Its end of their stdin closes however it ends."""
    workers, _ = start(f"cat; echo gone > {tmp_path}/end; exit 0")
    workers.running["local0"].stdin.close()
    turns(workers, (tmp_path / "end").exists)


def test_a_chief_that_cannot_serve(start):
    workers, _ = start("sleep 9")
    workers.chief.fault = RuntimeError("no such address")
    with pytest.raises(RunError, match=r"the chief cannot serve at 127.0.0.1:8000: no such address"):
        workers.look()


def test_roles(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert role() == "alone"
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    with pytest.raises(ValueError, match="must be set together, got no KERASTUNER_ORACLE_IP"):
        role()
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "8000")
    assert role() == "chief"
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "w1")
    assert role() == "worker"
