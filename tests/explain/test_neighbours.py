"""Filters, towers, and neighbours: searches against brute force, codes that keep classes apart."""

from dataclasses import replace

import numpy as np
import pytest
from support import MINIATURES, images, randomise

from keras_cnns.explain import Codes, Encoder, Vectors, first_filters, penultimate, precision, saturation, towers
from keras_cnns.models.alexnet import AlexNetTowers, carry_weights


def test_two_towers_grouped_or_drawn_apart():
    small = MINIATURES["alexnet"]
    whole = randomise(small(classes=3))
    apart = replace(small, row=AlexNetTowers(small.row.widths))(classes=3)
    carry_weights(whole, apart)
    kernel = whole.get_layer("conv1").kernel.numpy()
    np.testing.assert_array_equal(first_filters(whole), kernel)
    np.testing.assert_array_equal(first_filters(apart), kernel)
    for model in (whole, apart):
        first, second = towers(model)
        np.testing.assert_array_equal(np.concatenate([first, second], -1), kernel)
    with pytest.raises(ValueError, match="does not have the two towers"):
        towers(MINIATURES["alexnet_owt"](classes=3))


def test_saturation_needs_colour_and_knows_no_scale():
    kernel = images(5, 5, 3, 4)
    np.testing.assert_allclose(saturation(7 * kernel), saturation(kernel), rtol=1e-5)
    assert ((saturation(kernel) > 0) & (saturation(kernel) < 1)).all()
    with pytest.raises(ValueError, match="kernel must have shape"):
        saturation(kernel[:, :, :1])


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "lenet5", "nin_cifar", "googlenet"])
def test_penultimate_features_are_what_the_last_layer_reads(name):
    small = MINIATURES[name]
    model = randomise(small(classes=4))
    features = penultimate(model)(images(2, *small.input_shape)).numpy()
    assert features.ndim == 2
    last = next(layer for layer in model.layers[::-1] if layer.weights)
    width = last.kernel.shape[-2] if hasattr(last, "kernel") else last.centres.shape[1]
    assert features.shape == (2, width)
    if name == "resnet20":
        scores = model.get_layer("predictions")(model.get_layer("logits")(features))
        np.testing.assert_allclose(scores, model(images(2, 16, 16, 3)), rtol=1e-4, atol=1e-6)


def test_searches_are_brute_force(monkeypatch):
    random = np.random.default_rng(0)
    base, queries = random.normal(size=(50, 7)), random.normal(size=(9, 7))
    far = ((queries[:, None] - base[None]) ** 2).sum(-1)
    for block in (2**24, 100):  # also in pieces
        monkeypatch.setattr("keras_cnns.explain.neighbours.BLOCK", block)
        np.testing.assert_array_equal(Vectors(base).nearest(queries, 4), far.argsort(1)[:, :4])
        codes, asked = (random.integers(0, 2**16, (n, 4)).astype("uint16") for n in (50, 9))
        found = Codes(codes).nearest(asked, 50)
        bits = [np.unpackbits(c.view("uint8"), axis=1).astype(int) for c in (codes, asked)]
        differ = np.abs(bits[1][:, None] - bits[0][None]).sum(-1)
        np.testing.assert_array_equal(np.take_along_axis(differ, found, 1), np.sort(differ, 1))


def test_codes_keep_what_vectors_tell_apart():
    random = np.random.default_rng(0)
    centres = 3 * random.normal(size=(4, 12))
    labels = np.arange(400) % 4
    vectors = (centres[labels] + random.normal(size=(400, 12))).astype("float32")
    encoder = Encoder.fit(vectors[:300], 32, hidden=32, epochs=20)
    codes = encoder(vectors)
    assert (codes.shape, codes.dtype) == ((400, 2), np.uint16)
    found = Codes(codes[:300]).nearest(codes[300:], 5)
    assert precision(found, labels[:300], labels[300:]) > 0.9
    assert 0 < encoder.error < 0.6
    with pytest.raises(ValueError, match="bits must be a multiple of 16"):
        Encoder.fit(vectors, 20)
