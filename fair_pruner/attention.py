"""Self-attention: its heads as units, and a form of torch's MultiheadAttention whose heads can be cut."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class AttentionShape(NamedTuple):
    """Heads of one attention module, channels a head, and the tensors of `qkv`, which packs query, key and value."""

    heads: int
    head_dim: int
    packed: tuple[str, ...]


class SelfAttention(nn.Module):
    """What nn.MultiheadAttention computes for query = key = value, with as many heads as its projections have room for.

    Its parameters are those of the module it stands for: `qkv` packs query, key and value, `proj` is the output projection.
    It is called like the original. `plain` says that every call so far was attention of one tensor to itself, without masks:
    nothing else works once heads are gone, and raises NotImplementedError.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        dim, like = attention.embed_dim, attention.in_proj_weight
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.batch_first, self.dropout, self.plain = attention.batch_first, attention.dropout, True
        self.qkv = nn.Linear(dim, 3 * dim, bias=attention.in_proj_bias is not None, device="meta", dtype=like.dtype)
        self.qkv.weight, self.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        self.proj = nn.Linear(dim, dim, bias=attention.out_proj.bias is not None, device="meta", dtype=like.dtype)
        self.proj.weight, self.proj.bias = attention.out_proj.weight, attention.out_proj.bias
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, tokens, dim), or (tokens, batch, dim) unless batch_first -> the same shape, and the weights if needed."""
        if not (query is key is value) or key_padding_mask is not None or attn_mask is not None or is_causal:
            self.plain = False
            masks = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "is_causal": is_causal}
            options = {"need_weights": need_weights, "average_attn_weights": average_attn_weights}
            return self._original(query, key, value, **masks, **options)
        x = query[None] if query.dim() == 2 else query if self.batch_first else query.transpose(0, 1)
        batch, tokens, _ = x.shape
        packed = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        queries, keys, values = packed.unbind(0)  # each (batch, heads, tokens, head_dim)
        dropout, weights = self.dropout if self.training else 0.0, None
        if need_weights:
            weights = F.dropout((queries * self.head_dim**-0.5 @ keys.transpose(2, 3)).softmax(-1), dropout)
            heads = weights @ values
        else:
            heads = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        out = self.proj(heads.transpose(1, 2).reshape(batch, tokens, self.num_heads * self.head_dim))
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights[0] if query.dim() == 2 else weights
        return (out[0] if query.dim() == 2 else out if self.batch_first else out.transpose(0, 1)), weights

    def _original(self, query: Tensor, key: Tensor, value: Tensor, **options: object) -> tuple[Tensor, Tensor | None]:
        if self.num_heads * self.head_dim != query.shape[-1]:
            raise NotImplementedError("attention that lost heads works on one tensor without a mask")
        swap = self.batch_first and query.dim() == 3
        q, k, v = (x.transpose(0, 1) if swap else x for x in (query, key, value))
        out, weights = F.multi_head_attention_forward(
            q,
            k,
            v,
            query.shape[-1],
            self.num_heads,
            self.qkv.weight,
            self.qkv.bias,
            None,
            None,
            False,
            self.dropout,
            self.proj.weight,
            self.proj.bias,
            training=self.training,
            **options,  # type: ignore[arg-type]
        )
        return (out.transpose(0, 1) if swap else out), weights


def attention_shape(module: nn.Module, *, declared: bool = True) -> AttentionShape | None:
    """Heads of a module that computes plain self-attention from `qkv` and `proj` (ours, timm's), or None for any other.

    Refused are modules with parameters beside those (position biases, gates, norms over all heads): a head is more there.
    By `declared` the heads are those that the module says it has, else as many as its tensors hold.
    """
    qkv, proj, head_dim = (getattr(module, name, None) for name in ("qkv", "proj", "head_dim"))
    if not isinstance(qkv, nn.Linear) or not isinstance(proj, nn.Linear) or not isinstance(head_dim, int):
        return None
    owners = {name.partition(".")[0] for name, _ in module.named_parameters()}
    if not owners <= {"qkv", "proj", "q_norm", "k_norm"} or proj.weight.shape[1] % head_dim:
        return None
    heads = proj.weight.shape[1] // head_dim
    if len(qkv.weight) != 3 * heads * head_dim or (declared and getattr(module, "num_heads", None) != heads):
        return None
    return AttentionShape(heads, head_dim, tuple(name for name, _ in qkv.named_parameters()))


def replaceable(model: nn.Module) -> dict[str, nn.MultiheadAttention]:
    """The attention modules that `SelfAttention` can stand for, by name; not those inside torch's own encoder layers."""
    inside = {
        id(attention)
        for layer in model.modules()
        if isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer)
        for attention in layer.modules()
    }
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.MultiheadAttention
        and name
        and id(module) not in inside
        and module.in_proj_weight is not None
        and module.bias_k is None
        and not module.add_zero_attn
    }


def stand_in(model: nn.Module, names: Iterable[str]) -> None:
    """Replace the named nn.MultiheadAttention modules of `model` by SelfAttention over the same parameters."""
    for name in names:
        attention = model.get_submodule(name)
        assert isinstance(attention, nn.MultiheadAttention)
        model.set_submodule(name, SelfAttention(attention))


@contextmanager
def heads_open(model: nn.Module) -> Iterator[None]:
    """Inside the block every attention module that can be replaced is; afterwards each is back."""
    originals = replaceable(model)
    stand_in(model, originals)
    try:
        yield
    finally:
        for name, original in originals.items():
            model.set_submodule(name, original)
