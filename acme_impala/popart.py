"""PopArt (Hessel et al. 2018): each task's value is learned on a scale of its own.

The baseline's head has an output for each task, n_k(x). It is trained to have mean 0 and variance
1, whatever the task's rewards are, and stands for the value V(x) = sigma_k n_k(x) + mu_k. When the
statistics mu_k and sigma_k move with the targets that they are taken from (Art), weights and bias
of the output are changed so that V(x) stays as it was (Pop). So no task's errors drown another's,
and rewards need no clipping.
"""

import tensorflow as tf

# Between which sigma is kept (Hessel et al. 2018, appendix).
_MIN_SCALE, _MAX_SCALE = 1e-4, 1e6


class PopArt(tf.Module):
    """The statistics of every task's value, and its head's.

    Attributes:
        num_tasks: K.
    """

    def __init__(self, head: tf.keras.layers.Dense, step_size: float):
        """Begins with mean 0 and scale 1, where the value is what the head gives.

        Args:
            head: the baseline's, with K outputs and its variables.
            step_size: of the statistics' moving averages, for each learner step.
        """
        super().__init__(name="popart")
        self._head = head
        self._step_size = step_size
        self.num_tasks = head.units
        # Twice the precision of the network: a variance is a small difference of large numbers.
        self._mean = tf.Variable(tf.zeros(self.num_tasks, tf.float64), trainable=False)
        self._second_moment = tf.Variable(tf.ones(self.num_tasks, tf.float64), trainable=False)

    @property
    def variables(self) -> tuple[tf.Variable, tf.Variable]:
        """The statistics; the head's are the network's."""
        return self._mean, self._second_moment

    @property
    def mean(self) -> tf.Tensor:
        """mu, [K] float64."""
        return self._mean.read_value()

    @property
    def scale(self) -> tf.Tensor:
        """sigma, [K] float64."""
        return _scale(self._mean, self._second_moment)

    def scale_of(self, task: tf.Tensor) -> tf.Tensor:
        """Returns sigma of tasks [B], [B] float32: what errors of the value are to be divided by.

        Args:
            task: [B] int32.
        """
        return tf.cast(tf.gather(self.scale, task), tf.float32)

    def value(self, outputs: tf.Tensor, task: tf.Tensor) -> tf.Tensor:
        """Returns V(x), [T+1, B].

        Args:
            outputs: of the head, [T+1, B, K]; [T+1, B] where there is one task.
            task: [B] int32.
        """
        if self.num_tasks > 1:
            which = tf.broadcast_to(task[tf.newaxis], tf.shape(outputs)[:2])
            outputs = tf.gather(outputs, which, batch_dims=2)
        return self.scale_of(task) * outputs + tf.cast(tf.gather(self.mean, task), tf.float32)

    def update(self, targets: tf.Tensor, valid: tf.Tensor, task: tf.Tensor):
        """Moves the statistics of the tasks that are there, and keeps every V(x).

        Args:
            targets: [T, B], of V.
            valid: [T, B] bool: which count.
            task: [B] int32.
        """
        counts = tf.cast(valid, tf.float64)
        targets = tf.where(valid, tf.cast(targets, tf.float64), 0.0)

        def of_tasks(x: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(tf.reduce_sum(x, axis=0), task, self.num_tasks)

        count = of_tasks(counts)
        step_size = tf.where(count > 0, tf.constant(self._step_size, tf.float64), 0.0)

        def moved(average: tf.Variable, x: tf.Tensor) -> tf.Tensor:
            return average + step_size * (tf.math.divide_no_nan(of_tasks(x), count) - average)

        mean = moved(self._mean, targets)
        second_moment = moved(self._second_moment, targets**2)
        scale = _scale(mean, second_moment)
        # Everything new from everything old, before anything is assigned.
        kernel = tf.cast(self._head.kernel, tf.float64) * self.scale / scale
        bias = (self.scale * tf.cast(self._head.bias, tf.float64) + self.mean - mean) / scale
        self._head.kernel.assign(tf.cast(kernel, self._head.kernel.dtype))
        self._head.bias.assign(tf.cast(bias, self._head.bias.dtype))
        self._mean.assign(mean)
        self._second_moment.assign(second_moment)


def _scale(mean: tf.Tensor, second_moment: tf.Tensor) -> tf.Tensor:
    variance = tf.maximum(second_moment - mean**2, 0.0)
    return tf.clip_by_value(tf.sqrt(variance), _MIN_SCALE, _MAX_SCALE)
