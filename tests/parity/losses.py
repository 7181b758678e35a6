"""Writes losses.safetensors: what PyTorch's losses compute.

Run by hand, with torch and safetensors installed: python tests/parity/losses.py

Of each case NAME_REDUCTION the file holds the inputs NAME/in0, … that all reductions share, the result NAME_REDUCTION/y, its
cotangent NAME_REDUCTION/dy, and the gradients NAME_REDUCTION/grad0, … of floating-point inputs. Options that are tensors are
inputs, too. All in f64, from one seed.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(2026)
torch.set_default_dtype(torch.float64)
tensors = {}
randn, rand, randint = torch.randn, torch.rand, torch.randint


def loss(name, make, *inputs, fixed=(), reductions=("mean", "sum", "none")):
    """`make(reduction, *fixed)` is the loss of the inputs; PyTorch has no gradient of the fixed ones."""
    for i, x in enumerate(inputs + fixed):
        tensors[f"{name}/in{i}"] = x
    for reduction in reductions:
        leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
        y = make(reduction, *fixed)(*leaves)
        dy = torch.randn_like(y)
        y.backward(dy)
        case = f"{name}_{reduction}"
        tensors[f"{case}/y"], tensors[f"{case}/dy"] = y.detach(), dy
        for i, x in enumerate(leaves):
            if x.grad is not None:
                tensors[f"{case}/grad{i}"] = x.grad


def of(kind, **options):
    return lambda reduction: kind(reduction=reduction, **options)


def without_target_gradient(kind, name=None, **options):
    """Where PyTorch differentiates targets, too, or refuses to, this keeps to the first input."""
    return lambda reduction, *targets: lambda x: kind(reduction=reduction, **options)(x, *targets)


signs = torch.tensor([1.0, -1.0, -1.0, 1.0])
x, y = randn(4, 3), randn(4, 3)
loss("l1", of(nn.L1Loss), x, y)
loss("mse", of(nn.MSELoss), x, y)
loss("smooth_l1", of(nn.SmoothL1Loss), x, y)
loss("smooth_l1_beta", of(nn.SmoothL1Loss, beta=0.5), x, y)
loss("huber", of(nn.HuberLoss), x, y)
loss("huber_delta", of(nn.HuberLoss, delta=0.5), x, y)

labels = torch.tensor([2, 0, -100, 1])
weight = rand(3) + 0.5
logits = randn(4, 3) * 2
entropy = lambda reduction, t, w=None: lambda x: nn.CrossEntropyLoss(w, reduction=reduction)(x, t)
loss("cross_entropy", entropy, logits, fixed=(labels,))
loss("cross_entropy_weight", entropy, logits, fixed=(labels, weight))
logarithms = logits.log_softmax(1)
nll = lambda reduction, t, w=None: lambda x: nn.NLLLoss(w, reduction=reduction)(x, t)
loss("nll", nll, logarithms, fixed=(labels,))
loss("nll_weight", nll, logarithms, fixed=(labels, weight))
pixels = randint(0, 3, (2, 4))
loss("nll_images", nll, randn(2, 3, 4).log_softmax(1), fixed=(pixels,))
probabilities = torch.cat([rand(3, 3), torch.tensor([[0.0, 1.0, 0.5]])])
hits = (rand(4, 3) > 0.5).double()
bce = lambda reduction, t, w=None: lambda x: nn.BCELoss(w, reduction=reduction)(x, t)
loss("bce", bce, probabilities[:3], fixed=(hits[:3],))
loss("bce_weight", bce, probabilities[:3], fixed=(hits[:3], weight))
with_logits = lambda reduction, t, w=None, p=None: lambda x: nn.BCEWithLogitsLoss(w, reduction=reduction, pos_weight=p)(x, t)
loss("bce_with_logits", with_logits, logits * 10, fixed=(hits,))
loss("bce_with_logits_weights", with_logits, logits, fixed=(hits, weight, weight * 2))
targets = randn(4, 3).softmax(1)
reductions = ("mean", "sum", "none", "batchmean")
loss("kl_div", of(nn.KLDivLoss), logarithms, targets, reductions=reductions)
loss("kl_div_log", of(nn.KLDivLoss, log_target=True), logarithms, targets.log(), reductions=reductions)
counts = randint(0, 5, (4, 3)).double()
poisson = lambda **options: without_target_gradient(nn.PoissonNLLLoss, **options)
loss("poisson_nll", poisson(), x, fixed=(counts,))
loss("poisson_nll_full", poisson(full=True), x, fixed=(counts,))
loss("poisson_nll_rates", poisson(log_input=False, full=True), rand(4, 3) + 0.25, fixed=(counts,))
loss("gaussian_nll", of(nn.GaussianNLLLoss), x, y, rand(4, 3) + 0.1)
loss("gaussian_nll_full", of(nn.GaussianNLLLoss, full=True, eps=0.5), x, y, rand(4, 1) + 0.2)
loss("gaussian_nll_rows", of(nn.GaussianNLLLoss), x, y, rand(4) + 0.1)

hinge = lambda **options: without_target_gradient(nn.HingeEmbeddingLoss, **options)
loss("hinge_embedding", hinge(), rand(4) * 2, fixed=(signs,))
loss("hinge_embedding_margin", hinge(margin=0.5), rand(4) * 2, fixed=(signs,))
pair = lambda kind, **options: lambda reduction, t: lambda a, b: kind(reduction=reduction, **options)(a, b, t)
loss("margin_ranking", pair(nn.MarginRankingLoss), randn(4), randn(4), fixed=(signs,))
loss("margin_ranking_margin", pair(nn.MarginRankingLoss, margin=0.5), randn(4), randn(4), fixed=(signs,))
loss("cosine_embedding", pair(nn.CosineEmbeddingLoss), x, y, fixed=(signs,))
loss("cosine_embedding_margin", pair(nn.CosineEmbeddingLoss, margin=-0.25), x, y, fixed=(signs,))
loss("soft_margin", without_target_gradient(nn.SoftMarginLoss), randn(4) * 3, fixed=(signs,))
classes = torch.tensor([2, 0, 1, 1])
multi = lambda **options: lambda reduction, t, w=None: lambda x: nn.MultiMarginLoss(weight=w, reduction=reduction, **options)(x, t)
loss("multi_margin", multi(), x, fixed=(classes,))
loss("multi_margin_all", multi(p=2, margin=0.5), x, fixed=(classes, weight))
loss("multi_margin_one", multi(), x[0], fixed=(classes[0],))
several = torch.tensor([[2, 0, -1, 1], [3, -1, 0, 0], [-1, 1, 1, 1], [0, 1, 2, 3]])
loss("multilabel_margin", without_target_gradient(nn.MultiLabelMarginLoss), randn(4, 4), fixed=(several,))
loss("multilabel_margin_one", without_target_gradient(nn.MultiLabelMarginLoss), randn(4), fixed=(several[0],))
soft = lambda reduction, t, w=None: lambda x: nn.MultiLabelSoftMarginLoss(w, reduction=reduction)(x, t)
loss("multilabel_soft_margin", soft, logits, fixed=(hits,))
loss("multilabel_soft_margin_weight", soft, logits, fixed=(hits, weight))
loss("triplet_margin", of(nn.TripletMarginLoss), x, y, randn(4, 3))
loss("triplet_margin_all", of(nn.TripletMarginLoss, margin=2.0, p=3, swap=True), x, y, randn(4, 3))

# Of logits: PyTorch's derivative of log-probabilities holds only behind a log-softmax.
ctc = lambda **o: lambda reduction, *t: lambda x: nn.CTCLoss(reduction=reduction, **o)(x.log_softmax(-1), *t)
labels, lengths = randint(1, 5, (3, 4)), (torch.tensor([7, 5, 6]), torch.tensor([4, 2, 0]))
labels[0] = torch.tensor([2, 2, 3, 2])
loss("ctc", ctc(), randn(7, 3, 5), fixed=(labels, *lengths))
flat = torch.cat([labels[0], labels[1][:2]])
loss("ctc_flat", ctc(), randn(7, 3, 5), fixed=(flat, *lengths))
loss("ctc_blank", ctc(blank=3), randn(7, 2, 4), fixed=(randint(0, 3, (2, 3)), torch.tensor([7, 6]), torch.tensor([3, 2])))
short = (torch.tensor([[2, 2, 1], [1, 2, 3]]), torch.tensor([3, 5]), torch.tensor([3, 3]))
loss("ctc_impossible", ctc(zero_infinity=True), randn(5, 2, 4), fixed=short)
loss("ctc_one", ctc(), randn(5, 4), fixed=(torch.tensor([1, 3]), torch.tensor([5]), torch.tensor([2])))

path = Path(__file__).with_name("losses.safetensors")
save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
