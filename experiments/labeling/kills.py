"""Is an answer that is stored ever asked for again, or lost, when the labeler is killed?

    python experiments/labeling/kills.py --kills 10 --seed 0 --scratch FOLDER

Draws figures, starts the server of this folder, and labels with `python -m style_match.label`, which is killed with
SIGKILL at random moments and started again with the same command until it ends by itself. Synthetic data; Linux only.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.labeling.faults import Faults
from experiments.labeling.figures import Figures
from experiments.labeling.server import Server
from style_match.labeling.ledger import read_values

ANSWER_S = 0.3  # of a request, as long as the server takes
CONCURRENCY = 8
SPREAD = 2.5  # a kill falls into so much of the time that its share of the photos would take, were nothing else to do
POLL_S = 0.002
WAIT_S = 120


class Labelling:
    """The command over one folder of photos and one out folder, and what the server saw of it."""

    def __init__(self, photos: Path, out: Path, server: Server) -> None:
        self.photos, self.out, self.server = photos, out, server
        self.names = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in photos.glob("*.jpg")}

    def start(self) -> subprocess.Popen:
        words = [
            f"images={self.photos}",
            f"out={self.out}",
            "labeler=openai",
            f"labeler.base_url={self.server.url}",
            f"labeler.concurrency={CONCURRENCY}",
            "progress=false",
        ]
        command = [sys.executable, "-m", "style_match.label", *words]
        environment = {**os.environ, "OPENAI_API_KEY": "sk-synthetic"}
        with open(self.out.with_suffix(".log"), "a") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def stored(self) -> dict[str, dict]:
        """Image -> values, as the ledger has them."""
        ledger = self.out / "labels.sqlite"
        return {self.names[photo]: values for photo, values in read_values(ledger).items()} if ledger.exists() else {}

    def asked(self) -> dict[str, int]:
        """Image -> how many requests showed it."""
        with self.server.lock:
            return {Path(image).name: number for image, number in self.server.asked.items()}

    def kill(self, after_s: float, *, asking: bool) -> None:
        """Start, and kill so many seconds later.

        Args:
            asking: count from the first request on.
        """
        before = sum(self.asked().values())
        process = self.start()
        until = time.monotonic() + WAIT_S
        while asking and sum(self.asked().values()) == before and process.poll() is None and time.monotonic() < until:
            time.sleep(POLL_S)
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def draw(folder: Path, num_photos: int) -> None:
    from hydra import compose, initialize_config_dir

    from style_match.cli.main import VERSION_BASE
    from style_match.cli.targets import conf_dir
    from style_match.synthetic.dataset import draw_demo

    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        options = ["data=demo_styles", f"data.num_photos={num_photos}", "data.num_workers=1", f"data.root={folder}"]
        draw_demo(compose("embed", options).data, show=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for photos and labels, emptied first")
    args = parser.parse_args()
    scratch = args.scratch.absolute()
    shutil.rmtree(scratch, ignore_errors=True)
    os.environ["STYLE_MATCH_CACHE"] = str(scratch / "cache")
    draw(scratch / "drawn", args.photos)
    shutil.copytree(scratch / "drawn" / "images", scratch / "photos")
    server = Server(Figures([scratch / "drawn"]), Faults(always="slow"), hang_s=ANSWER_S)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    labelling = Labelling(scratch / "photos", scratch / "out", server)
    moments = random.Random(args.seed)
    span = SPREAD * ANSWER_S * args.photos / CONCURRENCY / args.kills
    again = lost = 0
    print(f"Synthetic data: {args.photos} drawn figures, {CONCURRENCY} requests at work, {ANSWER_S} s each\n")
    print(f"{'':>2}  {'moment':24}  {'stored':>6}  {'sent':>5}  {'in flight':>9}  asked again", flush=True)
    for number in range(1, args.kills + 1):
        stored, asked = labelling.stored(), labelling.asked()
        asking = number % 5 != 0  # every fifth falls into the start
        after_s = moments.random() * (span if asking else 3)
        labelling.kill(after_s, asking=asking)
        time.sleep(2 * ANSWER_S)  # what was at work at the server ends
        now, sent = labelling.stored(), labelling.asked()
        lost += sum(now.get(image) != values for image, values in stored.items())
        repeated = sum(sent[image] > asked.get(image, 0) for image in stored if image in sent)
        again += repeated
        new = sum(sent.values()) - sum(asked.values())
        in_flight = new - (len(now) - len(stored))
        moment = f"{'asking' if asking else 'start'} +{after_s:.2f} s"
        print(f"{number:>2}  {moment:24}  {len(now):>6}  {new:>5}  {in_flight:>9}  {repeated:>11}", flush=True)
    stored, asked = labelling.stored(), labelling.asked()
    if labelling.start().wait():
        raise SystemExit(labelling.out.with_suffix(".log").read_text())
    now, sent = labelling.stored(), labelling.asked()
    lost += sum(now.get(image) != values for image, values in stored.items())
    again += sum(sent[image] > asked.get(image, 0) for image in stored)
    lines = len((labelling.out / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
    print(
        f"\nThen to its end: {len(now)} answers stored, {lines} lines in metadata.jsonl, {sum(sent.values())} requests"
    )
    print(f"{args.kills} kills: stored answers asked again: {again}, lost: {lost}")
    if again or lost or lines != args.photos:
        sys.exit(1)


if __name__ == "__main__":
    main()
