"""PyTorch's files read without PyTorch: the numbers that `torch.load` gives, and nothing for a file that attacks."""

import io
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.utils.errors import UserError
from fcnn.utils.restricted_pickle import Refused
from fcnn.weights.files import read_arrays
from fcnn.weights.torch_file import open_torch

torch = pytest.importorskip("torch")

TYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
NEWER = ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"]  # which have no storages of their own
FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}, "protocol 4": {"pickle_protocol": 4}}


def raw(array):
    return array.shape, array.tobytes()


def raw_torch(tensor):
    """PyTorch's own, by way of whole numbers of the same size: NumPy hasn't all of its types."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tuple(tensor.shape), tensor.detach().clone(memory_format=torch.contiguous_format).view(
        whole
    ).numpy().tobytes()


@st.composite
def views(draw, types):
    """Tensors of one storage, with any shapes, strides and offsets that stay inside of it."""
    dtype = draw(st.sampled_from(types))
    count = draw(st.integers(1, 40))
    size = getattr(torch, dtype).itemsize
    data = draw(st.binary(min_size=count * size, max_size=count * size))
    if dtype == "bool":
        data = bytes(byte & 1 for byte in data)
    base = torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        left = count - 1 - (offset := draw(st.integers(0, count - 1)))
        shape, strides = [], []
        for _ in range(draw(st.integers(0, 4))):
            n, stride = draw(st.integers(0, 4)), draw(st.integers(0, 8))
            if n > 1 and (n - 1) * stride > left:
                stride = left // (n - 1)
            left -= max(n - 1, 0) * stride
            shape.append(n)
            strides.append(stride)
        found.append(base.as_strided(shape, strides, offset))
    return found


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
@given(data=st.data(), parameter=st.booleans())
def test_tensors_are_bit_for_bit_those_that_pytorch_reads(kind, data, parameter, tmp_path_factory):
    types = TYPES if kind == "legacy" else TYPES + NEWER  # which PyTorch can't write there
    groups = data.draw(st.lists(views(types), min_size=1, max_size=2))
    path = tmp_path_factory.getbasetemp() / f"{kind}.pth"
    given = OrderedDict((f"{i}.{j}", view) for i, group in enumerate(groups) for j, view in enumerate(group))
    if parameter:
        given = {k: torch.nn.Parameter(v) if v.dtype.is_floating_point else v for k, v in given.items()}
    torch.save({"state_dict": given, "epoch": 3}, path, **FORMATS[kind])
    want = torch.load(path, weights_only=kind != "protocol 4")["state_dict"]
    with open_torch(path) as file:
        assert file.tree["epoch"] == 3
        tensors = file.tree["state_dict"]
        assert tensors.keys() == want.keys()
        for name, tensor in tensors.items():
            assert raw(file.array(tensor)) == raw_torch(want[name])
            assert str(tensor.dtype) == str(want[name].dtype).removeprefix("torch.")


def test_views_share_their_storage_and_need_no_pytorch(tmp_path, monkeypatch):
    base = torch.arange(12.0)
    torch.save({"a": base.view(3, 4).T, "b": base[2:]}, tmp_path / "a.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    arrays, _ = read_arrays(tmp_path / "a.pth")
    assert np.array_equal(arrays["a"], np.arange(12).reshape(3, 4).T)
    assert np.shares_memory(arrays["a"], arrays["b"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "uint8"])
def test_a_big_endian_machines_file_is_turned_round(dtype, tmp_path):
    given = (torch.arange(7.0) * 3 - 4).to(getattr(torch, dtype))
    torch.save({"a": given}, tmp_path / "little.pth")
    with zipfile.ZipFile(tmp_path / "little.pth") as old, zipfile.ZipFile(tmp_path / "big.pth", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if "/data/" in name:
                data = np.frombuffer(data, f"u{given.element_size()}").byteswap().tobytes()
            new.writestr(name, data)
    assert torch.equal(torch.load(tmp_path / "big.pth", weights_only=True)["a"], given)
    with open_torch(tmp_path / "big.pth") as file:
        assert raw(file.array(file.tree["a"])) == raw_torch(given)


def test_what_training_scripts_keep_beside_the_weights_is_passed_over(tmp_path):
    import argparse
    import collections
    import pathlib

    module = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(2)).sum().backward()
    optimizer.step()
    beside = {
        "best_acc1": torch.tensor(76.1), "epoch": 3, "arch": "resnet18", "args": argparse.Namespace(lr=0.1, items=None),
        "optimizer": optimizer.state_dict(), "loss": np.float64(0.5), "log": np.arange(3), "path": pathlib.Path("a"),
        "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float16, "seen": {1, 2},
        "scores": collections.defaultdict(list, {"top1": [1.0]}), "kinds": frozenset({1}), "steps": range(3),
        "queue": collections.deque([1]), "rng": torch.get_rng_state(), "big": 2**70, "bytes": b"x", "none": None,
        "pair": (1.5, [True]),
    }  # fmt: skip
    for options in FORMATS.values():
        torch.save({"state_dict": module.state_dict(), **beside}, tmp_path / "a.pth", **options)
        arrays, _ = read_arrays(tmp_path / "a.pth")
        assert {name: array.tolist() for name, array in arrays.items()} == {
            name: array.tolist() for name, array in module.state_dict().items()
        }


@pytest.mark.filterwarnings("ignore")  # PyTorch's, on what it will give up
def test_tensors_that_are_no_plain_arrays_are_named(tmp_path):
    dense = torch.eye(2)
    for tensor, word in (
        (dense.to_sparse(), "sparse"),
        (dense.to_sparse_csr(), "sparse"),
        (torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8), "quantized"),
        (dense.to(torch.complex64), "complex"),
        (dense.to("meta"), "without numbers"),
    ):
        torch.save({"fine": dense, "layer.weight": tensor}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=rf"a\.pth: layer\.weight is {word}.*; weights are plain arrays"):
            read_arrays(tmp_path / "a.pth")


def archive(pickled, storage=bytes(16), compress=zipfile.ZIP_STORED):
    """The bytes of a file in PyTorch's zip format."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as made:
        made.writestr("archive/data.pkl", pickled)
        made.writestr("archive/data/0", storage)
    return out.getvalue()


