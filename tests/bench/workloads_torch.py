"""The workloads of `igneous bench` in PyTorch.

    python workloads_torch.py --mode eager|compile|max-autotune --device cpu|cuda --threads 2 WORKLOAD…
    python workloads_torch.py --case FOLDER WORKLOAD…   # weights, inputs and results for the checks of igneous and the others
    python workloads_torch.py --onnx FOLDER WORKLOAD…   # models for ONNX Runtime, where the workload is inference
"""
import argparse
import contextlib
import os
import sys
import time

import timing

parser = argparse.ArgumentParser()
parser.add_argument("--mode", choices=["eager", "compile", "max-autotune"], default="eager")
parser.add_argument("--device", default="cpu", help="where tensors live: cpu, cuda, cuda:1")
parser.add_argument("--case")
parser.add_argument("--onnx")
parser.add_argument("workloads", nargs="+")
timing.add_arguments(parser)
arguments = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(arguments.threads)

import torch
import torch.nn.functional as F
from torch import nn

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
import zoo

torch.set_num_threads(arguments.threads)
torch.set_default_device(arguments.device)
HALF = torch.bfloat16


def mlp(*widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lenet():
    return nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), *mlp(400, 120, 84, 10))


class LastStep(nn.Module):
    """A recurrent layer and a linear layer on the outputs of its last step."""

    def __init__(self, kind):
        super().__init__()
        self.layer, self.head = kind(128, 256, batch_first=True), nn.Linear(256, 10)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


def compiled(function):
    mode = None if arguments.mode == "compile" else arguments.mode
    return torch.compile(function, dynamic=False, mode=mode)


def in_halves():
    """Products in bf16."""
    return torch.autocast(torch.device(arguments.device).type, HALF)


class Training:
    """Forward, cross-entropy, backward and update."""

    def __init__(self, net, optimizer, *inputs, half=False):
        self.net, self.optimizer, self.inputs = net, optimizer(net.parameters()), list(inputs)

        def loss(x, y):
            with in_halves() if half else contextlib.nullcontext():
                return F.cross_entropy(net(x).flatten(0, -2), y.flatten())

        self.loss = loss

    def compile(self):
        self.loss = compiled(self.loss)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*self.inputs)
        loss.backward()
        self.optimizer.step()
        return [loss.detach()]


class Inference:
    """A function without gradients."""

    def __init__(self, function, *shapes, dtype=torch.float32):
        self.net = function if isinstance(function, nn.Module) else None
        self.function, self.inputs = function, [torch.randn(*shape).to(dtype) for shape in shapes]

    def compile(self):
        self.function = compiled(self.function)

    def step(self):
        with torch.no_grad():
            return [self.function(*self.inputs)]


class Gradients:
    """The gradients of a layer's input and parameters for a given cotangent."""

    def __init__(self, net, *shape):
        self.net, self.function = net, net
        x = torch.randn(*shape)
        with torch.no_grad():
            self.inputs = [x, torch.randn(*net(x).shape)]

    def compile(self):
        self.function = compiled(self.function)

    def step(self):
        x = self.inputs[0].detach().requires_grad_()
        return list(torch.autograd.grad(self.function(x), [x, *self.net.parameters()], self.inputs[1]))


class AttentionGradients:
    """Attention with the gradients of queries, keys and values for a given cotangent."""

    def __init__(self, *shape):
        self.net, self.function = None, F.scaled_dot_product_attention
        self.inputs = [torch.randn(*shape).to(HALF) for _ in range(4)]

    def compile(self):
        self.function = compiled(self.function)

    def step(self):
        operands = [x.detach().requires_grad_() for x in self.inputs[:3]]
        return list(torch.autograd.grad(self.function(*operands), operands, self.inputs[3]))


