"""Writes autocast.safetensors: what PyTorch computes in autocast to bfloat16, and in float32, for three small models.

Run by hand, with torch and safetensors installed: python tests/parity/autocast.py

Of each model NAME the file holds its input NAME/x, labels NAME/labels and parameters NAME/w0, …; the losses of STEPS steps of SGD
in autocast on a CPU, NAME/losses, and without, NAME/losses_f32; and NAME/types, the element type of every intermediate result (0:
float32, 1: bfloat16), by the lists for GPUs, which igneous has on every device: they are read off fake tensors, so that no GPU is
needed. `scaler/scales` are the scales of a GradScaler after each step, for steps whose gradients are infinite where `scaler/bad`
says so.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch._subclasses.fake_tensor import FakeTensorMode

STEPS = 20
torch.manual_seed(7)
tensors = {}


def mlp(x, labels, w, see):
    h = see(F.linear(x, w[0], w[1]))
    h = see(F.gelu(h))
    h = see(F.layer_norm(h, (16,), w[2], w[3]))
    h = see(F.linear(h, w[4], w[5]))
    h = see(h + h.mean(-1, keepdim=True))
    see(h.softmax(-1))
    see(h.exp())
    see(h.square())
    see(h.pow(3.0))
    see(h.sum(-1))
    see(h.norm(dim=-1))
    see(h.logsumexp(-1))
    see(h.sigmoid())
    see(F.mse_loss(h, torch.zeros_like(h)))
    return see(F.cross_entropy(h, labels))


def cnn(x, labels, w, see):
    h = see(F.conv2d(x, w[0], w[1], padding=1))
    h = see(h.relu())
    h = see(F.max_pool2d(h, 2))
    h = see(F.conv2d(h, w[2], w[3]))
    h = see(F.group_norm(h, 2, w[4], w[5]))
    h = see(h.relu())
    h = see(h.mean((2, 3)))
    h = see(F.linear(h, w[6], w[7]))
    return see(F.cross_entropy(h, labels))


def transformer(x, labels, w, see):
    h = see(F.layer_norm(x, (16,), w[0], w[1]))
    qkv = see(F.linear(h, w[2], w[3]))
    q, k, v = [t.reshape(2, 6, 2, 8).transpose(1, 2) for t in qkv.chunk(3, -1)]
    scores = see(q @ k.transpose(-1, -2) * 8**-0.5)
    p = see(scores.softmax(-1))
    a = see((p @ v).transpose(1, 2).reshape(2, 6, 16))
    x = see(x + F.linear(a, w[4], w[5]))
    h = see(F.layer_norm(x, (16,), w[6], w[7]))
    h = see(F.gelu(F.linear(h, w[8], w[9])))
    x = see(x + F.linear(h, w[10], w[11]))
    h = see(F.linear(x.mean(1), w[12], w[13]))
    return see(F.cross_entropy(h, labels))


def layer(outputs, *inputs):
    fan_in = torch.tensor(inputs).prod().item()
    return [torch.randn(outputs, *inputs) * fan_in**-0.5, torch.randn(outputs) * 0.1]


def norm(n):
    return [torch.ones(n) + 0.1 * torch.randn(n), 0.1 * torch.randn(n)]


def losses(model, x, labels, w, autocast):
    w = [p.clone().requires_grad_() for p in w]
    optimizer = torch.optim.SGD(w, 0.05)
    all_losses = []
    for _ in range(STEPS):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(x, labels, w, lambda t: t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        all_losses.append(loss.item())
    return torch.tensor(all_losses, dtype=torch.float64)


def types(model, x, labels, w):
    seen = []

    def see(t):
        seen.append({torch.float32: 0, torch.bfloat16: 1}[t.dtype])
        return t

    with FakeTensorMode():
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        fake = lambda t: torch.empty(t.shape, dtype=t.dtype, device="cuda")
        model(fake(x), fake(labels), [fake(p) for p in w], see)
        torch.set_autocast_enabled("cuda", False)
    return torch.tensor(seen)


def models():
    for name, model, x, classes, w in [
        ("mlp", mlp, torch.randn(24, 12), 5, layer(16, 12) + norm(16) + layer(5, 16)),
        ("cnn", cnn, torch.randn(12, 2, 8, 8), 3, layer(4, 2, 3, 3) + layer(6, 4, 3, 3) + norm(6) + layer(3, 6)),
        (
            "transformer",
            transformer,
            torch.randn(2, 6, 16),
            3,
            norm(16) + layer(48, 16) + layer(16, 16) + norm(16) + layer(32, 16) + layer(16, 32) + layer(3, 16),
        ),
    ]:
        labels = torch.randint(0, classes, (x.shape[0],))
        tensors[f"{name}/x"], tensors[f"{name}/labels"] = x, labels
        for i, p in enumerate(w):
            tensors[f"{name}/w{i}"] = p
        tensors[f"{name}/types"] = types(model, x, labels, w)
        tensors[f"{name}/losses"] = losses(model, x, labels, w, True)
        tensors[f"{name}/losses_f32"] = losses(model, x, labels, w, False)


def scaler():
    bad = [0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=3)
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], 0.125)
    scales, weights = [], []
    for is_bad in bad:
        optimizer.zero_grad()
        loss = (w * torch.tensor([1.0, float("inf") if is_bad else 2.0])).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        weights.append(w.detach().clone())
    tensors["scaler/bad"] = torch.tensor(bad)
    tensors["scaler/scales"] = torch.tensor(scales, dtype=torch.float64)
    tensors["scaler/weights"] = torch.stack(weights)


models()
scaler()
save_file(tensors, Path(__file__).with_name("autocast.safetensors"))
