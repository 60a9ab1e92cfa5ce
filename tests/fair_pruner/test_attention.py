"""Self-attention whose heads can be cut computes what the module it stands for computes."""

import pytest
import timm
import torch
from torch import nn

from fair_pruner.attention import SelfAttention, attention_shape, heads_open, replaceable


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("shape", [(2, 5, 12), (5, 12)])
def test_it_computes_what_the_original_computes(
    batch_first: bool, bias: bool, need_weights: bool, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    original = nn.MultiheadAttention(12, 3, bias=bias, batch_first=batch_first, dtype=torch.float64).eval()
    x = torch.randn(shape, dtype=torch.float64)
    expected, weights = original(x, x, x, need_weights=need_weights)
    stand_in = SelfAttention(original)
    found, its_weights = stand_in(x, x, x, need_weights=need_weights)
    torch.testing.assert_close(found, expected)
    assert stand_in.plain
    assert (weights is None) == (its_weights is None)
    if weights is not None:
        torch.testing.assert_close(its_weights, weights)


def test_it_notices_masks_and_other_tensors_and_still_computes_the_same() -> None:
    torch.manual_seed(0)
    original = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    x, y = torch.randn(2, 2, 5, 12)
    mask = torch.ones(5, 5).triu(1).bool()
    for query, key, options in ((x, y, {}), (x, x, {"attn_mask": mask})):
        stand_in = SelfAttention(original)
        torch.testing.assert_close(stand_in(query, key, key, **options)[0], original(query, key, key, **options)[0])
        assert not stand_in.plain


def test_without_some_of_its_heads_it_refuses_what_it_cannot_compute() -> None:
    stand_in, x = SelfAttention(nn.MultiheadAttention(12, 3)), torch.randn(2, 5, 12)
    stand_in.num_heads = 2
    with pytest.raises(NotImplementedError, match="lost heads works on one tensor without a mask"):
        stand_in(x, x, x, is_causal=True)


def test_heads_are_those_that_the_tensors_hold() -> None:
    block = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1).blocks[0]
    assert attention_shape(block.attn) == (3, 64, ("weight", "bias"))
    block.attn.num_heads = 4
    assert attention_shape(block.attn) is None
    assert attention_shape(block.attn, declared=False) == (3, 64, ("weight", "bias"))
    assert attention_shape(block.mlp) is None


def test_attention_with_parameters_of_another_kind_is_not_taken_apart() -> None:
    attention = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1).blocks[0].attn
    attention.relative_position_bias = nn.Parameter(torch.zeros(3, 4, 4))
    assert attention_shape(attention) is None


def test_heads_are_open_inside_the_block_only() -> None:
    model = nn.ModuleDict({"own": nn.MultiheadAttention(4, 2), "encoder": nn.TransformerEncoderLayer(4, 2)})
    original = model["own"]
    assert replaceable(model) == {"own": original}
    with pytest.raises(ValueError, match="whatever"), heads_open(model):
        assert isinstance(model["own"], SelfAttention)
        raise ValueError("whatever")
    assert model["own"] is original
