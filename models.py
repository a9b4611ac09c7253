"""The report's networks: Encoder, Decoder, AutoEncoder and Classifier (report, section 1).

Parameters carry the report's names and shapes, so a state dict of its code loads here and the other way
round; with batch_norm=False it has no `bn*`. Shapes in comments are (B, C, H, W), B the batch.

For speed, ReLU stands behind the max pool instead of before it: the same bits, since max and ReLU commute
in value and in gradient, on a quarter of the elements. Two more rewrites agree to rounding: each
InverseMaxPool of the decoder is fused with the convolution behind it (`inverse_maxpool_conv2d`), and
convolutions of small maps are matrix products where a CPU computes in fp32 (`Conv3x3`).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from inverse_maxpool import inverse_maxpool_conv2d
from winograd import Conv3x3

UNPOOLINGS = ("inverse", "nearest", "indices")  # the Decoder's
DROPOUTS_AFTER = ("all", "linear")  # the Classifier's: every activation, or those of linear layers


class Encoder(nn.Module):
    """Photos x (B, 3, 100, 100) -> code z (B, 400, 4, 4). Appends the max pools' indices to `indices`."""

    def __init__(self, batch_norm: bool = True):
        super().__init__()
        self.conv1 = Conv3x3(3, 16)
        self.conv2 = Conv3x3(16, 64)
        self.conv3 = Conv3x3(64, 144)
        self.conv4 = Conv3x3(144, 256)
        self.conv5 = Conv3x3(256, 400)
        self.batch_norm = batch_norm
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.bn1 = norm(16)
        self.bn2 = norm(64)
        self.bn3 = norm(144)
        self.bn4 = norm(256)
        self.bn5 = norm(400)

    def forward(self, x: Tensor, indices: list[Tensor] | None = None) -> Tensor:
        def pool(x, window):
            x, where = F.max_pool2d(x, window, stride=2, padding=window - 2, return_indices=True)
            if indices is not None:
                indices.append(where)
            return F.relu(x)

        x = pool(self.bn1(self.conv1(x)), window=2)  # (B, 3, 100, 100) -> (B, 16, 50, 50)
        x = pool(self.bn2(self.conv2(x)), window=2)  # -> (B, 64, 25, 25)
        x = pool(self.bn3(self.conv3(x)), window=3)  # -> (B, 144, 13, 13)
        x = pool(self.bn4(self.conv4(x)), window=3)  # -> (B, 256, 7, 7)
        return pool(self.bn5(self.conv5(x)), window=3)  # -> (B, 400, 4, 4)


class Decoder(nn.Module):
    """Code z (B, 400, 4, 4) -> reconstruction x_hat (B, 3, 100, 100), not clamped to [0, 1].

    unpooling "inverse" is the report's InverseMaxPool. To compare with it: "nearest" repeats an element over
    its window, "indices" puts it where the encoder found it, which z does not say: it pops `indices`.
    """

    def __init__(self, batch_norm: bool = True, unpooling: str = "inverse"):
        super().__init__()
        if unpooling not in UNPOOLINGS:
            raise ValueError(f"unpooling is one of {', '.join(UNPOOLINGS)}, not {unpooling}")
        self.deconv1 = Conv3x3(400, 256)
        self.deconv2 = Conv3x3(256, 144)
        self.deconv3 = Conv3x3(144, 64)
        self.deconv4 = Conv3x3(64, 16)
        self.deconv5 = Conv3x3(16, 3)
        self.unpooling = unpooling
        self.batch_norm = batch_norm
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.bn1 = norm(256)
        self.bn2 = norm(144)
        self.bn3 = norm(64)
        self.bn4 = norm(16)

    def forward(self, z: Tensor, indices: list[Tensor] | None = None) -> Tensor:
        def unpool(x, conv, window):
            if self.unpooling == "inverse":
                return inverse_maxpool_conv2d(x, conv.weight, conv.bias, window)
            size = [2 * length - (window == 3) for length in x.shape[2:]]
            if self.unpooling == "nearest":
                return conv(F.interpolate(x, size))
            return conv(F.max_unpool2d(x, indices.pop(), window, stride=2, padding=window - 2,
                                       output_size=size))

        x = F.relu(self.bn1(unpool(z, self.deconv1, window=3)))  # (B, 400, 4, 4) -> (B, 256, 7, 7)
        x = F.relu(self.bn2(unpool(x, self.deconv2, window=3)))  # -> (B, 144, 13, 13)
        x = F.relu(self.bn3(unpool(x, self.deconv3, window=3)))  # -> (B, 64, 25, 25)
        x = F.relu(self.bn4(unpool(x, self.deconv4, window=2)))  # -> (B, 16, 50, 50)
        return unpool(x, self.deconv5, window=2)  # -> (B, 3, 100, 100)


class AutoEncoder(nn.Module):
    """Photos x (B, 3, 100, 100) -> (z, x_hat)."""

    def __init__(self, batch_norm: bool = True, unpooling: str = "inverse"):
        super().__init__()
        self.encoder = Encoder(batch_norm)
        self.decoder = Decoder(batch_norm, unpooling)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        indices = [] if self.decoder.unpooling == "indices" else None
        z = self.encoder(x, indices)
        return z, self.decoder(z, indices)


class Classifier(nn.Module):
    """Code z (B, 400, 4, 4) -> logits (B, num_classes). z keeps its layout: no pooling, flattened late.

    dropout (the report: 0.25, place unknown) acts after each activation, or with dropout_after="linear"
    after those of linear layers only.
    """

    def __init__(self, num_classes: int = 102, batch_norm: bool = True, dropout: float = 0.0,
                 dropout_after: str = "all"):
        super().__init__()
        if dropout_after not in DROPOUTS_AFTER:
            raise ValueError(f"dropout_after is one of {', '.join(DROPOUTS_AFTER)}, not {dropout_after}")
        self.conv1 = Conv3x3(400, 700)
        self.conv2 = Conv3x3(700, 1000)
        self.linear1 = nn.Linear(16000, 8192)
        self.linear2 = nn.Linear(8192, 2048)
        self.linear3 = nn.Linear(2048, 512)
        self.linear4 = nn.Linear(512, num_classes)
        self.batch_norm = batch_norm
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
