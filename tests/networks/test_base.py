import sonnet as snt
import tensorflow as tf

from acme_impala.networks import NetworkConfig, SonnetNetwork, make_network, state_spec

from .examples import VECTOR, environment_spec


def test_the_state_spec_is_one_of_a_single_state():
    lstm = make_network(environment_spec(VECTOR), NetworkConfig(core="lstm", lstm_size=7))
    assert state_spec(lstm) == (tf.TensorSpec([7]), tf.TensorSpec([7]))
    assert state_spec(make_network(environment_spec(VECTOR), NetworkConfig())) == ()


def test_the_state_spec_has_the_nest_of_a_sonnet_state():
    spec = state_spec(SonnetNetwork(snt.DeepRNN([snt.LSTM(4), snt.GRU(3)])))
    vector_4, vector_3 = tf.TensorSpec([4]), tf.TensorSpec([3])
    assert spec == (snt.LSTMState(vector_4, vector_4), vector_3)
    assert isinstance(spec[0], snt.LSTMState)
