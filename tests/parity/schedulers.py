"""Writes schedulers.safetensors: the learning rates, and momenta where they change, that PyTorch's schedules give.

Run by hand, with torch and safetensors installed: python tests/parity/schedulers.py

Of each case NAME the file holds NAME/lr, the rates of two groups (which begin at 0.5 and 0.125) before the first and after
each of forty steps, and NAME/momentum.
"""

import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.optim import SGD
from torch.optim.lr_scheduler import *

warnings.filterwarnings("ignore")
torch.set_default_dtype(torch.float64)
tensors = {}


def run(name, make, measures=None):
    parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    sgd = SGD([{"params": parameters[:1], "lr": 0.5}, {"params": parameters[1:], "lr": 0.125}], momentum=0.9)
    scheduler = make(sgd)
    rows = []
    for step in range(41):
        rows.append([[group["lr"] for group in sgd.param_groups], [group["momentum"] for group in sgd.param_groups]])
        sgd.step()
        if step < 40:
            scheduler.step(*([measures[step]] if measures is not None else []))
    rows = torch.tensor(rows)
    tensors[f"{name}/lr"], momentum = rows[:, 0], rows[:, 1]
    if (momentum != 0.9).any():
        tensors[f"{name}/momentum"] = momentum


run("StepLR", lambda o: StepLR(o, 7))
run("MultiStepLR", lambda o: MultiStepLR(o, [3, 11, 11, 30], 0.5))
run("ExponentialLR", lambda o: ExponentialLR(o, 0.9))
run("ConstantLR", lambda o: ConstantLR(o, 0.25, 10))
run("LinearLR", lambda o: LinearLR(o, 0.25, 0.75, 12))
run("PolynomialLR", lambda o: PolynomialLR(o, 20, 2.0))
run("CosineAnnealingLR", lambda o: CosineAnnealingLR(o, 9, 0.01))
run("CosineAnnealingWarmRestarts", lambda o: CosineAnnealingWarmRestarts(o, 5, 2, 0.01))
run("CosineAnnealingWarmRestarts_equal", lambda o: CosineAnnealingWarmRestarts(o, 6))
run("OneCycleLR", lambda o: OneCycleLR(o, 1.0, 41))
run("OneCycleLR_all", lambda o: OneCycleLR(o, 1.0, 45, None, None, 0.4, "linear", True, 0.7, 0.9, 10.0, 100.0, True))
run("OneCycleLR_plain", lambda o: OneCycleLR(o, 1.0, 60, cycle_momentum=False))
run("CyclicLR", lambda o: CyclicLR(o, 0.1, 1.0, 6))
run("CyclicLR_halved", lambda o: CyclicLR(o, 0.1, 1.0, 4, 8, "triangular2", cycle_momentum=False))
run("CyclicLR_exponential", lambda o: CyclicLR(o, 0.1, 1.0, 5, 3, "exp_range", 0.95, base_momentum=0.5, max_momentum=0.75))
run("LambdaLR", lambda o: LambdaLR(o, lambda step: 1 / (1 + step)))
run("MultiplicativeLR", lambda o: MultiplicativeLR(o, lambda step: 0.95 if step % 3 else 1.01))
run("SequentialLR", lambda o: SequentialLR(o, [LinearLR(o, 0.2, 1.0, 5), CosineAnnealingLR(o, 15), StepLR(o, 4)], [5, 20]))
run("ChainedScheduler", lambda o: ChainedScheduler([ConstantLR(o, 0.5, 8), ExponentialLR(o, 0.9), StepLR(o, 10, 0.5)]))
torch.manual_seed(1)
measures = torch.randn(40).abs() * 0.1 + torch.linspace(2, 1, 40).clamp(min=1.5)
tensors["measures"] = measures
run("ReduceLROnPlateau", lambda o: ReduceLROnPlateau(o, patience=2, factor=0.5), measures.tolist())
run(
    "ReduceLROnPlateau_all",
    lambda o: ReduceLROnPlateau(o, "max", 0.75, 1, 0.05, "abs", 2, 0.05, 0.001),
    measures.tolist(),
)

path = Path(__file__).with_name("schedulers.safetensors")
save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
