"""Writes torch.safetensors: what PyTorch computes for the layers, losses and optimizers that igneous has too.

Run by hand, with torch and safetensors installed: python tests/parity/generate.py

Of each case NAME the file holds the inputs NAME/in0, NAME/in1, …, the result NAME/y, its cotangent NAME/dy, and the
gradient NAME/grad0, … of each floating-point input; of each optimizer the parameters after each step; of each constructor
its default options. All in f64, from one seed.
"""

import inspect
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(2024)
torch.set_default_dtype(torch.float64)
tensors = {}


def case(name, function, *inputs):
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    y = function(*leaves)
    dy = torch.randn_like(y)
    y.backward(dy)
    tensors[f"{name}/y"], tensors[f"{name}/dy"] = y.detach(), dy
    for i, x in enumerate(leaves):
        tensors[f"{name}/in{i}"] = x.detach()
        if x.is_floating_point():
            tensors[f"{name}/grad{i}"] = x.grad


def layers():
    randn = torch.randn
    case("linear", F.linear, randn(5, 7), randn(4, 7), randn(4))
    case("linear_3d", F.linear, randn(2, 3, 7), randn(4, 7), randn(4))
    case("linear_without_bias", F.linear, randn(5, 7), randn(4, 7))

    def conv(name, x, w, bias=True, **options):
        inputs = (randn(*x), randn(*w)) + ((randn(w[0]),) if bias else ())
        case(f"conv2d_{name}", lambda x, w, b=None: F.conv2d(x, w, b, **options), *inputs)

    conv("plain", (2, 3, 7, 6), (4, 3, 3, 2))
    conv("without_bias", (2, 3, 5, 5), (4, 3, 3, 3), bias=False)
    conv("stride_padding", (2, 2, 7, 8), (3, 2, 3, 3), stride=2, padding=1)
    conv("each_axis", (1, 2, 8, 9), (3, 2, 3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 3))
    conv("groups", (2, 4, 5, 6), (6, 2, 3, 3), groups=2, padding=1)
    conv("depthwise", (2, 3, 6, 6), (6, 1, 3, 3), groups=3, stride=2)
    conv("same", (1, 2, 6, 5), (2, 2, 4, 3), padding="same", dilation=(1, 2))
    conv("pointwise", (2, 3, 4, 4), (5, 3, 1, 1))

    def pool(name, x, *args, **options):
        case(f"max_pool2d_{name}", lambda x: F.max_pool2d(x, *args, **options), randn(*x))

    pool("plain", (2, 2, 5, 6), 2)
    pool("overlapping", (1, 2, 7, 8), (3, 2), stride=(2, 1), padding=1)
    pool("dilation", (1, 2, 9, 8), 3, stride=2, padding=1, dilation=2)
    pool("ceil", (1, 2, 6, 7), 3, stride=2, ceil_mode=True)
    pool("ceil_padding", (1, 1, 6, 8), 3, stride=3, padding=1, ceil_mode=True)
    pool("ceil_left_out", (1, 1, 5, 9), 2, stride=3, padding=1, ceil_mode=True)
    pool("image", (3, 6, 6), 2)
    case("avg_pool2d", lambda x: F.avg_pool2d(x, 3, stride=2, padding=1), randn(1, 2, 7, 8))

    case("layer_norm", lambda x, w, b: F.layer_norm(x, (6,), w, b), randn(4, 6), randn(6), randn(6))
    case("layer_norm_2", lambda x, w, b: F.layer_norm(x, (3, 5), w, b, 1e-3), randn(2, 4, 3, 5), randn(3, 5), randn(3, 5))
    case("layer_norm_without_bias", lambda x, w: F.layer_norm(x, (6,), w), randn(4, 6), randn(6))
    case("layer_norm_without_affine", lambda x: F.layer_norm(x, (6,)), randn(4, 6))

    wide = torch.cat([randn(20) * 3, torch.tensor([0.0, -8.0, 8.0, -30.0, 30.0])])
    case("relu", F.relu, wide + 0.125)
    case("gelu", F.gelu, wide)
    case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), wide)
    case("dropout_evaluated", lambda x: F.dropout(x, 0.5, training=False), randn(3, 4))
    case("dropout_of_all", lambda x: F.dropout(x, 1.0), randn(3, 4))
    case("softmax", lambda x: F.softmax(x, 1), randn(3, 4, 2) * 4)
    case("log_softmax", lambda x: F.log_softmax(x, -1), randn(3, 4) * 4)


