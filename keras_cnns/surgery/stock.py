"""The same network from what stock Keras has, so that its file loads where this package is not installed."""

import keras
import numpy as np
from keras import layers as stock
from keras import ops

from keras_cnns import layers as ours
from keras_cnns.graph import At
from keras_cnns.surgery.draft import Draft, Step
from keras_cnns.surgery.linear import array, weights_of


def stock_layers(model: keras.Model, but: tuple[type, ...] = ()) -> keras.Model:
    """A copy in which every layer of this package is said with stock Keras, with the same outputs.

    LeNet's layers become convolutions and dense layers, a kernel with both stride and dilation one with zeros in
    it, ceil-mode pooling a padded pool. Grouped convolutions become stock Keras' own, which TensorFlow compiles by
    XLA: slower to start, slower to train. Local response normalisation ends in `keras.ops.power`, for which there
    is no layer.

    Args:
        but: classes of this package that stay as they are.

    Raises:
        ValueError: ceil-mode pooling of an open size, whose padding is not known.

    Example:

    >>> import keras_cnns
    >>> model = stock_layers(keras_cnns.LeNet5())
    >>> {type(layer).__module__.partition(".")[0] for layer in model.layers}
    {'keras'}
    """
    draft = Draft(model)
    where_as_fast(draft, but)
    for step in list(draft.steps()):
        rule = _RULES.get(step.kind)
        if rule is not None and step.kind not in but:
            rule(draft, step)
    return draft.build()


def where_as_fast(draft: Draft, but: tuple[type, ...] = ()) -> None:
    """Says with stock layers what they do as fast."""
    for step in list(draft.steps()):
        if step.kind in but:
            continue
        if step.kind is ours.Conv2D:
            config = step.config
            # Ours stays where stock Keras cannot (stride with dilation) or should not: with groups it compiles
            # every call with XLA on TensorFlow, which is slow and does not convert to every format.
            if config["groups"] == 1 and (max(config["strides"]) == 1 or max(config["dilation_rate"]) == 1):
                step.kind = stock.Conv2D
        elif step.kind is ours.PadChannels:
            _pad_channels(draft, step)
        elif step.kind.__name__ in vars(ours) and step.kind.__name__ == step.kind.__base__.__name__:
            step.kind = step.kind.__base__  # a faster twin of a stock layer keeps its name and its numbers


def _pad_channels(draft: Draft, step: Step) -> None:
    """Channels are padded where stock Keras can pad: turned into the place of the rows, and back."""
    (x,), (out,) = step.inputs, step.outputs
    n, h, w, c = draft.shapes[x]
    filters, name, own = step.layer.filters, step.name, _own(step)
    turned = stock.Permute((3, 1, 2), name=draft.free_name(f"{name}_turn"), **own)
    wider = stock.ZeroPadding2D(
        ((0, filters - c), (0, 0)), data_format="channels_last", name=draft.free_name(f"{name}_zeros"), **own
    )
    y = draft.chain(x, turned, (n, c, h, w))
    y = draft.chain(y, wider, (n, filters, h, w))
    draft.remove(step)
    draft.put(Step(stock.Permute((2, 3, 1), name=name, **own), (At(y),), {}, (out,)))


def _own(step: Step) -> dict:
    return {"dtype": step.layer.dtype_policy}


def _instead(draft: Draft, step: Step, layer, args: tuple, weights: dict | None = None) -> None:
    """Another layer makes what the step made."""
    draft.put(Step(layer, args, {}, step.outputs, weights=weights))
    draft.remove(step)


# --- layer by layer ---------------------------------------------------------------------------------------------


def _convolution(draft: Draft, step: Step) -> None:
    config = step.config
    step.kind = stock.Conv2D
    if max(config["strides"]) == 1 or max(config["dilation_rate"]) == 1:
        return
    kernel, bias = weights_of(step, "kernel", "bias")
    rates = config["dilation_rate"]
    sides = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[:2], rates, strict=True))
    spread = np.zeros((*sides, *kernel.shape[2:]))
    spread[:: rates[0], :: rates[1]] = kernel
    step.changes.update(kernel_size=sides, dilation_rate=(1, 1))
    step.weights = {"kernel": spread, **({"bias": bias} if config["use_bias"] else {})}


def _ceil_pool(draft: Draft, step: Step) -> None:
    (x,) = step.inputs
    n, h, w, c = draft.shapes[x]
    if h is None or w is None:
        raise ValueError(f"{step.name} pads by the size of its input, which is open: give the model a fixed one")
    step.kind = stock.MaxPooling2D
    more = [step.layer.missing(side, size) for side, size in enumerate((h, w))]
    if not any(more):
        return
    name = draft.free_name(f"{step.name}_pad")
    pad = stock.ZeroPadding2D(tuple((0, m) for m in more), data_format="channels_last", name=name, **_own(step))
    padded = draft.chain(x, pad, (n, h + more[0], w + more[1], c))
    draft.readers[x].remove(step)
    draft.readers[padded].append(step)
    step.args = (At(padded),)


