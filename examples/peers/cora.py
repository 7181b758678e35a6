"""The recipes of examples/cora.rs in PyTorch: python cora.py [--model gcn|sage|gat] [--task classes|links|karate]"""
import argparse, gzip, pathlib, random, time
import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="gcn")
parser.add_argument("--task", default="classes")
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
torch.manual_seed(arguments.seed)
random.seed(arguments.seed)
torch.set_num_threads(2)
data = pathlib.Path(__file__).parents[1] / "data"


def pairs_of(text):
    return [tuple(map(int, line.split("\t"))) for line in text.splitlines()]


if arguments.task == "karate":
    pairs = pairs_of((data / "karate/edges.tsv").read_text())
    labels = torch.tensor([group for _, group in pairs_of((data / "karate/labels.tsv").read_text())])
    n = len(labels)
    x, classes = torch.eye(n), 2
    heads = torch.zeros(n, dtype=torch.bool).index_fill(0, torch.tensor([0, n - 1]), True)
    train, validation, test = heads, heads, ~heads
else:
    lines = [line.split("\t") for line in gzip.open(data / "cora/nodes.tsv.gz", "rt").read().splitlines()[1:]]
    n, classes = len(lines), 7
    x = torch.zeros(n, 1433)
    for node, line in enumerate(lines):
        words = [int(w) for w in line[3].split()]
        x[node, words] = 1 / len(words)
    labels = torch.tensor([int(line[1]) for line in lines])
    train, validation, test = (torch.tensor([line[2] == name for line in lines]) for name in ("train", "val", "test"))
    pairs = pairs_of(gzip.open(data / "cora/edges.tsv.gz", "rt").read())


class Links:
    """Edges in both directions; with a loop at each node where the model wants one."""

    def __init__(self, pairs):
        ends = torch.tensor(pairs).T
        self.source, self.target = torch.cat([ends, ends.flip(0)], 1)
        if arguments.model != "sage":
            self.source, self.target = (torch.cat([side, torch.arange(n)]) for side in (self.source, self.target))
        self.degrees = torch.zeros(n).index_add(0, self.target, torch.ones(len(self.target))).clamp(min=1)

    def gathered(self, messages):
        return torch.zeros(n, *messages.shape[1:]).index_add(0, self.target, messages)


class GcnConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.lin, self.bias = nn.Linear(inputs, outputs, bias=False), nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x, links):
        root = links.degrees.rsqrt()[:, None]
        return links.gathered((self.lin(x) * root)[links.source]) * root + self.bias


class SageConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.lin_l, self.lin_r = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs, bias=False)

    def forward(self, x, links):
        messages = (x @ self.lin_l.weight.T)[links.source]
        return links.gathered(messages) / links.degrees[:, None] + self.lin_l.bias + self.lin_r(x)


class GatConv(nn.Module):
    def __init__(self, inputs, outputs, heads):
        super().__init__()
        self.lin, self.bias = nn.Linear(inputs, heads * outputs, bias=False), nn.Parameter(torch.zeros(heads * outputs))
        self.att_src, self.att_dst = (nn.Parameter(torch.empty(1, heads, outputs)) for _ in range(2))
        for p in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(p)

    def forward(self, x, links):
        x = self.lin(x).unflatten(-1, self.att_src.shape[1:])
        scores = (x * self.att_src).sum(-1)[links.source] + (x * self.att_dst).sum(-1)[links.target]
        weights = F.leaky_relu(scores, 0.2)
        largest = torch.full((n, weights.shape[1]), -torch.inf)
        largest = largest.index_reduce(0, links.target, weights.detach(), "amax")
        weights = (weights - largest[links.target]).exp()
        weights = weights / links.gathered(weights)[links.target]
        weights = F.dropout(weights, 0.6, self.training)
        return links.gathered(x[links.source] * weights[:, :, None]).flatten(1) + self.bias


class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.activation, self.dropout = (F.elu, 0.6) if arguments.model == "gat" else (F.relu, 0.5)
        if arguments.model == "gat":
            self.conv1, self.conv2 = GatConv(x.shape[1], 8, 8), GatConv(64, outputs, 1)
        else:
            Conv = {"gcn": GcnConv, "sage": SageConv}[arguments.model]
            self.conv1, self.conv2 = Conv(x.shape[1], 16), Conv(16, outputs)

    def forward(self, links):
        hidden = self.activation(self.conv1(F.dropout(x, self.dropout, self.training), links))
        return self.conv2(F.dropout(hidden, self.dropout, self.training), links)


def classify():
    net, links = Net(classes), Links(pairs)
    adam = torch.optim.Adam(net.parameters(), 0.005 if arguments.model == "gat" else 0.01, weight_decay=5e-4)
    start, best = time.time(), (0, 0, 0)
    for step in range(200):
        net.train()
        adam.zero_grad()
        F.cross_entropy(net(links)[train], labels[train]).backward()
        adam.step()
        net.eval()
        with torch.no_grad():
            right = (net(links).argmax(1) == labels).float()
        best = max(best, (right[validation].mean().item(), step + 1, right[test].mean().item()))
    seconds = time.time() - start
    print(f"200 steps in {seconds:.1f} s; test accuracy {best[2]:.3f} after step {best[1]}, {right[test].mean():.3f} at the end")


def link():
    held_back, seen = [], []
    for pair in pairs:
        (held_back if random.random() < 0.1 else seen).append(pair)
    net, links, linked = Net(64), Links(seen), set(pairs) | {(b, a) for a, b in pairs}
    adam = torch.optim.Adam(net.parameters(), 0.01)

    def strangers(count):
        found = []
        while len(found) < count:
            pair = random.randrange(n), random.randrange(n)
            if pair[0] != pair[1] and pair not in linked:
                found.append(pair)
        return found

    def scores(vectors, pairs):
        a, b = torch.tensor(pairs).T
        return (vectors[a] * vectors[b]).sum(-1)

    against = lambda scores, target: F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))
    start = time.time()
    for _ in range(200):
        adam.zero_grad()
        vectors = net(links)
        (against(scores(vectors, seen), 1.0) + against(scores(vectors, strangers(len(seen))), 0.0)).backward()
        adam.step()
    seconds = time.time() - start
    net.eval()
    with torch.no_grad():
        vectors = net(links)
        yes, no = scores(vectors, held_back), scores(vectors, strangers(len(held_back)))
    auc = ((yes[:, None] > no).float() + 0.5 * (yes[:, None] == no).float()).mean()
    print(f"200 steps in {seconds:.1f} s; area under the ROC curve {auc:.3f}")


link() if arguments.task == "links" else classify()
