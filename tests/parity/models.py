"""Writes models.safetensors: what small configurations of the models in zoo.py compute.

Run by hand, with torch, numpy and safetensors installed: python tests/parity/models.py

Weights and inputs come from the formulas in zoo.py, which tests/models has too, so the file holds results only: NAME/y0 and so
on, in f64; and NAME/parameters, the number of parameters of the full size.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from zoo import *

torch.set_default_dtype(torch.float64)
tensors = {}


def record(name, results):
    for i, y in enumerate(results if isinstance(results, (tuple, list)) else [results]):
        tensors[f"{name}/y{i}"] = y.detach().clone().contiguous()


def case(name, make, *inputs, call=None, full=None):
    net = fill(make()).eval()
    record(name, call(net, *inputs) if call else net(*inputs))
    if full:
        with torch.device("meta"):
            parameters = sum(p.numel() for p in full().parameters())
        tensors[f"{name}/parameters"] = torch.tensor(parameters)
        print(name, f"{parameters:,}")


image = lambda name, *shape: values(f"{name}/in0", shape)
case("mlp", lambda: mlp([20, 16, 12, 10]), values("mlp/in0", (3, 20)), full=lambda: mlp([784, 512, 10]))
case("lenet", lambda: LeNet(1, 28, 10), image("lenet", 2, 1, 28, 28), full=lambda: LeNet(3, 32, 10))
case("lstm", lambda: LstmClassifier(6, 8, 5), values("lstm/in0", (3, 7, 6)))
case("gru", lambda: GruClassifier(6, 8, 5), values("gru/in0", (3, 7, 6)))
tokens = integers("encoder/in0", (3, 9), 11)
padding = torch.arange(9) >= torch.tensor([[9], [6], [2]])
case("encoder", lambda: EncoderClassifier(11, 4, 16, 8, 2, 2, 12), tokens)
case("encoder_padded", lambda: EncoderClassifier(11, 4, 16, 8, 2, 2, 12), tokens, padding)
ids = integers("gpt/in0", (2, 7), 13)
case("char_gpt", lambda: Gpt(13, 8, 2, 2, 12), ids, full=lambda: Gpt(65, 64, 4, 4, 128))
case("gpt2", lambda: Gpt(13, 8, 2, 2, 12, "tanh"), ids, full=lambda: Gpt(50257, 1024, 12, 12, 768, "tanh"))
case("rotary_gpt", lambda: Gpt(13, 8, 2, 2, 12, turn=True), ids)
bert = integers("bert/in0", (3, 6), 17), integers("bert/in1", (3, 6), 2), (torch.arange(6) < torch.tensor([[6], [4], [1]])).long()
case("bert", lambda: Bert(17, 8, 2, 2, 2, 12, 20), *bert, full=lambda: Bert(30522, 512, 2, 12, 12, 768, 3072))
case("resnet", lambda: ResNet(7, width=4), image("resnet", 2, 3, 64, 64), full=lambda: ResNet(1000))
stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2)]
case("mobilenet", lambda: MobileNetV2(7, 0.5, stages), image("mobilenet", 2, 3, 32, 32), full=lambda: MobileNetV2(1000))
case("vit", lambda: Vit(7, 16, 4, 2, 2, 12, 20), image("vit", 2, 3, 16, 16), full=lambda: Vit(1000, 224, 16, 12, 12, 768, 3072))
case("unet", lambda: UNet(3, 2, 4, 2), image("unet", 2, 2, 16, 16), full=lambda: UNet(2))
digits = dict(noise=10, width=4, channels=1, smallest=7, doublings=2)
case("generator", lambda: Generator(**digits), image("generator", 2, 10, 1, 1), full=Generator)
case("discriminator", lambda: Discriminator(**digits), image("discriminator", 2, 1, 28, 28), full=Discriminator)
case("autoencoder", lambda: Autoencoder([20, 12, 3]), values("autoencoder/in0", (3, 20)))
vae = lambda net, x: [*net.encode(x), net.decode(net.encode(x)[0])]
case("vae", lambda: Vae(20, 12, 4), values("vae/in0", (3, 20)), call=vae, full=Vae)


def styles(net, x):
    found = []
    for k, layer in enumerate(net.features):
        x = layer(x)
        if k in (1, 6):
            found += [x, gram(x)]
    return found


vgg16 = [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3]
case("vgg", lambda: VggFeatures([[4, 4], [6, 6]]), image("vgg", 2, 3, 8, 8), call=styles, full=lambda: VggFeatures(vgg16))

pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (3, 4), (4, 5)]
source = torch.tensor([end for a, b in pairs for end in (a, b)])
target = torch.tensor([end for a, b in pairs for end in (b, a)])
links = adjacency(source, target, 7)
nodes = values("graph/in0", (7, 5))
case("gcn", lambda: TwoConvs(GcnConv(5, 6), GcnConv(6, 3), F.relu), nodes, links)
case("sage", lambda: TwoConvs(SageConv(5, 6), SageConv(6, 3), F.relu), nodes, links)
case("gat", lambda: TwoConvs(GatConv(5, 4, 2), GatConv(8, 3, 1), F.elu), nodes, links)

save_file(tensors, Path(__file__).with_name("models.safetensors"))
