"""The networks of examples/pretrained.rs in PyTorch with random weights, for their times: python pretrained.py resnet18"""
import argparse, pathlib, sys, time
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/parity"))
import zoo

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--runs", type=int, default=10)
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)
image = lambda size: torch.randn(arguments.batch, 3, size, size)
tokens = lambda count: torch.randint(0, count, (arguments.batch, 64))
net, inputs = {
    "resnet18": lambda: (zoo.ResNet(1000), [image(224)]),
    "mobilenet-v2": lambda: (zoo.MobileNetV2(1000), [image(224)]),
    "vit-b-16": lambda: (zoo.Vit(1000, 224, 16, 12, 12, 768, 3072), [image(224)]),
    "unet": lambda: (zoo.UNet(2), [image(128)]),
    "gpt2": lambda: (zoo.Gpt(50257, 1024, 12, 12, 768, gelu="tanh"), [tokens(50257)]),
    "bert-base": lambda: (
        zoo.Bert(30522, 512, 2, 12, 12, 768, 3072),
        [tokens(30522), torch.zeros(arguments.batch, 64, dtype=torch.int64), torch.ones(arguments.batch, 64)],
    ),
}[arguments.model]()
net.eval()
with torch.inference_mode():
    for k in range(arguments.runs):
        start = time.time()
        net(*inputs)
        print(f"run {k + 1}: {1000 * (time.time() - start):.1f} ms")
