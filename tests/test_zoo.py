"""The contract over every name, and the counts of the papers.

Default: a miniature of each kind, and every count, of the deepest networks through the law that counts are linear
in depth. Marked slow: miniatures that differ in numbers only, and the deepest networks.
"""

import inspect
import itertools
import json
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import GOLDENS, KINDS, MINIATURES, images, miniature, randomise, weights_of

import keras_cnns
from keras_cnns import create_model, from_json, list_models, measure, to_json
from keras_cnns.blocks import Staged
from keras_cnns.models.lenet import LeNet5
from keras_cnns.models.resnet import ResNet18, ResNet20, ResNet50
from keras_cnns.models.wide_resnet import WRN16_4
from keras_cnns.zoo import ARCHITECTURES, architecture

ALL = list(ARCHITECTURES)
# These differ from others by a part that has its own tests.
SLOW = ("alexnet_owt", "vgg11_lrn", "vgg11_cifar", "googlenet_tv")
QUICK = set(KINDS) - set(SLOW)
# A part of the contract that the head, the stem and Keras decide, not the units: one network a family.
FAMILIES = ("lenet5", "alexnet", "nin", "vgg11", "googlenet", "resnet20", "resnet50", "wrn16_4", "repvgg_b1g2")
CONTRACT_OF_A_FAMILY = pytest.mark.parametrize(
    "small",
    [pytest.param(s, id=n, marks=[] if n in FAMILIES else pytest.mark.slow) for n, s in MINIATURES.items()],
)
CONTRACT = pytest.mark.parametrize(
    "small", [pytest.param(s, id=n, marks=[] if n in QUICK else pytest.mark.slow) for n, s in MINIATURES.items()]
)


def sizes(a) -> tuple[int, int]:
    """An allowed even size and a greater odd one."""
    return a.min_size, a.min_size + 5


def stride(a) -> int:
    return {"lenet5": 32, "lenet5_modern": 4}.get(a.name) or (32 if a.min_size == 32 else 4)


# --- names ------------------------------------------------------------------------------------------------------


def test_goldens_and_zoo_have_the_same_names():
    assert sorted(GOLDENS) == list_models() == sorted(ALL)
    for name, row in GOLDENS.items():
        assert getattr(keras_cnns, row["public_name"]) is ARCHITECTURES[name]


@pytest.mark.parametrize("name", ALL)
def test_facts_of_a_name(name):
    a = ARCHITECTURES[name]
    row = GOLDENS[name]
    assert a.name == name
    assert "x".join(map(str, a.input_shape)) == row["input"]
    assert a.classes == int(row["classes"])
    assert re.search(r"(19|20)\d\d", a.citation)
    assert a.__doc__.startswith(a.citation)
    assert eval(repr(a.preprocessing), {"Preprocessing": type(a.preprocessing)}) == a.preprocessing


@pytest.mark.parametrize("name", ALL)
def test_signature_is_that_of_keras_applications(name):
    ours = inspect.signature(ARCHITECTURES[name]).parameters
    theirs = inspect.signature(keras.applications.ResNet50).parameters
    ninth = ["aux_heads"] if name.startswith("googlenet") else []
    assert list(ours) == [*theirs, *ninth]
    for key in set(theirs) - {"weights", "classes", "name"}:
        assert ours[key].default == theirs[key].default
    assert ours["weights"].default is ours["classes"].default is ours["name"].default is None


