"""The models of frontends/models in plain PyTorch, and weights and inputs from a formula that tests/models has too.

Names of modules are those of torchvision, Hugging Face, nanoGPT, PyTorch Geometric and PyTorch's tutorials.
"""

import math

import numpy
import torch
import torch.nn.functional as F
from torch import nn


def fnv(name):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def uniform(name, count):
    """Numbers in [0, 1), multiples of 2^-24: splitmix64 of the name's hash."""
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(fnv(name)) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    return (z >> numpy.uint64(40)).astype(numpy.float64) / 2**24


def values(name, shape):
    """Numbers in ±1 that single precision holds."""
    return torch.from_numpy(uniform(name, math.prod(shape)).reshape(shape) * 2 - 1)


def integers(name, shape, count):
    """Integers below a count."""
    return torch.from_numpy(numpy.floor(uniform(name, math.prod(shape)) * count).astype(numpy.int64).reshape(shape))


def fill(module):
    """Gives parameters and running statistics values by their names. Returns the module."""
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point() or name.endswith("pe"):
            continue
        u = uniform(name, tensor.numel())
        if name.endswith("running_var"):
            u = 0.5 + u
        elif tensor.ndim >= 2:
            u = (u - 0.5) * (2.0 * math.sqrt(3.0 / math.prod(tensor.shape[1:])))
        elif name.endswith("weight"):
            u = 1.0 + (u - 0.5) * 0.5
        else:
            u = (u - 0.5) * 0.5
        tensor.copy_(torch.from_numpy(u.astype(numpy.float32).reshape(tensor.shape)))
    return module


def mlp(widths):
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class LeNet(nn.Module):
    def __init__(self, channels, size, classes):
        super().__init__()
        side = ((size - 4) // 2 - 4) // 2
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * side * side, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


class LstmClassifier(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(inputs, hidden, batch_first=True), nn.Linear(hidden, classes)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


class GruClassifier(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        self.gru, self.fc = nn.GRU(inputs, hidden, batch_first=True), nn.Linear(hidden, classes)

    def forward(self, x):
        return self.fc(self.gru(x)[0][:, -1])


class Positions(nn.Module):
    def __init__(self, features, longest):
        super().__init__()
        places = torch.arange(longest, dtype=torch.float64)[:, None]
        angles = places * 10000.0 ** (-torch.arange(0, features, 2, dtype=torch.float64) / features)
        waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
        self.register_buffer("pe", waves.float().to(torch.get_default_dtype())[None])

    def forward(self, x):
        return x + self.pe[:, : x.shape[1]]


class EncoderClassifier(nn.Module):
    def __init__(self, vocabulary, classes, longest, features, heads, layers, hidden):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, features), Positions(features, longest)
        layer = nn.TransformerEncoderLayer(features, heads, hidden, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.fc = nn.Linear(features, classes)

    def forward(self, tokens, padding=None):
        x = self.encoder(self.positions(self.embedding(tokens)), src_key_padding_mask=padding)
        if padding is None:
            return self.fc(x.mean(1))
        seen = (~padding).to(x.dtype)[..., None]
        return self.fc((x * seen).sum(1) / seen.sum(1))


def rotary(x):
    """Turns neighbouring features by an angle that grows with the position."""
    length, features = x.shape[-2:]
    frequencies = 10000.0 ** (-torch.arange(0, features, 2, dtype=torch.float64) / features)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    turned = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


class GptAttention(nn.Module):
    def __init__(self, features, heads, turn):
        super().__init__()
        self.heads, self.turn = heads, turn
        self.c_attn, self.c_proj = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))
        if self.turn:
            q, k = rotary(q), rotary(k)
        return self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class GptMlp(nn.Module):
    def __init__(self, features, gelu):
        super().__init__()
        self.c_fc, self.c_proj, self.gelu = nn.Linear(features, 4 * features), nn.Linear(4 * features, features), gelu

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate=self.gelu))


class GptBlock(nn.Module):
    def __init__(self, features, heads, gelu, turn):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(features), GptAttention(features, heads, turn)
        self.ln_2, self.mlp = nn.LayerNorm(features), GptMlp(features, gelu)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    def __init__(self, vocabulary, context, layers, heads, features, gelu="none", turn=False):
        super().__init__()
        parts = {"wte": nn.Embedding(vocabulary, features)}
        if not turn:
            parts["wpe"] = nn.Embedding(context, features)
        parts["h"] = nn.ModuleList(GptBlock(features, heads, gelu, turn) for _ in range(layers))
        parts["ln_f"] = nn.LayerNorm(features)
        self.transformer = nn.ModuleDict(parts)

    def forward(self, tokens):
        parts = self.transformer
        x = parts["wte"](tokens)
        if "wpe" in parts:
            x = x + parts["wpe"](torch.arange(tokens.shape[1], device=tokens.device))
        for block in parts["h"]:
            x = block(x)
        return F.linear(parts["ln_f"](x), parts["wte"].weight)


