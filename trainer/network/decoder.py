"""The transformer decoder of HMR2.0 and HSMR: one query token that reads the image tokens (Goel et al., ICCV 2023).

State-dict names follow the released checkpoints (`transformer.layers.N.{0,1,2}.{norm,fn}.*`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from trainer.network.vit import Tokens

Query = Float[Tensor, "B 1 dim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Width of the query token, layers, attention heads of `dim_head` each, hidden width of the MLP."""

    dim: int
    depth: int
    heads: int
    dim_head: int
    mlp_dim: int


class TokenDecoder(nn.Module):
    """Image tokens (B, 192, context_dim) to one token (B, dim)."""

    def __init__(self, config: DecoderConfig, context_dim: int):
        super().__init__()
        self.to_token_embedding = nn.Linear(1, config.dim)
        self.pos_embedding = nn.Parameter(torch.randn(1, 1, config.dim))
        self.transformer = CrossTransformer(config, context_dim)

    def forward(self, context: Tokens, told: Query | None = None) -> Float[Tensor, "B dim"]:
        """The token that leaves the last layer; told: what else is known, added to the query."""
        return self.every_layer(context, told)[-1]

    def every_layer(self, context: Tokens, told: Query | None = None) -> list[Float[Tensor, "B dim"]]:
        """The token after each layer."""
        query = self.to_token_embedding(context.new_zeros(context.shape[0], 1, 1)) + self.pos_embedding
        return [x.squeeze(1) for x in self.transformer(query if told is None else query + told, context)]


class CrossTransformer(nn.Module):
    """The layers, one after the other; what leaves each of them."""

    def __init__(self, config: DecoderConfig, context_dim: int):
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, context_dim) for _ in range(config.depth))

    def forward(self, x: Query, context: Tokens) -> list[Query]:
        found: list[Query] = []
        for layer in self.layers:
            x = layer(x, context)
            found.append(x)
        return found


class Layer(nn.ModuleList):
    """Self-attention, cross-attention to the image tokens, MLP; each pre-norm with a skip connection."""

    def __init__(self, config: DecoderConfig, context_dim: int):
        parts = SelfAttention(config), CrossAttention(config, context_dim), FeedForward(config)
        super().__init__(PreNorm(config.dim, part) for part in parts)

    def forward(self, x: Query, context: Tokens) -> Query:
        self_attention, cross_attention, mlp = self
        x = x + self_attention(x)
        x = x + cross_attention(x, context)
        return x + mlp(x)


class PreNorm(nn.Module):
    """fn(norm(x)); what else is passed (the image tokens) is not normalised."""

    def __init__(self, dim: int, fn: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Query, *context: Tokens) -> Query:
        return self.fn(self.norm(x), *context)


class SelfAttention(nn.Module):
    """Multi-head attention among the query tokens. With one token the softmax is 1; kept for the checkpoints."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads = config.heads
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.to_out = _projection(inner, config.dim)

    def forward(self, x: Query) -> Query:
        q, k, v = self.to_qkv(x).chunk(3, -1)
        return self.to_out(_attend(q, k, v, self.heads))


class CrossAttention(nn.Module):
    """Multi-head attention of the query token to the image tokens."""

    def __init__(self, config: DecoderConfig, context_dim: int):
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads = config.heads
        self.to_kv = nn.Linear(context_dim, 2 * inner, bias=False)
        self.to_q = nn.Linear(config.dim, inner, bias=False)
        self.to_out = _projection(inner, config.dim)

    def forward(self, x: Query, context: Tokens) -> Query:
        k, v = self.to_kv(context).chunk(2, -1)
        return self.to_out(_attend(self.to_q(x), k, v, self.heads))


class FeedForward(nn.Module):
    """Linear, exact GELU, linear; the third place of `net` is the dropout of the released code, which is off."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.dim, config.mlp_dim), nn.GELU(), nn.Identity(), nn.Linear(config.mlp_dim, config.dim)
        )

    def forward(self, x: Query) -> Query:
        return self.net(x)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _projection(inner: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inner, dim))  # a sequence of one: the checkpoints name it `to_out.0`
