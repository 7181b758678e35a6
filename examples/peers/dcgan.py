"""The recipe of examples/dcgan.rs in PyTorch: python dcgan.py [--epochs 1] [--steps N]"""
import argparse, gzip, pathlib, sys, time
import numpy, torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/parity"))
from zoo import Discriminator, Generator

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--steps", type=int, default=10**9)
arguments = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(2)
file = gzip.open(pathlib.Path(__file__).parents[1] / "data/mnist/train-images-idx3-ubyte.gz").read()
images = torch.from_numpy(numpy.frombuffer(file, numpy.uint8, offset=16).reshape(-1, 1, 28, 28).copy()).float() / 127.5 - 1
sizes = dict(noise=100, width=32, channels=1, smallest=7, doublings=2)
generator, discriminator = Generator(**sizes), Discriminator(**sizes)
for net in (generator, discriminator):
    for p in net.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, 0, 0.02)
adams = [torch.optim.Adam(net.parameters(), 0.0002, (0.5, 0.999)) for net in (generator, discriminator)]
against = lambda logits, target: F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
for epoch in range(arguments.epochs):
    start, found = time.time(), []
    for batch in torch.randperm(len(images)).split(64)[:-1][: arguments.steps]:
        real, fake = images[batch], generator(torch.randn(64, 100, 1, 1))
        adams[1].zero_grad()
        of_real, of_fake = discriminator(real), discriminator(fake.detach())
        judging = against(of_real, 1.0) + against(of_fake, 0.0)
        judging.backward()
        adams[1].step()
        adams[0].zero_grad()
        deceiving = against(discriminator(fake), 1.0)
        deceiving.backward()
        adams[0].step()
        found.append([judging.item(), deceiving.item(), of_real.sigmoid().mean().item(), of_fake.sigmoid().mean().item()])
    print(epoch + 1, *(f"{x:.3f}" for x in numpy.mean(found, 0)), f"{time.time() - start:.1f} s", flush=True)
