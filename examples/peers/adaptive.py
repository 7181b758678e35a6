"""The recipe of examples/adaptive.rs in PyTorch, decided in Python: python adaptive.py [--steps 3000]"""
import argparse, math, random, time
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3000)
arguments = parser.parse_args()
torch.manual_seed(1)
random.seed(1)
torch.set_num_threads(2)
near, far = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2))
adam = torch.optim.Adam([*near.parameters(), *far.parameters()], 0.003)


def net(x, depth):
    is_far = x.square().sum(-1).mean() > 1
    for _ in range(depth):
        x = x + far(x) if is_far else near(x)
    return x


def points(count, depth, is_far):
    nearest, furthest, angle = (1.2, 2.0, 0.8) if is_far else (0.2, 0.9, 0.4)
    angles, distances = torch.rand(count) * math.tau, nearest + (furthest - nearest) * torch.rand(count)
    turned = lambda by: torch.stack([(angles + by).cos() * distances, (angles + by).sin() * distances], 1)
    return turned(0), turned(angle * depth)


start = time.time()
for _ in range(arguments.steps):
    depth = random.randint(1, 6)
    x, target = points(64, depth, random.random() < 0.5)
    adam.zero_grad()
    nn.functional.mse_loss(net(x, depth), target).backward()
    adam.step()
print(f"{arguments.steps} steps in {time.time() - start:.1f} s\ndepth  error near  error far")
with torch.no_grad():
    for depth in range(1, 7):
        pairs = [points(256, depth, is_far) for is_far in (False, True)]
        print(f"{depth:5}", *(f"{(net(x, depth) - target).norm(dim=1).mean():10.4f}" for x, target in pairs))
