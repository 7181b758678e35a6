"""The recipe of examples/sentiment.rs in PyTorch: python sentiment.py [--model gru|lstm|rnn|transformer] [--layers 1] [--epochs 10] [--seed 1]"""
import argparse, collections, gzip, pathlib, re, sys, time
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/parity"))
from zoo import EncoderClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="gru")
parser.add_argument("--layers", type=int, default=1)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
torch.manual_seed(arguments.seed)
torch.set_num_threads(2)
data = pathlib.Path(__file__).parent.parent / "data/movie_reviews"
texts = [[re.findall(r"\w+(?:'\w+)*|[^\w\s]", line.lower()) for line in gzip.open(data / f"rt-polarity.{kind}.gz", "rt").read().splitlines()]
         for kind in ("pos", "neg")]
counts = collections.Counter(word for kind in texts for text in kind for word in text)
numbers = {word: i + 2 for i, word in enumerate(word for word, n in counts.most_common() if n >= 2)}
samples = [(torch.tensor([numbers.get(word, 1) for word in text]), 1 - k) for k, kind in enumerate(texts) for text in kind]
train = [sample for i, sample in enumerate(samples) if i % 10 != 9]
test = [sample for i, sample in enumerate(samples) if i % 10 == 9]

class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(len(numbers) + 2, 64)
        kind = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[arguments.model]
        self.recurrent = kind(64, 64, arguments.layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(128, 2)

    def forward(self, x, lengths):
        x = self.dropout(self.words(x))
        last = self.recurrent(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1]
        last = last[0] if arguments.model == "lstm" else last
        return self.head(self.dropout(torch.cat([last[-2], last[-1]], -1)))

def batch(samples):
    return (pad_sequence([x for x, _ in samples], batch_first=True), torch.tensor([len(x) for x, _ in samples]),
            torch.tensor([y for _, y in samples]))

class Transformer(EncoderClassifier):
    def __init__(self):
        super().__init__(len(numbers) + 2, 2, 512, 64, 4, 2, 128)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.3
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.3
        self.positions.register_forward_hook(lambda module, _, y: nn.functional.dropout(y, 0.3, module.training))

    def forward(self, x, lengths):
        return super().forward(x, x == 0)

net = Transformer() if arguments.model == "transformer" else Classifier()
optimizer = torch.optim.Adam(net.parameters(), 0.001)
start = time.time()
for epoch in range(arguments.epochs):
    net.train()
    total = 0.0
    for part in torch.randperm(len(train)).split(64):
        x, lengths, y = batch([train[i] for i in part])
        loss = nn.functional.cross_entropy(net(x, lengths), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(part)
    net.eval()
    with torch.no_grad():
        x, lengths, y = batch(test)
        accuracy = (net(x, lengths).argmax(1) == y).float().mean()
    print(f"epoch {epoch + 1}: loss {total / len(train):.4f}, {time.time() - start:.1f} s since the start, test accuracy {accuracy:.4f}")