class Call:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def storage(key=b"X\x01\x00\x00\x000", count=b"K\x04"):
    return b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + key + b"X\x03\x00\x00\x00cpu" + count + b"tQ"


def tensor(offset=b"K\x00", shape=b"K\x04\x85", strides=b"K\x01\x85", of=None):
    of = of or storage()
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + of + offset + shape + strides + b"\x89}tR"


def state_dict(value):
    return b"\x80\x02}X\x01\x00\x00\x00a" + value + b"s."


ONE, LONG = b"K\x01", b"\x8a\x08" + struct.pack("<q", 2**62)
ATTACKS = {
    "an instruction that finds by number": b"\x80\x02\x82\x01.",
    "an old call": b"(S'x'\nios\nmkdir\n.",
    "another old call": b"\x80\x02(cos\nmkdir\nX\x01\x00\x00\x00xo.",
    "a call of no function": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "a call of what a call gave": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
    "attributes of a function": b"\x80\x02ccollections\nOrderedDict\n}X\x04\x00\x00\x00callK\x01sb.",
    "attributes of a storage's type": b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeK\x01sb.",
    "a call with other arguments": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "a tensor of no storage": state_dict(tensor(of=b"K\x01")),
    "a tensor of another function": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nSize\nNNNtR.",
    "no pairs": b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.",
    "texts for pairs": b"\x80\x02ccollections\nOrderedDict\nX\x02\x00\x00\x00ab\x85R.",
    "an object of another kind": b"\x80\x02K\x01Q.",
    "a storage of no type": b"\x80\x02(X\x07\x00\x00\x00storageK\x01K\x02K\x03K\x04tQ.",
    "a storage with a list for a key": state_dict(tensor(of=storage(key=b"]"))),
    "a storage that isn't there": state_dict(tensor(of=storage(key=b"X\x01\x00\x00\x001"))),
    "a storage with another path": state_dict(tensor(of=storage(key=b"X\x0b\x00\x00\x00../data.pkl"))),
    "a storage that is too long": state_dict(tensor(of=storage(count=b"K\x05"))),
    "a storage of negative length": state_dict(tensor(of=storage(count=b"J\xff\xff\xff\xff"))),
    "a storage of great length": state_dict(tensor(of=storage(count=LONG))),
    "a negative offset": state_dict(tensor(offset=b"J\xff\xff\xff\xff")),
    "an offset beyond": state_dict(tensor(offset=b"K\x01")),
    "an offset that overflows": state_dict(tensor(offset=LONG)),
    "a negative stride": state_dict(tensor(strides=b"J\xff\xff\xff\xff\x85")),
    "a stride beyond": state_dict(tensor(strides=b"K\x02\x85")),
    "a stride that overflows": state_dict(tensor(strides=LONG + b"\x85")),
    "a shape that overflows": state_dict(tensor(shape=LONG + b"\x85")),
    "a shape of more than memory": state_dict(tensor(shape=LONG + b"\x85", strides=b"K\x00\x85")),
    "a number repeated to a larger array": state_dict(
        tensor(shape=b"J" + struct.pack("<i", 2**22) + b"\x85", strides=b"K\x00\x85")
    ),
    "an empty shape of more than memory": state_dict(tensor(shape=LONG * 2 + b"K\x00\x87", strides=ONE * 3 + b"\x87")),
    "a negative shape": state_dict(tensor(shape=b"J\xff\xff\xff\xff\x85")),
    "a shape of words": state_dict(tensor(shape=b"X\x01\x00\x00\x00a\x85")),
    "a shape of truths": state_dict(tensor(shape=b"\x88\x85")),
    "shape and strides of two lengths": state_dict(tensor(shape=b"K\x01K\x01\x86")),
    "a thousand dimensions": state_dict(tensor(shape=b"(" + ONE * 1000 + b"t", strides=b"(" + ONE * 1000 + b"t")),
    "a list for a key": b"\x80\x02}]K\x01s.",
    "a deep key": b"\x80\x02})" + b"\x85" * 20_000 + b"K\x01s.",
    "a key that doubles": b"\x80\x02})" + b"q\x00h\x00\x86" * 64 + b"K\x01s.",
    "a memory of great length": b"\x80\x02K\x01r\xff\xff\xff\xffR.",
    "bytes of great length": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "an array of great length": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "a text of great length": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".",
    "a text that is none": b"\x80\x02}X\x03\x00\x00\x00\xed\xa0\x80K\x01s.",
    "a list that is copied again and again": b"\x80\x02ccollections\nOrderedDict\nq\x01]("
    + b"".join(b"M" + struct.pack("<H", i) + b"K\x00\x86" for i in range(1000)) + b"eq\x02" + b"h\x01h\x02\x85R" * 1000
    + b".",
    "arguments that are copied again and again": b"\x80\x02(" + b"K\x00" * 10_000 + b"tq\x010"
    + b"cargparse\nNamespace\nh\x01R0" * 10_000 + b"N.",
    "keys of one hash": b"\x80\x02}(" + b"".join(
        b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(10_000)) + b"u.",
    "nothing on the stack": b"\x80\x02R.",
    "no mark": b"\x80\x02e.",
    "a name with a new line in it": b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.",
    "two objects": b"\x80\x02NN.",
    "no end": b"\x80\x02N",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_answered_in_a_line_and_takes_no_memory(name, tmp_path):
    path = tmp_path / "weights.pth"
    for data in (archive(ATTACKS[name]), ATTACKS[name]):
        path.write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(UserError, match=r"is damaged|is refused") as error:
                read_arrays(path)
            assert tracemalloc.get_traced_memory()[1] < 100 * len(data) + 4e6
        finally:
            tracemalloc.stop()
        assert len(str(error.value).splitlines()) == 1


def test_the_same_without_the_attack_is_read(tmp_path):
    (tmp_path / "a.pth").write_bytes(archive(state_dict(tensor())))
    assert read_arrays(tmp_path / "a.pth")[0]["a"].tolist() == [0] * 4


FUNCTIONS = (
    (eval, "1"), (getattr, 1, "real"), (print, "x"), (__import__, "os"), (torch.load, "x"), (torch.hub.load, "x", "y"),
    (np.load, "x"), (np.fromfile, "x"), (pickle.loads, b"N."),
)  # fmt: skip


@pytest.mark.parametrize("made", FUNCTIONS, ids=lambda made: made[0].__name__)
@pytest.mark.parametrize("protocol", [2, 4])
def test_functions_are_refused_by_name(made, protocol, tmp_path):
    (tmp_path / "a.pth").write_bytes(archive(pickle.dumps({"a": Call(*made)}, protocol)))
    with pytest.raises(Refused, match=rf"\.{made[0].__name__}$"), open_torch(tmp_path / "a.pth"):
        pass


def test_an_archive_is_no_larger_than_its_file(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(archive(state_dict(tensor()), bytes(10**7), zipfile.ZIP_DEFLATED))
    with pytest.raises(UserError, match="it is compressed"):
        read_arrays(path)
    good = archive(state_dict(tensor()))
    # The second file's length, in both of its headers.
    data = good.replace(struct.pack("<II", 16, 16), struct.pack("<II", 2**30, 2**30))
    assert data != good
    path.write_bytes(data)
    with pytest.raises(UserError, match="its parts are larger than the file"):
        read_arrays(path)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@given(data=st.data())
def test_no_damage_raises_anything_else(kind, data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"damaged {kind}.pth"
    torch.save(
        {"state_dict": {"a": torch.ones(2, 3).T, "b": torch.zeros((), dtype=torch.int64)}}, path, **FORMATS[kind]
    )
    good = path.read_bytes()
    made = bytearray(good)
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4)):
        made[place] = byte
    path.write_bytes(made[: data.draw(st.integers(0, len(good)) | st.just(len(good)))])
    try:
        arrays, _ = read_arrays(path)
    except UserError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
