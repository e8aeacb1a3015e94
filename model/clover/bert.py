"""BERT (arXiv:1810.04805): the text encoder, and the blocks that the fusion is made of.

Shapes: B texts, L text tokens, S tokens of any kind, Q tokens that ask, C width, H heads,
D = C / H.
"""

from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.embeddings import TEXT_NORM_EPS, TextEmbeddings


class BertAttention(nn.Module):
    """Self-attention with one projection for queries, keys and values.

    Args:
        width: feature width C.
        heads: number of heads H.
        dropout: probability for the weights of attention, and after the output projection.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.rate = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None, num_queries: int | None) -> Tensor:
        """Return what the first Q tokens (or all) gather from the sequence, (B, Q, C).

        Args:
            tokens: (B, S, C).
            mask: True where a key may be attended, bool (B, 1, 1, S); None: everywhere.
            num_queries: Q; None: all S.
        """
        if num_queries is None:
            query, key, value = self._split_heads(self.qkv(tokens), 3)
        else:
            width = tokens.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            asking = functional.linear(tokens[:, :num_queries], weight[:width], bias[:width])
            (query,) = self._split_heads(asking, 1)
            key, value = self._split_heads(
                functional.linear(tokens, weight[width:], bias[width:]), 2
            )
        gathered = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.rate if self.training else 0.0
        )  # (B, H, Q, D)
        mixed: Tensor = self.dropout(self.proj(gathered.transpose(1, 2).flatten(2)))
        return mixed

    def _split_heads(self, features: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Cut (B, S, parts C) into `parts` of (B, H, S, D)."""
        split = features.unflatten(-1, (parts, self.heads, -1))  # (B, S, parts, H, D)
        by_part: tuple[Tensor, ...] = split.permute(2, 0, 3, 1, 4).unbind()
        return by_part


class BertBlock(nn.Module):
    """One post-norm transformer block.

    Args:
        width: feature width C.
        heads: number of attention heads H.
        mlp_width: hidden width of the MLP.
        dropout: probability of dropout.
    """

    def __init__(self, *, width: int, heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.attn = BertAttention(width=width, heads=heads, dropout=dropout)
        self.norm1 = nn.LayerNorm(width, eps=TEXT_NORM_EPS)
        self.fc1 = nn.Linear(width, mlp_width)
        self.fc2 = nn.Linear(mlp_width, width)
        self.norm2 = nn.LayerNorm(width, eps=TEXT_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, num_queries: int | None = None
    ) -> Tensor:
        """Return the tokens after the block, (B, Q, C). Arguments as in `BertAttention`."""
        attended = self.attn(tokens, mask, num_queries)  # (B, Q, C)
        if num_queries is not None:
            tokens = tokens[:, :num_queries]
        tokens = self.norm1(tokens + attended)
        hidden = self.dropout(self.fc2(functional.gelu(self.fc1(tokens))))
        out: Tensor = self.norm2(tokens + hidden)
        return out


def run_blocks(
    blocks: nn.ModuleList, tokens: Tensor, mask: Tensor | None, num_queries: int | None
) -> Tensor:
    """Send tokens through blocks, (B, Q, C). The last computes what is asked for alone.

    Args:
        blocks: of a text encoder or a fusion.
        tokens: (B, S, C).
        mask: True where a key may be attended, bool (B, S).
        num_queries: first tokens Q that are wanted; None: all S.
    """
    keys = None if mask is None else mask[:, None, None]  # (B, 1, 1, S)
    last = len(blocks) - 1
    for index, block in enumerate(blocks):
        tokens = block(tokens, keys, num_queries if index == last else None)
    return tokens


class TextEncoder(nn.Module):
    """BERT without its pooler.

    Args:
        vocabulary: rows of the word table.
        max_tokens: rows of the position table.
        width: feature width C.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_width: hidden width of a block's MLP.
        dropout: probability of dropout.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        max_tokens: int,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(
            vocabulary=vocabulary, max_tokens=max_tokens, width=width, dropout=dropout
        )
        self.layers = nn.ModuleList(
            BertBlock(width=width, heads=heads, mlp_width=mlp_width, dropout=dropout)
            for _ in range(depth)
        )

    def forward(self, ids: Tensor, mask: Tensor, num_queries: int | None = None) -> Tensor:
        """Return the features of words, (B, L, C), or of the first Q alone.

        Args:
            ids: token ids, int64 (B, L).
            mask: True where a real token stands, bool (B, L).
            num_queries: Q; None: all L.
        """
        words: Tensor = self.embeddings(ids)
        return run_blocks(self.layers, words, mask, num_queries)
