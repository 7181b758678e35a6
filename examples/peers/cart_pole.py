"""The recipe of examples/cart_pole.rs in PyTorch: python cart_pole.py [--updates 150]"""
import argparse, math, time
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, default=150)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
torch.manual_seed(arguments.seed)
torch.set_num_threads(2)
GAMES, LONGEST = 32, 200
net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
adam = torch.optim.Adam(net.parameters(), 0.01)


def physics(state, right):
    x, speed, angle, turn = state.unbind(1)
    force, sin, cos = 20 * right - 10, angle.sin(), angle.cos()
    push = (force + 0.05 * turn**2 * sin) / 1.1
    turning = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    pushing = push - 0.05 * turning * cos / 1.1
    return torch.stack([x + 0.02 * speed, speed + 0.02 * pushing, angle + 0.02 * turn, turn + 0.02 * turning], 1)


def learn():
    state, alive, chosen, played = torch.rand(GAMES, 4) * 0.1 - 0.05, torch.ones(GAMES), [], []
    for _ in range(LONGEST):
        scores = net(state).log_softmax(1)
        right = (torch.rand(GAMES) < scores[:, 1].detach().exp()).float()
        chosen.append((scores[:, 1] * right + scores[:, 0] * (1 - right)) * alive)
        played.append(alive)
        state = physics(state, right)
        alive = alive * ((state[:, 0].abs() < 2.4) & (state[:, 2].abs() < math.radians(12))).float()
    chosen, played = torch.stack(chosen), torch.stack(played)
    worth = played.flip(0).cumsum(0).flip(0)
    advantage = (worth - worth.sum(1, keepdim=True) / played.sum(1, keepdim=True).clamp(min=1)) * played
    scale = (advantage.square().sum() / played.sum()).sqrt() + 1e-6
    adam.zero_grad()
    (-(chosen * (advantage / scale)).sum() / played.sum()).backward()
    adam.step()
    return played.sum(0).mean().item()


start, moves = time.time(), [learn() for _ in range(arguments.updates)]
print(f"{arguments.updates * GAMES} games in {time.time() - start:.1f} s")
for k in range(0, len(moves), 15):
    part = moves[k : k + 15]
    print(f"{k + len(part):7}  {sum(part) / len(part):6.1f}")
