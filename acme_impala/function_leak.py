"""A leak of TensorFlow 2.8 that neither actor nor learner can bear.

Every call of a tf.function leaves some 400 bytes behind: a rendezvous, by which the parts of a
function on different devices would exchange tensors, is made for each call and kept for ever
(tensorflow/tensorflow#50765, mended in 2.12). An actor in 32 Atari games loses 200 MB an hour by
it, a learner of CartPole 80. TensorFlow can make all calls share one, and has no name for it in
Python.
"""

import ctypes

import tensorflow as tf
from tensorflow.python import _pywrap_tensorflow_internal as runtime
from tensorflow.python.eager import context

# EagerContext::SetReuseRendezvousForFunctions(bool)
_SYMBOL = "_ZN10tensorflow12EagerContext30SetReuseRendezvousForFunctionsEb"


def stop_leak():
    """Makes all function calls of this process share a rendezvous.

    Not where there is a GPU: then calls do exchange tensors by it, and calls at the same time would
    mix them up.
    """
    if tf.__version__.startswith("2.8.") and not tf.config.list_logical_devices("GPU"):
        _share_rendezvous()


def _share_rendezvous():
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    context.ensure_initialized()
    share = getattr(ctypes.CDLL(runtime.__file__), _SYMBOL)
    share.restype = None
    share.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    share(get_pointer(context.context()._handle, None), True)
