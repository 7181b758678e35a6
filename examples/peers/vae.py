"""The recipe of examples/vae.rs in PyTorch: python vae.py [--epochs 5]"""
import argparse, gzip, pathlib, sys, time
import numpy, torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/parity"))
from zoo import Vae

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)


def read(name):
    file = gzip.open(pathlib.Path(__file__).parents[1] / f"data/mnist/{name}-images-idx3-ubyte.gz").read()
    return torch.from_numpy(numpy.frombuffer(file, numpy.uint8, offset=16).reshape(-1, 784).copy()).float() / 255


train, test, net = read("train"), read("t10k"), Vae()
adam = torch.optim.Adam(net.parameters(), 0.001)


def loss(x):
    mean, log_variance = net.encode(x)
    decoded = net.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp())
    error = F.binary_cross_entropy_with_logits(decoded, x, reduction="sum")
    return (error + 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum()) / len(x)


for epoch in range(arguments.epochs):
    start, found = time.time(), []
    for batch in torch.randperm(len(train)).split(128)[:-1]:
        adam.zero_grad()
        value = loss(train[batch])
        value.backward()
        adam.step()
        found.append(value.item())
    with torch.no_grad():
        tested = sum(loss(part).item() for part in test.split(1000)) / 10
    print(f"epoch {epoch + 1}: loss {numpy.mean(found):.2f}, test loss {tested:.2f}, {time.time() - start:.1f} s", flush=True)
