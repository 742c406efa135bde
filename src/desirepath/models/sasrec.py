# SPDX-License-Identifier: Apache-2.0
"""SASRec: a causal transformer that reads a history and says what comes next.

Mathematics only: items in, states and scores out. It knows no files, devices or training; the
trainer feeds it packed rows, the predictor right-padded histories, and both meet the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from desirepath.errors import ConfigError
from desirepath.schema import PADDING


@dataclass(frozen=True, slots=True, kw_only=True)
class SASRecConfig:
    """The shape of a SASRec; the defaults suit a log of tens of thousands of users."""

    dim: int = 64
    """Width of item vectors and states; divisible by n_heads."""
    n_layers: int = 2
    """Transformer blocks, >= 1."""
    n_heads: int = 1
    """Attention heads, >= 1."""
    max_len: int = 50
    """Newest events of a history that are read, >= 1."""
    dropout: float = 0.5
    """Share of values dropped from embeddings and block outputs in training, [0, 1); 0.2 for large logs."""
    attention_dropout: float = 0.0
    """Share of attention weights dropped in training, [0, 1); above 0 they are laid out in full."""
    places: Literal["from_oldest", "from_newest"] = "from_oldest"
    """What places count from: the oldest event read, so that a state stays as it is when events follow, or
    the newest, as left-padded rows do, so that the place of what is asked is always the same."""
    ffn_dim: int = 0
    """Inner width of the feed-forward part; 0 means `dim`, as in the paper."""

    def __post_init__(self) -> None:
        for name in ("dim", "n_layers", "n_heads", "max_len"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.dim % self.n_heads:
            raise ConfigError(f"dim must be divisible by n_heads; got {self.dim} and {self.n_heads}.")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1); got {getattr(self, name)}.")
        if self.places not in ("from_oldest", "from_newest"):
            raise ConfigError(f"places must be 'from_oldest' or 'from_newest'; got '{self.places}'.")
        if self.ffn_dim < 0:
            raise ConfigError(f"ffn_dim must be 0 (as wide as dim) or positive; got {self.ffn_dim}.")


class SASRec(nn.Module):
    """Items and places embedded, causal blocks, scores against the same item vectors.

    Source: Kang & McAuley 2018, "Self-Attentive Sequential Recommendation", sections 3.1 to 3.5, read as
    the authors' own code runs: item vectors are scaled by sqrt(dim) on their way in, queries are normed
    while keys and values are not, and each part is added to its normed input.
    Changed: places count from a window's oldest event unless `places` says as theirs; the loss is not
    theirs (see `models.losses`).
    """

    def __init__(self, config: SASRecConfig, n_entries: int) -> None:
        """Make the weights, drawn from torch's current generator.

        Args:
            config: shape and dropout.
            n_entries: size of the item vocabulary, reserved indexes included.
        """
        super().__init__()
        self.config = config
        self.items = nn.Embedding(n_entries, config.dim, padding_idx=PADDING)
        self.positions = nn.Embedding(config.max_len, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.apply(self._init)

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.xavier_normal_(module.weight)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()

    def places(self, position_BL: Tensor, size_BL: Tensor) -> Tensor:
        """The place of each cell among the `max_len` that have a vector.

        Shapes: position_BL int, from 0 in its window; size_BL int, cells of that window.
        """
        if self.config.places == "from_oldest":
            return position_BL
        # Padding has no window; its place is anything that exists.
        return (position_BL + (self.config.max_len - size_BL)).clamp(0, self.config.max_len - 1)

    def forward(
        self,
        item_BL: Tensor,
        position_BL: Tensor | None = None,
        window_BL: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The state after each cell, (B, L, D): its product with an item's vector is that item's score.

        Shapes: item_BL, position_BL, window_BL int. Without a window, each row is one history that begins
        at column 0 (padding on its right needs no mask: nothing looks right); without positions, places
        count from there.
        With windows, a row holds several and no cell looks outside its own. Dropout in training draws from
        `generator` (torch's own when None), so that threads can each have one.
        Cost: about 12 D^2 + 2 L D multiplications a cell and block.
        """
        if position_BL is None:
            position_BL = torch.arange(item_BL.shape[1], device=item_BL.device).expand_as(item_BL)
        mask = None if window_BL is None else packed_mask(window_BL, self.norm.weight.dtype)
        # Item vectors are small, so that first scores are level; scaled up, they outweigh places as inputs.
        x_BLD = self.items(item_BL) * self.config.dim**0.5 + self.positions(position_BL)
        share = self.config.dropout if self.training else 0.0
        x_BLD = drop(x_BLD, share, generator)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask, generator)
        states_BLD: Tensor = self.norm(x_BLD)
        return states_BLD


