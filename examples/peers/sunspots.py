"""The recipe of examples/sunspots.rs in PyTorch: python sunspots.py"""
import csv, gzip, pathlib, time
import torch
from torch import nn

torch.manual_seed(1)
torch.set_num_threads(2)
path = pathlib.Path(__file__).parent.parent / "data/timeseries/monthly-sunspots.csv.gz"
counted = torch.tensor([float(row["Sunspots"]) for row in csv.DictReader(gzip.open(path, "rt"))])
roots, cut, width, epochs = counted.sqrt() / 10, len(counted) * 4 // 5, 36, 40

def windows(series):
    both = series.unfold(0, width + 1, 1)
    return both[:, :-1].unsqueeze(-1), both[:, -1]

class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 32, batch_first=True)
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        return x[:, -1, 0] + self.head(self.lstm(x)[1][0][-1]).squeeze(1)

net = Forecaster()
optimizer = torch.optim.Adam(net.parameters(), 0.005)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
(x, y), (test_x, _) = windows(roots[:cut]), windows(roots[cut - width:])
start = time.time()
for epoch in range(epochs):
    for batch in torch.randperm(len(x)).split(32)[:len(x) // 32]:
        loss = nn.functional.mse_loss(net(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
with torch.no_grad():
    predicted = (10 * net(test_x).clamp(min=0)) ** 2
print(f"{time.time() - start:.1f} s, root of the mean squared error {(predicted - counted[cut:]).square().mean().sqrt():.2f}")
