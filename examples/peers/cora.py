"""The recipe of examples/cora.rs in PyTorch, with sparse matrices: python cora.py [--model gcn|sage]"""
import argparse, gzip, pathlib, time
import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="gcn")
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
torch.manual_seed(arguments.seed)
torch.set_num_threads(2)
folder = pathlib.Path(__file__).parents[1] / "data/cora"
lines = [line.split("\t") for line in gzip.open(folder / "nodes.tsv.gz", "rt").read().splitlines()[1:]]
n, x = len(lines), torch.zeros(len(lines), 1433)
for node, line in enumerate(lines):
    words = [int(w) for w in line[3].split()]
    x[node, words] = 1 / len(words)
labels = torch.tensor([int(line[1]) for line in lines])
train, validation, test = (torch.tensor([line[2] == name for line in lines]) for name in ("train", "val", "test"))
pairs = [tuple(map(int, line.split("\t"))) for line in gzip.open(folder / "edges.tsv.gz", "rt").read().splitlines()]
links = torch.zeros(n, n)
for a, b in pairs:
    links[a, b] = links[b, a] = 1
if arguments.model == "gcn":
    links += torch.eye(n)
    root = links.sum(1) ** -0.5
    links = root[:, None] * links * root
else:
    links = links / links.sum(1, keepdim=True).clamp(min=1)
links = links.to_sparse()


class Conv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.near = nn.Linear(inputs, outputs)
        if arguments.model == "gcn":
            nn.init.xavier_uniform_(self.near.weight)
            nn.init.zeros_(self.near.bias)
        else:
            self.own = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x):
        y = links @ (x @ self.near.weight.T) + self.near.bias
        return y if arguments.model == "gcn" else y + self.own(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = Conv(1433, 16), Conv(16, 7)

    def forward(self, x):
        x = self.conv1(F.dropout(x, 0.5, self.training)).relu()
        return self.conv2(F.dropout(x, 0.5, self.training))


net = Net()
adam = torch.optim.Adam(net.parameters(), 0.01, weight_decay=5e-4)
start, best = time.time(), (0, 0)
for step in range(200):
    net.train()
    adam.zero_grad()
    F.cross_entropy(net(x)[train], labels[train]).backward()
    adam.step()
    net.eval()
    with torch.no_grad():
        right = (net(x).argmax(1) == labels).float()
    best = max(best, (right[validation].mean().item(), right[test].mean().item(), step + 1))
print(f"200 steps in {time.time() - start:.1f} s; test accuracy {best[1]:.3f} after step {best[2]}, {right[test].mean():.3f} at the end")