def _sub_sampling(draft: Draft, step: Step) -> None:
    (x,) = step.inputs
    coefficient, bias = weights_of(step, "coefficient", "bias")
    kernel = np.broadcast_to(coefficient[:, None], (2, 2, len(coefficient), 1))
    layer = stock.DepthwiseConv2D(2, strides=2, name=step.name, **_own(step))
    _instead(draft, step, layer, (At(x),), {"kernel": kernel, "bias": bias})


def _sparse(draft: Draft, step: Step) -> None:
    (x,) = step.inputs
    kernel, bias = weights_of(step, "kernel", "bias")
    table, maps = step.layer.table, draft.shapes[x][-1]
    dense = np.zeros((*kernel.shape[:2], maps, len(table)))
    for link, (i, o) in enumerate((i, o) for o, row in enumerate(table) for i in row):
        dense[..., i, o] = kernel[..., link]
    layer = stock.Conv2D(len(table), step.layer.kernel_size, name=step.name, **_own(step))
    _instead(draft, step, layer, (At(x),), {"kernel": dense, "bias": bias})


def _scaled_tanh(draft: Draft, step: Step) -> None:
    if step.layer.activation is not ours.scaled_tanh:
        return
    (x,), own = step.inputs, _own(step)
    shape = draft.shapes[x]
    y = draft.chain(x, stock.Rescaling(2 / 3, name=draft.free_name(f"{step.name}_in"), **own), shape)
    y = draft.chain(y, stock.Activation("tanh", name=draft.free_name(f"{step.name}_tanh"), **own), shape)
    _instead(draft, step, stock.Rescaling(1.7159, name=step.name, **own), (At(y),))


def _rbf(draft: Draft, step: Step) -> None:
    """|x - c|^2 = |x|^2 - 2 x c + |c|^2."""
    (x,), own = step.inputs, _own(step)
    centres, shape = array(step.layer.centres), draft.shapes[x]
    n, classes = shape[0], len(centres)
    product = draft.chain(
        x,
        stock.Dense(classes, name=draft.free_name(f"{step.name}_product"), **own),
        (n, classes),
        weights={"kernel": -2 * centres.T, "bias": (centres**2).sum(axis=1)},
    )
    squares = draft.tensor(shape)
    name = draft.free_name(f"{step.name}_squares")
    draft.put(Step(stock.Multiply(name=name, **own), ([At(x), At(x)],), {}, (squares,)))
    energy = draft.chain(
        squares,
        stock.Dense(classes, use_bias=False, name=draft.free_name(f"{step.name}_energy"), **own),
        (n, classes),
        weights={"kernel": np.ones((shape[-1], classes))},
    )
    _instead(draft, step, stock.Add(name=step.name, **own), ([At(product), At(energy)],))


def _compactor(draft: Draft, step: Step) -> None:
    (kernel,) = weights_of(step, "kernel")
    layer = stock.Conv2D(len(kernel), 1, use_bias=False, name=step.name, **_own(step))
    _instead(draft, step, layer, step.args, {"kernel": kernel[None, None]})


def _local_response(draft: Draft, step: Step) -> None:
    """x * (bias + alpha * the sum of the neighbours' squares) ** -beta, the sum as a 1x1 convolution of a band."""
    (x,), own, layer = step.inputs, _own(step), step.layer
    shape = draft.shapes[x]
    place = np.arange(shape[-1])
    band = np.abs(place[:, None] - place) <= layer.radius
    squares, powers = draft.tensor(shape), draft.tensor(shape)
    name = draft.free_name(f"{step.name}_squares")
    draft.put(Step(stock.Multiply(name=name, **own), ([At(x), At(x)],), {}, (squares,)))
    energy = draft.chain(
        squares,
        stock.Conv2D(shape[-1], 1, name=draft.free_name(f"{step.name}_energy"), **own),
        shape,
        weights={"kernel": layer.alpha * band[None, None], "bias": np.full(shape[-1], layer.bias)},
    )
    draft.put(Step(_power(), (At(energy), -layer.beta), {}, (powers,)))
    _instead(draft, step, stock.Multiply(name=step.name, **own), ([At(x), At(powers)],))


def _power():
    """The operation behind `keras.ops.power`, which has no public class: taken from a graph that calls it."""
    from keras_cnns.graph import maker

    return maker(ops.power(keras.KerasTensor((None, 1)), 2.0))


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
