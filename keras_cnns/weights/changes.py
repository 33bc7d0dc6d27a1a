"""Changes of a network's row that some weights need, by the origin of the weights; a file does not show them.

Rows are changed with `replace` and `with_unit`.
"""

from collections.abc import Callable
from dataclasses import replace

from keras_cnns.blocks import (
    BareProjectionOrPick,
    Basic,
    GateBehindReLU,
    Staged,
    StemCeil7x7,
    StemZeroPool7x7,
)

LAST = (2, 2, 2, 1)


def legacy_senet(row: Staged) -> tuple[Staged, str]:
    """SE networks converted from Caffe (timm's `legacy_se*`)."""
    row = replace(row, stem=StemCeil7x7(row.stem.filters))
    if isinstance(row.unit, Basic):
        return row.with_unit(gate=GateBehindReLU(row.unit.gate)), "stem pool in ceil mode, ReLU before each gate"
    if row.unit.spatial.groups > 1:
        return row, "stem pool in ceil mode"
    return row.with_unit(stride_at=1), "stem pool in ceil mode, stride on the first 1x1"


def keras_v2(row: Staged) -> tuple[Staged, str]:
    """ResNetV2 of `keras.applications`."""
    row = replace(row, stem=StemZeroPool7x7(row.stem.filters), stride_unit=-1, strides=LAST)
    row = row.with_unit(shortcut=BareProjectionOrPick())
    return row, "stride in the last unit of a stage, stem with bias and zeros around its pool"


CHANGES: dict[str, Callable[[Staged], tuple[Staged, str]]] = {f.__name__: f for f in (legacy_senet, keras_v2)}