def test_patterns():
    assert list_models("resnet*_v1") == ["resnet101_v1", "resnet152_v1", "resnet50_v1"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize(
    ("wrong", "right"), [("wrn28-10", "wrn28_10"), ("ResNet50", "resnet50"), ("lenet-5", "lenet5")]
)
def test_unknown_name_gets_a_hint(wrong, right):
    with pytest.raises(ValueError, match=f"no architecture '{wrong}'; did you mean '{right}'.*list_models"):
        create_model(wrong)


def test_create_model_is_the_architecture():
    options = {"include_top": False, "input_shape": (16, 16, 3), "pooling": "avg", "name": "other"}
    one, other = create_model("resnet20", **options), ResNet20(**options)
    assert one.to_json() == other.to_json()


# --- counts -----------------------------------------------------------------------------------------------------


def counts(model_or_row, a=None) -> np.ndarray:
    """Trainable parameters, MACs, moving statistics."""
    model = model_or_row if a is None else replace(a, row=model_or_row)()
    m = measure(model)
    return np.array([m.trainable_params, m.macs, m.params - m.trainable_params])


def golden(name) -> np.ndarray:
    row = GOLDENS[name]
    fixed = {"lenet5": 840}.get(name, 0)  # the codes of LeNet-5
    return np.array([int(row["params"]), int(row["macs"]), int(row["moving"]) + fixed])


def units(name) -> int:
    row = ARCHITECTURES[name].row
    return sum(row.depths) if isinstance(row, Staged) else 0


def by_place(name) -> bool:
    """Whether the unit depends on the place: then a further one may cost something else."""
    return inspect.isfunction(getattr(ARCHITECTURES[name].row, "unit", None))


# Built at full size by default: what the test of every depth cannot tell, and of the RepVGGs one a kind.
REPVGGS = ("repvgg_a0", "repvgg_b1g4", "repvgg_d2se")
DEEP = [n for n in ALL if (units(n) > 12 and not by_place(n)) or (n.startswith("repvgg") and n not in REPVGGS)]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in DEEP else []) for n in ALL])
def test_counts_at_full_size(name, zeros):
    model = create_model(name)
    assert model.name == name
    assert counts(model).tolist() == golden(name).tolist()
    assert model.count_params() == golden(name)[[0, 2]].sum()


def depth_free(name):
    """Architectures that differ only in how often a stage repeats its unit."""
    a = ARCHITECTURES[name]
    return replace(a, row=replace(a.row, depths=(1,) * len(a.row.depths)), name="base", citation="")


STAGED = [n for n in ALL if units(n) and not by_place(n)]
ALIKE = [
    list(names) for _, names in itertools.groupby(sorted(STAGED, key=lambda n: repr(depth_free(n))), depth_free)
]


@pytest.mark.parametrize("names", [a for a in ALIKE if {*a} & {*DEEP}], ids=lambda names: "+".join(names))
def test_counts_at_every_depth(names, zeros):
    """A further unit of a stage costs the same as the one before it: so the shallowest nets tell every count."""
    base = depth_free(names[0])
    two = tuple(2 for _ in base.row.depths)
    start = counts(replace(base.row, depths=two), base)
    more = [counts(replace(base.row, depths=(*two[:i], 3, *two[i + 1 :])), base) - start for i in range(len(two))]
    for name in names:
        extra = np.array(ARCHITECTURES[name].row.depths) - 2
        expected = start + sum(e * m for e, m in zip(extra, more, strict=True))
        assert expected.tolist() == golden(name).tolist(), name


def test_counts_from_elsewhere():
    """Other classes, other inputs, other shortcuts: figures of the literature and of the papers' tables."""
    assert measure(ResNet20(classes=100)).trainable_params == 275_572
    grey = measure(ResNet20(input_shape=(28, 28, 1)))
    assert (grey.trainable_params, grey.macs) == (269_434, 30_821_248)
    b = ResNet20.with_unit(shortcut=keras_cnns.blocks.Projection())
    assert measure(b()).trainable_params == 272_474
    a18 = ResNet18.with_unit(shortcut=keras_cnns.blocks.ZeroPad())
    assert measure(a18()).trainable_params == 11_515_688
    wrn = measure(WRN16_4(input_shape=(28, 28, 1)))
    assert (wrn.trainable_params, wrn.macs) == (2_748_602, 300_368_640)


@pytest.mark.slow
def test_shortcut_c_costs_what_the_paper_says():
    c34 = measure(keras_cnns.ResNet34.with_unit(shortcut=keras_cnns.blocks.AlwaysProjection())())
    assert (c34.trainable_params, c34.macs) == (22_716_840, 3_830_747_136)


