"""Writes layers.safetensors: what PyTorch's layers compute from inputs and a state dict.

Run by hand, with torch and safetensors installed: python tests/parity/layers.py

Of each case NAME the file holds the state dict NAME/state/…, the inputs NAME/in0, …, the results NAME/y0, … and their
cotangents NAME/dy0, …, the gradients NAME/grad0, … of floating-point inputs and NAME/grad/… of parameters, and the entries
of the state dict that the call changed, NAME/after/…. All in f64, from one seed.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(2025)
torch.set_default_dtype(torch.float64)
tensors = {}
randn, randint = torch.randn, torch.randint


def layer(name, module, *inputs, call=None, training=True):
    module.train(training)
    for parameter in module.parameters():
        # Also what begins as zeros or ones takes part.
        parameter.data += 0.25 * torch.randn_like(parameter)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    results = call(module, *leaves) if call else module(*leaves)
    results = results if isinstance(results, tuple) else (results,)
    cotangents = [torch.randn_like(y) for y in results]
    if any(y.requires_grad for y in results):
        torch.autograd.backward(results, cotangents)
    for key, value in before.items():
        tensors[f"{name}/state/{key}"] = value
    for key, parameter in module.named_parameters():
        tensors[f"{name}/grad/{key}"] = parameter.grad
    for key, value in module.state_dict().items():
        if not torch.equal(value, before[key]):
            tensors[f"{name}/after/{key}"] = value.clone()
    for i, x in enumerate(leaves):
        tensors[f"{name}/in{i}"] = x.detach()
        if x.grad is not None:
            tensors[f"{name}/grad{i}"] = x.grad
    for i, (y, dy) in enumerate(zip(results, cotangents)):
        tensors[f"{name}/y{i}"], tensors[f"{name}/dy{i}"] = y.detach(), dy


def activations():
    x = torch.cat([randn(10) * 2, torch.tensor([-8.0, 8.0, -30.0, 30.0])]) + 0.03125
    plain = ["ReLU", "ReLU6", "GELU", "Sigmoid", "Tanh", "SiLU", "Mish", "SELU", "LogSigmoid"]
    plain += ["Softsign", "Tanhshrink", "LeakyReLU", "ELU", "CELU", "Hardtanh", "Softplus", "Softshrink", "Hardshrink"]
    for name in plain:
        layer(name, getattr(nn, name)(), x)
    # PyTorch's own derivatives of these two have a sixth in single precision.
    layer("Hardsigmoid", nn.Identity(), x, call=lambda _, x: F.relu6(x + 3) / 6)
    layer("Hardswish", nn.Identity(), x, call=lambda _, x: x * F.relu6(x + 3) / 6)
    layer("GELU_tanh", nn.GELU(approximate="tanh"), x)
    layer("LeakyReLU_option", nn.LeakyReLU(0.2), x)
    layer("ELU_option", nn.ELU(0.5), x)
    layer("CELU_option", nn.CELU(0.5), x)
    layer("Hardtanh_option", nn.Hardtanh(-0.5, 2.0), x)
    layer("Softplus_option", nn.Softplus(0.5, 3.0), x)
    layer("Softshrink_option", nn.Softshrink(1.0), x)
    layer("Hardshrink_option", nn.Hardshrink(1.0), x)
    layer("Threshold", nn.Threshold(0.5, -3.0), x)
    layer("GLU", nn.GLU(), randn(2, 6))
    layer("GLU_axis", nn.GLU(1), randn(2, 4, 3))
    layer("PReLU", nn.PReLU(), x)
    layer("PReLU_channels", nn.PReLU(3), randn(2, 3, 2))
    layer("RReLU_evaluated", nn.RReLU(), x, training=False)
    layer("Softmax", nn.Softmax(1), randn(2, 3, 2))
    layer("LogSoftmax", nn.LogSoftmax(-1), randn(2, 3))
    layer("Softmin", nn.Softmin(0), randn(3, 2))
    layer("Softmax2d", nn.Softmax2d(), randn(2, 3, 2, 2))


def convolutions():
    layer("Conv1d", nn.Conv1d(3, 4, 3), randn(2, 3, 7))
    layer("Conv1d_all", nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False), randn(2, 4, 9))
    layer("Conv2d", nn.Conv2d(2, 3, (3, 2)), randn(2, 2, 5, 6))
    layer("Conv2d_circular", nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="circular"), randn(1, 2, 4, 5))
    layer("Conv2d_reflect", nn.Conv2d(2, 2, 3, stride=2, padding=(2, 1), padding_mode="reflect"), randn(1, 2, 4, 5))
    layer("Conv2d_replicate", nn.Conv2d(2, 2, (3, 2), padding="same", padding_mode="replicate"), randn(1, 2, 4, 5))
    layer("Conv3d", nn.Conv3d(2, 3, 2, padding=1), randn(1, 2, 3, 4, 3))
    layer("Conv3d_groups", nn.Conv3d(2, 4, (1, 2, 3), stride=(1, 2, 1), groups=2), randn(1, 2, 2, 4, 5))
    layer("ConvTranspose1d", nn.ConvTranspose1d(3, 2, 3), randn(2, 3, 4))
    layer("ConvTranspose1d_all", nn.ConvTranspose1d(4, 6, 3, 3, 2, 1, 2, False, 2), randn(1, 4, 4), call=None)
    layer("ConvTranspose2d", nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1), randn(1, 3, 3, 2))
    layer("ConvTranspose2d_all", nn.ConvTranspose2d(2, 4, (3, 2), (2, 3), (1, 0), (1, 2), 2), randn(1, 2, 3, 3))
    layer("ConvTranspose3d", nn.ConvTranspose3d(2, 2, 2, stride=2), randn(1, 2, 2, 3, 2))


def pools():
    shapes = [(2, 2, 7), (1, 2, 7, 6), (1, 1, 5, 4, 6)]
    for n, shape in enumerate(shapes, 1):
        get = lambda name: getattr(nn, f"{name}{n}d")
        layer(f"MaxPool{n}d", get("MaxPool")(3, stride=2, padding=1, dilation=1), randn(*shape))
        layer(f"AvgPool{n}d", get("AvgPool")(3, stride=2, padding=1, count_include_pad=False), randn(*shape))
        layer(f"AdaptiveMaxPool{n}d", get("AdaptiveMaxPool")(3), randn(*shape))
        layer(f"AdaptiveAvgPool{n}d", get("AdaptiveAvgPool")(3), randn(*shape))
        layer(f"LPPool{n}d", get("LPPool")(3, 2, ceil_mode=n == 1), torch.rand(*shape) + 0.5)


def norms():
    shapes = [(4, 3), (2, 3, 4), (2, 3, 3, 2), (2, 3, 2, 2, 2)]
    for name, shape in zip(["1d", "1d", "2d", "3d"], shapes):
        x, case = randn(*shape) * 2 + 1, f"BatchNorm{name}_{len(shape)}"
        make = getattr(nn, f"BatchNorm{name}")
        layer(case, make(3), x)
        layer(f"{case}_evaluated", make(3), x, training=False)
    x = randn(2, 3, 3, 2) * 2 + 1
    layer("BatchNorm2d_options", nn.BatchNorm2d(3, eps=0.01, momentum=0.5), x)

    def three(m, x):
        m(x * 2)
        m(x + 1)
        return m(x)

    layer("BatchNorm2d_cumulative", nn.BatchNorm2d(3, momentum=None), x, call=three)
    layer("BatchNorm2d_without_affine", nn.BatchNorm2d(3, affine=False), x)
    layer("BatchNorm2d_without_statistics", nn.BatchNorm2d(3, track_running_stats=False), x, training=False)
    for n, shape in enumerate(shapes[1:], 1):
        layer(f"InstanceNorm{n}d", getattr(nn, f"InstanceNorm{n}d")(3), randn(*shape))
    x = randn(2, 3, 3, 2) * 2 + 1
    everything = dict(affine=True, track_running_stats=True, eps=0.01, momentum=0.3)
    layer("InstanceNorm2d_all", nn.InstanceNorm2d(3, **everything), x)
    layer("InstanceNorm2d_all_evaluated", nn.InstanceNorm2d(3, **everything), x, training=False)
    layer("InstanceNorm2d_image", nn.InstanceNorm2d(3, affine=True), x[0])
    layer("GroupNorm", nn.GroupNorm(2, 6), randn(2, 6, 3))
    layer("GroupNorm_without_affine", nn.GroupNorm(3, 6, eps=0.01, affine=False), randn(2, 6, 2, 2))
    layer("LayerNorm", nn.LayerNorm(5), randn(3, 5))
    layer("LayerNorm_axes", nn.LayerNorm((2, 3), eps=0.01, bias=False), randn(2, 2, 3))
    layer("RMSNorm", nn.RMSNorm(5), randn(3, 5))
    layer("RMSNorm_axes", nn.RMSNorm((2, 3), eps=0.01, elementwise_affine=False), randn(2, 2, 3))
    layer("LocalResponseNorm", nn.LocalResponseNorm(2), randn(2, 4, 3) * 10)
    layer("LocalResponseNorm_all", nn.LocalResponseNorm(3, 0.1, 0.5, 2.0), randn(2, 4, 3))


def embeddings():
    indices = torch.tensor([[1, 4, 0], [4, 4, 2]])
    layer("Embedding", nn.Embedding(6, 3), indices)
    layer("Embedding_padding", nn.Embedding(6, 3, padding_idx=-2), indices)
    layer("Embedding_max_norm", nn.Embedding(6, 3, max_norm=1.0, norm_type=1.0), indices)
    layer("Embedding_frequency", nn.Embedding(6, 3, scale_grad_by_freq=True), indices)
    for mode in ["sum", "mean", "max"]:
        layer(f"EmbeddingBag_{mode}", nn.EmbeddingBag(6, 3, mode=mode), indices)
        flat, offsets = torch.tensor([1, 4, 0, 4, 2]), torch.tensor([0, 2, 2, 3])
        layer(f"EmbeddingBag_{mode}_offsets", nn.EmbeddingBag(6, 3, mode=mode), flat, offsets)
        layer(f"EmbeddingBag_{mode}_padding", nn.EmbeddingBag(6, 3, mode=mode, padding_idx=4), indices)
    weights = randn(2, 3)
    weighted = lambda m, i, w: m(i, per_sample_weights=w)
    layer("EmbeddingBag_weighted", nn.EmbeddingBag(6, 3, mode="sum"), indices, weights, call=weighted)


def attention():
    x, memory = randn(3, 2, 4), randn(5, 2, 4)

    def mha(name, q, k, v, *masks, options={}, call=None, **arguments):
        layer(name, nn.MultiheadAttention(4, 2, **options), q, k, v, *masks, call=call)

    mha("MultiheadAttention", x, memory, memory, call=lambda m, q, k, v: m(q, k, v, average_attn_weights=False))
    mha("MultiheadAttention_self", x, x, x, call=lambda m, q, k, v: m(q, q, q, need_weights=False)[0])
    wide = [randn(2, 3, 4), randn(2, 5, 6), randn(2, 5, 3)]
    options = dict(kdim=6, vdim=3, bias=False, batch_first=True)
    mha("MultiheadAttention_dims", *wide, options=options)
    mha("MultiheadAttention_one", randn(3, 4), randn(5, 4), randn(5, 4))
    padding = torch.tensor([[False, False, True, False, True], [False, True, False, False, False]])
    positions = torch.rand(3, 5) > 0.7
    positions[:, 3] = False
    both = lambda m, q, k, v, a, p: m(q, k, v, attn_mask=a, key_padding_mask=p)
    mha("MultiheadAttention_bools", x, memory, memory, positions, padding, call=both)
    without = lambda m, q, k, v, a, p: m(q, k, v, attn_mask=a, key_padding_mask=p, need_weights=False)[0]
    added = randn(3, 5)
    mixed = lambda m, q, k, v, a, p: m(q, k, v, attn_mask=a, key_padding_mask=torch.where(p, -torch.inf, 0.0))
    mha("MultiheadAttention_added", x, memory, memory, added, padding, call=mixed)
    mha("MultiheadAttention_added_alone", x, memory, memory, added, padding, call=lambda *a: mixed(*a)[0])
    mha("MultiheadAttention_heads", x, memory, memory, torch.rand(4, 3, 5) > 0.8, padding[:, :5], call=without)
    causal = lambda m, q: m(q, q, q, attn_mask=torch.ones(3, 3, dtype=torch.bool).triu(1), need_weights=False, is_causal=True)[0]
    layer("MultiheadAttention_causal", nn.MultiheadAttention(4, 2), x, call=causal)


def transformers():
    x, memory = randn(3, 2, 4), randn(5, 2, 4)
    padding = torch.tensor([[False, False, True], [False, False, False]])
    small = dict(dim_feedforward=6, dropout=0.0)
    plain = dict(dim_feedforward=6)
    layer("TransformerEncoderLayer", nn.TransformerEncoderLayer(4, 2, **small), x)
    options = dict(**small, norm_first=True, activation="gelu", batch_first=True, layer_norm_eps=0.01)
    masked = lambda m, x, p: m(x, src_key_padding_mask=p)
    layer("TransformerEncoderLayer_options", nn.TransformerEncoderLayer(4, 2, **options), randn(2, 3, 4), padding, call=masked)
    # Evaluation drops nothing.
    torch.backends.mha.set_fastpath_enabled(False)
    layer("TransformerEncoderLayer_evaluated", nn.TransformerEncoderLayer(4, 2, **plain), x, training=False)
    layer("TransformerDecoderLayer", nn.TransformerDecoderLayer(4, 2, **small), x, memory)
    triangle = torch.ones(3, 3, dtype=torch.bool).triu(1)
    causal = lambda m, x, memory: m(x, memory, tgt_mask=triangle, tgt_is_causal=True)
    pre = nn.TransformerDecoderLayer(4, 2, **small, norm_first=True)
    layer("TransformerDecoderLayer_causal", pre, x, memory, call=causal)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, **small), 2, nn.LayerNorm(4), enable_nested_tensor=False)
    layer("TransformerEncoder", encoder, x)
    layer("TransformerDecoder", nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, **small), 2), x, memory)
    whole = nn.Transformer(4, 2, 1, 1, **small)
    called = lambda m, s, t: m(s, t, tgt_mask=triangle, tgt_is_causal=True)
    layer("Transformer", whole, memory, x, call=called)


def images():
    x = randn(1, 2, 3, 4)
    layer("Upsample", nn.Upsample(scale_factor=2), x)
    layer("Upsample_size", nn.Upsample(size=(5, 3), mode="bilinear"), x)
    layer("Upsample_aligned", nn.Upsample(scale_factor=(1.5, 2), mode="bicubic", align_corners=True), x)
    layer("PixelShuffle", nn.PixelShuffle(2), randn(1, 8, 2, 3))
    layer("PixelUnshuffle", nn.PixelUnshuffle(2), randn(1, 2, 4, 6))
    layer("ChannelShuffle", nn.ChannelShuffle(2), randn(1, 6, 2, 2))
    layer("Unfold", nn.Unfold((2, 3), dilation=(1, 2), padding=1, stride=2), randn(1, 2, 5, 6))
    layer("Fold", nn.Fold((4, 5), (2, 3), padding=(1, 0), stride=(2, 1)), randn(1, 12, 9))
    shapes = [(1, 2, 4), (1, 2, 4, 3), (1, 1, 3, 4, 3)]
    widths = [(1, 2), (1, 0, 2, 1), (1, 0, 2, 1, 0, 2)]
    for n, (shape, width) in enumerate(zip(shapes, widths), 1):
        for name in ["ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"]:
            layer(f"{name}{n}d", getattr(nn, f"{name}{n}d")(width), randn(*shape))
        layer(f"ConstantPad{n}d", getattr(nn, f"ConstantPad{n}d")(width, 2.5), randn(*shape))


def others():
    layer("Linear", nn.Linear(4, 3), randn(2, 4))
    layer("Bilinear", nn.Bilinear(3, 4, 2), randn(5, 3), randn(5, 4))
    layer("CosineSimilarity", nn.CosineSimilarity(), randn(3, 4), randn(3, 4))
    layer("PairwiseDistance", nn.PairwiseDistance(), randn(3, 4), randn(3, 4))
    layer("PairwiseDistance_3", nn.PairwiseDistance(3.0), randn(3, 4), randn(3, 4))
    layer("Flatten", nn.Flatten(), randn(2, 3, 2))
    layer("Unflatten", nn.Unflatten(1, (2, 3)), randn(2, 6))
    layer("Identity", nn.Identity(), randn(2, 3))
    layer("AlphaDropout_evaluated", nn.AlphaDropout(0.3), randn(2, 3), training=False)
    layer("Dropout2d_evaluated", nn.Dropout2d(0.3), randn(2, 3, 2, 2), training=False)


for part in [activations, convolutions, pools, norms, embeddings, attention, transformers, images, others]:
    part()
path = Path(__file__).with_name("layers.safetensors")
tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items() if tensor is not None}
save_file(tensors, path, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")
