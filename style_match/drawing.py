"""The synthetic dataset folder that a config describes, in the cache of this user."""

import hashlib
import json
from pathlib import Path

from omegaconf import DictConfig

from style_match import progress
from style_match.errors import UserError
from style_match.files import cache_root

# Options of demo data that change nothing in the folder that is drawn.
NOT_DRAWN = ("root", "image_root", "num_workers", "on_bad_image", "max_source_pixels")


def draw_demo(data: DictConfig, *, show: bool) -> Path:
    """Draw the synthetic dataset folder that `cfg.data` describes, unless it is there already.

    Returns:
        its folder: `data.root`, or one in the cache named after the world seed and all else that is drawn.

    Raises:
        UserError: the folder holds other files, or cannot be written.
    """
    from style_match.demo.dataset import write_couples, write_styles
    from style_match.demo.photo_files import alone
    from style_match.demo.world import WorldParams

    drawing = {name: value for name, value in data.items() if name not in NOT_DRAWN}
    digest = hashlib.sha256(json.dumps(drawing, sort_keys=True, default=dict).encode()).hexdigest()[:8]
    own = cache_root() / "demo" / f"{data.name}-{data.world_seed}-{digest}"
    root = Path(data.root).expanduser() if data.root else own
    world = dict(data.world) if data.task == "couple" else {"rho": 0.0, "temperature": 0.0, **data.world}  # not read
    options = dict(
        world_seed=data.world_seed, size_px=data.size_px, params=WorldParams(**world), num_workers=data.num_workers
    )
    try:
        with alone(root), progress.bar("drawing synthetic figures", "photos", show=show) as advance:
            if data.task == "couple":
                write_couples(root, num_couples=data.num_couples, progress=advance, **options)
            else:
                write_styles(root, num_photos=data.num_photos, progress=advance, **options)
    except OSError as error:
        if isinstance(error, FileExistsError) and error.errno is None:  # the demo's own, not the operating system's
            raise UserError(
                f"data={data.name} draws synthetic figures, and {root} holds other files. For your own photos there "
                f"write data={data.name.removeprefix('demo_')} data.root={root}."
            ) from error
        remedy = "another data.root" if data.root else "another cache by STYLE_MATCH_CACHE"
        raise UserError(f"The demo cannot be drawn into {root}: {error.strerror}. Give {remedy}.") from error
    return root