class BertNormed(nn.Module):
    def __init__(self, inputs, features):
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, features), nn.LayerNorm(features, eps=1e-12)

    def forward(self, x, shortcut):
        return self.LayerNorm(self.dense(x) + shortcut)


class BertSelfAttention(nn.Module):
    def __init__(self, features, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(features, features) for _ in range(3))

    def forward(self, x, mask):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class Bert(nn.Module):
    def __init__(self, vocabulary, context, token_types, layers, heads, features, hidden):
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(vocabulary, features)
        self.embeddings.position_embeddings = nn.Embedding(context, features)
        self.embeddings.token_type_embeddings = nn.Embedding(token_types, features)
        self.embeddings.LayerNorm = nn.LayerNorm(features, eps=1e-12)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList()
        for _ in range(layers):
            layer = nn.Module()
            layer.attention, layer.intermediate = nn.Module(), nn.Module()
            layer.attention.add_module("self", BertSelfAttention(features, heads))
            layer.attention.output = BertNormed(features, features)
            layer.intermediate.dense = nn.Linear(features, hidden)
            layer.output = BertNormed(hidden, features)
            self.encoder.layer.append(layer)
        self.pooler = nn.Module()
        self.pooler.dense = nn.Linear(features, features)

    def forward(self, tokens, token_types, attention_mask):
        parts = self.embeddings
        x = parts.word_embeddings(tokens) + parts.token_type_embeddings(token_types)
        x = parts.LayerNorm(x + parts.position_embeddings(torch.arange(tokens.shape[1])))
        mask = torch.where(attention_mask[:, None, None] != 0, 0.0, -math.inf)
        for layer in self.encoder.layer:
            x = layer.attention.output(getattr(layer.attention, "self")(x, mask), x)
            x = layer.output(F.gelu(layer.intermediate.dense(x)), x)
        return x, self.pooler.dense(x[:, 0]).tanh()


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + shortcut).relu()


class ResNet(nn.Module):
    def __init__(self, classes, channels=3, width=64, blocks=(2, 2, 2, 2)):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for k, count in enumerate(blocks):
            outputs = width << k
            strides = [1 if k == 0 else 2] + [1] * (count - 1)
            group = []
            for stride in strides:
                group.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
            setattr(self, f"layer{k + 1}", nn.Sequential(*group))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def normed(inputs, outputs, kernel, stride, groups):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden, self.shortcut = inputs * expansion, stride == 1 and inputs == outputs
        layers = [normed(inputs, hidden, 1, 1, 1)] if expansion != 1 else []
        layers += [normed(hidden, hidden, 3, stride, hidden), nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]

    def __init__(self, classes, width=1.0, stages=STAGES):
        super().__init__()

        def multiple(channels):
            nearest = max(8, int(channels + 4) // 8 * 8)
            return nearest + 8 if nearest < 0.9 * channels else nearest

        inputs = multiple(32 * width)
        features = [normed(3, inputs, 3, 2, 1)]
        for expansion, channels, repeats, stride in stages:
            for k in range(repeats):
                features.append(InvertedResidual(inputs, multiple(channels * width), stride if k == 0 else 1, expansion))
                inputs = multiple(channels * width)
        last = multiple(1280 * max(1.0, width))
        self.features = nn.Sequential(*features, normed(inputs, last, 1, 1, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class VitBlock(nn.Module):
    def __init__(self, heads, features, hidden):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(features, eps=1e-6), nn.LayerNorm(features, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(features, heads, batch_first=True)
        two = nn.Linear(features, hidden), nn.Linear(hidden, features)
        self.mlp = nn.Sequential(two[0], nn.GELU(), nn.Dropout(0.0), two[1], nn.Dropout(0.0))

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Vit(nn.Module):
    def __init__(self, classes, image, patch, layers, heads, features, hidden):
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, features))
        self.conv_proj = nn.Conv2d(3, features, patch, patch)
        self.encoder = nn.Module()
        self.encoder.pos_embedding = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, features))
        self.encoder.layers = nn.Sequential()
        for k in range(layers):
            self.encoder.layers.add_module(f"encoder_layer_{k}", VitBlock(heads, features, hidden))
        self.encoder.ln = nn.LayerNorm(features, eps=1e-6)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(features, classes))

    def forward(self, x):
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1) + self.encoder.pos_embedding
        return self.heads(self.encoder.ln(self.encoder.layers(x))[:, 0])


