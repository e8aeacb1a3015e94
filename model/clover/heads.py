"""What maps features to the joint space. Shapes: B items, E joint space."""

from torch import Tensor, nn
from torch.nn import functional


class ClipProjection(nn.Module):
    """Two layers with norms: for clips, and for what stands for a clip after the fused pass.

    Args:
        width: of the features.
        hidden: width between the layers.
        projection: width E of the joint space.
    """

    def __init__(self, *, width: int, hidden: int, projection: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, projection)
        self.norm2 = nn.LayerNorm(projection)

    def forward(self, features: Tensor) -> Tensor:
        """Return the embeddings before they are scaled to length 1, (B, E)."""
        hidden = functional.gelu(self.norm1(self.fc1(features)))
        embedded: Tensor = self.norm2(self.fc2(hidden))
        return embedded


class TextProjection(nn.Module):
    """Two layers without norms: for texts, and for what stands for a text after the fused pass.

    Args:
        width: of the features.
        projection: width E of the joint space.
        dropout: probability between the layers.
    """

    def __init__(self, *, width: int, projection: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, projection)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the embeddings before they are scaled to length 1, (B, E)."""
        embedded: Tensor = self.fc2(self.dropout(functional.gelu(self.fc1(features))))
        return embedded
