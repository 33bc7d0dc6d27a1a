"""Going on from weights: which layers are the head, how much of the rate each learns at, and when."""

import re
from collections.abc import Callable

import keras

from keras_cnns import graph

GROUP = re.compile(r"stage\d+|inception_\d|[a-z]+\d*")  # "stage3_unit2_conv1" belongs to "stage3"


def freeze_norms(model: keras.Model) -> None:
    """Batch norms keep the statistics, scales and offsets that they came with, and use them in training, too."""
    _set_norms(model, False)


def unfreeze_norms(model: keras.Model) -> None:
    """Batch norms as they were built; what is saved trains like any other network."""
    _set_norms(model, True)


def _set_norms(model: keras.Model, trainable: bool) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = trainable


def head(model: keras.Model) -> list:
    """The layers that answer: from each output back to the first that learns; auxiliary heads whole."""
    nodes, tensors = graph.trace(model)
    makers = {position: node for node in nodes for position in node.outputs}
    places = {id(tensor): position for position, tensor in enumerate(tensors)}
    found, waiting = [], [places[id(output)] for output in model.outputs]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None:
            continue
        if node.layer.trainable_variables:
            found.append(node.layer)
        else:
            waiting.extend(node.inputs)
    auxiliary = [la for la in model.layers if la.name.startswith("aux") and la.trainable_variables]
    return [*found, *(la for la in auxiliary if la not in found)]


def zero_classifier(model: keras.Model) -> None:
    """The dense layer of the classes at zero, so that at first all are equally probable (Kolesnikov et al. 2019).

    The features may be large, and answers of other classes, or random ones, would be loudly wrong.
    """
    for layer in head(model):
        if isinstance(layer, keras.layers.Dense) and layer.name.endswith("logits"):
            for variable in layer.trainable_variables:
                variable.assign(keras.ops.zeros(variable.shape))


def lr_multipliers(model: keras.Model, by: float) -> dict[str, float]:
    """Layer that learns -> its share of the rate: 1 in the head, `by` times less in each group before it.

    Groups are the stages, inception modules of a number, or layers of a name; the stem is the last of them.

    >>> import keras_cnns
    >>> found = shares(keras_cnns.ResNet20(), 0.5)
    >>> [found[name] for name in ("logits", "stage3_unit1_conv1", "stage1_unit1_conv1", "stem_conv")]
    [1.0, 0.5, 0.125, 0.0625]
    """
    ahead = {layer.name for layer in head(model)}
    rest = [la.name for la in model.layers if la.trainable_variables and la.name not in ahead]
    groups = list(dict.fromkeys(GROUP.match(name)[0] if GROUP.match(name) else name for name in rest))[::-1]
    depth = {name: groups.index(GROUP.match(name)[0] if GROUP.match(name) else name) for name in rest}
    return dict.fromkeys(ahead, 1.0) | {name: by ** (1 + depth[name]) for name in rest}


def variable_lr_multipliers(model: keras.Model, by: float) -> tuple[float, ...]:
    """`lr_multipliers` for every trainable variable, in their order."""
    by_layer = lr_multipliers(model, by)
    found = {id(v): by_layer[la.name] for la in model.layers for v in la.trainable_variables}
    return tuple(found[id(v)] for v in model.trainable_variables)


class GradualUnfreezing(keras.callbacks.Callback):
    """For the first `epochs` only the head learns, from then on everything. It has no state but the epoch."""

    def __init__(self, epochs: int, by: float, say: Callable[[str], None]):
        super().__init__()
        self.epochs, self.by, self.say = epochs, by, say
        self.told = set()

    def on_epoch_begin(self, epoch, logs=None):
        ahead = head(self.model)
        alone = epoch < self.epochs or not self.by  # nothing is worked out for layers that would not move
        self.model.set_trainable_subset(
            [v for layer in ahead for v in layer.trainable_variables] if alone else None
        )
        if alone not in self.told:
            self.told.add(alone)
            self.say(f"epoch {epoch + 1}: {self._which([la.name for la in ahead], alone)}")

    def _which(self, ahead: list[str], alone: bool) -> str:
        if alone:
            return f"only {', '.join(ahead)} learns" + (f", until epoch {self.epochs}" if self.by else "")
        groups: dict[str, float] = {}
        for name, share in lr_multipliers(self.model, self.by).items():
            groups.setdefault(GROUP.match(name)[0], share)
        told = ", ".join(f"{name} {share:.2g}" for name, share in groups.items())
        return f"all layers learn; of the rate: {told}"
