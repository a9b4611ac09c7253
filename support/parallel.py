"""A model in several processes: data-parallel, its batches, and batch norm where nn.SyncBatchNorm fails."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from support import distributed
from support.errors import UserError, counted


def check_batches(sizes: list[int], batch_size: int) -> None:
    """UserError, with a --batch-size that fits, where an epoch has a batch of fewer images than processes."""
    if min(sizes) < (count := distributed.count()):
        fit = (str(size) for size in range(batch_size, count, -1) if not 0 < sum(sizes) % size < count)
        raise UserError(f"--batch-size {batch_size}: {counted(min(sizes), 'photo')} in a batch is below "
                        f"{count} processes; take {next(fit, 'fewer processes')}")


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The model to call in training: gradients and batch norm's statistics are those of the whole batch."""
    if distributed.count() == 1:
        return model
    convert = nn.SyncBatchNorm.convert_sync_batchnorm if device.type == "cuda" else synchronise
    return nn.parallel.DistributedDataParallel(convert(model), gradient_as_bucket_view=True)


def synchronise(model: nn.Module) -> nn.Module:
    """Let batch norm inside the model take mean and variance over all processes, in training."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.__class__ = SyncBatchNorm
    return model


class SyncBatchNorm(nn.BatchNorm2d):
    """As nn.SyncBatchNorm, for x (B, C, H, W) or (B, C), of a B that may differ between processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

        wide = x.to(torch.promote_types(x.dtype, torch.float32)).movedim(1, -1)  # -> (B, H, W, C) or (B, C)
        n = torch.tensor(wide[..., 0].numel())
        dist.all_reduce(n)

        def mean_of(values: Tensor) -> Tensor:  # (B, H, W, C) or (B, C) -> (C,)
            sums = values.flatten(0, -2).sum(0)
            dist.all_reduce(sums)
            return sums / n

        with torch.no_grad():
            mean = mean_of(wide)
            variance = mean_of((wide - mean).square())
            self.num_batches_tracked += 1
            share = self.momentum or 1 / self.num_batches_tracked  # None: the mean over batches
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * n / (n - 1), share)
        normal = (wide - mean) * (variance + self.eps).rsqrt()
        if normal.requires_grad:  # the gradient's way through mean and variance
            fixed = normal.detach()
            normal.register_hook(lambda slope: slope - mean_of(slope) - fixed * mean_of(slope * fixed))
        return (normal * self.weight + self.bias).movedim(-1, 1).to(x.dtype)
