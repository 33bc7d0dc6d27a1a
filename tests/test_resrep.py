"""ResRep: compactors change nothing at the start, and what training leaves of them can be put away exactly."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from support import MINIATURES, images, miniature, randomise

import keras_cnns
from keras_cnns import measure, zoo
from keras_cnns.layers import Compactor
from keras_cnns.models import resrep
from keras_cnns.surgery.edited_row import EditedRow
from keras_cnns.surgery.filters import Costs, Narrow, find_prunable
from keras_cnns.surgery.graph_editor import GraphEditor

PRUNABLE = ("resnet20", "resnet50", "vgg11_cifar")
MORE = ("resnet50_v2", "wrn16_4", "vgg11", "seresnet50")


def small(name):
    return MINIATURES.get(name) or miniature(zoo.ARCHITECTURES[name])


def logits(model):
    return keras.Model(model.input, model.get_layer("logits").output)


def forget(model, seed=0):
    """Compactors as training may leave them: any numbers, some rows exactly zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, Compactor):
            kernel = rng.normal(size=tuple(layer.kernel.shape)) / np.sqrt(layer.kernel.shape[0])
            kernel[:, rng.random(kernel.shape[1]) < 0.4] = 0
            layer.kernel.assign(kernel)


@pytest.fixture(scope="module", params=[*PRUNABLE, *(pytest.param(n, marks=pytest.mark.slow) for n in MORE)])
def forms(request):
    """(architecture, network, the same with compactors that have forgotten, its logits, images)."""
    architecture = small(request.param)
    model = randomise(architecture())
    training = resrep.with_compactors(model)
    x = images(2, *model.input_shape[1:])
    start = np.abs(logits(model)(x) - logits(training)(x)).max()
    assert start < 1e-5, "with Q = I the outputs are equal"
    forget(training)
    return architecture, model, training, np.asarray(logits(training)(x)), x


