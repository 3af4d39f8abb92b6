"""TensorFlow 1's RMSProp and Adam, on plain variables.

Keras's RMSprop is another algorithm (epsilon outside the root, mean square from zero), for which
the paper's epsilons mean another thing; and Keras creates its slots at the first step, so that a
checkpoint restored before it has nowhere to go. Here slots exist from construction on.

An optimizer is a `tf.Module`: its state is what `tf.train.Checkpoint(optimizer=...)` saves. The
variables it updates belong to the network and are not part of it.
"""

import abc
from collections.abc import Callable, Sequence

import tensorflow as tf

from acme_impala import config as config_lib

Gradient = tf.Tensor | tf.IndexedSlices | None


class Optimizer(tf.Module, abc.ABC):
    """What the two have in common: slots, one a variable, and a step over all of them."""

    def __init__(self, variables: Sequence[tf.Variable]):
        super().__init__()
        self._references = tuple(variable.ref() for variable in variables)

    def apply(
        self,
        gradients: Sequence[Gradient],
        variables: Sequence[tf.Variable],
        learning_rate: float | tf.Tensor,
    ):
        """Updates the variables by one step.

        A variable whose gradient is None stays as it is, and so do its slots. Sparse gradients
        (`tf.IndexedSlices`) are applied as the dense gradients that they stand for.

        Args:
            gradients: one for each variable, of its shape.
            variables: those given at construction, in the same order.
            learning_rate: scalar.

        Raises:
            ValueError: the variables are not those of construction, or the gradients do not fit.
        """
        if tuple(variable.ref() for variable in variables) != self._references:
            raise ValueError(
                "The variables must be those that the optimizer was made for, in the same order "
                f"({len(self._references)} then, {len(variables)} now): its slots belong to them."
            )
        if len(gradients) != len(variables):
            raise ValueError(f"Got {len(gradients)} gradients for {len(variables)} variables.")
        for index, variable in enumerate(variables):
            if gradients[index] is None:
                continue
            gradient = tf.convert_to_tensor(gradients[index], dtype=variable.dtype)
            if not gradient.shape.is_compatible_with(variable.shape):
                raise ValueError(
                    f"The gradient of {variable.name} must have its shape {variable.shape}, "
                    f"got {gradient.shape}."
                )
            self._apply_one(index, gradient, variable, tf.cast(learning_rate, variable.dtype))
        self._finish()

    @abc.abstractmethod
    def _apply_one(self, index: int, gradient, variable: tf.Variable, learning_rate: tf.Tensor):
        """Updates variable number `index` and its slots."""

    def _finish(self):
        """Updates what is not a variable's own, once a step; nothing here."""
        return


class RMSPropOptimizer(Optimizer):
    """TensorFlow 1's RMSProp, as in the paper.

        mean_square <- decay mean_square + (1 - decay) gradient^2          (from ONE)
        velocity    <- momentum velocity + learning_rate gradient / sqrt(mean_square + epsilon)
        variable    <- variable - velocity

    Args:
        variables: what will be updated.
        settings: decay, epsilon and momentum.
    """

    def __init__(self, variables: Sequence[tf.Variable], settings: config_lib.RMSProp):
        super().__init__(variables)
        self._settings = settings
        self._mean_squares = _slots(variables, tf.ones_like, "mean_square")
        self._velocities = _slots(variables, tf.zeros_like, "velocity")

    def _apply_one(self, index, gradient, variable, learning_rate):
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._mean_squares[index].handle,
            mom=self._velocities[index].handle,
            lr=learning_rate,
            rho=tf.constant(self._settings.decay, variable.dtype),
            momentum=tf.constant(self._settings.momentum, variable.dtype),
            epsilon=tf.constant(self._settings.epsilon, variable.dtype),
            grad=gradient,
            use_locking=True,  # a thread that reads the weights meanwhile gets whole tensors
        )


class AdamOptimizer(Optimizer):
    """TensorFlow 1's Adam: the efficient form at the end of section 2 of Kingma and Ba 2015.

        m        <- beta1 m + (1 - beta1) gradient
        v        <- beta2 v + (1 - beta2) gradient^2
        step     =  learning_rate sqrt(1 - beta2^t) / (1 - beta1^t)
        variable <- variable - step m / (sqrt(v) + epsilon)

    Args:
        variables: what will be updated.
        settings: beta1, beta2 and epsilon (the paper's epsilon hat).
    """

    def __init__(self, variables: Sequence[tf.Variable], settings: config_lib.Adam):
        super().__init__(variables)
        self._settings = settings
        self._first_moments = _slots(variables, tf.zeros_like, "m")
        self._second_moments = _slots(variables, tf.zeros_like, "v")
        self._beta1_power = tf.Variable(settings.beta1, trainable=False, name="beta1_power")
        self._beta2_power = tf.Variable(settings.beta2, trainable=False, name="beta2_power")

    def _apply_one(self, index, gradient, variable, learning_rate):
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._first_moments[index].handle,
            v=self._second_moments[index].handle,
            beta1_power=tf.cast(self._beta1_power, variable.dtype),
            beta2_power=tf.cast(self._beta2_power, variable.dtype),
            lr=learning_rate,
            beta1=tf.constant(self._settings.beta1, variable.dtype),
            beta2=tf.constant(self._settings.beta2, variable.dtype),
            epsilon=tf.constant(self._settings.epsilon, variable.dtype),
            grad=gradient,
            use_locking=True,  # a thread that reads the weights meanwhile gets whole tensors
        )

    def _finish(self):
        self._beta1_power.assign(self._beta1_power * self._settings.beta1)
        self._beta2_power.assign(self._beta2_power * self._settings.beta2)


def make_optimizer(
    settings: config_lib.RMSProp | config_lib.Adam, variables: Sequence[tf.Variable]
) -> Optimizer:
    """Makes the optimizer that the settings (`IMPALAConfig.optimizer`) describe.

    Raises:
        ValueError: the settings are neither RMSProp(...) nor Adam(...), or there are no variables.
    """
    if not variables:
        raise ValueError("There are no variables to optimize. Create the network's weights first.")
    if isinstance(settings, config_lib.RMSProp):
        return RMSPropOptimizer(variables, settings)
    if isinstance(settings, config_lib.Adam):
        return AdamOptimizer(variables, settings)
    raise ValueError(f"settings must be RMSProp(...) or Adam(...), got {settings!r}.")


def _slots(
    variables: Sequence[tf.Variable], like: Callable[[tf.Variable], tf.Tensor], name: str
) -> list[tf.Variable]:
    slots = []
    for variable in variables:
        with tf.device(variable.device):  # the update needs them where the variable is
            base = variable.name.split(":")[0]
            slots.append(tf.Variable(like(variable), trainable=False, name=f"{base}/{name}"))
    return slots
