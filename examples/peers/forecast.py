"""The recipe of examples/forecast.rs in PyTorch: python forecast.py [--series sunspots|temperatures]"""
import argparse, csv, gzip, pathlib, time
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--series", default="sunspots")
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)
name, column, scaled, unscaled = {
    "sunspots": ("monthly-sunspots", "Sunspots", lambda x: x.sqrt() / 10, lambda x: (10 * x.clamp(min=0)) ** 2),
    "temperatures": ("daily-min-temperatures", "Temp", lambda x: x / 10 - 1, lambda x: 10 * (x + 1)),
}[arguments.series]
path = pathlib.Path(__file__).parents[1] / f"data/timeseries/{name}.csv.gz"
values = torch.tensor([float(row[column]) for row in csv.DictReader(gzip.open(path, "rt"))])
seen, cut, width, epochs = scaled(values), len(values) * 4 // 5, 36, 40

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
(x, y), (test_x, _) = windows(seen[:cut]), windows(seen[cut - width:])
start = time.time()
for epoch in range(epochs):
    for batch in torch.randperm(len(x)).split(32)[:len(x) // 32]:
        loss = nn.functional.mse_loss(net(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
with torch.no_grad():
    predicted = unscaled(net(test_x))
print(f"{time.time() - start:.1f} s, root of the mean squared error {(predicted - values[cut:]).square().mean().sqrt():.2f}")
