"""What follows a convolution at test time, done by oneDNN while the results are at hand."""

from collections.abc import Mapping
from ctypes import c_void_p
from typing import Literal, NamedTuple

from fcnn.nn.onednn.library import Library
from fcnn.nn.onednn.plan import attributes

Activation = Literal["relu", "tanh"]

# Values of oneDNN's enumerations (dnnl_types.h).
_ADD, _MULTIPLY, _BIAS = 0x1FFF0, 0x1FFF1, 41
_ACTIVATION = {"relu": 0x20, "tanh": 0x21}
_OPERATION, _SECOND = 32768, 2  # of the first operation behind the primitive the second operand: 32768 | 2


class Ending(NamedTuple):
    """What is done to the results of a convolution, in this order; between scale and add, a bias is added."""

    scale: bool
    """Multiply each channel by a number of its own."""
    add: bool
    """Add another array of the results' shape."""
    activation: Activation | None

    @property
    def operands(self) -> list[str]:
        """The names of what it takes, in the order of a call's buffers."""
        return [*["scale"] * self.scale, "bias", *["added"] * self.add]

    @property
    def numbers(self) -> dict[str, int]:
        """oneDNN's numbers of its operands."""
        return {"bias": _BIAS} | {name: _OPERATION * (i + 1) | _SECOND for i, name in enumerate(self.operations)}

    @property
    def operations(self) -> list[str]:
        """The operands of what oneDNN does to the results one after the other, before the activation."""
        # A bias alone is the primitive's own; a scale comes before it.
        return [*["scale", "bias"] * self.scale, *["added"] * self.add]


def ending_attributes(library: Library, ending: Ending | None, descriptors: Mapping[str, c_void_p]) -> c_void_p:
    """The attributes of a primitive that ends so; the descriptors are those of the operands, by name."""
    made = attributes(library)
    if ending:
        operations = library.create("post_ops_create")
        for name in ending.operations:
            library.call(
                "post_ops_append_binary", operations, _MULTIPLY if name == "scale" else _ADD, descriptors[name]
            )
        if ending.activation:
            library.call("post_ops_append_eltwise", operations, _ACTIVATION[ending.activation], 0.0, 0.0)
        library.call("primitive_attr_set_post_ops", made, operations)
    return made
