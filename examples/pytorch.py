# SPDX-License-Identifier: Apache-2.0
"""Train a binary network in PyTorch on scikit-learn's digits, compile the module, and compare the two.

Install: pip install -e '.[torch]' and scikit-learn.  Writes pytorch.bnn.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import bnn


class Sign(nn.Module):
    """+1 at 0, which `torch.sign` is not.  Gradients go straight through between -1 and 1."""

    def forward(self, x):
        clipped = x.clamp(-1, 1)
        return (torch.where(x >= 0, 1.0, -1.0) - clipped).detach() + clipped


class BinaryConv2d(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, Sign()(self.weight), self.bias)


torch.manual_seed(0)
torch.set_num_threads(1)  # of tensors as small as these, more would wait for each other
module = nn.Sequential(
    BinaryConv2d(1, 32, 3, padding=1, bias=False),  # reads the picture
    *(nn.BatchNorm2d(32), Sign(), BinaryConv2d(32, 64, 3, padding=1, bias=False), nn.MaxPool2d(2)),
    *(nn.BatchNorm2d(64), Sign(), BinaryConv2d(64, 10, 4, bias=False), nn.Flatten(), nn.BatchNorm1d(10)),
)
digits = load_digits()  # 1,797 pictures of 8 x 8 pixels, 0 to 16
images, classes = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32), torch.tensor(digits.target)
optimizer = torch.optim.Adam(module.parameters(), 0.01)
for _epoch in range(3):
    for batch in (300 + torch.randperm(len(images) - 300)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(images[batch]), classes[batch]).backward()
        optimizer.step()
module.eval()

test = images[:300].numpy()
model = bnn.compile(module, torch.zeros(1, 1, 8, 8), labels=list("0123456789"))  # and an example of its input
report = bnn.verify(module, model, test)  # layer by layer, with ONNX Runtime
assert report.ok and report.different_bits == 0, report
model.save("pytorch.bnn")
scores = bnn.load("pytorch.bnn")(test)  # (N, C, H, W), as the module takes them; from here on, without PyTorch
with torch.no_grad():
    same = np.mean(scores.argmax(axis=1) == module(images[:300]).argmax(axis=1).numpy())
assert same > 0.99  # PyTorch rounds a batch norm otherwise, so that a value at its threshold may differ
right = np.mean(scores.argmax(axis=1) == digits.target[:300])
print(f"pytorch.bnn: {model.nbytes:,} bytes; {same:.1%} of 300 pictures have PyTorch's class, {right:.1%} are right")
