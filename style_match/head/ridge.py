"""Ridge regression from one side of a couple to the other."""

import torch
from torch import Tensor
from torch.nn import functional

from style_match.errors import UserError
from style_match.gallery import TrainSet
from style_match.head.closed_form import ClosedForm

DIRECTIONS = ("both", "left_to_right", "right_to_left")


class Ridge(ClosedForm):
    """Who looks like the partner that ridge regression foretells; all in columns standardised for each side.

    The similarity is the cosine of the foretold and the true features; with direction=both, its mean over left to right
    and right to left, which the embedding holds side by side.

    Args:
        strength: of the ridge, a couple: min |X B - Y|^2 / C + strength |B|^2.
        direction: "left_to_right", "right_to_left" or "both".
    """

    tells_sides = True
    mean: Tensor
    std: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, strength: float, direction: str):
        if direction not in DIRECTIONS:
            raise UserError(f"head.direction={direction}: write one of {', '.join(DIRECTIONS)}.")
        super().__init__(in_dim=in_dim, dim=2 * in_dim if direction == "both" else in_dim)
        self.strength, self.direction = strength, direction
        self.register_buffer("mean", torch.zeros(2, in_dim))
        self.register_buffer("std", torch.ones(2, in_dim))
        self.register_buffer("map", torch.zeros(2, in_dim, in_dim))

    def solve(self, train: TrainSet) -> None:
        sides = torch.stack(train.couples())
        mean, std = sides.mean(1), sides.std(1, correction=0)
        std = torch.where(std > 0, std, 1.0)  # a column that never changes
        x = (sides - mean[:, None]) / std[:, None]
        diagonal = self.strength * torch.eye(self.in_dim, dtype=x.dtype)
        num = x.shape[1]
        maps = [torch.linalg.solve(one.T @ one / num + diagonal, one.T @ other / num) for one, other in (x, x.flip(0))]
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.map.copy_(torch.stack(maps))

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        assert side is not None
        standard = (features - self.mean[side]) / self.std[side]
        foretold = torch.where(side[:, None] == 0, standard @ self.map[0], standard @ self.map[1])
        is_left = side[:, None] == 0
        first = functional.normalize(torch.where(is_left, foretold, standard), dim=1)
        second = functional.normalize(torch.where(is_left, standard, foretold), dim=1)
        blocks = {"both": torch.cat([first, second], dim=1), "left_to_right": first, "right_to_left": second}
        return blocks[self.direction]
