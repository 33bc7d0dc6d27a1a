"""Zero channels, for the parameter-free shortcut (option A) of the CIFAR residual networks."""

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
