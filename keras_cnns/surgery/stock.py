"""Replaces this package's layers by stock Keras layers, so that a saved model loads without this package."""

import keras
import numpy as np
from keras import layers as stock
from keras import ops

from keras_cnns import layers as ours
from keras_cnns.graph import TensorRef
from keras_cnns.surgery.graph_editor import GraphEditor, Node
from keras_cnns.surgery.linear import array, weights_of


def stock_layers(model: keras.Model, but: tuple[type, ...] = ()) -> keras.Model:
    """A copy in which stock Keras layers replace every layer of this package, with the same outputs.

    LeNet's layers become convolutions and dense layers; a kernel with both stride and dilation is filled up with
    zeros; ceil-mode pooling becomes padding and pooling. Grouped convolutions become those of stock Keras, which
    TensorFlow compiles with XLA: slower to start and to train. Local response normalisation uses
    `keras.ops.power`, for which there is no layer.

    Args:
        but: classes of this package to leave unchanged.

    Raises:
        ValueError: ceil-mode pooling of an open size, since its padding is unknown.

    Example:

    >>> import keras_cnns
    >>> model = stock_layers(keras_cnns.LeNet5())
    >>> {type(layer).__module__.partition(".")[0] for layer in model.layers}
    {'keras'}
    """
    editor = GraphEditor(model)
    use_stock_where_fast(editor, but)
    for node in list(editor.nodes()):
        rule = _RULES.get(node.kind)
        if rule is not None and node.kind not in but:
            rule(editor, node)
    return editor.build()


def use_stock_where_fast(editor: GraphEditor, but: tuple[type, ...] = ()) -> None:
    """Uses stock layers where they are as fast as those of this package."""
    for node in list(editor.nodes()):
        if node.kind in but:
            continue
        if node.kind is ours.Conv2D:
            config = node.config
            # Kept for stride with dilation, which stock Keras cannot do, and for groups, which it compiles with
            # XLA on TensorFlow: that is slow and does not convert to every format.
            if config["groups"] == 1 and (max(config["strides"]) == 1 or max(config["dilation_rate"]) == 1):
                node.kind = stock.Conv2D
        elif node.kind is ours.PadChannels:
            _pad_channels(editor, node)
        elif node.kind.__name__ in vars(ours) and node.kind.__name__ == node.kind.__base__.__name__:
            node.kind = node.kind.__base__  # a faster version of a stock layer: same name, same weights


def _pad_channels(editor: GraphEditor, node: Node) -> None:
    """Pads channels with stock layers: transposes them to the rows' axis, pads, and transposes back."""
    (x,), (out,) = node.inputs, node.outputs
    n, h, w, c = editor.shapes[x]
    filters, name, own = node.layer.filters, node.name, _own(node)
    turned = stock.Permute((3, 1, 2), name=editor.unique_name(f"{name}_turn"), **own)
    wider = stock.ZeroPadding2D(
        ((0, filters - c), (0, 0)), data_format="channels_last", name=editor.unique_name(f"{name}_zeros"), **own
    )
    y = editor.append(x, turned, (n, c, h, w))
    y = editor.append(y, wider, (n, filters, h, w))
    editor.remove(node)
    editor.add(Node(stock.Permute((2, 3, 1), name=name, **own), (TensorRef(y),), {}, (out,)))


def _own(node: Node) -> dict:
    return {"dtype": node.layer.dtype_policy}


def _replace(editor: GraphEditor, node: Node, layer, args: tuple, weights: dict | None = None) -> None:
    """Replaces a node by another layer with the same outputs."""
    editor.add(Node(layer, args, {}, node.outputs, weights=weights))
    editor.remove(node)


# --- layer by layer ---------------------------------------------------------------------------------------------


def _convolution(editor: GraphEditor, node: Node) -> None:
    config = node.config
    node.kind = stock.Conv2D
    if max(config["strides"]) == 1 or max(config["dilation_rate"]) == 1:
        return
    kernel, bias = weights_of(node, "kernel", "bias")
    rates = config["dilation_rate"]
    sides = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[:2], rates, strict=True))
    spread = np.zeros((*sides, *kernel.shape[2:]))
    spread[:: rates[0], :: rates[1]] = kernel
    node.changes.update(kernel_size=sides, dilation_rate=(1, 1))
    node.weights = {"kernel": spread, **({"bias": bias} if config["use_bias"] else {})}


def _ceil_pool(editor: GraphEditor, node: Node) -> None:
    (x,) = node.inputs
    n, h, w, c = editor.shapes[x]
    if h is None or w is None:
        raise ValueError(f"{node.name} pads by its input size, which is open: build the model with a fixed size")
    node.kind = stock.MaxPooling2D
    more = [node.layer.missing(side, size) for side, size in enumerate((h, w))]
    if not any(more):
        return
    name = editor.unique_name(f"{node.name}_pad")
    pad = stock.ZeroPadding2D(tuple((0, m) for m in more), data_format="channels_last", name=name, **_own(node))
    padded = editor.append(x, pad, (n, h + more[0], w + more[1], c))
    editor.consumers[x].remove(node)
    editor.consumers[padded].append(node)
    node.args = (TensorRef(padded),)


