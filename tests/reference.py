"""The report's code, loops and all: the oracle of the tests and the baseline of the benchmark.

Written from the report's sections 1 to 3 as directly as PyTorch allows, with nothing rewritten for speed.
"""

import torch
import torch.nn.functional as F
from torch import nn


class InverseMaxPool2(torch.autograd.Function):
    """(B, C, H, W) -> (B, C, 2H, 2W), an element at a time."""

    @staticmethod
    def forward(ctx, x):
        B, C, H, W = x.shape
        out = torch.zeros(B, C, 2 * H, 2 * W, dtype=x.dtype, device=x.device)
        for k in range(H):
            for l in range(W):
                out[:, :, 2 * k, 2 * l] = x[:, :, k, l]
        return out

    @staticmethod
    def backward(ctx, grad):
        B, C, H, W = grad.shape
        out = torch.zeros(B, C, H // 2, W // 2, dtype=grad.dtype, device=grad.device)
        for k in range(H // 2):
            for l in range(W // 2):
                out[:, :, k, l] = grad[:, :, 2 * k, 2 * l]
        return out


class InverseMaxPool3(torch.autograd.Function):
    """(B, C, H, W) -> (B, C, 2H-1, 2W-1), an element at a time."""

    @staticmethod
    def forward(ctx, x):
        B, C, H, W = x.shape
        out = torch.zeros(B, C, 2 * H - 1, 2 * W - 1, dtype=x.dtype, device=x.device)
        for k in range(H):
            for l in range(W):
                out[:, :, 2 * k, 2 * l] = x[:, :, k, l]
        return out

    @staticmethod
    def backward(ctx, grad):
        B, C, H, W = grad.shape
        out = torch.zeros(B, C, (H + 1) // 2, (W + 1) // 2, dtype=grad.dtype, device=grad.device)
        for k in range((H + 1) // 2):
            for l in range((W + 1) // 2):
                out[:, :, k, l] = grad[:, :, 2 * k, 2 * l]
        return out


class Encoder(nn.Module):
    def __init__(self, batch_norm=True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 144, 3, padding=1)
        self.conv4 = nn.Conv2d(144, 256, 3, padding=1)
        self.conv5 = nn.Conv2d(256, 400, 3, padding=1)
        bn = nn.BatchNorm2d if batch_norm else nn.Identity
        self.bn1, self.bn2, self.bn3, self.bn4, self.bn5 = bn(16), bn(64), bn(144), bn(256), bn(400)
        self.maxpool2 = nn.MaxPool2d(2, 2)
        self.maxpool3 = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, x):
        x = self.maxpool2(F.relu(self.bn1(self.conv1(x))))
        x = self.maxpool2(F.relu(self.bn2(self.conv2(x))))
        x = self.maxpool3(F.relu(self.bn3(self.conv3(x))))
        x = self.maxpool3(F.relu(self.bn4(self.conv4(x))))
        return self.maxpool3(F.relu(self.bn5(self.conv5(x))))


class Decoder(nn.Module):
    def __init__(self, batch_norm=True):
        super().__init__()
        self.deconv1 = nn.Conv2d(400, 256, 3, padding=1)
        self.deconv2 = nn.Conv2d(256, 144, 3, padding=1)
        self.deconv3 = nn.Conv2d(144, 64, 3, padding=1)
        self.deconv4 = nn.Conv2d(64, 16, 3, padding=1)
        self.deconv5 = nn.Conv2d(16, 3, 3, padding=1)
        bn = nn.BatchNorm2d if batch_norm else nn.Identity
        self.bn1, self.bn2, self.bn3, self.bn4 = bn(256), bn(144), bn(64), bn(16)

    def forward(self, z):
        x = F.relu(self.bn1(self.deconv1(InverseMaxPool3.apply(z))))
        x = F.relu(self.bn2(self.deconv2(InverseMaxPool3.apply(x))))
        x = F.relu(self.bn3(self.deconv3(InverseMaxPool3.apply(x))))
        x = F.relu(self.bn4(self.deconv4(InverseMaxPool2.apply(x))))
        return self.deconv5(InverseMaxPool2.apply(x))


class AutoEncoder(nn.Module):
    def __init__(self, batch_norm=True):
        super().__init__()
        self.encoder = Encoder(batch_norm)
        self.decoder = Decoder(batch_norm)

    def forward(self, x):
        z = self.encoder(x)
        return z, self.decoder(z)


class Classifier(nn.Module):
    def __init__(self, num_classes=102, batch_norm=True, dropout=0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(400, 700, 3, padding=1)
        self.conv2 = nn.Conv2d(700, 1000, 3, padding=1)
        self.linear1 = nn.Linear(16000, 8192)
        self.linear2 = nn.Linear(8192, 2048)
        self.linear3 = nn.Linear(2048, 512)
        self.linear4 = nn.Linear(512, num_classes)
        bn2d, bn1d = (nn.BatchNorm2d, nn.BatchNorm1d) if batch_norm else (nn.Identity, nn.Identity)
        self.bn1, self.bn2 = bn2d(700), bn2d(1000)
        self.bn3, self.bn4, self.bn5 = bn1d(8192), bn1d(2048), bn1d(512)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z):
        x = self.dropout(F.relu(self.bn1(self.conv1(z))))
        x = self.dropout(F.relu(self.bn2(self.conv2(x))))
        x = torch.flatten(x, 1)
        x = self.dropout(F.relu(self.bn3(self.linear1(x))))
        x = self.dropout(F.relu(self.bn4(self.linear2(x))))
        x = self.dropout(F.relu(self.bn5(self.linear3(x))))
        return self.linear4(x)
