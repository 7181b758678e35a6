"""The recipe of examples/style.rs in PyTorch, with random weights: python style.py [--steps 300]"""
import argparse, pathlib, sys, time
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/parity"))
from zoo import VggFeatures, gram

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--size", type=int, default=64)
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)
y, x = torch.meshgrid(*[torch.linspace(-1, 1, arguments.size)] * 2, indexing="ij")
ball = x.hypot(y) < 0.6
shade = torch.where(ball, 1 - 0.5 * (x - 0.3).hypot(y + 0.3), 0.8 + 0.1 * x + 0.15 * y)
content = torch.stack([torch.where(ball, a, b) * shade for a, b in ((0.95, 0.25), (0.85, 0.35), (0.3, 0.6))])[None]
wave = 0.5 + 0.5 * (14 * (x + y) + 2 * (5 * x).sin()).sin()
style = torch.stack([wave, 0.3 + 0.4 * wave, 0.8 - 0.6 * wave])[None]
net = VggFeatures([[32, 32], [64]]).requires_grad_(False)


def results(x, positions):
    found = []
    for k, layer in enumerate(net.features):
        x = layer(x)
        if k in positions:
            found.append(x)
    return found


seen, grams = results(content, [6]), [gram(x) for x in results(style, [1, 3, 6])]
image = content.clone().requires_grad_()
adam = torch.optim.Adam([image], 0.02, eps=1e-6)
relative = lambda found, wanted: F.mse_loss(found, wanted) / (wanted.square().mean() + 1e-12)
start = time.time()
for step in range(arguments.steps):
    adam.zero_grad()
    clamped = image.clamp(0, 1)
    of_content = sum(map(relative, results(clamped, [6]), seen))
    of_style = sum(map(relative, map(gram, results(clamped, [1, 3, 6])), grams))
    (of_content + of_style).backward()
    adam.step()
    if step % (arguments.steps // 6) == 0 or step + 1 == arguments.steps:
        print(f"{step + 1:5}  {of_content:7.4f}  {of_style:6.4f}  {time.time() - start:5.1f} s")
