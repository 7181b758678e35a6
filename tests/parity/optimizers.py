"""Writes optimizers.safetensors: what PyTorch's optimizers make of two parameters in ten steps.

Run by hand, with torch and safetensors installed: python tests/parity/optimizers.py

The file holds the data x and target, the first values matrix and vector, of each case NAME the parameters after the first
and the last steps, NAME/STEP/matrix and NAME/STEP/vector, and the default options DEFAULT/OPTIMIZER/OPTION. In step `k` the
gradients are multiplied by `0.75 ** k` and, with `k` odd, the second parameter has none. All in f64, from one seed.
"""

import inspect
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.optim import *

torch.manual_seed(2027)
torch.set_default_dtype(torch.float64)
x, target = torch.randn(8, 3), torch.randn(8, 2)
matrix, vector = torch.randn(3, 2), torch.randn(2)
tensors = {"x": x, "target": target, "matrix": matrix, "vector": vector}


def loss_of(parameters):
    bias = parameters[1] if len(parameters) > 1 else vector
    return (torch.tanh(x @ parameters[0] + bias) - target).square().mean()


def run(name, make, count=2):
    parameters = [p.clone().requires_grad_() for p in (matrix, vector)[:count]]
    optimizer = make(parameters)
    for step in range(10):
        optimizer.zero_grad()
        loss_of(parameters).backward()
        for p in parameters:
            p.grad *= 0.75**step
        if step % 2 == 1 and count == 2:
            parameters[1].grad = None
        optimizer.step()
        if step in (0, 4, 9):
            for key, p in zip(["matrix", "vector"], parameters):
                tensors[f"{name}/{step}/{key}"] = p.detach().clone()


class Lion(Optimizer):
    """By the paper's algorithm 2."""

    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                update = torch.sign(b1 * m + (1 - b1) * p.grad)
                p -= lr * (update + group["weight_decay"] * p)
                m.copy_(b2 * m + (1 - b2) * p.grad)


def muon(**options):
    """PyTorch's, whose iteration runs in bfloat16, made to run it in f64."""
    import torch.optim._muon as module

    def orthogonal(grad, coefficients, steps, eps):
        a, b, c = coefficients
        tall = grad.size(0) > grad.size(1)
        y = grad.T if tall else grad
        y = y / y.norm().clamp(min=eps)
        for _ in range(steps):
            gram = y @ y.T
            y = a * y + (b * gram + c * gram @ gram) @ y
        return y.T if tall else y

    module._zeropower_via_newtonschulz = orthogonal
    return lambda p: Muon(p, **options)


run("SGD", lambda p: SGD(p, 0.5))
run("SGD_all", lambda p: SGD(p, 0.25, momentum=0.5, dampening=0.25, weight_decay=0.125, maximize=True))
run("SGD_nesterov", lambda p: SGD(p, 0.25, momentum=0.5, nesterov=True))
run("Adam", lambda p: Adam(p, 0.1))
run("Adam_all", lambda p: Adam(p, 0.1, (0.75, 0.5), 0.0625, 0.25, amsgrad=True, maximize=True))
run("AdamW", lambda p: AdamW(p, 0.1))
run("AdamW_all", lambda p: AdamW(p, 0.1, (0.75, 0.5), 0.0625, 0.25, amsgrad=True, maximize=True))
run("Adamax", lambda p: Adamax(p, 0.1))
run("Adamax_all", lambda p: Adamax(p, 0.1, (0.75, 0.5), 0.0625, 0.25, maximize=True))
run("NAdam", lambda p: NAdam(p, 0.1))
run("NAdam_all", lambda p: NAdam(p, 0.1, (0.75, 0.5), 0.0625, 0.25, 0.1, maximize=True))
run("NAdam_decoupled", lambda p: NAdam(p, 0.1, weight_decay=0.25, decoupled_weight_decay=True))
run("RAdam", lambda p: RAdam(p, 0.1))
run("RAdam_all", lambda p: RAdam(p, 0.1, (0.75, 0.9), 0.0625, 0.25, maximize=True))
run("RAdam_decoupled", lambda p: RAdam(p, 0.1, weight_decay=0.25, decoupled_weight_decay=True))
run("Adagrad", lambda p: Adagrad(p, 0.1))
run("Adagrad_all", lambda p: Adagrad(p, 0.1, 0.25, 0.125, 0.5, 0.0625, maximize=True))
run("Adadelta", lambda p: Adadelta(p, 1.0))
run("Adadelta_all", lambda p: Adadelta(p, 0.5, 0.75, 0.0625, 0.25, maximize=True))
run("RMSprop", lambda p: RMSprop(p, 0.1))
run("RMSprop_all", lambda p: RMSprop(p, 0.1, 0.75, 0.0625, 0.25, 0.5, True, maximize=True))
run("Rprop", lambda p: Rprop(p, 0.1))
run("Rprop_all", lambda p: Rprop(p, 0.25, (0.25, 2.0), (0.01, 0.5), maximize=True))
run("ASGD", lambda p: ASGD(p, 0.1))
run("ASGD_all", lambda p: ASGD(p, 0.5, 0.25, 0.5, 4, 0.125, maximize=True))
run("Lion", lambda p: Lion(p, 0.0625))
run("Lion_all", lambda p: Lion(p, 0.0625, (0.75, 0.5), 0.25))
run("Muon", muon(lr=0.1), 1)
run("Muon_all", muon(lr=0.1, weight_decay=0.25, momentum=0.5, nesterov=False, ns_steps=3, adjust_lr_fn="match_rms_adamw"), 1)
run("groups", lambda p: SGD([{"params": p[:1]}, {"params": p[1:], "lr": 0.5, "weight_decay": 0.25}], 0.25, momentum=0.5))


def closures(name, make, steps):
    parameters = [p.clone().requires_grad_() for p in (matrix, vector)]
    optimizer = make(parameters)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(parameters)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    for key, p in zip(["matrix", "vector"], parameters):
        tensors[f"{name}/{key}"] = p.detach().clone()


closures("LBFGS", lambda p: LBFGS(p, 0.5), 2)
closures("LBFGS_wolfe", lambda p: LBFGS(p, 1.0, max_iter=7, history_size=3, line_search_fn="strong_wolfe"), 3)

gradients = [torch.randn(3, 2), torch.randn(2) * 3]
tensors["clip/matrix"], tensors["clip/vector"] = gradients
for name, limit, p in [("norm", 2.0, 2.0), ("one", 2.0, 1.0), ("infinity", 0.5, torch.inf), ("wide", 100.0, 2.0)]:
    leaves = [torch.zeros_like(g) for g in gradients]
    for leaf, g in zip(leaves, gradients):
        leaf.grad = g.clone()
    tensors[f"clip/{name}/total"] = torch.nn.utils.clip_grad_norm_(leaves, limit, p)
    for key, leaf in zip(["matrix", "vector"], leaves):
        tensors[f"clip/{name}/{key}"] = leaf.grad

for maker in [SGD, Adam, AdamW, Adamax, NAdam, RAdam, Adagrad, Adadelta, RMSprop, Rprop, ASGD, Muon, LBFGS]:
    for name, parameter in inspect.signature(maker).parameters.items():
        values = parameter.default if isinstance(parameter.default, tuple) else [parameter.default]
        if all(isinstance(v, (int, float)) for v in values):
            tensors[f"default/{maker.__name__}/{name}"] = torch.tensor([float(v) for v in values])

path = Path(__file__).with_name("optimizers.safetensors")
save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