# --- the contract -----------------------------------------------------------------------------------------------


@CONTRACT_OF_A_FAMILY
def test_shapes(small):
    """ceil(size / stride) at every size, odd ones too, for any number of channels."""
    for side, channels in zip((*sizes(small), small.min_size), (1, 3, 4), strict=True):
        height, width = side, side + 3
        model = small(input_shape=(height, width, channels))
        assert model.output_shape == (None, small.classes)
        out = model(images(2, height, width, channels))
        assert out.shape == (2, small.classes)
        np.testing.assert_allclose(np.sum(out, -1), 1, rtol=1e-5)
    assert model.input_shape == (None, small.min_size, small.min_size + 3, 4)


@CONTRACT_OF_A_FAMILY
def test_without_top(small):
    channels = small.input_shape[-1]
    bare = small(include_top=False)
    assert bare.input_shape == (None, None, None, channels)
    for side in sizes(small):
        x = images(2, side, side, channels)
        features = np.array(bare(x))
        if isinstance(small.row, Staged):
            cells = -(-side // stride(small))
            assert features.shape[1:3] == (cells, cells)
        for pooling, reduce in (("avg", np.mean), ("max", np.max)):
            pooled = small(include_top=False, pooling=pooling, input_shape=(side, side, channels))
            pooled.set_weights(bare.get_weights())
            np.testing.assert_allclose(pooled(x), reduce(features, axis=(1, 2)), rtol=1e-4, atol=1e-5)
        assert bare.output_shape == (None, None, None, features.shape[-1])


@CONTRACT_OF_A_FAMILY
def test_input_tensor(small):
    """Built on a tensor in the middle of a graph: the model starts at the graph's own input."""
    source = keras.Input(small.input_shape, name="source")
    doubled = keras.layers.Rescaling(2.0, name="doubled")(source)
    onto, plain = small(input_tensor=doubled), small()
    assert onto.input.name == "source"
    onto.set_weights(plain.get_weights())
    x = images(2, *small.input_shape)
    np.testing.assert_allclose(onto(x), plain(2 * x), rtol=1e-5, atol=1e-6)
    direct = small(input_tensor=source)
    direct.set_weights(plain.get_weights())
    np.testing.assert_allclose(direct(x), plain(x), rtol=1e-5, atol=1e-6)


@CONTRACT_OF_A_FAMILY
def test_activation_none_gives_logits(small):
    plain, logits = small(classes=7), small(classes=7, classifier_activation=None)
    logits.set_weights(plain.get_weights())
    x = images(3, *small.input_shape)
    np.testing.assert_allclose(keras.ops.softmax(logits(x)), plain(x), rtol=1e-5, atol=1e-6)


@CONTRACT
def test_names(small):
    one, other = small(), small()
    names = [layer.name for layer in one.layers]
    assert names == [layer.name for layer in other.layers]
    assert len(set(names)) == len(names)
    assert [w.path for w in one.weights] == [w.path for w in other.weights]
    # An automatic name counts upwards: conv2d_3 would be conv2d_8 in the second build.


@CONTRACT
def test_gradient_reaches_every_weight(small):
    model = randomise(small(classifier_activation=None))
    x = images(4, *small.input_shape)
    direction = images(4, small.classes, seed=2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x, training=True) * direction)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient), weight.path


