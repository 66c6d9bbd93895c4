"""The two ways in which images reach a step: from a split that lives on the device, or streamed from the disk by Grain.

Either way a step gets the same images in the same order, which is a function of (seed, step) alone: a resumed run reads
from its step on, and there is no position to save.
"""

import functools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import grain
import grain.experimental
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fcnn.data import AnySplit, Split, Streamed, epoch_order, eval_batches, gather
from fcnn.data.decode import ignore_warnings
from fcnn.distributed import sharding
from fcnn.utils.batch import Batch
from fcnn.utils.cores import cores


class EpochSampler:
    """Which images each training step gets.

    Args:
      size: of the training split.
      batch_size: images per step; the last images of an epoch that don't fill a batch are left out of it.
      seed: of the run.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed, self._per_epoch = batch_size, seed, size // batch_size
        # Threads read a little ahead, so that two epochs' orders are in use at once where one ends.
        self._epoch = functools.lru_cache(maxsize=2)(lambda epoch: epoch_order(seed, epoch, size))

    def at(self, step: int) -> tuple[int, np.ndarray]:
        """Returns the epoch of the step after `step` updates, and the indices of its images, (batch_size,) int32."""
        epoch, position = divmod(step, self._per_epoch)
        return epoch, self._epoch(epoch)[position * self.batch_size : (position + 1) * self.batch_size]


class DevicePipeline:
    """Sends a step the indices of its images; the step gathers them from the split on the device."""

    def __init__(self, split: Split, mesh: Mesh) -> None:
        self._mesh, self._size = mesh, len(split)
        self._split = sharding.replicate((split.images, split.labels), mesh)

    def device_put(self, indices: np.ndarray | jax.Array) -> tuple[jax.Array, ...]:
        """Returns what `batch` needs of an item, but the mask, on the devices."""
        return *self._split, sharding.shard(indices, self._mesh)

    def abstract(self, batch_size: int) -> tuple[jax.Array, ...]:
        """Returns arguments of the same shapes as `device_put`'s."""
        return self.device_put(np.zeros(batch_size, np.int32))

    def batch(self, images: jax.Array, labels: jax.Array, indices: jax.Array, mask: jax.Array) -> Batch:
        """Returns the batch, inside the step."""
        return gather(images, labels, indices, mask)

    def train(self, sampler: EpochSampler, steps: range) -> Iterator[np.ndarray]:
        """Returns the items of these steps."""
        return (sampler.at(step)[1] for step in steps)

    def eval_epoch(self, batch_size: int) -> Callable[[], Iterator[tuple[Any, jax.Array]]]:
        """Returns what iterates over the split: items with their masks, each image once."""
        batches = [sharding.shard(pair, self._mesh) for pair in eval_batches(self._size, batch_size)]
        return lambda: iter(batches)


class StreamPipeline:
    """Reads and decodes the next batches on as many threads as there are cores, and copies them to the device.

    An element of the Grain pipeline is a step's whole batch: a thread writes it in place, and nothing is stacked or
    passed between processes. As many are in progress as there are threads, and two more are on the device, so that the
    memory in use doesn't grow with the set, and the copy of one overlaps with the step of another.

    Args:
      min_area: least share of the area of the crops that are cut from files (`augment.resized_crop`); 1 for none.
      process_index, process_count: this process's slice of every batch; None for what JAX says.
      threads: that read and decode.
    """

    def __init__(
        self,
        split: Streamed,
        mesh: Mesh,
        *,
        min_area: float = 1.0,
        process_index: int | None = None,
        process_count: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._split, self._mesh, self._min_area = split, mesh, min_area
        index = jax.process_index() if process_index is None else process_index
        self._process, self._threads = (index, process_count or jax.process_count()), threads or cores()

    def device_put(self, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        """Returns what `batch` needs of an item, but the mask; it is on the devices already."""
        return item

    def abstract(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns arguments of the same shapes as `device_put`'s."""
        cut = sharding.sharded(self._mesh)
        images = jax.ShapeDtypeStruct((batch_size, *self._split.shape), jnp.uint8, sharding=cut)
        return images, jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=cut)

    def batch(self, images: jax.Array, labels: jax.Array, mask: jax.Array) -> Batch:
        """Returns the batch, inside the step."""
        return {"image": images, "label": labels, "mask": mask, "index": jnp.arange(len(labels), dtype=jnp.int32)}

    def train(self, sampler: EpochSampler, steps: range) -> Generator[Any, None, None]:
        """Returns the items of these steps."""
        return self._stream(steps, functools.partial(self.read, sampler))

    def read(self, sampler: EpochSampler, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images and labels of this process's slice of a training step's batch, on the host."""
        epoch, indices = sampler.at(step)
        indices = self._slice(indices)
        if self._split.files is not None and self._min_area < 1:
            images = self._split.read_crops(indices, self._min_area, seed=sampler.seed, epoch=epoch)
        else:
            images = self._split.read(indices)
        return images, self._split.labels[indices]

    def eval_epoch(self, batch_size: int) -> Callable[[], Iterator[tuple[Any, jax.Array]]]:
        """Returns what iterates over the split: items with their masks, each image once."""
        batches = list(eval_batches(len(self._split), batch_size))

        def read(number: int) -> tuple[Any, np.ndarray]:
            indices, mask = (self._slice(part) for part in batches[number])
            return (self._split.read(indices), self._split.labels[indices]), mask

        return lambda: self._stream(range(len(batches)), read)

    def _slice(self, batch: np.ndarray) -> np.ndarray:
        index, count = self._process
        return batch[index * len(batch) // count : (index + 1) * len(batch) // count]

    def _stream(self, numbers: range, read: Callable[[int], Any]) -> Generator[Any, None, None]:
        """Yields `read(number)` of each, in order, on the devices."""
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=self._threads)
        host = grain.MapDataset.range(numbers.start, numbers.stop).map(read).to_iter_dataset(options)
        read_ahead = grain.experimental.ThreadPrefetchIterDataset
        placed = read_ahead(host, prefetch_buffer_size=1).map(lambda item: sharding.assemble(item, self._mesh))
        device = read_ahead(placed, prefetch_buffer_size=2)
        with ignore_warnings():
            iterator = iter(device)
            try:
                yield from iterator
            finally:
                iterator.close()


def make_pipeline(split: AnySplit, mesh: Mesh, *, min_area: float = 1.0) -> DevicePipeline | StreamPipeline:
    """Returns the pipeline of a split; `min_area` as in `StreamPipeline`, for a training split."""
    return (
        StreamPipeline(split, mesh, min_area=min_area) if isinstance(split, Streamed) else DevicePipeline(split, mesh)
    )
