"""A worker: gets trials from the chief and trains each as an ordinary run, until none is left."""

import gc
import os
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path

import keras
import keras_tuner
from keras_tuner.engine import base_tuner
from keras_tuner.errors import FailedTrialError, FatalError

from training.classification.config import Config
from training.classification.setup import configure
from training.classification.task import ClassificationTask
from training.data import sources
from training.engine.backends import backend
from training.errors import DiskFull, RunError, UsageError
from training.run_folder import config as run_folder_config
from training.run_folder.lock import Busy
from training.search import trials as folders
from training.search.config import SearchConfig
from training.search.oracles import SCORE, score_of
from training.search.trials import Trial
from training.trainer.checkpoint_saver import SaveInterval
from training.trainer.run import RunSpec, train_in_folder

RESTART = 75  # exit status of a worker that is to be replaced by a new process
MAX_TRIALS = 25  # of one process
LEAVING = 60.0  # seconds for a worker to save and end when the search has been killed
PATIENCE = 2 * LEAVING
IDLE_SECONDS = 1.0
WATCH = "KERAS_CNNS_WATCH_STDIN"


class Worker(base_tuner.BaseTuner):
    """KerasTuner's loop around the training of `fit.py`. Its state is in the folders of trials."""

    def __init__(self, root: Path, search: SearchConfig, every: SaveInterval):
        stand_in = keras_tuner.oracles.RandomSearchOracle(SCORE, hyperparameters=keras_tuner.HyperParameters())
        self.root, self.search_value, self.every = root, search, every
        self.trials_done, self.idle, self.out_of_memory = 0, False, False
        self.load = cache(sources.load)
        super().__init__(stand_in, directory=str(root), project_name=folders.ORACLE)
        self.compute = backend.choose(1, search.precision, "auto", False)

    def save(self):
        """Nothing to save."""

    def reload(self):
        """Nothing to reload."""

    def pre_create_trial(self):
        """Waits after a call without a trial: Hyperband may have none until others finish."""
        if self.idle:
            time.sleep(IDLE_SECONDS)
        self.idle = True

    def run_trial(self, trial):
        """Trains or continues one trial. An error is the trial's failure, unless nothing can be written."""
        self.idle = False
        folder = folders.place(self.root, int(trial.trial_id))
        mine = folders.read(folder)
        if mine.status == "failed":
            raise FailedTrialError(mine.why)
        try:
            if mine.status == "open":
                self._train(mine)
        except DiskFull as error:
            raise FatalError(str(error)) from error
        except OSError as error:
            raise FatalError(f"{error.filename or folder}: {error.strerror or error}") from error
        except Exception as error:
            self.out_of_memory = backend.is_oom(error.__cause__ or error)
            expected = isinstance(error, RunError | UsageError | ValueError)
            why = str(error) if expected else f"{type(error).__name__}: {error}"
            folders.fail(folder, why)
            raise FailedTrialError(why) from error
        folders.refresh(mine)
        return {SCORE.name: score_of(self.search_value, mine)}

    def _train(self, trial: Trial) -> None:
        candidate = trial.candidate
        data = self.load(candidate.data)
        network, seed = candidate.architecture, candidate.seed
        config = configure(network, trial.recipe, data, candidate.data, self.compute, seed)
        try:
            Config.read(trial.folder)
        except ValueError:
            run_folder_config.write(config, trial.folder)  # missing or damaged: the trial has all of its contents
        options = (("every", self.every), ("settings", trial.chosen))
        spec = RunSpec(ClassificationTask, config, data, self.compute, (self.compute.why,), options)
        title = f"trial {trial.number}: {trial.choices}"
        until = time.monotonic() + PATIENCE  # the worker of a search that was killed may still save there
        while True:
            try:
                train_in_folder(spec, trial.folder, title=title, echo=sys.stdout)
                return
            except UsageError as error:
                if not isinstance(error.__cause__, Busy) or time.monotonic() > until:
                    raise
                time.sleep(IDLE_SECONDS)

    def on_trial_end(self, trial):
        """Reports to the chief; ends the process after running out of memory, or after many trials."""
        super().on_trial_end(trial)
        keras.utils.clear_session()
        gc.collect()
        self.trials_done += 1
        if self.out_of_memory or self.trials_done >= MAX_TRIALS:
            sys.exit(RESTART)


def watch_parent() -> None:
    """Saves and ends this process when the chief has ended, which closes stdin."""

    def wait():
        while os.read(0, 1):  # not sys.stdin, which the interpreter locks when it ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LEAVING)
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()