@CONTRACT_OF_A_FAMILY
def test_inference_does_not_mix_images(small):
    model = randomise(small())
    x = images(3, *small.input_shape)
    together = np.array(model(x))
    alone = np.concatenate([model(x[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(together, np.array(model(x)))


@CONTRACT_OF_A_FAMILY
def test_two_in_one_graph(small):
    """As layers: their inner names repeat by design."""
    first, second = small(name="first"), small(name="second")
    image = keras.Input(small.input_shape)
    both = keras.Model(image, keras.layers.Average()([first(image), second(image)]))
    x = images(2, *small.input_shape)
    np.testing.assert_allclose(both(x), (first(x) + second(x)) / 2, rtol=1e-5, atol=1e-6)
    assert measure(both).macs == 2 * measure(first).macs


def bad_arguments(a):
    height, width, channels = a.input_shape
    source = keras.Input(a.input_shape)
    yield {"pooling": "mean", "include_top": False}, "pooling must be None, 'avg' or 'max', got 'mean'"
    yield {"pooling": "avg"}, "include_top=False"
    yield {"input_shape": (height, width)}, "input_shape must be"
    yield {"input_shape": (height, width, None)}, "input_shape must be"
    yield {"input_shape": (height, width, 0)}, "input_shape must be"
    yield {"input_shape": (height, -32, channels)}, "input_shape must be"
    yield {"input_shape": (height, 32.5, channels)}, "input_shape must be"
    yield {"input_shape": 32}, "input_shape must be"
    yield {"input_shape": (a.min_size - 1, width, channels)}, f"at least {a.min_size} pixels"
    yield (
        {"input_shape": (height, a.min_size - 1, channels), "include_top": False},
        f"at least {a.min_size} pixels",
    )
    yield (
        {"input_tensor": source, "input_shape": (height + 1, width, channels)},
        "input_shape must be that of",
    )
    yield {"input_tensor": keras.Input((height, width))}, "input_shape must be"
    yield {"input_tensor": np.zeros((1, *a.input_shape), "float32")}, "input_tensor must be"
    yield {"input_tensor": "image"}, "input_tensor must be"
    yield {"classes": 0}, "classes must be"
    yield {"classes": -1}, "classes must be"
    yield {"classes": 10.0}, "classes must be"
    yield {"classes": True}, "classes must be"
    yield {"classes": "10"}, "classes must be"
    yield {"weights": "imagenett"}, "'imagenett'"
    yield {"weights": "nowhere.weights.h5"}, "no weights file 'nowhere.weights.h5'"
    yield {"weights": "nowhere.keras"}, "no weights file"
    yield {"weights": 3}, "got 3"
    yield {"classifier_activation": "sofmax"}, "classifier_activation"
    yield {"classifier_activation": 3}, "classifier_activation"
    yield {"name": "a/b"}, "name must be"
    yield {"name": 3}, "name must be"


@pytest.mark.parametrize(
    "name", ["lenet5", "lenet5_modern", "alexnet", "nin", "vgg16", "googlenet", "resnet20", "resnet50", "wrn16_4"]
)
def test_bad_arguments(name, monkeypatch):
    """ValueError with the rule and the value, before any layer is built."""
    a = ARCHITECTURES[name]
    cases = list(bad_arguments(a))

    def build(*args, **kwargs):
        raise AssertionError("a layer was built")

    monkeypatch.setattr(keras.layers.Layer, "__init__", build)
    for arguments, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)):
            a(**arguments)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_modern", "alexnet", "alexnet_owt", "vgg16", "vgg11_bn"])
def test_dense_heads_need_a_size(name, monkeypatch):
    a = ARCHITECTURES[name]
    monkeypatch.setattr(keras.layers.Layer, "__init__", lambda *args, **kwargs: pytest.fail("a layer was built"))
    with pytest.raises(ValueError, match="height and width"):
        a(input_shape=(None, None, a.input_shape[-1]))


def test_open_size_with_a_top():
    """Global pooling takes any size."""
    model = miniature(ResNet20)(input_shape=(None, None, 3))
    assert [model(images(1, s, s, 3)).shape for s in (8, 13)] == [(1, 10)] * 2


def test_channels_first_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match="channels_first"):
        ResNet20()


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_json_round_trip(name):
    a = architecture(name)
    text = to_json(a)
    assert from_json(text) == a
    assert json.loads(text)["type"] == type(a).__name__
    assert from_json(to_json(from_json(text))) == a
    assert from_json(to_json(a.row)) == a.row


@CONTRACT_OF_A_FAMILY
def test_what_json_rebuilds_builds_the_same_network(small):
    again = from_json(to_json(small))
    assert again().to_json() == small().to_json()


def altered(change) -> str:
    data = json.loads(to_json(ResNet50))
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(type="os.system"), "no type 'os.system'"),
        (lambda d: d.update(type="Layer"), "no type 'Layer'"),
        (lambda d: d.update(type="Architectur"), "did you mean 'Architecture'"),
        (lambda d: d.update(type=["Architecture"]), "no type"),
        (lambda d: d.update(type="he_fan_out"), "no type 'he_fan_out'"),
        (lambda d: d["row"].update(unit={"function": "eval"}), "no function 'eval'"),
        (lambda d: d["row"].update(unit={"function": "Basic"}), "no function 'Basic'"),
        (lambda d: d["row"].update(unit={"function": ["nothing"]}), "no function"),
        (lambda d: d["row"].update(unit="__import__('os').system('x')"), "Staged.unit must be"),
        (lambda d: d["row"].update(unit=None), "Staged.unit must be"),
        (lambda d: d["row"].update(dephts=[1]), "did you mean 'depths'"),
        (lambda d: d["row"].pop("unit"), "needs the field 'unit'"),
        (lambda d: d["row"].update(depths=[3, 4, 6, 0]), "Staged.depths must be"),
        (lambda d: d["row"].update(depths=[3, 4, 6, 10**9]), "Staged.depths must be"),
        (lambda d: d["row"].update(depths=[3, 4, 6, 3.0]), "Staged.depths must be"),
        (lambda d: d["row"].update(depths=[3, 4, 6, True]), "Staged.depths must be"),
        (lambda d: d["row"].update(depths=3), "Staged.depths must be"),
        (lambda d: d["row"].update(depths=[3, 4, 6, 3, 3]), "widths must have 5 entries"),
        (lambda d: d["row"].update(widths=[64, 128, 256, [512, 512]]), "one width or 3"),
        (lambda d: d["row"].update(widths=[64, 128, 256, -1]), "Staged.widths must be"),
        (lambda d: d["row"].update(depths=[1] * 65, widths=[64] * 65), "at most 64 stages, got 65"),
        (lambda d: d["row"].update(strides=[1, 2, 2, 3]), "from 1 to 2"),
        (lambda d: d["row"].update(strides=[1, 2]), "strides must have 4 entries"),
        (lambda d: d["row"].update(stride_unit=1), "from -1 to 0"),
        (lambda d: d["row"]["unit"].update(stride_at=3), "from 1 to 2"),
        (lambda d: d["row"]["unit"].update(inner=0), "Bottleneck.inner must be"),
        (lambda d: d["row"]["unit"].update(inner=float("nan")), "Bottleneck.inner must be"),
        (lambda d: d["row"]["unit"].update(expansion="4"), "Bottleneck.expansion must be"),
        (lambda d: d["row"]["unit"]["spatial"].update(groups=0), "Conv3x3.groups must be"),
        (lambda d: d.update(classes=0), "Architecture.classes must be"),
        (lambda d: d.update(input_shape=[224, 224]), "Architecture.input_shape must be"),
        (lambda d: d.update(name=7), "Architecture.name must be"),
        (lambda d: d["preprocessing"].update(std=[0.0, 1.0, 1.0]), "Preprocessing.std must be"),
        (lambda d: d["preprocessing"].update(order="gbr"), "order must be 'rgb' or 'bgr'"),
        (lambda d: d.update(preprocessing=d["head"]), "Architecture.preprocessing must be"),
    ],
)
def test_hostile_json(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_json(altered(change))


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 200_000, '{"type": ' * 5_000, "[" * 500 + "]" * 500, "9" * 10_000]
)
def test_json_that_is_none(text):
    with pytest.raises(ValueError, match=r"not JSON|nest at most"):
        from_json(text)