def losses():
    logits, images = torch.randn(6, 5) * 3, torch.randn(2, 3, 4)
    labels, pixels = torch.tensor([0, 4, 2, 2, 1, 3]), torch.randint(0, 3, (2, 4))
    some = torch.tensor([0, -100, 2, 2, -100, 3])
    weight = torch.rand(5) + 0.5
    probabilities = torch.softmax(torch.randn(6, 5), 1)
    for reduction in ["mean", "sum", "none"]:

        def entropy(name, targets, weight=None, x=logits, **options):
            f = lambda x, t, w=None: F.cross_entropy(x, t, w, reduction=reduction, **options)
            # PyTorch has no gradient of the weights of classes.
            fixed = (lambda x, t: f(x, t, weight)) if weight is not None else f
            case(f"cross_entropy_{name}_{reduction}", fixed, x, targets)

        entropy("plain", labels)
        entropy("images", pixels, x=images)
        entropy("weight", labels, weight)
        entropy("ignore", some)
        entropy("ignore_2", labels, ignore_index=2)
        entropy("smoothing", labels, label_smoothing=0.1)
        entropy("all", some, weight, label_smoothing=0.2)
        entropy("probabilities", probabilities)
        entropy("probabilities_all", probabilities, weight, label_smoothing=0.2)
        prediction, target = torch.randn(3, 4), torch.randn(3, 4)
        case(f"mse_{reduction}", lambda x, t: F.mse_loss(x, t, reduction=reduction), prediction, target)
    tensors["cross_entropy/weight"] = weight


def optimizers():
    x, w, b = torch.randn(8, 3), torch.randn(3, 2), torch.randn(2)
    target = torch.randn(8, 2)
    for name, value in [("x", x), ("w", w), ("b", b), ("target", target)]:
        tensors[f"optimizer/{name}"] = value

    def run(name, make):
        parameters = [w.clone().requires_grad_(), b.clone().requires_grad_()]
        optimizer = make(parameters)
        for step in range(5):
            optimizer.zero_grad()
            loss = (torch.tanh(x @ parameters[0] + parameters[1]) - target).square().mean()
            loss.backward()
            # A gradient that shrinks tells the largest second moment from the last.
            for p in parameters:
                p.grad *= 0.5**step
            optimizer.step()
            for k, p in enumerate(parameters):
                tensors[f"optimizer/{name}/{step}/{k}"] = p.detach().clone()

    from torch.optim import SGD, Adam, AdamW

    run("sgd", lambda p: SGD(p, lr=0.5))
    run("sgd_momentum", lambda p: SGD(p, lr=0.25, momentum=0.9))
    run("sgd_dampening", lambda p: SGD(p, lr=0.25, momentum=0.9, dampening=0.5))
    run("sgd_nesterov", lambda p: SGD(p, lr=0.25, momentum=0.9, nesterov=True))
    run("sgd_weight_decay", lambda p: SGD(p, lr=0.25, weight_decay=0.25))
    run("sgd_maximize", lambda p: SGD(p, lr=0.25, maximize=True))
    run("sgd_all", lambda p: SGD(p, lr=0.25, momentum=0.5, dampening=0.25, weight_decay=0.125, maximize=True))
    run("sgd_nesterov_all", lambda p: SGD(p, lr=0.25, momentum=0.5, nesterov=True, weight_decay=0.125, maximize=True))
    run("adam", lambda p: Adam(p, lr=0.125))
    run("adam_all", lambda p: Adam(p, lr=0.125, betas=(0.75, 0.5), eps=0.0625, weight_decay=0.25))
    run("adam_amsgrad", lambda p: Adam(p, lr=0.125, betas=(0.75, 0.5), amsgrad=True))
    run("adam_maximize", lambda p: Adam(p, lr=0.125, weight_decay=0.25, maximize=True))
    run("adamw", lambda p: AdamW(p, lr=0.125))
    run("adamw_all", lambda p: AdamW(p, lr=0.125, betas=(0.75, 0.5), eps=0.0625, weight_decay=0.25))
    run("adamw_amsgrad", lambda p: AdamW(p, lr=0.125, betas=(0.75, 0.5), amsgrad=True, maximize=True))


def defaults():
    makers = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.nn.LayerNorm, torch.nn.Dropout]
    makers += [torch.nn.Conv2d, torch.nn.MaxPool2d, torch.nn.CrossEntropyLoss]
    for maker in makers:
        for name, parameter in inspect.signature(maker).parameters.items():
            values = parameter.default if isinstance(parameter.default, tuple) else [parameter.default]
            if all(isinstance(v, (int, float)) for v in values):
                tensors[f"default/{maker.__name__}/{name}"] = torch.tensor([float(v) for v in values])
    # The bounds of the uniform distributions that parameters begin with.
    for name, layer in [("linear", torch.nn.Linear(256, 300)), ("conv2d", torch.nn.Conv2d(8, 64, 3, groups=2))]:
        for part, values in layer.named_parameters():
            largest = values.detach().abs().max().item()
            bound = 1 / math.sqrt(256 if name == "linear" else 36)
            assert 0.97 * bound < largest <= bound, (name, part, largest, bound)
            tensors[f"init/{name}/{part}"] = torch.tensor([bound])


layers()
losses()
optimizers()
defaults()
path = Path(__file__).with_name("torch.safetensors")
save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
