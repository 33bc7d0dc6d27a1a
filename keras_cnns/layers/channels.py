"""Channels of zeros (shortcut option A of the CIFAR residual networks) and some channels of many (towers)."""

import keras


@keras.saving.register_keras_serializable("keras_cnns")
class PadChannels(keras.layers.Layer):
    """Appends channels of zeros until there are `filters` (He et al. 2015, shortcut option A).

    (n, h, w, c) -> (n, h, w, filters), c <= filters. No weights.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        if input_shape[-1] > self.filters:
            raise ValueError(f"PadChannels only adds channels: {input_shape[-1]} came, {self.filters} wanted")

    def call(self, inputs):
        return keras.ops.pad(inputs, [(0, 0), (0, 0), (0, 0), (0, self.filters - inputs.shape[-1])])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("keras_cnns")
class TakeChannels(keras.layers.Layer):
    """Channels `start` up to, not including, `stop`: (n, h, w, c) -> (n, h, w, stop - start). No weights."""

    def __init__(self, start: int, stop: int, **kwargs):
        super().__init__(**kwargs)
        self.start = start
        self.stop = stop

    def build(self, input_shape):
        if not 0 <= self.start < self.stop <= input_shape[-1]:
            raise ValueError(f"channels {self.start} to {self.stop} wanted, but {input_shape[-1]} came")

    def call(self, inputs):
        return inputs[..., self.start : self.stop]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.stop - self.start)

    def get_config(self):
        return {**super().get_config(), "start": self.start, "stop": self.stop}
