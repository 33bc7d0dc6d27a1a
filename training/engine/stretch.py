"""A stretch of training: from a place to the end of a broken epoch, or of the run."""

from collections.abc import Callable

import keras

from training.engine.checkpoints import Place


def stretch(
    model: keras.Model,
    place: Place,
    steps: int,
    epochs: int,
    batches: Callable[[], object],
    callbacks: list,
    validation=None,
) -> bool:
    """Trains from a place, from which `batches` makes the stream: is more to come?

    The rest of a broken epoch is a `fit` of its own; all goes on from the checkpoint it leaves.

    Args:
        steps: of an epoch.
        validation: batches, or None.
    """
    if place.step == steps:
        close_epoch(model, place.epoch, callbacks, validation)
    else:
        model.fit(
            batches(),
            epochs=place.epoch + 1 if place.step else epochs,
            initial_epoch=place.epoch,
            steps_per_epoch=steps - place.step,
            validation_data=validation,
            verbose=0,
            shuffle=False,  # the stream has its own order
            callbacks=callbacks,
        )
    return place.step > 0


def close_epoch(model: keras.Model, epoch: int, callbacks: list, validation) -> None:
    """What `fit` does after an epoch's last step, for a run that was interrupted right there."""
    calls = keras.callbacks.CallbackList(callbacks, model=model)
    calls.on_train_begin()
    calls.on_epoch_begin(epoch)
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    measured = {}
    if validation is not None:
        measured = model.evaluate(validation, verbose=0, return_dict=True, callbacks=calls)
    calls.on_epoch_end(epoch, logs | {f"val_{name}": value for name, value in measured.items()})
    calls.on_train_end()