def packed_mask(window_BL: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, L, L) to add to attention scores: 0 for a cell of one's window that is not newer, else -inf."""
    same = window_BL[:, None, :, None] == window_BL[:, None, None, :]
    length = window_BL.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=window_BL.device).tril()
    return torch.zeros(same.shape, dtype=dtype, device=same.device).masked_fill_(
        ~(same & causal), float("-inf")
    )


def drop(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Inverted dropout from a generator of one's own: each value is 0, or 1 / kept share times itself.

    Cost: 64 random bits make four masks, which is five times faster on a CPU than torch's own
    Bernoulli; the share is rounded to 1 / 65536, and the scale is that of the rounded share.
    """
    if share == 0.0:
        return x
    kept = round((1.0 - share) * 65536)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[: x.numel()].view(x.shape)
    return x * (bits < kept - 32768).to(x.dtype).mul_(65536 / kept)


class Block(nn.Module):
    """One block: causal attention, then a feed-forward part, each added to its normed input."""

    def __init__(self, config: SASRecConfig) -> None:
        """Make the weights of one block."""
        super().__init__()
        self.config = config
        self.attention_norm = nn.LayerNorm(config.dim)
        self.queries_keys_values = nn.Linear(config.dim, 3 * config.dim)
        self.attention_out = nn.Linear(config.dim, config.dim)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.ffn_in = nn.Linear(config.dim, config.ffn_dim or config.dim)
        self.ffn_out = nn.Linear(config.ffn_dim or config.dim, config.dim)

    def forward(self, x_BLD: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """The cells after this block, (B, L, D)."""
        share = self.config.dropout if self.training else 0.0
        asks_BLD = self.attention_norm(x_BLD)
        x_BLD = self.ffn_norm(asks_BLD + self._attend(asks_BLD, x_BLD, mask, generator))
        inner = drop(F.relu(self.ffn_in(x_BLD)), share, generator)
        return x_BLD + drop(self.ffn_out(inner), share, generator)

    def _attend(
        self, asks_BLD: Tensor, x_BLD: Tensor, mask: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        dim, n_heads = self.config.dim, self.config.n_heads
        weight, bias = self.queries_keys_values.weight, self.queries_keys_values.bias
        heads = (*x_BLD.shape[:2], n_heads, dim // n_heads)
        q_BHLD = F.linear(asks_BLD, weight[:dim], bias[:dim]).view(heads).transpose(1, 2)
        keys_values = F.linear(x_BLD, weight[dim:], bias[dim:]).view(*x_BLD.shape[:2], 2, *heads[2:])
        k_BHLD, v_BHLD = keys_values.permute(2, 0, 3, 1, 4)
        if self.training and self.config.attention_dropout:
            if mask is None:
                mask = packed_mask(torch.zeros(x_BLD.shape[:2], device=x_BLD.device), x_BLD.dtype)
            scores_BHLL = q_BHLD @ (k_BHLD * heads[3] ** -0.5).transpose(2, 3) + mask
            y_BHLD = drop(scores_BHLL.softmax(3), self.config.attention_dropout, generator) @ v_BHLD
        else:
            y_BHLD = F.scaled_dot_product_attention(
                q_BHLD, k_BHLD, v_BHLD, attn_mask=mask, is_causal=mask is None
            )
        y_BLD: Tensor = self.attention_out(y_BHLD.transpose(1, 2).reshape(x_BLD.shape))
        return y_BLD
