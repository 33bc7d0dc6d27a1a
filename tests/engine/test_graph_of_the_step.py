"""What the traced training step is made of: speed that cannot be noise."""

from collections import Counter
from dataclasses import replace

import keras
import pytest
import tensorflow as tf
from support import MINIATURES

from training.engine.step import SoftCrossEntropy, StepModel


def operations(architecture) -> Counter:
    """Operations of a training step by type, those inside functions included."""
    model = architecture(classifier_activation=None)
    step = StepModel(model.inputs, model.outputs)
    step.compile(keras.optimizers.SGD(0.1, momentum=0.9), SoftCrossEntropy())
    step.make_functions()
    images = tf.TensorSpec((4, *model.input_shape[1:]))
    graph = tf.function(lambda x, y: step.train_step((x, y)), autograph=False).get_concrete_function(
        images, tf.TensorSpec((4,), tf.int32)
    )
    definition = graph.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    compiled = [n.name for n in nodes if n.attr["_XlaMustCompile"].b]
    assert not compiled
    return Counter(node.op for node in nodes)


def of_depths(*depths):
    small = MINIATURES["resnet50"]
    return operations(replace(small, row=replace(small.row, depths=depths)))


@pytest.fixture(scope="module")
def growing():
    return [of_depths(1, n, 1, 1) for n in (1, 2, 3)]


def test_a_unit_costs_the_same_wherever_it_stands(growing):
    """The second further unit of a stage adds what the first did: nothing grows with depth but depth."""
    first, second, third = growing
    assert second - first == third - second
    assert sum((second - first).values()) > 0


def test_convolutions_and_norms_are_single_kernels(growing):
    """A bottleneck has three of each, forward and backward."""
    added = growing[1] - growing[0]
    kernels = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "FusedBatchNormV3", "FusedBatchNormGradV3")
    assert [added[kind] for kind in kernels] == [3] * 5


def test_only_strided_convolutions_are_padded_apart(growing):
    """'same' pads a convolution of stride 1 inside its kernel, as symmetrically as a separate copy would."""
    assert (growing[1] - growing[0])["Pad"] == 0
    assert growing[0]["Pad"] == 5  # the stem's convolution and pool, the 3x3 of three strided stages


def test_groups_are_in_the_kernel():
    small = MINIATURES["resnext50_32x4d"]
    ops = operations(replace(small, row=replace(small.row, depths=(1, 1, 1, 1))))
    assert ops["Conv2D"] == 1 + 4 * 4
    assert ops["Split"] == ops["SplitV"] == 0
