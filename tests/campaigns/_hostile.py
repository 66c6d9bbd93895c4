"""Bytes that no program wrote: good files damaged, and files made to hurt."""

import gzip
import io
import json
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
from PIL import Image

HUGE = (0, 1, 2, 255, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64, 10**30, 10**400)
VALUES: tuple[Any, ...] = (
    *HUGE, -1, -(2**63), 1e308, float("inf"), float("nan"), 1e-320, 0.5, True, None, "", "x" * 10**5, "a\x1b[31mb\n",
    "\ud800", "\0", "../../../../tmp/out", "/dev/zero", [], {}, [[]] * 1000, [1, "a", None], {"a": {"b": {}}},
)  # fmt: skip


FORMATS = (
    ("png", "RGB"), ("png", "P"), ("png", "LA"), ("png", "I;16"), ("jpg", "RGB"), ("jpg", "L"), ("gif", "P"),
    ("bmp", "RGB"), ("tif", "RGB"), ("tif", "F"), ("webp", "RGB"), ("ppm", "RGB"), ("tga", "RGBA"), ("ico", "RGBA"),
    ("jp2", "RGB"), ("pcx", "L"), ("sgi", "RGB"), ("dds", "RGBA"), ("avif", "RGB"), ("icns", "RGBA"), ("im", "RGB"),
)  # fmt: skip
"""Of images: the ending of the name and the mode."""


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A file with one to four changes: bytes, numbers, parts left out, doubled, moved or taken from elsewhere."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(result) + 1)
        # The first bytes say what is meant to follow.
        place = place if rng.random() < 0.5 else min(place, rng.randrange(1, 200))
        length = rng.choice((1, 4, 16, 1000))
        change = rng.randrange(7)
        if change == 0:
            result[place : place + 1] = bytes([rng.randrange(256)])
        elif change == 1:
            number = rng.choice(HUGE[:13]) % 2**32
            result[place : place + 4] = number.to_bytes(4, rng.choice(("big", "little")))
        elif change == 2:
            result[place : place + 8] = (rng.choice(HUGE[:13]) % 2**64).to_bytes(8, rng.choice(("big", "little")))
        elif change == 3:
            del result[place : None if rng.random() < 0.5 else place + length]
        elif change == 4:
            result[place:place] = result[place : place + length] * rng.choice((1, 1, 100))
        elif change == 5:
            result[place:place] = rng.randbytes(length)
        else:
            other = rng.randrange(len(result) + 1)
            result[place : place + length] = result[other : other + length]
    return bytes(result)


def damaged_json(rng: random.Random, text: str) -> bytes:
    """JSON with values of other kinds, fields that are gone or new, or that is none any more."""
    if rng.random() < 0.2:
        return damaged(rng, text.encode())
    if rng.random() < 0.1:
        return rng.choice((b"[" * 10**6, b'{"a":' * 10**5 + b"1" + b"}" * 10**5, b"\xff\xfe", b"1" * 10**5, b"null"))
    values = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        owners = [values, *_inside(values)]
        owner = rng.choice(owners)
        keys = list(owner) if isinstance(owner, dict) else list(range(len(owner)))
        change = rng.randrange(4) if keys else 3
        if change < 2:
            owner[rng.choice(keys)] = odd_value(rng)
        elif change == 2:
            del owner[rng.choice(keys)]
        elif isinstance(owner, dict):
            owner[rng.choice(("a", "", "name", "\x1b[31m", "x" * 10**4))] = odd_value(rng)
        else:
            owner.append(odd_value(rng))
    return json.dumps(values).encode()


def odd_value(rng: random.Random) -> Any:
    """One of VALUES, a copy: a later change to it is this case's alone."""
    return deepcopy(rng.choice(VALUES))


def _inside(value: Any) -> list[Any]:
    parts = list(value.values() if isinstance(value, dict) else value)
    inner = [part for part in parts if isinstance(part, dict | list)]
    return inner + [deeper for part in inner for deeper in _inside(part)]


