"""Writes curves.safetensors: the losses of training steps in PyTorch, in double and in single precision.

Run by hand, with torch, numpy and safetensors installed: python tests/parity/curves.py [NAME…]

Models, weights and noise come from zoo.py; images and texts from examples/data, in their order. Of each case NAME the file holds
the losses NAME/f64, and NAME/f32 of several runs in single precision, whose batches hold the same samples in other orders: that
changes rounding only. Of nets with batch normalisation it also has the gradients of the first step, NAME/gradient/… in double
precision, and how far those of single precision are from them, NAME/deviation/… (the norms of the differences).

Where a value lies within rounding of a kink of ReLU or pooling, chance decides its side, and from then on a run is thousands of times
as far from the exact one. So the nets with many kinks train no longer than those runs all stay on the exact one's side, with noise
that makes that long; the script fails if one does not.
"""

import gzip
import sys
from pathlib import Path

import torch.optim as optim
from safetensors.torch import load_file, save_file
from zoo import *

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("curves.safetensors")


def read(name, offset):
    with gzip.open(ROOT / "examples/data" / name) as file:
        return numpy.frombuffer(file.read(), dtype=numpy.uint8)[offset:]


PIXELS = torch.from_numpy(read("mnist/train-images-idx3-ubyte.gz", 16).astype(numpy.float32) / numpy.float32(255)).reshape(-1, 1, 28, 28)
LABELS = torch.from_numpy(read("mnist/train-labels-idx1-ubyte.gz", 8).astype(numpy.int64))
TEXT = read("tinyshakespeare/input.txt.gz", 0)
CHARACTERS = numpy.unique(TEXT)
TEXT = torch.from_numpy(numpy.searchsorted(CHARACTERS, TEXT).astype(numpy.int64))


torch.set_num_threads(1)
ORDER = 0  # 0 keeps the order of the samples of a batch


def ordered(*batch):
    """The samples in the order of the run."""
    count = len(batch[0])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(ORDER)) if ORDER else torch.arange(count)
    return tuple(part[order] for part in batch)


def images(step, count):
    part = slice(step * count, (step + 1) * count)
    return PIXELS[part].to(torch.get_default_dtype()), LABELS[part]


def noisy(step, count):
    """Images without equal pixels, which would stand at the kinks of ReLU and pooling together."""
    x, y = images(step, count)
    return x + 0.25 * values(f"pixels0-{step}", x.shape).to(x.dtype), y


def texts(step, count, length):
    """Texts one behind the other, and what follows each of their characters."""
    first = step * count * length
    window = TEXT[first : first + count * length + 1]
    return window[:-1].reshape(count, length), window[1:].reshape(count, length)