class Halved(nn.Module):
    """A module with products in bf16."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        with in_halves():
            return self.layers(x)


def rows(batch, *shape):
    """Rows of numbers and their labels."""
    return torch.randn(batch, *(shape or [784])), torch.randint(0, 10, (batch,))


def images(batch, channels, size, classes=10):
    """Images and their labels."""
    return torch.randn(batch, channels, size, size), torch.randint(0, classes, (batch,))


def tokens():
    return torch.randint(0, 50257, (8, 1024))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.01, fused=True)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-4, fused=True)


def gate(x, a, b, c, d):
    return F.gelu(x * a + b) * torch.sigmoid(c) + torch.tanh(d)


def chain(x, y):
    for i in range(5):
        x = torch.relu(x * 0.9 + y) - 0.1 * i
    return x


def rms_norm(x, weight):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight


def attention(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / 8.0, -1) @ v


def causal_attention(q, k, v):
    mask = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).tril()
    return torch.softmax((q @ k.transpose(-1, -2) / 8.0).masked_fill(~mask, float("-inf")), -1) @ v


ELEMENTS, FEW, MANY = (1 << 22,), (1 << 14,), (1 << 26,)
ROWS, LONG = (4096, 1024), (16384, 4096)
IMAGES = (8, 64, 56, 56)
WORKLOADS = {
    "mlp512_b64_train": lambda: Training(mlp(784, 512, 10), sgd, *rows(64)),
    "mlp128_64_b256_train": lambda: Training(mlp(784, 128, 64, 10), sgd, *rows(256)),
    "mlp512_b1_infer": lambda: Inference(mlp(784, 512, 10), (1, 784)),
    "lenet_b4_train": lambda: Training(lenet(), adam, *images(4, 3, 32)),
    "lenet_b128_train": lambda: Training(lenet(), adam, *images(128, 3, 32)),
    "lstm_train": lambda: Training(LastStep(nn.LSTM), adam, *rows(32, 64, 128)),
    "gru_train": lambda: Training(LastStep(nn.GRU), adam, *rows(32, 64, 128)),
    "pw_gate_4m": lambda: Inference(gate, *[ELEMENTS] * 5),
    "pw_gate_16k": lambda: Inference(gate, *[FEW] * 5),
    "chain20_4m": lambda: Inference(chain, ELEMENTS, ELEMENTS),
    "chain20_16k": lambda: Inference(chain, FEW, FEW),
    "softmax_4096x1024": lambda: Inference(lambda x: torch.softmax(x, -1), ROWS),
    "layernorm_fwd": lambda: Inference(nn.LayerNorm(1024), ROWS),
    "layernorm_fwdbwd": lambda: Gradients(nn.LayerNorm(1024), *ROWS),
    "rmsnorm_fwd": lambda: Inference(rms_norm, ROWS, (1024,)),
    "sum_4m": lambda: Inference(lambda x: x.sum(), ELEMENTS),
    "matmul_512": lambda: Inference(torch.matmul, *[(512, 512)] * 2),
    "matmul_1024": lambda: Inference(torch.matmul, *[(1024, 1024)] * 2),
    "matmul_2048": lambda: Inference(torch.matmul, *[(2048, 2048)] * 2),
    "matvec_768x3072": lambda: Inference(nn.Linear(768, 3072, bias=False), (1, 768)),
    "linear_gelu_128x768x3072": lambda: Inference(nn.Sequential(nn.Linear(768, 3072), nn.GELU()), (128, 768)),
    "conv56_b1": lambda: Inference(nn.Conv2d(64, 64, 3, padding=1, bias=False), (1, 64, 56, 56)),
    "conv56_b8": lambda: Inference(nn.Conv2d(64, 64, 3, padding=1, bias=False), (8, 64, 56, 56)),
    "conv56_b8_fwdbwd": lambda: Gradients(nn.Conv2d(64, 64, 3, padding=1, bias=False), *IMAGES),
    "conv56_stride2_fwdbwd": lambda: Gradients(nn.Conv2d(64, 128, 3, padding=1, stride=2, bias=False), *IMAGES),
    "conv56_1x1_fwdbwd": lambda: Gradients(nn.Conv2d(64, 256, 1, bias=False), *IMAGES),
    "depthwise56_fwdbwd": lambda: Gradients(nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False), *IMAGES),
    "attn_512": lambda: Inference(F.scaled_dot_product_attention, *[(1, 12, 512, 64)] * 3),
    "attn_2048_causal": lambda: Inference(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                                          *[(1, 12, 2048, 64)] * 3),
    "attn_512_manual": lambda: Inference(attention, *[(1, 12, 512, 64)] * 3),
    "attn_2048_causal_manual": lambda: Inference(causal_attention, *[(1, 12, 2048, 64)] * 3),
}
# Those that fill a GPU.
LARGE = {
    "gate_64m": lambda: Inference(gate, *[MANY] * 5),
    "chain20_64m": lambda: Inference(chain, MANY, MANY),
    "softmax_16kx4k": lambda: Inference(lambda x: torch.softmax(x, -1), LONG),
    "softmax_16kx4k_bf16": lambda: Inference(lambda x: torch.softmax(x, -1), LONG, dtype=HALF),
    "layernorm_16kx4k_fwdbwd": lambda: Gradients(nn.LayerNorm(4096), *LONG),
    "rmsnorm_16kx4k": lambda: Inference(rms_norm, LONG, (4096,)),
    "sum_64m": lambda: Inference(lambda x: x.sum(), MANY),
    "transpose_8k": lambda: Inference(lambda x: (x.T + 1.0).contiguous(), (8192, 8192)),
    "matmul_4096": lambda: Inference(torch.matmul, *[(4096, 4096)] * 2),
    "matmul_4096_bf16": lambda: Inference(torch.matmul, *[(4096, 4096)] * 2, dtype=HALF),
    "matmul_8192_bf16": lambda: Inference(torch.matmul, *[(8192, 8192)] * 2, dtype=HALF),
    "linear_gelu_8k_bf16": lambda: Inference(Halved(nn.Linear(768, 3072), nn.GELU()), (8192, 768), dtype=HALF),
    "attn_4k_d64_bf16": lambda: Inference(F.scaled_dot_product_attention, *[(4, 32, 4096, 64)] * 3, dtype=HALF),
    "attn_16k_d64_bf16": lambda: Inference(F.scaled_dot_product_attention, *[(1, 32, 16384, 64)] * 3, dtype=HALF),
    "attn_4k_d128_bf16": lambda: Inference(F.scaled_dot_product_attention, *[(4, 16, 4096, 128)] * 3, dtype=HALF),
    "attn_16k_d128_bf16": lambda: Inference(F.scaled_dot_product_attention, *[(1, 16, 16384, 128)] * 3, dtype=HALF),
    "attn_4k_d64_bf16_fwdbwd": lambda: AttentionGradients(4, 32, 4096, 64),
    "attn_4k_d128_bf16_fwdbwd": lambda: AttentionGradients(4, 16, 4096, 128),
    "attn_16k_d128_bf16_fwdbwd": lambda: AttentionGradients(1, 16, 16384, 128),
    "resnet18_b128_train": lambda: Training(zoo.ResNet(1000), adam, *images(128, 3, 224, 1000)),
    "resnet18_b128_train_bf16": lambda: Training(zoo.ResNet(1000), adam, *images(128, 3, 224, 1000), half=True),
    "gpt2_b8_train_bf16": lambda: Training(zoo.Gpt(50257, 1024, 12, 12, 768, "tanh"), adamw, tokens(), tokens(), half=True),
}
WORKLOADS |= LARGE


def write_case(name):
    """Parameters before and after one step (also in double precision; not of large models), inputs and results, numbered in
    order."""
    from safetensors.torch import save_file
    case = WORKLOADS[name]()
    parameters = list(case.net.parameters()) if case.net else []
    tensors = {f"parameter.{i}": p.detach().clone() for i, p in enumerate(parameters)}
    tensors |= {f"input.{i}": x for i, x in enumerate(case.inputs)}
    if parameters and name not in LARGE:
        exact = WORKLOADS[name]()
        exact.net.double()
        for own, given in zip(exact.net.parameters(), parameters):
            own.data.copy_(given.data)
        exact.inputs = [x.double() if x.is_floating_point() else x for x in case.inputs]
        exact.step()
        tensors |= {f"exact.{i}": p.detach().clone() for i, p in enumerate(exact.net.parameters())}
    tensors |= {f"output.{i}": y.contiguous() for i, y in enumerate(case.step())}
    if "exact.0" in tensors:
        tensors |= {f"after.{i}": p.detach().clone() for i, p in enumerate(parameters)}
    save_file(tensors, os.path.join(arguments.case, f"{name}.safetensors"))


class Wrapped(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def write_onnx(name):
    """The model of an inference workload, with the weights of its case."""
    case = WORKLOADS[name]()
    if not isinstance(case, Inference):
        return
    path = os.path.join(arguments.onnx, f"{name}.onnx")
    torch.onnx.export(Wrapped(case.function).eval(), tuple(case.inputs), path, dynamo=True, external_data=False, verbose=False)


def compile_something():
    """Seconds that the first compilation of a process takes by itself: it loads the compiler and looks at the C++ compiler."""
    start = time.perf_counter()
    torch.compile(lambda x: x + 1)(torch.ones(8))
    return time.perf_counter() - start


def main():
    session = timing.Session("torch", arguments.mode, torch.__version__, arguments)
    on_cpu = torch.device(arguments.device).type == "cpu"
    finish = (lambda: None) if on_cpu else torch.cuda.synchronize
    for name in arguments.workloads:
        if name not in WORKLOADS:
            sys.exit(f"no workload is called `{name}`")
    fields = {} if on_cpu else {"device_name": torch.cuda.get_device_name(arguments.device)}
    if arguments.mode != "eager" and not arguments.once:
        fields["first_graph_s"] = compile_something()
    for name in arguments.workloads:
        torch.manual_seed(0)
        if arguments.case:
            write_case(name)
        elif arguments.onnx:
            write_onnx(name)
        else:
            case = WORKLOADS[name]()
            if arguments.mode != "eager":
                torch._dynamo.reset()
                case.compile()
            session.report(name, case.step, finish, **fields)


main()