def _sub_sampling(editor: GraphEditor, node: Node) -> None:
    (x,) = node.inputs
    coefficient, bias = weights_of(node, "coefficient", "bias")
    kernel = np.broadcast_to(coefficient[:, None], (2, 2, len(coefficient), 1))
    layer = stock.DepthwiseConv2D(2, strides=2, name=node.name, **_own(node))
    _replace(editor, node, layer, (TensorRef(x),), {"kernel": kernel, "bias": bias})


def _sparse(editor: GraphEditor, node: Node) -> None:
    (x,) = node.inputs
    kernel, bias = weights_of(node, "kernel", "bias")
    table, maps = node.layer.table, editor.shapes[x][-1]
    dense = np.zeros((*kernel.shape[:2], maps, len(table)))
    for link, (i, o) in enumerate((i, o) for o, row in enumerate(table) for i in row):
        dense[..., i, o] = kernel[..., link]
    layer = stock.Conv2D(len(table), node.layer.kernel_size, name=node.name, **_own(node))
    _replace(editor, node, layer, (TensorRef(x),), {"kernel": dense, "bias": bias})


def _scaled_tanh(editor: GraphEditor, node: Node) -> None:
    if node.layer.activation is not ours.scaled_tanh:
        return
    (x,), own = node.inputs, _own(node)
    shape = editor.shapes[x]
    y = editor.append(x, stock.Rescaling(2 / 3, name=editor.unique_name(f"{node.name}_in"), **own), shape)
    y = editor.append(y, stock.Activation("tanh", name=editor.unique_name(f"{node.name}_tanh"), **own), shape)
    _replace(editor, node, stock.Rescaling(1.7159, name=node.name, **own), (TensorRef(y),))


def _rbf(editor: GraphEditor, node: Node) -> None:
    """|x - c|^2 = |x|^2 - 2 x c + |c|^2."""
    (x,), own = node.inputs, _own(node)
    centres, shape = array(node.layer.centres), editor.shapes[x]
    n, classes = shape[0], len(centres)
    product = editor.append(
        x,
        stock.Dense(classes, name=editor.unique_name(f"{node.name}_product"), **own),
        (n, classes),
        weights={"kernel": -2 * centres.T, "bias": (centres**2).sum(axis=1)},
    )
    squares = editor.new_tensor(shape)
    name = editor.unique_name(f"{node.name}_squares")
    editor.add(Node(stock.Multiply(name=name, **own), ([TensorRef(x), TensorRef(x)],), {}, (squares,)))
    energy = editor.append(
        squares,
        stock.Dense(classes, use_bias=False, name=editor.unique_name(f"{node.name}_energy"), **own),
        (n, classes),
        weights={"kernel": np.ones((shape[-1], classes))},
    )
    _replace(editor, node, stock.Add(name=node.name, **own), ([TensorRef(product), TensorRef(energy)],))


def _compactor(editor: GraphEditor, node: Node) -> None:
    (kernel,) = weights_of(node, "kernel")
    layer = stock.Conv2D(len(kernel), 1, use_bias=False, name=node.name, **_own(node))
    _replace(editor, node, layer, node.args, {"kernel": kernel[None, None]})


def _local_response(editor: GraphEditor, node: Node) -> None:
    """x * (bias + alpha * sum of the neighbours' squares) ** -beta; the sum is a 1x1 convolution (band matrix)."""
    (x,), own, layer = node.inputs, _own(node), node.layer
    shape = editor.shapes[x]
    place = np.arange(shape[-1])
    band = np.abs(place[:, None] - place) <= layer.radius
    squares, powers = editor.new_tensor(shape), editor.new_tensor(shape)
    name = editor.unique_name(f"{node.name}_squares")
    editor.add(Node(stock.Multiply(name=name, **own), ([TensorRef(x), TensorRef(x)],), {}, (squares,)))
    energy = editor.append(
        squares,
        stock.Conv2D(shape[-1], 1, name=editor.unique_name(f"{node.name}_energy"), **own),
        shape,
        weights={"kernel": layer.alpha * band[None, None], "bias": np.full(shape[-1], layer.bias)},
    )
    editor.add(Node(_power(), (TensorRef(energy), -layer.beta), {}, (powers,)))
    _replace(editor, node, stock.Multiply(name=node.name, **own), ([TensorRef(x), TensorRef(powers)],))


def _power():
    """The operation of `keras.ops.power`, which has no public class: taken from a graph that calls it."""
    from keras_cnns.graph import producer

    return producer(ops.power(keras.KerasTensor((None, 1)), 2.0))


_RULES = {
    ours.Conv2D: _convolution,
    ours.CeilMaxPooling2D: _ceil_pool,
    ours.Compactor: _compactor,
    ours.SubSampling2D: _sub_sampling,
    ours.SparseConv2D: _sparse,
    stock.Activation: _scaled_tanh,
    ours.RBF: _rbf,
    ours.LocalResponseNormalization: _local_response,
}
