"""The recipe of examples/cifar.rs in PyTorch: python cifar.py FOLDER [--batch 128] [--epochs 5]"""
import argparse, pathlib, time
import numpy as np, torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--batch", type=int, default=128)
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)

def part(names):
    records = np.concatenate([np.fromfile(arguments.folder / name, np.uint8) for name in names]).reshape(-1, 3073)
    return torch.tensor(records[:, 1:].reshape(-1, 3, 32, 32) / np.float32(255)), torch.tensor(records[:, 0].astype(np.int64))

mean, std = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1), torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)
(x, y), (test_x, test_y) = part([f"data_batch_{i}.bin" for i in range(1, 6)]), part(["test_batch.bin"])
test_x = (test_x - mean) / std
net = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                    nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
optimizer = torch.optim.Adam(net.parameters(), 0.001)

def changed(images):
    """Each image cropped from itself with a border of 4 zeros, and mirrored or not."""
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    places = torch.randint(0, 9, (len(images), 2)).tolist()
    cropped = torch.stack([image[:, i:i + 32, j:j + 32] for image, (i, j) in zip(padded, places)])
    flip = torch.rand(len(images)) < 0.5
    cropped[flip] = cropped[flip].flip(-1)
    return (cropped - mean) / std

start = time.time()
for epoch in range(arguments.epochs):
    net.train()
    losses = []
    for batch in torch.randperm(len(x)).split(arguments.batch)[:len(x) // arguments.batch]:
        loss = nn.functional.cross_entropy(net(changed(x[batch])), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        accuracy = (net(test_x).argmax(1) == test_y).float().mean()
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {time.time() - start:.1f} s since the start, test accuracy {accuracy:.4f}")