def onnx_file(rng: random.Random, data: bytes) -> bytes:
    """An ONNX file of which bytes, metadata, sizes or operations are damaged, that reads another file or never ends."""
    if rng.random() < 0.4:
        return damaged(rng, data)
    model = onnx.load_from_string(data)
    graph, change = model.graph, rng.randrange(7)
    weights, node = rng.choice(graph.initializer), rng.choice(graph.node)
    if change == 0:
        entry = next(entry for entry in model.metadata_props if entry.key == "fcnn")
        entry.value = damaged_json(rng, entry.value).decode("utf-8", "replace")
    elif change == 1:
        weights.dims[:] = [rng.choice(HUGE[:11]) for _ in weights.dims]
    elif change == 2:
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=rng.choice(("/etc/passwd", "../../secret", "/dev/zero")))
    elif change == 3:
        node.op_type = rng.choice(("Expand", "Tile", "Conv", "NoSuch", "", "ConstantOfShape", "MatMul"))
    elif change == 4:
        graph.node.append(_endless_loop())
        node.input[0] = "never"
    elif change == 5:
        sizes = onnx.numpy_helper.from_array(np.array([1, rng.choice((2**20, 2**33, 2**40)), 1000]), "sizes")
        graph.initializer.append(sizes)
        graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["sizes"], ["large"]))
        graph.node.insert(1, onnx.helper.make_node("ReduceMean", ["large"], ["mean"], keepdims=0))
        output = graph.output[0].name
        last = next(node for node in graph.node if output in node.output)
        last.output[list(last.output).index(output)] = "before"
        graph.node.append(onnx.helper.make_node("Add", ["before", "mean"], [output]))
    else:
        del graph.node[rng.randrange(len(graph.node))]
    return model.SerializeToString()


def _endless_loop() -> Any:
    """A node whose result, "never", takes 2^62 rounds."""
    boolean = onnx.helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, [])
    number = onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, [])
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    again = onnx.helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, [])
    inner = [onnx.helper.make_node("Identity", ["go"], ["on"]), onnx.helper.make_node("Relu", ["x"], ["y"])]
    body = onnx.helper.make_graph(inner, "body", [number, boolean, value], [again, result])
    return onnx.helper.make_node("Loop", ["", "", "images"], ["never"], body=body)


def image(rng: random.Random) -> tuple[str, bytes]:
    """The ending of an image's name, and its bytes: damaged, or with a header that promises more than there is."""
    if rng.random() < 0.15:
        return "png", png_header(rng.choice((1, 100, 10_000, 2**31 - 1)), rng.choice((1, 9_990, 10_000, 2**20)), rng)
    kind, mode = rng.choice(FORMATS)
    height, width = rng.choice(((16, 16), (1, 64), (40, 30)))
    pixels = np.frombuffer(rng.randbytes(height * width * 3), np.uint8).reshape(height, width, 3)
    file = io.BytesIO()
    wide = {"I;16": "u2", "F": "f4"}.get(mode)
    drawn = Image.fromarray(pixels if wide is None else pixels[..., 0].astype(wide))
    options = {"compression": rng.choice((None, "tiff_lzw", "tiff_deflate"))} if kind == "tif" else {}
    try:
        drawn = drawn if wide else drawn.convert(mode)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # Pillow's, of rare formats
            drawn.save(file, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(kind, kind.upper()), **options)
    except (KeyError, OSError, ValueError):  # which this Pillow can't write
        return kind, rng.randbytes(500)
    return kind, damaged(rng, file.getvalue())


