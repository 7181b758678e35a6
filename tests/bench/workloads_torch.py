"""The workloads of `igneous bench` in PyTorch.

    python workloads_torch.py --mode eager|compile --threads 2 WORKLOAD…
    python workloads_torch.py --case FOLDER WORKLOAD…   # weights, inputs and results for the checks of igneous and the others
    python workloads_torch.py --onnx FOLDER WORKLOAD…   # models for ONNX Runtime, where the workload is inference
"""
import argparse
import os
import sys
import time

import timing

parser = argparse.ArgumentParser()
parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
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

torch.set_num_threads(arguments.threads)


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


class Training:
    """Forward, cross-entropy, backward and update."""

    def __init__(self, net, optimizer, *shape):
        self.net, self.optimizer = net, optimizer(net.parameters())
        self.inputs = [torch.randn(*shape), torch.randint(0, 10, shape[:1])]
        self.loss = lambda x, y: F.cross_entropy(net(x), y)

    def compile(self):
        self.loss = torch.compile(self.loss, dynamic=False)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*self.inputs)
        loss.backward()
        self.optimizer.step()
        return [loss.detach()]


class Inference:
    """A function without gradients."""

    def __init__(self, function, *shapes):
        self.net = function if isinstance(function, nn.Module) else None
        self.function, self.inputs = function, [torch.randn(*shape) for shape in shapes]

    def compile(self):
        self.function = torch.compile(self.function, dynamic=False)

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
        self.function = torch.compile(self.function, dynamic=False)

    def step(self):
        x = self.inputs[0].detach().requires_grad_()
        return list(torch.autograd.grad(self.function(x), [x, *self.net.parameters()], self.inputs[1]))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.01, fused=True)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


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
    mask = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).tril()
    return torch.softmax((q @ k.transpose(-1, -2) / 8.0).masked_fill(~mask, float("-inf")), -1) @ v


ELEMENTS, FEW = (1 << 22,), (1 << 14,)
ROWS = (4096, 1024)
IMAGES = (8, 64, 56, 56)
WORKLOADS = {
    "mlp512_b64_train": lambda: Training(mlp(784, 512, 10), sgd, 64, 784),
    "mlp128_64_b256_train": lambda: Training(mlp(784, 128, 64, 10), sgd, 256, 784),
    "mlp512_b1_infer": lambda: Inference(mlp(784, 512, 10), (1, 784)),
    "lenet_b4_train": lambda: Training(lenet(), adam, 4, 3, 32, 32),
    "lenet_b128_train": lambda: Training(lenet(), adam, 128, 3, 32, 32),
    "lstm_train": lambda: Training(LastStep(nn.LSTM), adam, 32, 64, 128),
    "gru_train": lambda: Training(LastStep(nn.GRU), adam, 32, 64, 128),
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


def write_case(name):
    """Parameters before and after one step (also in double precision), inputs and results, numbered in order."""
    from safetensors.torch import save_file
    case, exact = WORKLOADS[name](), WORKLOADS[name]()
    parameters = list(case.net.parameters()) if case.net else []
    tensors = {f"parameter.{i}": p.detach().clone() for i, p in enumerate(parameters)}
    tensors |= {f"input.{i}": x for i, x in enumerate(case.inputs)}
    if parameters:
        exact.net.double()
        for own, given in zip(exact.net.parameters(), parameters):
            own.data.copy_(given.data)
        exact.inputs = [x.double() if x.is_floating_point() else x for x in case.inputs]
        exact.step()
        tensors |= {f"exact.{i}": p.detach().clone() for i, p in enumerate(exact.net.parameters())}
    tensors |= {f"output.{i}": y.contiguous() for i, y in enumerate(case.step())}
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
    for name in arguments.workloads:
        if name not in WORKLOADS:
            sys.exit(f"no workload is called `{name}`")
    fields = {}
    if arguments.mode == "compile" and not arguments.once:
        fields["first_graph_s"] = compile_something()
    for name in arguments.workloads:
        torch.manual_seed(0)
        if arguments.case:
            write_case(name)
        elif arguments.onnx:
            write_onnx(name)
        else:
            case = WORKLOADS[name]()
            if arguments.mode == "compile":
                torch._dynamo.reset()
                case.compile()
            session.report(name, case.step, **fields)


main()
