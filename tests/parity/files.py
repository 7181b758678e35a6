"""Writes files/: small files of torch.save and numpy, and in expected.safetensors what their tensors are.

Run by hand, with torch, numpy and safetensors installed: python tests/parity/files.py
"""

import collections
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

torch.manual_seed(2028)
folder = Path(__file__).with_name("files")
folder.mkdir(exist_ok=True)

base = torch.arange(12.0).reshape(3, 4)
tensors = {
    "whole": base,
    "rows": base[1:],
    "columns": base[:, ::2],
    "transposed": base.t(),
    "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.randn(2, 2)),
}
for dtype in [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]:
    tensors[str(dtype)] = (torch.randn(2, 3) * 4).abs().to(dtype)
tensors["torch.int8"] = torch.tensor([-3, 3], dtype=torch.int8)
small = {"torch.int16": torch.tensor([-300, 300], dtype=torch.int16)}
state = collections.OrderedDict({**tensors, **small})
torch.save(state, folder / "state.pt")
torch.save(state, folder / "stream.pt", _use_new_zipfile_serialization=False)
expected = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
expected |= {name: tensor.int() for name, tensor in small.items()}
save_file(expected, folder / "expected.safetensors")

net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
adam = torch.optim.Adam(net.parameters())
net(torch.randn(3, 2)).sum().backward()
adam.step()
checkpoint = {
    "epoch": 7,
    "loss": 0.25,
    "name": "tiny",
    "best": None,
    "done": True,
    "large": -(2**40),
    "shape": torch.Size([2, 3]),
    "dtype": torch.float32,
    "device": torch.device("cpu"),
    "tags": ["a", ("b", 3)],
    "classes": {1, 2},
    "raw": b"\x00\xff",
    "model": net.state_dict(),
    "optimizer": adam.state_dict(),
}
torch.save(checkpoint, folder / "checkpoint.pt")
torch.save(checkpoint, folder / "checkpoint_4.pt", pickle_protocol=4)
torch.save(net, folder / "module.pt")


class Attack:
    def __reduce__(self):
        return os.system, ("echo attacked",)


torch.save({"weight": torch.ones(1), "attack": Attack()}, folder / "attack.pt")

arrays = {name.removeprefix("torch."): t.detach().numpy() for name, t in tensors.items() if t.dtype != torch.bfloat16}
arrays["fortran"] = np.asfortranarray(arrays["whole"])
arrays["big"] = arrays["whole"].astype(">f8")
np.savez(folder / "arrays.npz", **arrays)
np.savez_compressed(folder / "compressed.npz", uint16=np.array([65535, 1], np.uint16), uint32=np.array([4294967295], np.uint32))
np.save(folder / "array.npy", arrays["transposed"])
np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
for path in sorted(folder.iterdir()):
    print(path, path.stat().st_size)
