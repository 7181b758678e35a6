"""Writes recurrent.safetensors: what PyTorch computes for recurrent layers and cells.

Run by hand, with torch and safetensors installed: python tests/parity/recurrent.py

Of each case NAME the file holds the parameters NAME/state/…, the inputs NAME/x, NAME/h0, NAME/c0, NAME/lengths, the results
NAME/y, NAME/h, NAME/c, their cotangents NAME/dy, NAME/dh, NAME/dc, and gradients NAME/grad/x, NAME/grad/h0, NAME/grad/c0 and
NAME/grad/… of each parameter. All floating-point numbers are f64, from one seed.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.manual_seed(2024)
torch.set_default_dtype(torch.float64)
tensors = {}


def write(name, module, inputs, results):
    """Results and the gradients of their sum, weighted by random cotangents."""
    loss = 0
    for result, y in results.items():
        dy = torch.randn_like(y)
        loss = loss + (y * dy).sum()
        tensors[f"{name}/{result}"], tensors[f"{name}/d{result}"] = y.detach(), dy
    loss.backward()
    for key, x in inputs.items():
        tensors[f"{name}/{key}"] = x.detach()
        if x.requires_grad:
            tensors[f"{name}/grad/{key}"] = x.grad
    for key, parameter in module.named_parameters():
        tensors[f"{name}/state/{key}"] = parameter.detach()
        tensors[f"{name}/grad/{key}"] = parameter.grad


def layer(name, kind, *, steps=5, batch=3, inputs=4, hidden=3, state=True, lengths=None, **options):
    module = kind(inputs, hidden, **options)
    first = options.get("batch_first", False)
    shape = [steps, inputs] if batch is None else [batch, steps, inputs] if first else [steps, batch, inputs]
    given = {"x": torch.randn(*shape, requires_grad=True)}
    directions = 2 if options.get("bidirectional") else 1
    count = directions * options.get("num_layers", 1)
    widths = {"h0": options.get("proj_size") or hidden} | ({"c0": hidden} if kind is nn.LSTM else {})
    if state:
        for key, width in widths.items():
            given[key] = torch.randn(*([count, width] if batch is None else [count, batch, width]), requires_grad=True)
    initial = None
    if state:
        initial = (given["h0"], given["c0"]) if kind is nn.LSTM else given["h0"]
    x = given["x"]
    if lengths:
        x = pack_padded_sequence(x, torch.tensor(lengths), batch_first=first, enforce_sorted=False)
    y, last = module(x, initial)
    if lengths:
        y, _ = pad_packed_sequence(y, batch_first=first, total_length=steps)
        given["lengths"] = torch.tensor(lengths)
    results = {"y": y} | (dict(zip("hc", last)) if kind is nn.LSTM else {"h": last})
    write(name, module, given, results)


def cell(name, kind, *, batch=3, state=True, **options):
    module = kind(4, 3, **options)
    shape = lambda width: [width] if batch is None else [batch, width]
    given = {"x": torch.randn(*shape(4), requires_grad=True)}
    if state:
        for key in ["h0", "c0"] if kind is nn.LSTMCell else ["h0"]:
            given[key] = torch.randn(*shape(3), requires_grad=True)
    initial = None
    if state:
        initial = (given["h0"], given["c0"]) if kind is nn.LSTMCell else given["h0"]
    last = module(given["x"], initial)
    write(name, module, given, dict(zip("hc", last)) if kind is nn.LSTMCell else {"h": last})


for name, kind in [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)]:
    layer(f"{name}_plain", kind)
    layer(f"{name}_zeros", kind, state=False)
    layer(f"{name}_one_step", kind, steps=1)
    layer(f"{name}_without_bias", kind, bias=False)
    layer(f"{name}_unbatched", kind, batch=None)
    layer(f"{name}_deep", kind, num_layers=2, batch_first=True)
    layer(f"{name}_both_ways", kind, num_layers=2, bidirectional=True)
    layer(f"{name}_lengths", kind, lengths=[2, 5, 1])
    layer(f"{name}_lengths_both_ways", kind, lengths=[4, 1, 3], num_layers=2, bidirectional=True, batch_first=True)
layer("rnn_relu", nn.RNN, nonlinearity="relu", bidirectional=True)
layer("lstm_projection", nn.LSTM, proj_size=2, num_layers=2, bidirectional=True)
layer("lstm_projection_lengths", nn.LSTM, proj_size=1, lengths=[3, 2, 5])
for name, kind in [("rnn_cell", nn.RNNCell), ("lstm_cell", nn.LSTMCell), ("gru_cell", nn.GRUCell)]:
    cell(name, kind)
    cell(f"{name}_zeros", kind, state=False, bias=False)
    cell(f"{name}_unbatched", kind, batch=None)
cell("rnn_cell_relu", nn.RNNCell, nonlinearity="relu")

# The largest magnitude that parameters begin with.
for name, module in [("lstm", nn.LSTM(5, 100, proj_size=30)), ("gru_cell", nn.GRUCell(5, 100))]:
    for key, parameter in module.named_parameters():
        largest = parameter.detach().abs().max().item()
        assert 0.08 < largest <= 0.1, (name, key, largest)

path = Path(__file__).with_name("recurrent.safetensors")
save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
