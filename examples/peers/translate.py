"""The recipes of examples/translate in PyTorch: python translate.py [--model gru|transformer] [--epochs 15] [--beams 5]"""
import argparse, collections, gzip, math, pathlib, re, time
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="gru")
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--beams", type=int, default=5)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
torch.manual_seed(arguments.seed)
torch.set_num_threads(2)
PAD, START, END, UNKNOWN = range(4)

def tokens(text):
    return re.findall(r"\w+|[^\w\s]", text.lower().replace("’", "'"))

translations = collections.defaultdict(list)
for line in gzip.open(pathlib.Path(__file__).parent.parent / "data/eng-fra/eng-fra.txt.gz", "rt").read().splitlines():
    english, french = line.split("\t")[:2]
    translations[english].append(tokens(french))
sentences = sorted(translations.items())
S = max(len(tokens(english)) for english, _ in sentences)
T = max(len(french) for _, all in sentences for french in all) + 1
order = torch.randperm(len(sentences)).tolist()
test, train = [sentences[i] for i in order[:len(order) // 10]], [sentences[i] for i in order[len(order) // 10:]]

def vocabulary(texts):
    counts = collections.Counter(word for text in texts for word in text)
    return {word: i + 4 for i, (word, _) in enumerate(counts.most_common())}

source_words = vocabulary([tokens(english) for english, _ in train])
target_words = vocabulary([french for _, all in train for french in all])

def numbers(words, vocabulary, length, end=[]):
    found = [vocabulary.get(word, UNKNOWN) for word in words] + end
    return found + [PAD] * (length - len(found))

pairs = [(english, french) for english, all in train for french in all]
source = torch.tensor([numbers(tokens(english), source_words, S) for english, _ in pairs])
says = torch.tensor([numbers(french, target_words, T, [END]) for _, french in pairs])
reads = torch.cat([torch.full((len(says), 1), START), says[:, :-1]], 1)

class Recurrent(nn.Module):
    def __init__(self, inputs, outputs, width=128, hidden=192):
        super().__init__()
        self.source_words, self.target_words = nn.Embedding(inputs, width), nn.Embedding(outputs, width)
        self.encoder = nn.GRU(width, hidden, batch_first=True)
        self.query, self.key, self.score = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        self.decoder, self.dropout, self.head = nn.GRUCell(width + hidden, hidden), nn.Dropout(0.3), nn.Linear(2 * hidden, outputs)

    def forward(self, source, target):
        filled, lengths = source == PAD, (source != PAD).sum(1)
        packed = pack_padded_sequence(self.dropout(self.source_words(source)), lengths, batch_first=True, enforce_sorted=False)
        memory, last = self.encoder(packed)
        memory, h = pad_packed_sequence(memory, batch_first=True, total_length=source.shape[1])[0], last[0]
        keys, steps, states = self.key(memory), self.dropout(self.target_words(target)), []
        for x in steps.unbind(1):
            scores = self.score((self.query(h).unsqueeze(1) + keys).tanh()).squeeze(-1)
            weights = scores.masked_fill(filled, -math.inf).softmax(-1)
            context = (weights.unsqueeze(1) @ memory).squeeze(1)
            h = self.decoder(torch.cat([x, context], -1), h)
            states.append(torch.cat([h, context], -1))
        return self.head(self.dropout(torch.stack(states, 1)))

class Attentive(nn.Module):
    def __init__(self, inputs, outputs, width=128):
        super().__init__()
        self.source_words, self.target_words = nn.Embedding(inputs, width), nn.Embedding(outputs, width)
        angles = torch.arange(64).unsqueeze(1) * 10000.0 ** (-torch.arange(0, width, 2) / width)
        self.register_buffer("waves", torch.stack([angles.sin(), angles.cos()], -1).flatten(1))
        self.transformer = nn.Transformer(width, 4, 2, 2, 256, 0.2, batch_first=True)
        self.dropout, self.head = nn.Dropout(0.2), nn.Linear(width, outputs)

    def forward(self, source, target):
        filled = source == PAD
        embed = lambda words, x: self.dropout(words(x) + self.waves[:x.shape[1]])
        mask = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        return self.head(self.transformer(embed(self.source_words, source), embed(self.target_words, target), tgt_mask=mask,
                                          src_key_padding_mask=filled, memory_key_padding_mask=filled))

net = (Recurrent if arguments.model == "gru" else Attentive)(len(source_words) + 4, len(target_words) + 4)
optimizer = torch.optim.Adam(net.parameters(), 0.001)
start = time.time()
for epoch in range(arguments.epochs):
    losses = []
    for batch in torch.randperm(len(pairs)).split(64)[:len(pairs) // 64]:
        loss = nn.functional.cross_entropy(net(source[batch], reads[batch]).flatten(0, 1), says[batch].flatten(),
                                           ignore_index=PAD, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
print(f"loss {sum(losses) / len(losses):.4f}, {time.time() - start:.1f} s since the start")
net.eval()
words = {i: word for word, i in target_words.items()} | {PAD: "<pad>", START: "<start>", UNKNOWN: "<unknown>"}

@torch.no_grad()
def translated(beams):
    rows = torch.tensor([numbers(tokens(english), source_words, S) for english, _ in test]).repeat_interleave(beams, 0)
    found = [[([], 0.0)] for _ in test]
    for position in range(T):
        begun = [[START] + hypotheses[min(k, len(hypotheses) - 1)][0] for hypotheses in found for k in range(beams)]
        begun = torch.tensor([tokens[:T] + [PAD] * (T - len(tokens)) for tokens in begun])
        scores, best = net(rows, begun)[:, position].log_softmax(-1).topk(beams, -1)
        for i, hypotheses in enumerate(found):
            candidates = []
            for k, (tokens, score) in enumerate(hypotheses):
                if tokens[-1:] == [END]:
                    candidates.append((tokens, score))
                    continue
                for s, token in zip(scores[i * beams + k].tolist(), best[i * beams + k].tolist()):
                    candidates.append((tokens + [token], score + s))
            found[i] = sorted(candidates, key=lambda c: -c[1] / len(c[0]))[:beams]
    return [[words[n] for n in hypotheses[0][0] if n != END] for hypotheses in found]

def bleu(candidates, references):
    length = sum(map(len, candidates))
    closest = sum(min((abs(len(r) - len(c)), len(r)) for r in all)[1] for c, all in zip(candidates, references))
    product = 0.0
    for n in range(1, 5):
        grams = lambda words: collections.Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1))
        hits = total = 0
        for c, all in zip(candidates, references):
            limit = collections.Counter()
            for r in all:
                limit |= grams(r)
            hits, total = hits + (grams(c) & limit).total(), total + grams(c).total()
        product += math.log(hits / total) / 4 if hits else -math.inf
    return 100 * math.exp(min(0.0, 1 - closest / length) + product)

for name, beams in ("greedy", 1), ("beam", arguments.beams):
    texts = translated(beams)
    known = sum(text in all for text, (_, all) in zip(texts, test))
    print(f"{name}: BLEU {bleu(texts, [all for _, all in test]):.1f}, {known} of {len(texts)} as a translator wrote")
