"""`python ...` in children forked from one process a session that has imported everything already.

Importing TensorFlow takes 4 seconds of a processor, more than most command lines of the tests need for their own
work. The process that forks imports it and never uses it, so its children may. A child has exit status, output,
signals, environment and working directory of its own, but not what Python and TensorFlow read while they start
(`FIXED`). It shares the hash seed of its siblings, and ends without the work of an interpreter's exit. What is
about such things needs `subprocess`.

Run as a program, this file is that process: lines of JSON come in, and answers go out.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEVELS = ("keras", "training")  # what is imported before the fork: Keras and TensorFlow, or all of ours too
FIXED = ("CUDA_", "JAX_", "KERAS_", "OMP_", "PYTHON", "TF_", "XLA_")
UNCAUGHT = 99  # the status after an exception that nothing caught, as no command ends by itself


# --- the side of the tests ---------------------------------------------------------------------------------------


def run(words, *, cwd=ROOT, env=None, input="", timeout=300, check=False, fault=None, level="training"):
    """As `subprocess.run([sys.executable, *words], capture_output=True, text=True, ...)`."""
    process = start(words, cwd=cwd, env=env, input=input, fault=fault, level=level)
    out, err = process.communicate(timeout)
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check and done.returncode:
        raise AssertionError(f"{process.args} ended with {done.returncode}: {err[-3000:]}")
    return done


def start(words, *, cwd=ROOT, env=None, input="", fault=None, level="training") -> "Process":
    """As `subprocess.Popen` of `python *words`: a script and its arguments, or -c and code.

    Args:
        fault: a point of `faults/points.py` that strikes in the child, as "batch:7".
        level: what the child has imported already, of `LEVELS`.
    """
    env = dict(os.environ if env is None else env)
    changed = {name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name)}
    if fixed := [name for name in changed if name.startswith(FIXED)]:
        raise ValueError(f"{fixed} cannot be changed in a forked child: use subprocess")
    return Process([str(word) for word in words], {"cwd": str(cwd), "env": env, "fault": fault}, input, level)


class Process:
    """A child, with the face of `subprocess.Popen`."""

    def __init__(self, args: list[str], options: dict, input: str, level: str):
        self.args, self.level, self.returncode = args, level, None
        self._files = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(3)]  # noqa: SIM115
        self._files[0].write(input)
        self._files[0].seek(0)
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in self._files]
        self.pid = _server().ask(level=level, do="start", args=args, files=paths, **options)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = _server().ask(level=self.level, do="poll", pid=self.pid)
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """The exit status.

        Raises:
            subprocess.TimeoutExpired: it ran for too long, and was killed.
        """
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return self.returncode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """All that it wrote to stdout and to stderr, when it has ended."""
        self.wait(timeout)
        texts = []
        for file in self._files[1:]:
            file.seek(0)
            texts.append(file.read())
        for file in self._files:
            file.close()
        return texts[0], texts[1]

    def kill(self) -> None:
        """kill -9; nothing if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class _Server:
    """The process that forks."""

    def __init__(self):
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen([sys.executable, __file__], env=env, cwd=ROOT, stderr=self.said, **pipes)
        atexit.register(self.close)

    def ask(self, **request):
        """One request, one answer."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            self.said.seek(0)
            raise RuntimeError(f"the process that forks has ended: {self.said.read()[-3000:]}") from error

    def close(self) -> None:
        """Ends it and what it has started."""
        with self.process:
            self.process.stdin.close()
        self.said.close()


@cache
def _server() -> _Server:
    return _Server()


# --- the process that forks --------------------------------------------------------------------------------------


def serve(requests, answers, level: str) -> None:
    """Starts children and tells their statuses until there are no more requests; then kills what still runs."""
    children, ours = set(), [requests, answers]
    upper = None
    for line in requests:
        asked = json.loads(line)
        if asked["level"] != level:
            upper = upper or fork_server(asked["level"], ours)
            upper[1].write(line)
            upper[1].flush()
            answer = json.loads(upper[0].readline())
        elif asked["do"] == "start":
            answer = os.fork()
            if not answer:
                for file in ours:
                    os.close(file.fileno())
                child(**{name: asked[name] for name in ("args", "files", "cwd", "env", "fault")})
            children.add(answer)
        else:
            pid, status = os.waitpid(asked["pid"], os.WNOHANG)
            children.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def fork_server(level: str, ours: list):
    """(answers, requests) of a child that has imported more, and serves in turn."""
    (reads_requests, writes_requests), (reads_answers, writes_answers) = os.pipe(), os.pipe()
    if not os.fork():
        for file in ours:
            os.close(file.fileno())
        os.close(writes_requests)
        os.close(reads_answers)
        import_all_of("training")
        gc.freeze()
        serve(os.fdopen(reads_requests), os.fdopen(writes_answers, "w"), level)
        os._exit(0)
    os.close(reads_requests)
    os.close(writes_answers)
    ours += [os.fdopen(reads_answers), os.fdopen(writes_requests, "w")]
    return ours[-2:]


def import_all_of(package: str) -> None:
    """Every module of a package, commands excepted, with what it imports at its top."""
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if found.ispkg or found.name.count(".") > 1:
            importlib.import_module(found.name)


def child(args: list[str], files: list[str], cwd: str, env: dict[str, str], fault: str | None) -> None:
    """What `python *args` does; never returns."""
    for i, (path, mode) in enumerate(zip(files, (os.O_RDONLY, os.O_RDWR, os.O_RDWR), strict=True)):
        opened = os.open(path, mode)
        os.dup2(opened, i)
        os.close(opened)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace")
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.modules["numpy"].random.seed()  # as Python does for its own
    status = 0
    try:
        if fault:
            sys.path.insert(0, str(ROOT / "tests" / "faults"))
            importlib.import_module("points").strike(fault)
        if args[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *args[2:]], ""
            exec(compile(args[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = args, os.path.dirname(os.path.abspath(args[0]))
            runpy.run_path(args[0], run_name="__main__")
    except SystemExit as leaving:
        status = leaving.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = UNCAUGHT
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    lines_in, lines_out = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in ("tensorflow", "keras"):
        importlib.import_module(name)
    gc.freeze()
    serve(lines_in, lines_out, "keras")