def close(model, x, wanted):
    np.testing.assert_allclose(logits(model)(x), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_the_fused_network_is_the_training_form(forms):
    _, model, training, wanted, x = forms
    fused = keras_cnns.fuse(training)
    assert not any(isinstance(layer, Compactor) for layer in fused.layers)
    assert measure(fused).macs == measure(model).macs < measure(training).macs
    close(fused, x, wanted)


def test_deleting_rows_of_zero_changes_nothing(forms):
    architecture, model, training, wanted, x = forms
    less = resrep.converted(training)
    close(less, x, wanted)
    widths = {name: len(resrep.alive(row)) for name, row in resrep.lengths(training).items()}
    assert min(widths[n] / Costs(model).filters[n] for n in widths) < 1
    assert measure(less).macs == Costs(model)(widths) == Costs(training)(widths) < measure(model).macs
    rebuilt = zoo.from_json(zoo.to_json(resrep.narrowed(architecture, widths)))()
    assert [layer.name for layer in rebuilt.layers] == [layer.name for layer in less.layers]
    rebuilt.set_weights(less.get_weights())
    close(rebuilt, x, wanted)


def test_the_training_form_is_a_value(forms):
    architecture, _, training, wanted, x = forms
    rebuilt = zoo.from_json(zoo.to_json(resrep.compacted(architecture)))()
    rebuilt.set_weights(training.get_weights())
    close(rebuilt, x, wanted)


def test_what_the_graph_says_can_go():
    names = [p.name for p in find_prunable(GraphEditor(small("resnet20")()))]
    assert names == [f"stage{s}_unit{u}_conv1" for s, u in ((1, 1), (1, 2), (2, 1), (3, 1))]
    names = [p.name for p in find_prunable(GraphEditor(small("resnet50")()))]
    assert names[:4] == [f"stage1_unit{u}_conv{c}" for u in (1, 2) for c in (1, 2)]
    assert len(names) == 10, "no stem, no projection, no third convolution"
    row = keras_cnns.VGG11CIFAR.row
    image = keras.Input((32, 32, 3))
    found = [p.name for p in find_prunable(GraphEditor(keras.Model(image, row(image))))]
    assert len(found) == 7
    assert found[-1] == "stage5_conv1", "the last convolution of VGG is read by the head"
    names = [p.name for p in find_prunable(GraphEditor(small("seresnet50")()))]
    assert names == [p.name for p in find_prunable(GraphEditor(small("resnet50")()))], "nothing of a gate"
    for name in ("repvgg_a0", "sknet50"):
        with pytest.raises(ValueError, match="no output of a convolution goes to one other convolution only"):
            resrep.with_compactors(small(name)())


def test_compactors_once():
    once = resrep.with_compactors(small("resnet20")())
    compacted = resrep.compacted(small("resnet20"))
    for again in (
        lambda: resrep.with_compactors(once),
        lambda: resrep.by_magnitude(once, 0.5),
        lambda: resrep.compacted(compacted),
    ):
        with pytest.raises(ValueError, match=r"resnet20.* has compactors already"):
            again()


def test_narrow_names_what_cannot_go():
    row = small("resnet20").row
    with pytest.raises(ValueError, match="'stem_conv' is not a convolution that can have fewer filters"):
        EditedRow(row, Narrow((("stem_conv", 3),)))(keras.Input((16, 16, 3)))
    with pytest.raises(ValueError, match="must have at most 8 filters, got 9"):
        EditedRow(row, Narrow((("stage1_unit1_conv1", 9),)))(keras.Input((16, 16, 3)))


def test_masks_take_the_shortest_rows_until_the_target():
    costs = Costs(keras_cnns.ResNet20())
    rng = np.random.default_rng(0)
    rows = {name: rng.random(n) for name, n in costs.filters.items()}
    target = costs.full // 2
    kept = resrep.choose(rows, costs, target, 10_000)
    assert costs(resrep.widths(kept)) <= target
    gone = {name: np.setdiff1d(np.arange(len(row)), kept[name]) for name, row in rows.items()}
    longest = max(rows[n][i].max() for n, i in gone.items() if len(i))
    assert all(rows[n][i].min() >= longest for n, i in kept.items()), "across layers, not layer by layer"
    last = next(n for n, i in gone.items() if len(i) and rows[n][i].max() == longest)
    assert costs(resrep.widths(kept) | {last: len(kept[last]) + 1}) > target, "and no further than that"
    assert sum(len(i) for i in resrep.choose(rows, costs, target, 4).values()) == sum(costs.filters.values()) - 4


def test_a_layer_keeps_one_channel():
    costs = Costs(small("resnet20")())
    rows = {name: np.zeros(n) for name, n in costs.filters.items()}
    kept = resrep.choose(rows, costs, 0, 10_000)
    assert set(resrep.widths(kept).values()) == {1}
    assert resrep.least(costs) == costs(resrep.widths(kept)) / costs.full


def test_filters_of_small_weights():
    model = randomise(small("resnet50")())
    for prunable in find_prunable(GraphEditor(model)):
        kernel = prunable.conv.layer.kernel.numpy()
        kernel[..., ::3] = 0  # a third of the filters does nothing ...
        prunable.conv.layer.kernel.assign(kernel)
        prunable.norm.layer.beta.assign(np.where(np.arange(kernel.shape[-1]) % 3, prunable.norm.layer.beta, -9))
        prunable.norm.layer.moving_mean.assign(np.zeros(kernel.shape[-1]))
    less, kept = resrep.by_magnitude(model, 0.75)
    assert measure(less).macs <= 0.75 * measure(model).macs
    shares = {round(len(i) / Costs(model).filters[n], 1) for n, i in kept.items()}
    assert max(shares) - min(shares) < 0.15, "the same share of every layer"
    with pytest.raises(ValueError, match=r"keep must be at least 0.[0-9]* of the MACs of resnet50, got"):
        resrep.by_magnitude(model, 0.1)
    assert all(np.mean(i % 3 == 0) <= 0.05 or len(i) > 2 / 3 * Costs(model).filters[n] for n, i in kept.items())


def test_a_network_with_compactors_of_stock_layers():
    model = resrep.with_compactors(randomise(small("resnet20")()))
    forget(model)
    x = images(2, *model.input_shape[1:])
    stock = keras_cnns.stock_layers(model)
    assert all(type(layer).__module__.startswith("keras.") for layer in stock.layers)
    np.testing.assert_allclose(stock(x), model(x), rtol=1e-4, atol=1e-6)


def test_pruned_twice():
    model = randomise(small("resnet20")())
    training = resrep.with_compactors(model)
    forget(training)
    again = resrep.with_compactors(resrep.converted(training))
    forget(again, 1)
    x = images(2, *model.input_shape[1:])
    close(resrep.converted(again), x, np.asarray(logits(again)(x)))


def test_what_is_left_can_be_trained_on():
    """Norms of the batch, too, give what they gave, where compactors only scale: only epsilon differs."""
    model = randomise(small("resnet20")())
    training = resrep.with_compactors(model)
    rng = np.random.default_rng(0)
    for layer in training.layers:
        if isinstance(layer, Compactor):
            layer.kernel.assign(np.diag(rng.uniform(0.5, 2, layer.kernel.shape[0])))
    x = images(8, *model.input_shape[1:])
    wanted, found = (np.asarray(logits(m)(x, training=True)) for m in (training, resrep.converted(training)))
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_row_after_surgery_builds_on_any_tensor():
    architecture = replace(small("resnet20"), row=EditedRow(small("resnet20").row, resrep.compact))
    model = architecture(include_top=False, input_tensor=keras.Input((24, 24, 3)))
    assert model.output_shape == (None, 6, 6, 32)
    assert len([la for la in model.layers if isinstance(la, Compactor)]) == 4
