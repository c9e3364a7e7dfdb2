"""Writes the files of this folder: python make.py (PyTorch 2.11, NumPy).

hostile.pth and hostile_legacy.pth would run `echo` when pickle loads them.
"""

import argparse
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy
import torch
from torch import nn

HERE = Path(__file__).parent


def count(*shape, dtype=torch.float32):
    return torch.arange(int(numpy.prod(shape)), dtype=dtype).reshape(shape)


def small():
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 1), norm=nn.BatchNorm2d(2)))
    with torch.no_grad():
        network.conv.weight.copy_(count(2, 3, 1, 1))
        network.conv.bias.copy_(count(2))
    return network


def nested():
    network = small()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "state_dict": small().state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1),
        "best": numpy.float64(0.75),
        "seen": {1, 2},
        "large": 1 << 90,
        "negative": -(1 << 40),
    }


def types():
    shared = count(4, 5)
    return {
        "f64": count(3, dtype=torch.float64) + 0.5,
        "f16": count(3, dtype=torch.float16) - 1.5,
        "bf16": count(3, dtype=torch.bfloat16) * 0.5,
        "i64": count(3, dtype=torch.int64) - 1,
        "i32": count(3, dtype=torch.int32) - 1,
        "i16": count(3, dtype=torch.int16) - 1,
        "i8": count(3, dtype=torch.int8) - 1,
        "u8": count(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "parameter": nn.Parameter(count(2, 2)),
        "buffer": nn.Buffer(count(2)),
        "transposed": count(2, 3).t(),
        "rows": shared[1:3],
        "columns": shared[:, 1::2],
        "same": shared,
        "expanded": count(2, 1).expand(2, 3),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "channels_last": count(1, 2, 2, 2).to(memory_format=torch.channels_last),
    }


class Evil:
    def __reduce__(self):
        return os.system, ("echo hostile",)


def zipped(path, content):
    with zipfile.ZipFile(HERE / path, "w") as file:
        for name, data in (("data.pkl", content), ("byteorder", b"little"), ("version", b"3\n")):
            file.writestr(zipfile.ZipInfo(f"archive/{name}"), data)


def main():
    weights = small().state_dict()
    torch.save(weights, HERE / "state_dict.pth")
    torch.save(types(), HERE / "types.pth")
    torch.save(nested(), HERE / "nested.pth")
    torch.save(nested(), HERE / "protocol5.pth", pickle_protocol=5)
    torch.save(nested(), HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"a": count(2, 3).t(), "b": count(3, dtype=torch.float16)}, HERE / "legacy_types.pth",
               _use_new_zipfile_serialization=False)
    torch.save(small(), HERE / "module.pth")
    torch.save([1, 2], HERE / "list.pth")
    torch.save({"generator": weights, "critic": weights}, HERE / "two.pth")
    torch.jit.save(torch.jit.script(small()), HERE / "script.pt")
    evil = {"state_dict": weights, "hook": Evil()}
    torch.save(evil, HERE / "hostile_legacy.pth", _use_new_zipfile_serialization=False)
    zipped("hostile.pth", pickle.dumps(Evil(), 2))


if __name__ == "__main__":
    main()