def test_replace_keeps_what_an_architecture_is():
    derived = replace(ResNet50, name="mine", citation="After a paper of 2015.", classes=5)
    assert inspect.signature(derived) == inspect.signature(ResNet50)
    assert derived.__doc__.startswith("After a paper of 2015.")
    assert 'create_model("mine"' in derived.__doc__
    assert "(n, 5)" in derived.__doc__
    assert derived != ResNet50
    assert replace(derived, name=ResNet50.name, citation=ResNet50.citation, classes=1000) == ResNet50
    model = replace(miniature(derived), input_shape=(32, 32, 3))()
    assert (model.name, model.output_shape) == ("mine", (None, 5))


def test_architectures_are_values():
    assert hash(ResNet50) == hash(from_json(to_json(ResNet50)))
    assert len({*ARCHITECTURES.values()}) == len(ARCHITECTURES)
    assert "Bottleneck(" in repr(ResNet50)
    with pytest.raises(AttributeError):
        ResNet50.name = "other"


def test_with_unit():
    v1 = ResNet50.with_unit(stride_at=1)
    assert v1.row == keras_cnns.ResNet50V1.row
    assert v1.row.with_unit(stride_at=2) == ResNet50.row
    assert ResNet50.row.unit.stride_at == 2
    with pytest.raises(ValueError, match="from 1 to 2"):
        ResNet50.with_unit(stride_at=3)


