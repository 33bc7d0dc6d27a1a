"""A worker: asks the chief for trials and trains each as an ordinary run, until there are no more."""

import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import keras
import keras_tuner
from keras_tuner.engine import base_tuner
from keras_tuner.errors import FailedTrialError, FatalError

from training.classification.config import Config
from training.classification.setup import configure
from training.classification.task import ClassificationTask
from training.data import sources
from training.data.dataset import DataSet
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

FRESH = 75  # exit status: start me anew, the memory is worn
TRIALS_A_LIFE = 25
LEAVING = 60.0  # seconds for a worker to save and end when the search has been killed
PATIENCE = 2 * LEAVING
IDLE = 1.0
WATCH = "KERAS_CNNS_WATCH_STDIN"


class Worker(base_tuner.BaseTuner):
    """KerasTuner's loop; the training is `fit.py`'s. It keeps no state: that is the folders'."""

    def __init__(self, root: Path, search: SearchConfig, every: SaveInterval):
        stand_in = keras_tuner.oracles.RandomSearchOracle(SCORE, hyperparameters=keras_tuner.HyperParameters())
        self.root, self.search_value, self.every = root, search, every
        self.lived, self.idle, self.spoilt = 0, False, False
        self.data: dict[str, DataSet] = {}
        super().__init__(stand_in, directory=str(root), project_name=folders.ORACLE)
        self.compute = backend.choose(1, search.precision, "auto", False)

    def save(self):
        """Nothing to save."""

    def reload(self):
        """Nothing to reload."""

    def pre_create_trial(self):
        """Hyperband may have nothing to do until others finish; KerasTuner asks again at once."""
        if self.idle:
            time.sleep(IDLE)
        self.idle = True

    def run_trial(self, trial):
        """Trains one trial, or goes on with it. What goes wrong is its failure, unless nothing can be written."""
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
            self.spoilt = backend.is_oom(error.__cause__ or error)
            why = (
                str(error)
                if isinstance(error, RunError | UsageError | ValueError)
                else f"{type(error).__name__}: {error}"
            )
            folders.fail(folder, why)
            raise FailedTrialError(why) from error
        folders.refresh(mine)
        return {SCORE.name: score_of(self.search_value, mine)}

    def _train(self, trial: Trial) -> None:
        candidate = trial.candidate
        if candidate.data not in self.data:
            self.data[candidate.data] = sources.load(candidate.data)
        data = self.data[candidate.data]
        config = configure(
            candidate.architecture, trial.recipe, data, candidate.data, self.compute, candidate.seed
        )
        try:
            Config.read(trial.folder)
        except ValueError:
            run_folder_config.write(config, trial.folder)  # none yet, or damaged: its content is all known
        options = (("every", self.every), ("settings", trial.chosen))
        spec = RunSpec(ClassificationTask, config, data, self.compute, (self.compute.why,), options)
        title = f"trial {trial.number}: " + ", ".join(f"{k}={v}" for k, v in trial.chosen.items())
        until = time.monotonic() + PATIENCE  # the worker of a search that was killed may still save there
        while True:
            try:
                train_in_folder(spec, trial.folder, title=title, echo=sys.stdout)
                return
            except UsageError as error:
                if not isinstance(error.__cause__, Busy) or time.monotonic() > until:
                    raise
                time.sleep(IDLE)

    def on_trial_end(self, trial):
        """Tells the chief; a process that ran out of memory, or is old, makes room for a fresh one."""
        super().on_trial_end(trial)
        keras.utils.clear_session()
        gc.collect()
        self.lived += 1
        if self.spoilt or self.lived >= TRIALS_A_LIFE:
            sys.exit(FRESH)


def watch_parent() -> None:
    """Ends this process, saving first, when the one that started it is gone: then its end of our stdin closes."""

    def wait():
        while os.read(0, 1):  # not through sys.stdin, which the interpreter locks when it ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LEAVING)
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()
