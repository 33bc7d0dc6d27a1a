"""Fully convolutional form of a classifier, for images of any size, and dense evaluation (as VGG is tested).

A dense layer on a flattened 7x7x512 map is a 7x7 valid convolution with the same numbers, and the dense layers
after it are 1x1 ones; one pass over a larger image gives the classifier's output at every position of the last map
(Sermanet et al. 2013; Simonyan & Zisserman 2014, section 3.2).
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers as stock

from keras_cnns import graph
from keras_cnns.surgery.graph_editor import GraphEditor, Node
from keras_cnns.surgery.linear import GLOBAL_POOLING

FLATTEN = (stock.Flatten, *GLOBAL_POOLING)
POOLS = {
    stock.GlobalAveragePooling2D: stock.AveragePooling2D,
    stock.GlobalMaxPooling2D: stock.MaxPooling2D,
}
# Layers that act on every cell of a map as they do on a vector.
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

    - The first dense layer after a `Flatten` becomes a valid convolution with a kernel as large as the map, the
      others become 1x1 convolutions; every output is exactly that of the dense head on that window of the map.
    - Global pooling becomes pooling over windows of the native map size, stride 1: 384 pixels on a network for
      224 give 6x6. Pooling inside gates (squeeze-and-excitation, attention) stays global.
    - A softmax stays, over the classes of every cell.

    Layers keep their names and weights; the original is unchanged; nested models are flattened.

    Raises:
        ValueError: the model has no fixed input size, so the native map is unknown; or its head has a layer that
            cannot be applied to a map.

    Example:

    >>> import keras_cnns
    >>> model = keras_cnns.LeNet5Modern()
    >>> fully_convolutional(model).compute_output_shape((1, 48, 40, 1))
    (1, 5, 3, 10)
    """
    editor = GraphEditor(model)
    for node in list(editor.nodes()):
        if node.kind in FLATTEN and len(editor.shapes[node.inputs[0]]) == 4:
            head = _head(editor, node)
            if head is not None:
                _convert(editor, node, head)
    shapes = [(s[0], None, None, s[3]) if len(s) == 4 else s for s in (t.shape for t in graph.ends(model)[0])]
    return editor.build(shapes)


def _head(editor: GraphEditor, start: Node) -> list[Node] | None:
    """The nodes after `start`, in order; None if one also reads the map, which makes `start` part of a gate."""
    inside, head = set(start.outputs), []
    for node in editor.nodes():
        reads = set(node.inputs)
        if reads & inside:
            if not reads <= inside:
                return None
            inside.update(node.outputs)
            head.append(node)
    return head


def _convert(editor: GraphEditor, start: Node, head: list[Node]) -> None:
    _, height, width, _ = editor.shapes[start.inputs[0]]
    if height is None or width is None:
        raise ValueError(
            f"{editor.model.name!r} leaves its input size open, so the map that {start.name!r} reads has no "
            "native size: build the network with a fixed input_shape=(height, width, channels) first"
        )
    if getattr(start.layer, "data_format", "channels_last") != "channels_last":
        raise ValueError(f"{start.name!r} is channels-first; only channels-last heads can be converted")
    window: dict[int, tuple[int, int]] = {}  # tensor of the head -> the window of the map that it depends on
    if start.kind in POOLS:
        pool = POOLS[start.kind]((height, width), strides=1, name=start.name, dtype=start.layer.dtype_policy)
        start.layer, start.kind = pool, type(pool)
        window[start.outputs[0]] = (1, 1)
    else:
        window[start.inputs[0]] = (height, width)
        editor.bypass(start)
    made: dict[int, stock.Conv2D] = {}
    for node in head:
        seen = {window[t] for t in node.inputs}
        if len(seen) > 1:
            raise ValueError(f"{node.name!r} joins tensors of different windows {sorted(seen)}")
        (size,) = seen
        if node.kind is stock.Dense:
            _dense(editor, node, size, made)
            size = (1, 1)
        elif isinstance(node.layer, stock.Flatten | stock.Reshape) and size == (1, 1):
            editor.bypass(node)  # a cell is a vector already
        elif isinstance(node.layer, PER_CELL):
            if "axis" in node.config and node.config["axis"] in (1, [1]):  # of (n, c)
                node.changes["axis"] = -1
        else:
            what = f"{node.name!r} ({type(node.layer).__name__})"
            raise ValueError(f"the head has {what}, which cannot be applied to every cell of a map")
        window.update((t, size) for t in node.outputs)


def _dense(editor: GraphEditor, node: Node, size: tuple[int, int], made: dict) -> None:
    """Makes a dense layer a convolution. `Flatten` orders by (row, column, channel): a reshape of the kernel."""
    old = node.layer
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
            name=node.name,
        )
    node.layer, node.kind, node.changes = made[id(old)], stock.Conv2D, {}
    node.weights = {"kernel": np.reshape(kernel, (*size, -1, old.units))}
    if old.use_bias:
        node.weights["bias"] = keras.ops.convert_to_numpy(old.bias)


def upright(images: np.ndarray) -> np.ndarray:
    """A view for `dense_evaluate`: the images as they are."""
    return images


def mirrored(images: np.ndarray) -> np.ndarray:
    """A view for `dense_evaluate`: the images flipped horizontally."""
    return images[:, :, ::-1]


def dense_evaluate(
    model: keras.Model,
    images: np.ndarray,
    *,
    views: Sequence[Callable] = (upright, mirrored),
    batch_size: int = 32,
) -> np.ndarray:
    """Probabilities (n, classes) of images of one size, as VGG is tested (Simonyan & Zisserman 2014, 3.2).

    The logits are averaged over the map, followed by the softmax and the mean over the views.

    Args:
        model: a result of `fully_convolutional`, or a classifier, which is converted first.
        images: preprocessed, (n, height, width, channels).
        views: functions images -> images.
        batch_size: images per step.

    Example:

    >>> import keras_cnns
    >>> model = fully_convolutional(keras_cnns.LeNet5Modern())
    >>> dense_evaluate(model, np.zeros((2, 40, 40, 1), "float32")).shape
    (2, 10)
    """
    if not views:
        raise ValueError("views must have at least one function, got ()")
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
    editor = GraphEditor(model)
    editor.outputs, editor.output_names = editor.outputs[:1], [None]
    last = editor.producers[editor.outputs[0]]
    softmax = getattr(last.layer, "activation", None) is keras.activations.softmax
    if last.kind is stock.Softmax or (softmax and last.kind is stock.Activation):
        editor.bypass(last)
    elif softmax:
        last.changes["activation"] = "linear"
    return editor.build()
