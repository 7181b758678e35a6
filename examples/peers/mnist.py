"""The recipes of examples/mnist.rs in PyTorch: python mnist.py [--hidden 128,64] [--optimizer adam] [--cnn] [--epochs 5]"""
import argparse, gzip, pathlib, time
import numpy as np, torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--hidden", default="512")
parser.add_argument("--optimizer")
parser.add_argument("--cnn", action="store_true")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--batch", type=int, default=64)
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)
data = pathlib.Path(__file__).parent.parent / "data/mnist"

def read(name, offset):
    return np.frombuffer(gzip.open(data / name).read(), np.uint8, offset=offset)

def part(name):
    images = torch.tensor(read(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28) / np.float32(255))
    return images, torch.tensor(read(f"{name}-labels-idx1-ubyte.gz", 8).astype(np.int64))

if arguments.cnn:
    net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
else:
    widths = [784] + [int(w) for w in arguments.hidden.split(",")]
    layers = [layer for a, b in zip(widths, widths[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
    net = nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], 10))
if (arguments.optimizer or ("adam" if arguments.cnn else "sgd")) == "adam":
    optimizer = torch.optim.Adam(net.parameters(), 0.002 if arguments.cnn else 0.001)
else:
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
(x, y), (test_x, test_y) = part("train"), part("t10k")
start = time.time()
for epoch in range(arguments.epochs):
    total = 0.0
    for batch in torch.randperm(len(x)).split(arguments.batch):
        loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    print(f"epoch {epoch + 1}: loss {total / len(x):.4f}, {time.time() - start:.1f} s since the start")
with torch.no_grad():
    print(f"test accuracy: {(net(test_x).argmax(1) == test_y).float().mean():.4f}")
