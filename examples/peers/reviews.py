"""The recipe of examples/reviews.rs in PyTorch: python reviews.py [--epochs 4]"""
import argparse, collections, gzip, pathlib, re, sys, time
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/parity"))
from zoo import EncoderClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=4)
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)
data = pathlib.Path(__file__).parents[1] / "data/movie_reviews"
texts = [[re.findall(r"\w+(?:'\w+)*|[^\w\s]", line.lower()) for line in gzip.open(data / f"rt-polarity.{kind}.gz", "rt").read().splitlines()]
         for kind in ("pos", "neg")]
counts = collections.Counter(word for kind in texts for text in kind for word in text)
numbers = {word: i + 2 for i, word in enumerate(word for word, n in counts.most_common() if n >= 2)}
samples = [(torch.tensor([numbers.get(word, 1) for word in text]), 1 - k) for k, kind in enumerate(texts) for text in kind]
order = torch.randperm(len(samples)).tolist()
cut = len(samples) * 9 // 10
train, test = [samples[i] for i in order[:cut]], [samples[i] for i in order[cut:]]
net = EncoderClassifier(len(numbers) + 2, 2, 512, 64, 4, 2, 128)
for module in net.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.3
    if isinstance(module, torch.nn.MultiheadAttention):
        module.dropout = 0.3
net.positions.register_forward_hook(lambda module, _, y: F.dropout(y, 0.3, module.training))
adam = torch.optim.Adam(net.parameters(), 0.001)


def batch(samples):
    x = pad_sequence([x for x, _ in samples], batch_first=True)
    return net(x, x == 0), torch.tensor([y for _, y in samples])


for epoch in range(arguments.epochs):
    start = time.time()
    net.train()
    order = torch.randperm(len(train)).tolist()
    for k in range(0, len(order), 64):
        adam.zero_grad()
        F.cross_entropy(*batch([train[i] for i in order[k : k + 64]])).backward()
        adam.step()
    seconds = time.time() - start
    net.eval()
    with torch.no_grad():
        parts = [batch(test[k : k + 256]) for k in range(0, len(test), 256)]
    right = sum((scores.argmax(1) == y).sum().item() for scores, y in parts)
    print(f"epoch {epoch + 1}: test accuracy {right / len(test):.3f}, {seconds:.1f} s", flush=True)
