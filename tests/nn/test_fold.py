import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import apply, check, error, normal, properties, quick
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import Affine, BatchNorm, Conv, conv, conv_1x1, fold_batch_norm, fold_into, global_avg_pool, relu


@properties
@given(st.integers(0, 2), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_folded_layer_gives_what_layer_and_norm_gave(n, groups, has_bias, seed):
    rng = np.random.default_rng(seed)
    kernel = normal(rng, *(3,) * n, 2, 2 * groups) if n else normal(rng, 2 * groups, 3)
    x = normal(rng, 2, *(5,) * n, 2 * groups)
    bias, scale, bias_bn, mean, var = normal(rng, 5, kernel.shape[-1])
    var = np.abs(var)

    def layer(x, w, b):
        return conv(x, w, b, groups=groups) if n else conv_1x1(x, w, b)

    if not has_bias:
        bias = 0 * bias

    def folded(x, kernel, bias, *norm):
        scale, bias_bn, mean, var = norm
        kernel, bias = fold_into(kernel, bias if has_bias else None, scale, bias_bn, mean, var, 1e-3)
        return layer(x, kernel, bias)

    inputs = (x, kernel, bias, scale, bias_bn, mean, var)
    arguments = (1,) * n, ((0, 0),) * n, (1,) * n, groups
    expected = reference.conv(x, kernel, bias, *arguments) if n else x @ kernel + bias
    expected = (expected - mean) / np.sqrt(var + 1e-3) * scale + bias_bn
    check("fold_into", folded, inputs, expected)


class Network(nn.Module):
    """A norm after each kind of layer, with and without bias, nested; and one after a sum, which can't be folded."""

    folded: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        x = self.norm("stem_norm", Conv(6, (3, 3), use_bias=self.folded, name="stem")(x), train)
        x = relu(x)
        y = Block(self.folded, name="block")(x, train)
        x = Affine(name="sum_norm")(x + y) if self.folded else BatchNorm(name="sum_norm")(x + y, train=train)
        x = nn.Dense(5, name="head")(global_avg_pool(relu(x)))
        return self.norm("head_norm", x, train)

    def norm(self, name, x, train):
        return x if self.folded else BatchNorm(name=name)(x, train=train)


class Block(nn.Module):
    folded: bool

    @nn.compact
    def __call__(self, x, train):
        x = Conv(6, (3, 3), padding=1, groups=3, use_bias=True, name="conv")(x)
        return x if self.folded else BatchNorm(name="norm", use_scale=False)(x, train=train)


FOLLOWS = {"stem_norm": "stem", "block/norm": "block/conv", "head_norm": "head"}


@pytest.fixture(scope="module")
def trained():
    """The variables of a network whose norms have seen data and whose scales and biases aren't 1 and 0."""
    x = jax.random.normal(jax.random.key(0), (16, 9, 9, 3)) * 3 + 1
    variables = jax.jit(Network().init, compiler_options=quick())(jax.random.key(1), x)
    step = jax.jit(lambda v: Network().apply(v, x, train=True, mutable=["batch_stats"])[1], compiler_options=quick())
    for _ in range(20):
        variables = {**variables, **step(variables)}
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda v: v + 0.3 * rng.standard_normal(v.shape).astype(np.float32), variables["params"])
    return {**variables, "params": params}, x


def test_a_folded_network_gives_the_same_outputs(trained):
    variables, x = trained
    folded = fold_batch_norm(variables, FOLLOWS)
    expected = apply(Network(), variables, x)
    assert jnp.std(expected) > 0.1
    assert error(apply(Network(folded=True), folded, x), np.asarray(expected, np.float64)) < 1e-5
    shapes = jax.eval_shape(Network(folded=True).init, jax.random.key(0), x)
    # exactly the parameters of the network without norms
    assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, shapes)
    assert set(folded) == {"params"}


def test_folding_leaves_its_input_alone_and_keeps_other_collections(trained):
    variables, _ = trained
    before = jax.tree.map(jnp.copy, variables)
    folded = fold_batch_norm({**variables, "others": {"a": 1}}, FOLLOWS)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, before, variables))
    assert folded["others"] == {"a": 1}


@pytest.mark.parametrize(
    ("follows", "message"),
    [
        ({"norm": "stem"}, 'no batch norm "norm", only block/norm, head_norm, stem_norm, sum_norm'),
        ({"stem_norm": "stam"}, '"stam", which "stem_norm" follows, has no kernel'),
        ({"stem_norm": "block"}, '"block", which "stem_norm" follows, has no kernel'),
        ({"stem_norm": "stem", "sum_norm": "stem"}, "two norms follow one layer"),
        ({"stem_norm": "head"}, r"mean must have shape \(5,\), got \(6,\)"),
    ],
)
def test_errors_name_the_layer(trained, follows, message):
    with pytest.raises(ValueError, match=message) as caught:
        fold_batch_norm(trained[0], follows)
    assert "\n" not in str(caught.value)


def test_errors_of_fold_into():
    v = jnp.ones(3)
    with pytest.raises(ValueError, match=r"fold_into: .*\(3,\), \(4,\)"):
        fold_into(jnp.ones((2, 3)), None, v, v, v, jnp.ones(4))
    with pytest.raises(ValueError, match=r"fold_into: bias must have shape \(3,\), got \(2,\)"):
        fold_into(jnp.ones((2, 3)), jnp.ones(2), v, v, v, v)