def png_header(width: int, height: int, rng: random.Random) -> bytes:
    """A PNG of a size, with or without a line of pixels; its checksums are right."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    depth, kind = rng.choice(((1, 0), (8, 0), (16, 0), (8, 2), (8, 3), (8, 6), (16, 6)))
    head = struct.pack(">2I5B", width, height, depth, kind, 0, 0, rng.choice((0, 1)))
    colors = chunk(b"PLTE", rng.randbytes(768)) + chunk(b"tRNS", rng.randbytes(256)) if kind == 3 else b""
    rows = zlib.compress(bytes(rng.choice((0, 100, 10**6, 4 * 10**7))), 1)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(rng.choice((10, 10**7))), 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + colors + text + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def idx(rng: random.Random) -> bytes:
    """An idx file, gzipped or not, whose header may lie."""
    shape = [rng.choice((0, 1, 28, 60_000, 2**31, 2**32 - 1)) for _ in range(rng.choice((0, 1, 1, 3, 3, 3, 4, 255)))]
    data = struct.pack(f">4B{len(shape)}I", 0, 0, rng.choice((8, 8, 8, 13)), len(shape), *shape)
    data += bytes(rng.choice((0, 10, 28 * 28, 10**6)))
    if rng.random() < 0.3:
        data = gzip.compress(data + bytes(rng.choice((0, 10**7, 10**8))), 1)
    return damaged(rng, data) if rng.random() < 0.4 else data


CALLS = (
    "os system", "posix system", "builtins eval", "builtins exec", "subprocess Popen", "builtins getattr",
    "importlib import_module", "pathlib Path.touch", "shutil rmtree", "numpy load", "torch load", "pickle loads",
    "builtins __import__", "codecs decode", "operator attrgetter", "functools partial", "runpy run_path",
    "numpy.core.multiarray scalar", "webbrowser open", "nt system", "code InteractiveInterpreter", "torch.hub load",
)  # fmt: skip
"""What pickles that attack call."""


def text(value: str) -> bytes:
    """The instruction that pushes a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    """The instruction that pushes a whole number."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(data)) + data


def call(name: str, *arguments: bytes) -> bytes:
    """The instructions that call what is known by "module name"."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n" + joined(arguments) + b"R"


def joined(parts: Any) -> bytes:
    """The instructions that make a tuple."""
    return b"(" + b"".join(parts) + b"t"


def attack(rng: random.Random) -> bytes:
    """The instructions of one value that does harm where it is believed: runs something, or takes memory or time."""
    kind = rng.randrange(9)
    if kind < 3:
        return call(rng.choice(CALLS), text(rng.choice(("touch marker", "open('marker', 'w')", "marker", "os"))))
    if kind == 3:
        return b"Nr" + struct.pack("<I", rng.choice((10**3, 10**7, 2**28, 2**32 - 1)))  # a place in the memo
    if kind == 4:
        return rng.choice((b"B", b"X", b"T")) + struct.pack("<I", rng.choice((10**6, 2**31 - 1))) + b"abc"
    if kind == 5:
        return rng.choice((b"\x96", b"\x8e", b"\x8d")) + struct.pack("<Q", rng.choice(HUGE[:11])) + b"abc"
    if kind == 6:  # each list holds the last one many times over
        return b"]q\0" + b"".join(b"(" + b"h\0" * 50 + b"tq\0" for _ in range(rng.choice((3, 30))))
    if kind == 7:
        return b"(" * 10**4 + b"t" * 10**4
    return b"I" + b"9" * rng.choice((100, 10**4)) + b"\n"


