"""The report's networks: Encoder, Decoder, AutoEncoder and Classifier (report, section 1).

Parameters carry the report's names and shapes, so a state dict of its code loads here and the other way
round; with batch_norm=False it has no `bn*`. Shapes in comments are (B, C, H, W), B the batch.
For speed, ReLU stands behind the max pool: the same bits, since they commute in value and in gradient, on a
quarter of the elements. Each InverseMaxPool is fused with the convolution behind it, too.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from inverse_maxpool import inverse_maxpool_conv2d

DROPOUTS_AFTER = ("all", "linear")  # the Classifier's: every activation, or those of linear layers


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """The report's convolution: kernel 3, stride 1, padding 1, so that maps keep their size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=1, padding=1)


def max_pool_relu(x: Tensor, window: int) -> Tensor:
    """The report's max pool of window 2 or 3, stride 2, then ReLU: (B, C, H, W) -> about (B, C, H/2, W/2)."""
    return F.relu(F.max_pool2d(x, window, stride=2, padding=window - 2))


class Encoder(nn.Module):
    """Photos x (B, 3, 100, 100) -> code z (B, 400, 4, 4)."""

    def __init__(self, batch_norm: bool = True):
        super().__init__()
        self.conv1 = conv3x3(3, 16)
        self.conv2 = conv3x3(16, 64)
        self.conv3 = conv3x3(64, 144)
        self.conv4 = conv3x3(144, 256)
        self.conv5 = conv3x3(256, 400)
        self.batch_norm = batch_norm
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.bn1 = norm(16)
        self.bn2 = norm(64)
        self.bn3 = norm(144)
        self.bn4 = norm(256)
        self.bn5 = norm(400)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool_relu(self.bn1(self.conv1(x)), window=2)  # (B, 3, 100, 100) -> (B, 16, 50, 50)
        x = max_pool_relu(self.bn2(self.conv2(x)), window=2)  # -> (B, 64, 25, 25)
        x = max_pool_relu(self.bn3(self.conv3(x)), window=3)  # -> (B, 144, 13, 13)
        x = max_pool_relu(self.bn4(self.conv4(x)), window=3)  # -> (B, 256, 7, 7)
        return max_pool_relu(self.bn5(self.conv5(x)), window=3)  # -> (B, 400, 4, 4)


class Decoder(nn.Module):
    """Code z (B, 400, 4, 4) -> reconstruction x_hat (B, 3, 100, 100), not clamped to [0, 1]."""

    def __init__(self, batch_norm: bool = True):
        super().__init__()
        self.deconv1 = conv3x3(400, 256)
        self.deconv2 = conv3x3(256, 144)
        self.deconv3 = conv3x3(144, 64)
        self.deconv4 = conv3x3(64, 16)
        self.deconv5 = conv3x3(16, 3)
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.bn1 = norm(256)
        self.bn2 = norm(144)
        self.bn3 = norm(64)
        self.bn4 = norm(16)

    def forward(self, z: Tensor) -> Tensor:
        def deconv(x, conv, window):
            return inverse_maxpool_conv2d(x, conv.weight, conv.bias, window)

        x = F.relu(self.bn1(deconv(z, self.deconv1, window=3)))  # (B, 400, 4, 4) -> (B, 256, 7, 7)
        x = F.relu(self.bn2(deconv(x, self.deconv2, window=3)))  # -> (B, 144, 13, 13)
        x = F.relu(self.bn3(deconv(x, self.deconv3, window=3)))  # -> (B, 64, 25, 25)
        x = F.relu(self.bn4(deconv(x, self.deconv4, window=2)))  # -> (B, 16, 50, 50)
        return deconv(x, self.deconv5, window=2)  # -> (B, 3, 100, 100)


class AutoEncoder(nn.Module):
    """Photos x (B, 3, 100, 100) -> (z, x_hat)."""

    def __init__(self, batch_norm: bool = True):
        super().__init__()
        self.encoder = Encoder(batch_norm)
        self.decoder = Decoder(batch_norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x)  # (B, 400, 4, 4)
        return z, self.decoder(z)


class Classifier(nn.Module):
    """Code z (B, 400, 4, 4) -> logits (B, num_classes). The report's dropout is 0.25, its place unknown."""

    def __init__(self, num_classes: int = 102, batch_norm: bool = True, dropout: float = 0.0,
                 dropout_after: str = "all"):
        super().__init__()
        if dropout_after not in DROPOUTS_AFTER:
            raise ValueError(f"dropout_after is one of {', '.join(DROPOUTS_AFTER)}, not {dropout_after}")
        self.conv1 = conv3x3(400, 700)
        self.conv2 = conv3x3(700, 1000)
        self.linear1 = nn.Linear(16000, 8192)
        self.linear2 = nn.Linear(8192, 2048)
        self.linear3 = nn.Linear(2048, 512)
        self.linear4 = nn.Linear(512, num_classes)
        norm2d, norm1d = (nn.BatchNorm2d, nn.BatchNorm1d) if batch_norm else (nn.Identity, nn.Identity)
        self.bn1 = norm2d(700)
        self.bn2 = norm2d(1000)
        self.bn3 = norm1d(8192)
        self.bn4 = norm1d(2048)
        self.bn5 = norm1d(512)
        self.dropout = nn.Dropout(dropout)
        self.dropout_after = dropout_after

    def forward(self, z: Tensor) -> Tensor:
        def activate(x):
            x = F.relu(x)
            return self.dropout(x) if self.dropout_after == "all" or x.dim() == 2 else x

        x = activate(self.bn1(self.conv1(z)))  # (B, 400, 4, 4) -> (B, 700, 4, 4)
        x = activate(self.bn2(self.conv2(x)))  # -> (B, 1000, 4, 4)
        x = x.flatten(1)  # -> (B, 16000)
        x = activate(self.bn3(self.linear1(x)))  # -> (B, 8192)
        x = activate(self.bn4(self.linear2(x)))  # -> (B, 2048)
        x = activate(self.bn5(self.linear3(x)))  # -> (B, 512)
        return self.linear4(x)  # -> (B, num_classes)


class PooledClassifier(nn.Module):
    """Code z (B, 400, 4, 4) -> logits (B, num_classes). Ours, of 9 million weights instead of 158."""

    def __init__(self, num_classes: int = 102, dropout: float = 0.0, batch_norm: bool = True):
        super().__init__()
        self.conv1 = conv3x3(400, 700)
        self.conv2 = conv3x3(700, 1000)
        self.linear = nn.Linear(1000, num_classes)
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.bn1 = norm(700)
        self.bn2 = norm(1000)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(z)))  # (B, 400, 4, 4) -> (B, 700, 4, 4)
        x = F.relu(self.bn2(self.conv2(x)))  # -> (B, 1000, 4, 4)
        x = self.dropout(x.mean((2, 3)))  # -> (B, 1000)
        return self.linear(x)  # -> (B, num_classes)


HEADS = {"report": Classifier, "pooled": PooledClassifier}