@pytest.mark.parametrize("name", ["resnet18", "wrn16_4", "repvgg_a0"])
def test_slices_share_names(name):
    """row[:2] then row.stage(3) and so on are the same layers, by name and shape, as the whole row."""
    a = MINIATURES[name]
    image = keras.Input((32, 32, 3))
    whole = keras.Model(image, a.row(image))
    stages = len(a.row.depths)
    head = keras.Model(image, a.row[:2](image))
    tails, entry = [], head.output_shape[1:]
    for number in range(3, stages + 1):
        inner = keras.Input(entry)
        part = a.row[number - 1 : number] if number == stages else a.row.stage(number)
        tails.append(keras.Model(inner, part(inner)))
        entry = tails[-1].output_shape[1:]
    weights = {k: v for model in (head, *tails) for k, v in weights_of(model).items()}
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in weights_of(whole).items()}
    for model in (head, *tails):
        for layer in model.layers[1:]:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    x = images(1, 32, 32, 3)
    y = head(x)
    for tail in tails:
        y = tail(y)
    np.testing.assert_allclose(y, whole(x), rtol=1e-5, atol=1e-6)


def test_slices_that_do_not_exist():
    row = ResNet50.row
    assert row[:4] == row
    assert (row[2:].strides, row.stage(1).strides) == ((2, 2), (1,))
    assert (row.stage(4).first, row.stage(4).depths) == (4, (3,))
    assert row[1:3].stage(3) == row.stage(3)
    for wrong in (slice(0, 4, 2), slice(2, 2), slice(None, None, -1)):
        with pytest.raises(ValueError, match="consecutive stages"):
            row[wrong]
    with pytest.raises(ValueError, match="consecutive stages"):
        row[2]
    for wrong in (0, 5):
        with pytest.raises(ValueError, match="number must be from 1 to 4"):
            row.stage(wrong)


def test_preprocessing_of_an_architecture():
    x = np.full((1, 2, 2, 3), 255, "uint8")
    np.testing.assert_allclose(ResNet50.preprocess_input(x)[0, 0, 0], [2.248908, 2.428571, 2.64], atol=1e-4)
    with pytest.raises(ValueError, match=r"no weights .timm/resnet50.a1."):
        ResNet50.preprocess_input(x, weights="timm/resnet50.a1")


def test_decode_predictions():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]])
    labels = ["cat", "dog", "owl"]
    best = LeNet5.decode_predictions(scores, top=2, labels=labels)
    assert best == [[("dog", 0.7), ("owl", 0.2)], [("cat", 0.5), ("dog", 0.25)]]
    assert LeNet5.decode_predictions(keras.ops.convert_to_tensor(scores), top=9, labels=labels)[0][2] == (
        "cat",
        0.1,
    )
    for arguments, message in [
        ({"predictions": scores}, "give labels="),
        ({"predictions": scores, "labels": labels[:2]}, "labels must have 3 names, one for each class, got 2"),
        ({"predictions": scores[0], "labels": labels}, "predictions must have shape (n, classes), got (3,)"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            LeNet5.decode_predictions(**arguments)
