"""Pruning of a trained run: ResRep, or by the magnitude of filters; each is an ordinary run of the trainer.

The folder of a pruned run holds what any run holds, so that it is evaluated, exported and pruned again like any
other, and the files of `training.pruning.folder`. ResRep trains in `compactors/` inside it, which is a run, too.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import keras

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
from training.data.dataset import DataSet
from training.engine.devices import Compute
from training.errors import usage_errors
from training.pruning import folder as pruning_folder
from training.recipes.optimizers import SGD
from training.recipes.recipe import Recipe
from training.recipes.schedules import Cosine
from training.report.folder import History, Log, replace_when_complete
from training.report.tensorboard import Board
from training.run_folder import config as configs
from training.run_folder.checkpoints import weights_sha256
from training.run_folder.results import finished_result
from training.trainer.finish import Throughput, finish
from training.trainer.run import RunSpec, train_in_folder

START, INNER = "start.keras", "compactors"
RATE = 0.01  # section 4.1 of the paper
SPARED = ("*/bias", "*/gamma", "*/beta", "*_compactor/kernel")


@dataclass(frozen=True)
class PruningSpec:
    """The run to prune, the fraction of its MACs to keep, the folder of the result, epochs and seed."""

    source: Path
    keep_macs: float
    out: Path
    epochs: int | None
    seed: int


def after_training(base: Recipe, epochs: int, name: str, citation: str) -> Recipe:
    """The recipe for training a network while or after it is pruned: a small rate, along a cosine, to zero.

    Augmentation and preprocessing are those of the run. Both methods use it.
    """
    kept = ("augment", "smoothing", "mix", "repeated_augmentation", "normalise", "image_size")
    return Recipe(
        name,
        citation,
        epochs=epochs,
        batch_size=base.batch_size,
        optimizer=SGD(RATE, 0.9),
        schedule=Cosine(),
        decay=1e-4,
        no_weight_decay=SPARED,
        **{field: getattr(base, field) for field in (*kept, "test_crop", "test_views")},
    )


class Pruning:
    """A checked pruning; `run` starts or continues it.

    Raises:
        ValueError: the run is not finished, its network cannot be pruned, or not to so few MACs, or the folder of
            the result holds something else.
    """

    method: ClassVar[str]

    def __init__(self, order: PruningSpec, data: Callable[[str], DataSet], compute: Compute):
        self.order, self.compute = order, compute
        self.before = from_run(order.source)
        if (result := finished_result(order.source)) is None:
            raise ValueError(f"the run in {str(order.source)!r} is not finished: it has no result.json")
        if "test" not in result:
            raise ValueError(f"result.json in {str(order.source)!r} cannot be used: it has no test figures")
        self.test = result["test"]
        self.base = Config.read(order.source)
        dropout, self.architecture = self.base.recipe.dropout, self.base.architecture
        if dropout:  # now in the row: after surgery the recipe cannot set it there
            self.architecture = self.architecture.with_unit(dropout=dropout)
        name = self.architecture.name
        resrep.check(self.before.model)
        self.costs = Costs(self.before.model)
        inside = {layer.name for layer in compactors(resrep.compacted(self.architecture)())}
        if inside != {compactor_of(place) for place in self.costs.filters}:
            raise ValueError(f"prune.py is for residual networks and VGG, got {name}, whose head has convolutions")
        least = resrep.least(self.costs)
        if not least < order.keep_macs < 1:
            raise ValueError(
                f"--keep-macs must be below 1 and above {least:.3f}, the MACs of {name} with one filter in each "
                f"layer that can be pruned, got {order.keep_macs:g}"
            )
        if order.out.resolve() == order.source.resolve():
            raise ValueError(f"--out must be another folder than --run, got {str(order.out)!r}")
        self.epochs = order.epochs or self.base.recipe.epochs
        sha = weights_sha256(self.before.model)
        self.task = pruning_folder.PruningConfig(sha, self.method, order.keep_macs, self.epochs, order.seed)
        pruning_folder.check(order.out, self.task)
        self.data = data(self.base.data)
        self.steps = pipeline.steps_per_epoch(len(self.data.train), self.base.recipe.batch_size)

    @property
    def done(self) -> dict | None:
        """The record of a finished pruning, else None."""
        return pruning_folder.record(self.order.out) if finished_result(self.order.out) else None

    def run(self, say: Callable[[str], None]) -> None:
        """Starts or continues the pruning, with a lock on its folder."""
        with usage_errors():
            held = pruning_folder.hold(self.order.out, self.task)
        with held:
            self._work(say)

    def _work(self, say: Callable[[str], None]) -> None:
        raise NotImplementedError

    def _configure(self, architecture: Architecture, recipe: Recipe) -> Config:
        start = configs.IN_RUN_FOLDER + START
        with usage_errors():
            made = configure(architecture, recipe, self.data, self.base.data, self.compute, self.order.seed, start)
        return replace(made, preprocessing=self.base.preprocessing, image_size=self.base.image_size)

    def _train(self, folder: Path, config: Config, start: keras.Model) -> dict:
        """Trains from a network, or continues that, unless it is finished."""

        def save_start(folder: Path) -> None:
            with deep_recursion(), replace_when_complete(folder / START) as path:  # the one there may be damaged
                start.save(path)

        spec = RunSpec(ClassificationTask, config, self.data, self.compute, (self.compute.why,))
        title = f"run: {folder} ({config.label}), {config.recipe.epochs} epochs"
        options = {"besides": pruning_folder.OURS, "before": save_start, "title": title, "echo": sys.stdout}
        return train_in_folder(spec, folder, **options)[1]

    def _record(self, result: dict, widths: dict[str, int], more: dict) -> dict:
        sizes = measure(self.before.model)
        record = {
            "run": str(self.order.source),
            "keep_macs": self.order.keep_macs,
            **more,
            "before": {"params": sizes.trainable_params, "macs": sizes.macs, "test": self.test},
            "after": {k: result[k] for k in ("params", "macs", "test")},
            "widths": {name: [count, self.costs.filters[name]] for name, count in widths.items()},
        }
        pruning_folder.write(self.order.out, record)
        return record


class ByResRep(Pruning):
    """ResRep: trains with compactors, then converts."""

    method = "resrep"

    def _work(self, say: Callable[[str], None]) -> None:
        architecture, steps = resrep.compacted(self.architecture), self.steps
        recipe = after_training(self.base.recipe, self.epochs, "resrep", f"{resrep.PAPER}, section 4.1, shortened")
        recipe = with_resrep(recipe, self.costs, self.order.keep_macs, steps)
        say(describe(recipe.resrep, self.epochs * steps))
        config = self._configure(architecture, recipe)
        self._settle(config, *self._trained(config, say))

    def _trained(self, config: Config, say: Callable[[str], None]) -> tuple[dict, keras.Model]:
        """The result of training with compactors, and the network."""
        inner, start = self.order.out / INNER, resrep.with_compactors(self.before.model)
        result = self._train(inner, config, start)
        try:
            return result, from_run(inner).model
        except ValueError as error:
            say(f"{error}; it is made again from the checkpoints")
            (inner / "result.json").unlink()
        return self._train(inner, config, start), from_run(inner).model

    def _settle(self, config: Config, inner: dict, trained: keras.Model) -> None:
        """Converts the trained network and makes the folder a run."""
        out = self.order.out
        rows, masks = resrep.lengths(trained), _masks(trained)
        kept = {name: _both(resrep.alive(rows[name]), mask) for name, mask in masks.items()}
        target = int(self.order.keep_macs * self.costs.full)
        if early := self.costs(resrep.widths(kept)) > target:  # with so few steps that masking had not ended
            kept = resrep.choose(rows, self.costs, target, sum(self.costs.filters.values()))
        gone = [rows[name][i] for name, mask in masks.items() for i in range(len(mask)) if i not in kept[name]]
        small, widths = resrep.converted(trained, kept), resrep.widths(kept)
        narrow = resrep.narrowed(self.architecture, widths)
        config = replace(config, architecture=narrow, weights=f"{configs.IN_RUN_FOLDER}{INNER}/{START}")
        with deep_recursion():
            plain = config.build()
        plain.set_weights(small.get_weights())
        shutil.copyfile(out / INNER / "history.csv", out / "history.csv")
        configs.write(config, out)
        pace = Throughput(self.epochs * self.steps, inner["images_per_second"], inner["data_wait"], inner["xla"])
        with Log(out / "log.txt", sys.stdout) as log, Board(out / "tensorboard", warn=log) as board:
            longest = max(gone, default=0.0)
            log(f"{len(gone)} of {sum(map(len, rows.values()))} channels deleted, the longest row {longest:.1e}")
            if early:
                log("the masks had not reached the target: rows in use were deleted, too")
            if longest >= resrep.ZERO:
                had = f"with them its test top-1 was {inner['test']['top1']:.4f}"
                log(f"longer than {resrep.ZERO:g}, so the network has changed ({had}); more --epochs help")
            task = ClassificationTask(config, self.data, self.compute, out, log)
            result = finish(task, plain, pace, History(out / "history.csv"), board)
            more = {"method": self.method, "lasso": config.recipe.resrep.masked}
            more |= {"longest_deleted_row": float(longest), "with_compactors": inner["test"]}
            log(pruning_folder.summary(self._record(result, widths, more), out))


class ByMagnitude(Pruning):
    """Deletes filters of small weights at once, then trains the rest with ResRep's recipe and epochs."""

    method = "magnitude"

    def _work(self, say: Callable[[str], None]) -> None:
        citation = "Li et al. 2017, arXiv 1608.08710: L1 norms; trained on at ResRep's rates"
        recipe = after_training(self.base.recipe, self.epochs, "magnitude", citation)
        small, kept = resrep.by_magnitude(self.before.model, self.order.keep_macs)
        widths = resrep.widths(kept)
        config = self._configure(resrep.narrowed(self.architecture, widths), recipe)
        result = self._train(self.order.out, config, small)
        say(pruning_folder.summary(self._record(result, widths, {"method": self.method}), self.order.out))


METHODS = {kind.method: kind for kind in (ByResRep, ByMagnitude)}


def _masks(model: keras.Model) -> dict:
    return {
        layer.name.removesuffix("_compactor"): keras.ops.convert_to_numpy(layer.mask)
        for layer in compactors(model)
    }


def _both(alive, mask):
    """Channels that are not zero and not masked; at least one, the first of the mask."""
    kept = [int(i) for i in alive if mask[i]]
    return keras.ops.convert_to_numpy(kept or [int(mask.argmax())])
