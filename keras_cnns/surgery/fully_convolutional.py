"""A classifier slid over images of any size: dense layers as convolutions, and dense evaluation (as VGG tests).

A dense layer on a flattened 7x7x512 map is a 7x7 valid convolution with the same numbers, and the dense layers
after it are 1x1 ones; so one pass over a larger image gives the classifier's answer at every place of the last map
(Sermanet et al. 2013; Simonyan & Zisserman 2014, section 3.2).
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers as stock

from keras_cnns import graph
from keras_cnns.surgery.draft import Draft, Step
from keras_cnns.surgery.linear import GLOBAL_POOLING

FLATTEN = (stock.Flatten, *GLOBAL_POOLING)
POOLS = {
    stock.GlobalAveragePooling2D: stock.AveragePooling2D,
    stock.GlobalMaxPooling2D: stock.MaxPooling2D,
}
# What works on every cell of a map as it does on a vector.
PER_CELL = (
    stock.Activation,
    stock.ActivityRegularization,
    stock.Add,
    stock.AlphaDropout,
    stock.Average,
    stock.BatchNormalization,
    stock.Concatenate,
    stock.Conv2D,
    stock.Dropout,
    stock.ELU,
    stock.GaussianDropout,
    stock.GaussianNoise,
    stock.Identity,
    stock.LeakyReLU,
    stock.Maximum,
    stock.Multiply,
    stock.ReLU,
    stock.Rescaling,
    stock.Softmax,
    stock.Subtract,
)


def fully_convolutional(model: keras.Model) -> keras.Model:
    """The same classifier for images of any size: (n, h, w, c) -> (n, h', w', classes).

    - The first dense layer after a `Flatten` becomes a valid convolution as large as the map it read, the others
      become 1x1 convolutions; every answer is exactly that of the dense head on that window of the map.
    - Global pooling becomes pooling over windows of the native map size, stride 1: 384 pixels on a network for
      224 give 6x6. Pooling inside gates (squeeze-and-excitation, attention) stays global.
    - A softmax stays, over the classes of every cell.

    Layers keep their names and weights; the original stays as it is; nested models are laid open.

    Raises:
        ValueError: the model does not fix its input size, so the native map is unknown; or its head has a layer
            that cannot work on a map.

    Example:

    >>> import keras_cnns
    >>> model = keras_cnns.LeNet5Modern()
    >>> fully_convolutional(model).compute_output_shape((1, 48, 40, 1))
    (1, 5, 3, 10)
    """
    draft = Draft(model)
    for step in list(draft.steps()):
        if step.kind in FLATTEN and len(draft.shapes[step.inputs[0]]) == 4:
            head = _head(draft, step)
            if head is not None:
                _convert(draft, step, head)
    shapes = [(s[0], None, None, s[3]) if len(s) == 4 else s for s in (t.shape for t in graph.ends(model)[0])]
    return draft.build(shapes)


def _head(draft: Draft, start: Step) -> list[Step] | None:
    """The steps behind `start`, in order; None if they meet the map again, which makes `start` part of a gate."""
    inside, head = set(start.outputs), []
    for step in draft.steps():
        reads = set(step.inputs)
        if reads & inside:
            if not reads <= inside:
                return None
            inside.update(step.outputs)
            head.append(step)
    return head


def _convert(draft: Draft, start: Step, head: list[Step]) -> None:
    _, height, width, _ = draft.shapes[start.inputs[0]]
    if height is None or width is None:
        raise ValueError(
            f"{draft.model.name!r} leaves its input size open, so the map that {start.name!r} reads has no native "
            "size: build the network with a fixed input_shape=(height, width, channels) first"
        )
    if getattr(start.layer, "data_format", "channels_last") != "channels_last":
        raise ValueError(f"{start.name!r} is channels-first; only channels-last heads can be converted")
    window: dict[int, tuple[int, int]] = {}  # of the map behind each tensor of the head
    if start.kind in POOLS:
        pool = POOLS[start.kind]((height, width), strides=1, name=start.name, dtype=start.layer.dtype_policy)
        start.layer, start.kind = pool, type(pool)
        window[start.outputs[0]] = (1, 1)
    else:
        window[start.inputs[0]] = (height, width)
        draft.skip(start)
    made: dict[int, stock.Conv2D] = {}
    for step in head:
        seen = {window[t] for t in step.inputs}
        if len(seen) > 1:
            raise ValueError(f"{step.name!r} joins tensors of different windows {sorted(seen)}")
        (size,) = seen
        if step.kind is stock.Dense:
            _dense(draft, step, size, made)
            size = (1, 1)
        elif isinstance(step.layer, stock.Flatten | stock.Reshape) and size == (1, 1):
            draft.skip(step)  # a vector of a cell is a vector already
        elif isinstance(step.layer, PER_CELL):
            if "axis" in step.config and step.config["axis"] in (1, [1]):  # of (n, c)
                step.changes["axis"] = -1
        else:
            what = f"{step.name!r} ({type(step.layer).__name__})"
            raise ValueError(f"the head has {what}, which does not work on every cell of a map")
        window.update((t, size) for t in step.outputs)


def _dense(draft: Draft, step: Step, size: tuple[int, int], made: dict) -> None:
    """A dense layer as a convolution. NHWC is flattened by (row, column, channel): the kernel is only reshaped."""
    old = step.layer
    kernel = keras.ops.convert_to_numpy(old.kernel)
    if id(old) not in made:
        made[id(old)] = stock.Conv2D(
            old.units,
            size,
            activation=old.activation,
            use_bias=old.use_bias,
            kernel_regularizer=old.kernel_regularizer,
            bias_regularizer=old.bias_regularizer,
            kernel_initializer=old.kernel_initializer,
            trainable=old.trainable,
            dtype=old.dtype_policy,
            name=step.name,
        )
    step.layer, step.kind, step.changes = made[id(old)], stock.Conv2D, {}
    step.weights = {"kernel": np.reshape(kernel, (*size, -1, old.units))}
    if old.use_bias:
        step.weights["bias"] = keras.ops.convert_to_numpy(old.bias)


def upright(images: np.ndarray) -> np.ndarray:
    """A view for `dense_evaluate`: the images as they are."""
    return images


def mirrored(images: np.ndarray) -> np.ndarray:
    """A view for `dense_evaluate`: left and right exchanged."""
    return images[:, :, ::-1]


def dense_evaluate(
    model: keras.Model,
    images: np.ndarray,
    *,
    views: Sequence[Callable] = (upright, mirrored),
    batch_size: int = 32,
) -> np.ndarray:
    """Probabilities (n, classes) of images of any one size, as VGG is tested (Simonyan & Zisserman 2014, 3.2).

    The class scores (logits) are averaged over the map, then comes the softmax, then the mean over the views.

    Args:
        model: what `fully_convolutional` gave, or a classifier, which is converted first.
        images: preprocessed, (n, height, width, channels).
        views: functions images -> images.
        batch_size: images at a time.

    Example:

    >>> import keras_cnns
    >>> model = fully_convolutional(keras_cnns.LeNet5Modern())
    >>> dense_evaluate(model, np.zeros((2, 40, 40, 1), "float32")).shape
    (2, 10)
    """
    if not views:
        raise ValueError("give at least one view of the images; views=() came")
    if len(model.outputs[0].shape) == 2:
        model = fully_convolutional(model)
    scores = _scores(model)
    answers = []
    for view in views:
        maps = scores.predict(view(np.asarray(images)), batch_size=batch_size, verbose=0)
        logits = np.mean(maps, axis=(1, 2), dtype="float64")
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        answers.append(odds / odds.sum(-1, keepdims=True))
    return np.mean(answers, axis=0).astype("float32")


def _scores(model: keras.Model) -> keras.Model:
    """The model's first output before its softmax."""
    draft = Draft(model)
    draft.outputs, draft.output_names = draft.outputs[:1], [None]
    last = draft.makers[draft.outputs[0]]
    softmax = getattr(last.layer, "activation", None) is keras.activations.softmax
    if last.kind is stock.Softmax or (softmax and last.kind is stock.Activation):
        draft.skip(last)
    elif softmax:
        last.changes["activation"] = "linear"
    return draft.build()
