"""Pruning of a trained run: ResRep, or by the magnitude of filters; each is an ordinary run of the trainer.

The folder of a pruned run has all files of a run, so it can be evaluated, exported and pruned again, and those of
`training.pruning.folder`. ResRep trains in `compactors/` inside it, which is also a run folder.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np

from keras_cnns import measure
from keras_cnns.architecture import Architecture
from keras_cnns.deep import deep_recursion
from keras_cnns.models import resrep
from keras_cnns.surgery.filters import Costs, compactor_of
from training.algorithms.resrep import compactors, describe, with_resrep
from training.classification.config import Config
from training.classification.setup import configure
from training.classification.task import ClassificationTask
from training.classification.trained import from_run
from training.data import pipeline
from training.errors import usage_errors
from training.pruning import folder as pruning_folder
from training.recipes.optimizers import SGD
from training.recipes.recipe import Recipe
from training.recipes.schedules import Cosine
from training.report.folder import History, Log, replace_when_complete, write_json
from training.report.tensorboard import Board
from training.run_folder import config as configs
from training.run_folder.checkpoints import weights_sha256
from training.run_folder.results import finished_result
from training.trainer.finish import Throughput, finish
from training.trainer.run import RunSpec, train_in_folder

START, INNER = "start.keras", "compactors"
RATE = 0.01  # section 4.1 of the paper
SPARED = ("*/bias", "*/gamma", "*/beta", "*_compactor/kernel")
KEPT = (
    "augment",
    "smoothing",
    "mix",
    "repeated_augmentation",
    "normalise",
    "image_size",
    "test_crop",
    "test_views",
)


def after_training(base: Recipe, epochs: int, name: str, citation: str) -> Recipe:
    """The recipe of training during or after pruning: a small rate with a cosine schedule, images as in `base`."""
    return Recipe(
        name,
        citation,
        epochs=epochs,
        batch_size=base.batch_size,
        optimizer=SGD(RATE, 0.9),
        schedule=Cosine(),
        decay=1e-4,
        no_weight_decay=SPARED,
        **{field: getattr(base, field) for field in KEPT},
    )


class Pruning:
    """A pruning, with its arguments checked; `run` does it, or continues it.

    Args:
        source: folder of the run to prune.
        out: folder of the result.
        keep_macs: fraction of the MACs to keep.
        epochs: None trains as long as the run did.
        data: function from `--data` to its `DataSet`.
        compute: a `Compute`.

    Raises:
        ValueError: the run is not finished, its network cannot be pruned or not by so much, or the folder for the
            result holds something else.
    """

    method: ClassVar[str]

    def __init__(self, source: Path, out: Path, keep_macs: float, epochs: int | None, seed: int, data, compute):
        self.source, self.out, self.compute = source, out, compute
        self.before, self.base = from_run(source), Config.read(source)
        if (result := finished_result(source)) is None:
            raise ValueError(f"the run in {str(source)!r} is not finished: it has no result.json")
        if "test" not in result:
            raise ValueError(f"result.json in {str(source)!r} cannot be used: it has no test figures")
        self.test, self.architecture = result["test"], self.base.architecture
        if dropout := self.base.recipe.dropout:  # the recipe cannot set it in a row after surgery
            self.architecture = self.architecture.with_unit(dropout=dropout)
        name = self.architecture.name
        resrep.check(self.before.model)
        self.costs = Costs(self.before.model)
        inside = {layer.name for layer in compactors(resrep.compacted(self.architecture)())}
        if inside != {compactor_of(conv) for conv in self.costs.filters}:
            raise ValueError(f"prune.py takes residual networks and VGG; the head of {name} has convolutions, too")
        least = resrep.least(self.costs)
        if not least < keep_macs < 1:
            raise ValueError(
                f"--keep-macs must be below 1 and above {least:.3f}, with one filter in every prunable "
                f"convolution of {name}; got {keep_macs:g}"
            )
        if out.resolve() == source.resolve():
            raise ValueError(f"--out must be another folder than --run, got {str(out)!r}")
        sha, epochs = weights_sha256(self.before.model), epochs or self.base.recipe.epochs
        self.task = pruning_folder.PruningConfig(sha, self.method, keep_macs, epochs, seed)
        pruning_folder.check(out, self.task)
        self.data = data(self.base.data)
        self.steps = pipeline.steps_per_epoch(len(self.data.train), self.base.recipe.batch_size)

    @property
    def done(self) -> dict | None:
        """The record of a finished pruning, or None."""
        return pruning_folder.record(self.out) if finished_result(self.out) else None

    def run(self, say: Callable[[str], None]) -> None:
        """Prunes, or continues; the folder is locked."""
        with usage_errors():
            lock = pruning_folder.hold(self.out, self.task)
        with lock:
            self._work(say)

    def _work(self, say: Callable[[str], None]) -> None:
        raise NotImplementedError

    def _configure(self, architecture: Architecture, recipe: Recipe) -> Config:
        start = configs.IN_RUN_FOLDER + START
        with usage_errors():
            made = configure(architecture, recipe, self.data, self.base.data, self.compute, self.task.seed, start)
        return replace(made, preprocessing=self.base.preprocessing, image_size=self.base.image_size)

    def _train(self, folder: Path, config: Config, start: keras.Model) -> dict:
        """Trains from a network, or continues, unless that is done; returns the result."""

        def save_start(folder: Path) -> None:
            with deep_recursion(), replace_when_complete(folder / START) as path:  # an earlier one may be damaged
                start.save(path)

        spec = RunSpec(ClassificationTask, config, self.data, self.compute, (self.compute.why,))
        title = f"run: {folder} ({config.label}), {config.recipe.epochs} epochs"
        options = {"besides": pruning_folder.OURS, "before": save_start, "title": title, "echo": sys.stdout}
        return train_in_folder(spec, folder, **options)[1]

    def _record(self, result: dict, widths: dict[str, int], **more) -> str:
        """Writes `pruning.json`; returns the last line."""
        sizes = measure(self.before.model)
        record = {
            "run": str(self.source),
            "keep_macs": self.task.keep_macs,
            "method": self.method,
            **more,
            "before": {"params": sizes.trainable_params, "macs": sizes.macs, "test": self.test},
            "after": {k: result[k] for k in ("params", "macs", "test")},
            "widths": {name: [count, self.costs.filters[name]] for name, count in widths.items()},
        }
        write_json(self.out / pruning_folder.RECORD, record)
        return pruning_folder.summary(record, self.out)


class ByResRep(Pruning):
    """ResRep: trains with compactors, then converts."""

    method = "resrep"

    def _work(self, say: Callable[[str], None]) -> None:
        architecture, steps = resrep.compacted(self.architecture), self.steps
        recipe = after_training(
            self.base.recipe, self.task.epochs, "resrep", f"{resrep.PAPER}, section 4.1, shortened"
        )
        recipe = with_resrep(recipe, self.costs, self.task.keep_macs, steps)
        say(describe(recipe.resrep, recipe.epochs * steps))
        config = self._configure(architecture, recipe)
        self._settle(config, *self._trained(config, say))

    def _trained(self, config: Config, say: Callable[[str], None]) -> tuple[dict, keras.Model]:
        """The result of training with compactors, and the network."""
        inner, start = self.out / INNER, resrep.with_compactors(self.before.model)
        result = self._train(inner, config, start)
        try:
            return result, from_run(inner).model
        except ValueError as error:
            say(f"{error}; it is made again from the checkpoints")
            (inner / "result.json").unlink()
        return self._train(inner, config, start), from_run(inner).model

    def _settle(self, config: Config, inner: dict, trained: keras.Model) -> None:
        """Converts the trained network and makes the folder a run."""
        out, rows, kept, gone = self.out, resrep.lengths(trained), {}, []
        for layer in compactors(trained):
            name, mask = layer.name.removesuffix("_compactor"), keras.ops.convert_to_numpy(layer.mask)
            alive = [i for i in resrep.alive(rows[name]) if mask[i]]
            kept[name] = np.array(alive or [mask.argmax()])  # at least one channel
        target = int(self.task.keep_macs * self.costs.full)
        if early := self.costs(resrep.widths(kept)) > target:  # few steps: the masks were still growing
            kept = resrep.choose(rows, self.costs, target, sum(self.costs.filters.values()))
        gone = np.concatenate([np.delete(row, kept[name]) for name, row in rows.items()])
        small, widths = resrep.converted(trained, kept), resrep.widths(kept)
        narrow = resrep.narrowed(self.architecture, widths)
        config = replace(config, architecture=narrow, weights=f"{configs.IN_RUN_FOLDER}{INNER}/{START}")
        with deep_recursion():
            plain = config.build()
        plain.set_weights(small.get_weights())
        shutil.copyfile(out / INNER / "history.csv", out / "history.csv")
        configs.write(config, out)
        pace = Throughput(
            self.task.epochs * self.steps, inner["images_per_second"], inner["data_wait"], inner["xla"]
        )
        with Log(out / "log.txt", sys.stdout) as log, Board(out / "tensorboard", warn=log) as board:
            longest = max(gone, default=0.0)
            log(f"{len(gone)} of {sum(map(len, rows.values()))} channels deleted, the longest row {longest:.1e}")
            if early:
                log("the masks had not reached the target: rows that still carried the network went, too")
            if longest >= resrep.ZERO:
                had = f"with them its test top-1 was {inner['test']['top1']:.4f}"
                log(f"longer than {resrep.ZERO:g}, so the network is another ({had}); more --epochs help")
            task = ClassificationTask(config, self.data, self.compute, out, log)
            result = finish(task, plain, pace, History(out / "history.csv"), board)
            more = {"lasso": config.recipe.resrep.masked, "longest_deleted_row": float(longest)}
            log(self._record(result, widths, **more, with_compactors=inner["test"]))


class ByMagnitude(Pruning):
    """Removes filters of small weights at once, then trains with ResRep's recipe."""

    method = "magnitude"

    def _work(self, say: Callable[[str], None]) -> None:
        citation = "Li et al. 2017, arXiv 1608.08710: L1 norms; trained on at ResRep's rates"
        recipe = after_training(self.base.recipe, self.task.epochs, "magnitude", citation)
        small, kept = resrep.by_magnitude(self.before.model, self.task.keep_macs)
        widths = resrep.widths(kept)
        config = self._configure(resrep.narrowed(self.architecture, widths), recipe)
        result = self._train(self.out, config, small)
        say(self._record(result, widths))


METHODS = {kind.method: kind for kind in (ByResRep, ByMagnitude)}
