"""The recipe of examples/char_gpt.rs in PyTorch: python char_gpt.py [--steps 2000] [--rotary]"""
import argparse, gzip, math, pathlib, sys, time
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/parity"))
from zoo import Gpt

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--rotary", action="store_true")
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)
text = gzip.open(pathlib.Path(__file__).parents[1] / "data/tinyshakespeare/input.txt.gz", "rt").read()
characters = sorted(set(text))
numbers = torch.tensor([characters.index(c) for c in text])
train, validation = numbers[: len(numbers) * 9 // 10], numbers[len(numbers) * 9 // 10 :]
net = Gpt(len(characters), 64, 4, 4, 128, turn=arguments.rotary)
for name, p in net.named_parameters():
    if p.ndim > 1:
        torch.nn.init.normal_(p, 0, 0.02 / math.sqrt(8) if name.endswith("c_proj.weight") else 0.02)
    elif name.endswith("bias"):
        torch.nn.init.zeros_(p)
groups = [{"params": [p for p in net.parameters() if (p.ndim > 1) == two], "weight_decay": 0.1 * two} for two in (True, False)]
adam = torch.optim.AdamW(groups, 0.001, (0.9, 0.99))


def loss(text):
    starts = torch.randint(len(text) - 64, (12,))
    x, y = (torch.stack([text[s + k : s + k + 64] for s in starts]) for k in (0, 1))
    return F.cross_entropy(net(x).flatten(0, 1), y.flatten())


start = time.time()
for step in range(arguments.steps):
    share = (step - 100) / max(arguments.steps - 100, 1)
    lr = 0.001 * (step + 1) / 101 if step < 100 else 0.0001 + 0.0009 * 0.5 * (1 + math.cos(math.pi * share))
    for group in adam.param_groups:
        group["lr"] = lr
    adam.zero_grad()
    loss(train).backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    adam.step()
seconds = time.time() - start
with torch.no_grad():
    print(f"{arguments.steps} steps in {seconds:.1f} s; validation loss {sum(loss(validation).item() for _ in range(40)) / 40:.3f}")