def cifar(rng: random.Random) -> bytes:
    """A batch of CIFAR as Python writes it, damaged, or with an attack in it."""

    def string(data: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(data)) + data

    shape = joined(number(rng.choice((7, 7, *HUGE))) for _ in range(1)) if rng.random() < 0.2 else b"K\x07M\x00\x0c\x86"
    array = call("numpy.core.multiarray _reconstruct", b"cnumpy\nndarray\n", b"K\0\x85", string(b"b"))
    dtype = call("numpy dtype", string(rng.choice((b"u1", b"u1", b"O8", b"f8", b"V999999999"))), b"K\0", b"K\1")
    dtype += joined((b"K\3", string(b"|"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0")) + b"b"
    array += joined((b"K\1", shape, dtype, b"\x89", string(bytes(7 * 3072)))) + b"b"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in range(7)) + b"e"
    if rng.random() < 0.5:
        array, labels = rng.choice(((attack(rng), labels), (array, attack(rng))))
    data = b"\x80\x02}(" + string(b"data") + array + string(b"labels") + labels + b"u."
    return data if rng.random() < 0.6 else damaged(rng, data)


def torch_tensor(rng: random.Random, shape: tuple[int, ...], key: str, count: int) -> bytes:
    """The instructions that make a tensor, of the shape given or another, of a usual or an unusual kind."""
    numbers = [*shape, *(int(np.prod(shape[i + 1 :])) for i in range(len(shape))), 0, count]
    kind = "FloatStorage"
    if rng.random() < 0.25:
        numbers[rng.randrange(len(numbers))] = rng.choice((*HUGE, -1))
    if rng.random() < 0.1:
        kind = rng.choice(("QInt8Storage", "ComplexFloatStorage", "BoolStorage", "ByteStorage", "cuda.HalfStorage"))
    sizes, strides = (joined(map(number, part)) for part in (numbers[: len(shape)], numbers[len(shape) : -2]))
    of = b"ctorch\n" + kind.encode() + b"\n"
    storage = joined((text("storage"), of, text(key), text("cpu"), number(numbers[-1])))
    hooks = call("collections OrderedDict")
    plain = call("torch._utils _rebuild_tensor_v2", storage + b"Q", number(numbers[-2]), sizes, strides, b"\x89", hooks)
    if rng.random() > 0.1:
        return plain
    unusual: tuple[Callable[[], bytes], ...] = (
        lambda: call("torch._utils _rebuild_sparse_tensor", b"ctorch\nsparse_coo\n", joined((plain, plain, sizes))),
        lambda: call("torch._utils _rebuild_qtensor", storage + b"Q", b"K\0", sizes, strides, plain, b"\x89", hooks),
        lambda: call("torch._utils _rebuild_meta_tensor_no_storage", b"ctorch\nfloat32\n", sizes, strides, b"\x89"),
        lambda: call("torch._utils _rebuild_parameter", plain, b"\x88", hooks),
        lambda: attack(rng),
    )
    return rng.choice(unusual)()


def torch_file(rng: random.Random, shapes: dict[str, tuple[int, ...]]) -> bytes:
    """A file of PyTorch's with arrays of these names and shapes, not all of them as they should be."""
    names = list(shapes)
    keys = [text(name) if rng.random() > 0.03 else number(rng.choice(HUGE)) for name in names]
    counts = {str(i): int(np.prod(shape)) for i, shape in enumerate(shapes.values())}
    tensors = [torch_tensor(rng, shapes[name], key, counts[key]) for name, key in zip(names, counts, strict=True)]
    items = b"".join(key + tensor for key, tensor in zip(keys, tensors, strict=True))
    if rng.random() < 0.2:
        items += text("epoch") + attack(rng)
    pickled = b"\x80\x02}(" + items + b"u."
    if rng.random() < 0.2:
        pickled = b"\x80\x02}(" + text(rng.choice(("state_dict", "model", "ema"))) + pickled[2:-1] + b"u."
    storages = {key: bytes(4 * count) for key, count in counts.items()}
    if rng.random() < 0.2:
        pickled = damaged(rng, pickled)
    if rng.random() < 0.3:
        head = b"\x80\x02" + number(0x1950A86A20F9469CFC6C) + b".\x80\x02M\xe9\x03.\x80\x02}."
        places = b"\x80\x02](" + b"".join(map(text, counts)) + b"e."
        data = head + pickled + places + b"".join(struct.pack("<q", counts[k]) + d for k, d in storages.items())
    else:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED,))) as archive:
            for name, content in {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"}.items():
                archive.writestr(f"archive/{name}", content)
            for key, content in storages.items():
                archive.writestr(f"archive/data/{key}", content)
        data = file.getvalue()
    return damaged(rng, data) if rng.random() < 0.2 else data
