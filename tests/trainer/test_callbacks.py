"""What watches a run: averaged weights validated and put back to the last digit, early stop, blame for a NaN."""

import keras
import numpy as np
import pytest

from training.engine.step import StepModel
from training.errors import RunError
from training.run_folder.checkpoints import START
from training.trainer.callbacks import BestCheckpoint, EarlyStopping, NaNMonitor, SwapEMAWeights
from training.trainer.checkpoint_saver import ProgressCounter

IMAGES = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
LABELS = np.arange(8) % 3


def model(rate=0.3, **options):
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    made = StepModel(x, keras.layers.Dense(3, name="logits")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(rate, **options), loss)
    return made


def fit(made, callbacks, epochs=3, images=IMAGES):
    options = {
        "batch_size": 4,
        "verbose": 0,
        "shuffle": False,
        "epochs": epochs,
        "validation_data": (IMAGES, LABELS),
    }
    return made.fit(images, LABELS, callbacks=callbacks, **options).history


def test_the_average_is_validated_and_training_goes_on_as_without():
    plain, watched, twin = (model(use_ema=True, ema_momentum=0.5) for _ in range(3))
    without, history = fit(plain, []), fit(watched, [SwapEMAWeights()])
    np.testing.assert_array_equal(history["loss"], without["loss"])
    assert history["val_loss"] != without["val_loss"]
    for a, b in zip(plain.weights, watched.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    fit(twin, [], epochs=1)  # ends with the average in place of the weights
    assert twin.evaluate(IMAGES, LABELS, verbose=0)[0] == pytest.approx(history["val_loss"][0], rel=1e-6)


def test_of_equal_epochs_the_surest_is_kept(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr("training.run_folder.checkpoints.save", lambda *args: kept.append(args[1]))
    best = BestCheckpoint(tmp_path, "run", ProgressCounter(START, {}, 4), "val_top1")
    told = [(0.5, 3.0), (0.9, 1.0), (0.9, 1.5), (0.9, 0.5), (0.8, 0.1), (0.9, 0.5)]
    for epoch, (top1, loss) in enumerate(told):
        if epoch == 3:
            again, best = best, BestCheckpoint(tmp_path, "run", ProgressCounter(START, {}, 4), "val_top1")
            best.restore(again.state)
        best.on_epoch_end(epoch, {"val_top1": top1, "val_loss": loss})
    assert best.state == {"best": 0.9, "loss": 0.5, "epoch": 4}
    assert len(kept) == 3


def test_the_run_ends_after_so_many_epochs_without_a_rise():
    said = []
    stop = EarlyStopping(2, said.append, "val_top1")
    stop.set_model(made := model())
    made.stop_training = False
    for epoch, (top1, waited) in enumerate([(0.5, 0), (0.6, 0), (0.6, 1), (0.7, 0), (0.6, 1), (0.7, 2)]):
        assert not stop.stopped
        stop.on_epoch_end(epoch, {"val_top1": top1})
        assert stop.state == {"best": max(0.5, stop.state["best"]), "waited": waited}
    assert stop.stopped
    assert made.stop_training
    assert said == ["stopped early: val_top1 has not risen for 2 epochs"]
    spared = EarlyStopping(2, said.append, "val_top1", 3)
    spared.set_model(made)
    for epoch in range(4):
        spared.on_epoch_end(epoch, {"val_top1": 0.5})
    assert spared.state["waited"] == 1
    again = EarlyStopping(2, said.append, "val_top1")
    again.restore(stop.state)
    assert again.stopped


def test_a_loss_that_is_not_finite_names_the_batch():
    images = IMAGES.copy()
    images[5] = np.inf
    blamed = []
    counter = ProgressCounter(START, {}, 2)
    with pytest.raises(RunError, match="the loss is nan at step 2 of epoch 1"):
        fit(model(), [counter, NaNMonitor(counter, lambda *place: blamed.append(place))], images=images)
    assert blamed == [(0, 1)]


def test_weights_that_are_not_finite_stop_the_run_before_validation():
    """The loss of the last step was finite, its update was not."""
    counter = ProgressCounter(START, {}, 2)
    made = model()
    made.weights[0].assign(np.full((4, 3), np.nan))
    watch = NaNMonitor(counter, print)
    watch.set_model(made)
    with pytest.raises(RunError, match="logits/kernel is not finite after epoch 1"):
        watch.on_test_begin()