class UNet(nn.Module):
    def __init__(self, classes, channels=3, width=64, depth=4):
        super().__init__()

        def twice(a, b):
            first = nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()
            return nn.Sequential(*first, nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())

        levels = [width << k for k in range(depth + 1)]
        self.encoder = nn.ModuleList(twice(a, b) for a, b in zip([channels] + levels, levels))
        pairs = list(zip(levels, levels[1:]))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.decoder = nn.ModuleList(twice(b, a) for a, b in pairs)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        levels = []
        for layers in self.encoder:
            levels.append(layers(F.max_pool2d(levels[-1], 2) if levels else x))
        x = levels.pop()
        for up, layers in zip(self.up, self.decoder):
            x = layers(torch.cat([levels.pop(), up(x)], 1))
        return self.head(x)


class Generator(nn.Module):
    def __init__(self, noise=100, width=64, channels=3, smallest=4, doublings=4):
        super().__init__()
        sizes = [width << (doublings - 1 - k) for k in range(doublings)] + [channels]
        layers = [nn.ConvTranspose2d(noise, sizes[0], smallest, bias=False)]
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.BatchNorm2d(a), nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)]
        self.main = nn.Sequential(*layers, nn.Tanh())

    def forward(self, noise):
        return self.main(noise)


class Discriminator(nn.Module):
    def __init__(self, noise=100, width=64, channels=3, smallest=4, doublings=4):
        super().__init__()
        sizes = [channels] + [width << k for k in range(doublings)]
        layers = []
        for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False)] + ([nn.BatchNorm2d(b)] if k else []) + [nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, smallest, bias=False))

    def forward(self, images):
        return self.main(images).flatten()


class Autoencoder(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.encoder, self.decoder = mlp(widths), mlp(widths[::-1])

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Vae(nn.Module):
    def __init__(self, inputs=784, hidden=400, code=20):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(inputs, hidden), nn.Linear(hidden, code), nn.Linear(hidden, code)
        self.fc3, self.fc4 = nn.Linear(code, hidden), nn.Linear(hidden, inputs)

    def encode(self, x):
        hidden = self.fc1(x).relu()
        return self.fc21(hidden), self.fc22(hidden)

    def decode(self, code):
        return self.fc4(self.fc3(code).relu())


class VggFeatures(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        layers, inputs = [], 3
        for block in blocks:
            for outputs in block:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)


def gram(x):
    n, c, h, w = x.shape
    flat = x.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def adjacency(source, target, nodes):
    matrix = torch.zeros(nodes, nodes)
    return matrix.index_put((target, source), torch.ones(len(source)), accumulate=True)


class GcnConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bias, self.lin = nn.Parameter(torch.zeros(outputs)), nn.Linear(inputs, outputs, bias=False)

    def forward(self, x, links):
        links = links + torch.eye(len(x))
        root = links.sum(1) ** -0.5
        return (root[:, None] * links * root) @ self.lin(x) + self.bias


class SageConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.lin_l, self.lin_r = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs, bias=False)

    def forward(self, x, links):
        return self.lin_l(links @ x / links.sum(1, keepdim=True).clamp(min=1)) + self.lin_r(x)


class GatConv(nn.Module):
    def __init__(self, inputs, outputs, heads):
        super().__init__()
        self.att_src, self.att_dst = (nn.Parameter(torch.zeros(1, heads, outputs)) for _ in range(2))
        self.bias, self.lin = nn.Parameter(torch.zeros(heads * outputs)), nn.Linear(inputs, heads * outputs, bias=False)

    def forward(self, x, links):
        x = self.lin(x).unflatten(-1, self.att_src.shape[1:])
        links = (links + torch.eye(len(x)))[:, :, None]
        scores = F.leaky_relu((x * self.att_src).sum(-1)[None] + (x * self.att_dst).sum(-1)[:, None], 0.2)
        weights = torch.where(links > 0, scores, -math.inf).softmax(1)
        return torch.einsum("tsh,shf->thf", weights, x).flatten(1) + self.bias


class TwoConvs(nn.Module):
    def __init__(self, conv1, conv2, activation):
        super().__init__()
        self.conv1, self.conv2, self.activation = conv1, conv2, activation

    def forward(self, x, links):
        return self.conv2(self.activation(self.conv1(x, links)), links)