def classified(net, optimizer, batches):
    """Losses of a classifier's steps, and the gradients of the first."""
    losses, gradients = [], {}
    for batch in batches:
        x, y = ordered(*batch)
        optimizer.zero_grad()
        logits = net(x)
        loss = F.cross_entropy(logits.flatten(0, -2), y.flatten())
        loss.backward()
        if not losses:
            gradients = {name: p.grad.double().clone() for name, p in net.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients


def run_mlp():
    net = fill(mlp([784, 128, 10]))
    batches = (images(step, 64) for step in range(200))
    return classified(net, optim.SGD(net.parameters(), 0.1), ((x.flatten(1), y) for x, y in batches))


def run_lenet():
    net = fill(LeNet(1, 28, 10))
    return classified(net, optim.SGD(net.parameters(), 0.02, momentum=0.9), (noisy(step, 64) for step in range(100)))


def rows():
    """The rows of images as sequences."""
    return ((x[:, 0], y) for x, y in (images(step, 32) for step in range(150)))


def run_lstm():
    net = fill(LstmClassifier(28, 32, 10))
    return classified(net, optim.Adam(net.parameters(), 0.001), rows())


def run_gru():
    net = fill(GruClassifier(28, 32, 10))
    return classified(net, optim.Adam(net.parameters(), 0.001), rows())


def run_encoder():
    net = fill(EncoderClassifier(65, 65, 32, 32, 4, 1, 64))
    optimizer = optim.AdamW(net.parameters(), 0.001)
    # What follows the text.
    return classified(net, optimizer, ((x, y[:, -1]) for x, y in (texts(step, 32, 24) for step in range(150))))


def run_char_gpt():
    net = fill(Gpt(65, 32, 2, 4, 32))
    optimizer = optim.AdamW(net.parameters(), 0.001, betas=(0.9, 0.99), weight_decay=0.1)
    return classified(net, optimizer, (texts(step, 8, 32) for step in range(150)))


def run_resnet():
    net = fill(ResNet(10, 1, 4))
    return classified(net, optim.SGD(net.parameters(), 0.005, momentum=0.9), (noisy(step, 32) for step in range(13)))


def run_dcgan():
    sizes = dict(noise=16, width=4, channels=1, smallest=7, doublings=2)
    generator, discriminator = fill(Generator(**sizes)), fill(Discriminator(**sizes))
    of_generator = optim.Adam(generator.parameters(), 0.0002, (0.5, 0.999))
    of_discriminator = optim.Adam(discriminator.parameters(), 0.0002, (0.5, 0.999))
    bce = F.binary_cross_entropy_with_logits
    losses, gradients = [], {}
    for step in range(60):
        real = images(step, 16)[0] * 2 - 1
        noise = values(f"noise{step}", (16, 16, 1, 1)).to(real.dtype)
        real, noise = ordered(real, noise)
        fake = generator(noise)
        of_discriminator.zero_grad()
        judged, deceived = discriminator(real), discriminator(fake.detach())
        loss = bce(judged, torch.ones_like(judged)) + bce(deceived, torch.zeros_like(deceived))
        loss.backward()
        if not losses:
            gradients |= {f"discriminator.{name}": p.grad.double().clone() for name, p in discriminator.named_parameters()}
        of_discriminator.step()
        losses.append(loss.item())
        of_generator.zero_grad()
        judged = discriminator(fake)
        loss = bce(judged, torch.ones_like(judged))
        loss.backward()
        if step == 0:
            gradients |= {f"generator.{name}": p.grad.double().clone() for name, p in generator.named_parameters()}
        of_generator.step()
        losses.append(loss.item())
    return losses, gradients


CASES = ["mlp", "lenet", "lstm", "gru", "encoder", "char_gpt", "resnet", "dcgan"]
tensors = load_file(FILE) if sys.argv[1:] else {}
for name in sys.argv[1:] or CASES:
    tensors = {key: value for key, value in tensors.items() if not key.startswith(f"{name}/")}
    run = globals()[f"run_{name}"]
    torch.set_default_dtype(torch.float64)
    losses, exact = run()
    tensors[f"{name}/f64"] = torch.tensor(losses)
    singles = []
    for ORDER in range(4):
        torch.set_default_dtype(torch.float32)
        losses, single = run()
        singles.append((torch.tensor(losses, dtype=torch.float64), single))
    ORDER = 0
    tensors[f"{name}/f32"] = torch.stack([losses for losses, _ in singles])
    if name in ("resnet", "dcgan"):
        for key, gradient in exact.items():
            tensors[f"{name}/gradient/{key}"] = gradient
            tensors[f"{name}/deviation/{key}"] = torch.stack([(single[key] - gradient).norm() for _, single in singles])
    exact = tensors[f"{name}/f64"]
    deviations = ((tensors[f"{name}/f32"] - exact).abs() / exact).cummax(1).values
    shown = ", ".join("/".join(f"{d:.0e}" for d in deviations[:, step]) for step in (0, len(exact) // 4, len(exact) // 2, -1))
    print(f"{name}: loss {exact[0]:.4f} to {exact[-5:].mean():.4f}, deviations {shown}")
    assert name not in ("lenet", "resnet") or deviations.max() < 1e-5, "a run is on the other side of a kink"
save_file(tensors, FILE)
FILE.chmod(0o644)
