"""What users do wrong and what the answer must say; FOLDER is the world of a case, with the good folder FOLDER/data."""

from tests.integration.mistakes import world
from tests.integration.mistakes.case import Case
from tests.integration.mistakes.data_cases import DATA, FINE, PHOTOS, TABLES

SMALL = f"{DATA} sampler.batch_size=8 head.hidden_dim=16 head.dim=8 trainer.max_epochs=1 hydra.run.dir=FOLDER/new"
NO_KEY = {"WANDB_API_KEY": "", "NETRC": "FOLDER/netrc"}

WORDS = [
    Case("unknown_option", "an option that does not exist", "head.dmi=3", ("head.dmi=3", "Did you mean head.dim=3?")),
    Case("unknown_group", "a group that does not exist", "los=triplet", ("los=triplet", "Did you mean loss=triplet?")),
    Case("unknown_choice", "a choice that does not exist", "loss=infonec", ("loss=infonec", "mean loss=infonce?")),
    Case("no_width", "a head of no width", "head.dim=0", ("head.dim", "an integer >= 1", "(got 0)")),
    Case("cold", "a negative temperature", "loss.temperature=-0.1", ("loss.temperature", "> 0", "(got -0.1)")),
    Case("split_seed_word", "a word as seed of the split", "split.seed=abc", ("split.seed", "an integer", "(got abc)")),
    Case("split_seed_negative", "a negative seed of the split", "split.seed=-1", ("split.seed", ">= 0", "(got -1)")),
    Case(
        "sweep_over_unlike",
        "a sweep over two losses and an option that one of them has",
        "-m loss=triplet,infonce loss.temperature=0.1,0.2",
        (
            "loss=triplet has no option temperature",
            "Run one sweep per choice of loss",
        ),
    ),
    Case(
        "share_none",
        "a share that does not exist",
        "share=5/4",
        ("share must be", "1/4 to 4/4", "(got 5/4)"),
        step="embed",
    ),
    Case(
        "share_of_several",
        "several processes, all asked for one share",
        "share=1/2",
        ("share=1/2", "torchrun started 2 processes", "Leave share out"),
        step="embed",
        environment={"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
    ),
    Case(
        "several_processes",
        "a step that is one process, started several times by srun",
        "seed=0",
        ("srun started 4 processes of style_match.train", "start one"),
        environment={"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"},
    ),
    Case("resume_what", "going on with no run named", "ckpt_path=last", ("ckpt_path=last", "set run=FOLDER")),
    Case("no_run", "a run that is none", "run=FOLDER/data", ("run=FOLDER/data is not a run folder", "config.yaml")),
    Case(
        "evaluate_no_run",
        "evaluating a run that is not there",
        "run=FOLDER/runn",
        ("run=FOLDER/runn",),
        step="evaluate",
    ),
]

BATCHES = [
    Case(
        "k_above_gallery",
        "a k larger than the gallery",
        f"{SMALL} evaluation.ks=[1,50]",
        ("evaluation.ks", "50", "gallery"),
        early=False,
    ),
    Case(
        "batch_above_split",
        "fewer training couples than a batch",
        f"{SMALL} sampler.batch_size=48",
        ("16 training couples", "sampler.batch_size=48", "set sampler.batch_size to 16 or less"),
        early=False,
    ),
]

BACKBONES = [
    Case(
        "backbone_other",
        "a backbone of another architecture",
        f"{SMALL} backbone.path=FOLDER/backbone",
        ("FOLDER/backbone/config.json", "'qwen2_vl'", "Set backbone.path to a Qwen3-VL checkpoint"),
        lambda folder: [
            world.copy_tiny(folder),
            world.edit("backbone/config.json", '"qwen3_vl"', '"qwen2_vl"')(folder),
        ],
    ),
    Case(
        "backbone_no_weights",
        "a backbone without weights",
        f"{SMALL} backbone.path=FOLDER/backbone",
        ("FOLDER/backbone contains no weights", "model.safetensors"),
        lambda folder: [world.copy_tiny(folder), world.remove("backbone/model.safetensors")(folder)],
    ),
    Case(
        "backbone_cut_short",
        "a backbone whose download was broken off",
        f"{SMALL} backbone.path=FOLDER/backbone",
        ("FOLDER/backbone/model.safetensors is damaged or cut short", "Download it again"),
        lambda folder: [world.copy_tiny(folder), world.cut("backbone/model.safetensors")(folder)],
    ),
    Case(
        "no_backbone",
        "a backbone folder that is not there",
        f"{SMALL} backbone.path=FOLDER/backbon",
        ("backbone.path=FOLDER/backbon", "no such folder"),
    ),
    Case(
        "no_network",
        "the 2B model without a network",
        f"{SMALL} backbone=qwen3_vl_2b",
        (
            "backbone.path=Qwen/Qwen3-VL-2B-Instruct (revision main)",
            "hf download",
            "backbone.path=FOLDER",
            "backbone=tiny",
        ),
        environment={"HF_HUB_OFFLINE": "0", "HF_HOME": "FOLDER/hub", "HF_ENDPOINT": "http://127.0.0.1:9"},
        early=False,
        own_process=True,  # the hub's library reads these variables when it is imported
    ),
]

RUNS = [
    Case(
        "resume_nothing",
        "going on with a run that has no checkpoint",
        "run=FOLDER/run ckpt_path=last",
        ("ckpt_path=last", "no checkpoint yet", "run=FOLDER/run"),
        world.remove("run/checkpoints/last.ckpt"),
        has_run=True,
        early=False,
    ),
    Case(
        "two_at_once",
        "two runs in one run folder at once",
        "run=FOLDER/run ckpt_path=last",
        ("Another process is writing the run folder FOLDER/run", "Wait for it, or set another hydra.run.dir"),
        has_run=True,
        busy="run",
    ),
    Case(
        "two_new_at_once",
        "a new run in the folder of one that is still running",
        SMALL.replace("FOLDER/new", "FOLDER/run"),
        ("Another process is writing the run folder FOLDER/run", "Wait for it, or set another hydra.run.dir"),
        has_run=True,
        busy="run",
    ),
    Case(
        "folder_taken",
        "a new run in the folder of an old one",
        SMALL.replace("FOLDER/new", "FOLDER/run"),
        ("FOLDER/run already contains a run", "another hydra.run.dir"),
        has_run=True,
    ),
    Case(
        "head_other_width",
        "the checkpoint of a head of another hidden size",
        "run=FOLDER/run head.hidden_dim=32 hydra.run.dir=FOLDER/new",
        ("FOLDER/run/checkpoints/best.ckpt", "16", "32", "head.hidden_dim"),
        step="evaluate",
        has_run=True,
        early=False,
    ),
    Case(
        "head_other_kind",
        "the weights of a backbone as the checkpoint of a head",
        "run=FOLDER/run ckpt_path=FOLDER/backbone/model.safetensors hydra.run.dir=FOLDER/new",
        ("FOLDER/backbone/model.safetensors is not a checkpoint", "RUN/checkpoints/best.ckpt"),
        world.copy_tiny,
        step="evaluate",
        has_run=True,
        early=False,
    ),
    Case(
        "no_checkpoint",
        "a checkpoint that is not there",
        "run=FOLDER/run ckpt_path=FOLDER/bst.ckpt hydra.run.dir=FOLDER/new",
        ("There is no checkpoint FOLDER/bst.ckpt", "ckpt_path"),
        step="evaluate",
        has_run=True,
        early=False,
    ),
    Case(
        "wandb_no_key",
        "Weights & Biases online without a key",
        f"{SMALL} logger=wandb logger.wandb.mode=online",
        ("logger.wandb.mode=online needs a key", "wandb login", "WANDB_API_KEY"),
        environment=NO_KEY,
        early=False,
    ),
    Case(
        "no_tensorboard",
        "TensorBoard, which is not installed",
        f"{SMALL} logger=tensorboard",
        ("logger=tensorboard needs TensorBoard", "pip install 'style_match[tensorboard]'"),
        lacks="tensorboard",
        early=False,
    ),
]

DISKS = [
    Case(
        "store_below_file",
        "a feature store that cannot be written",
        f"{SMALL} features.root=FOLDER/data/profiles.csv/features",
        ("FOLDER/data/profiles.csv/features", "Not a directory", "features.root=FOLDER"),
        early=False,
    ),
    Case(
        "run_below_file",
        "a run folder that cannot be made",
        f"{DATA} hydra.run.dir=FOLDER/data/profiles.csv/run",
        ("FOLDER/data/profiles.csv", "Not a directory", "hydra.run.dir"),
    ),
    Case(
        "full_store",
        "the disk is full while features are written",
        f"{DATA} features.root=FOLDER/features",
        ("Cannot write FOLDER/features/", ".safetensors: ", "earlier ones are kept", "features.root=FOLDER"),
        step="embed",
        environment={"STYLE_MATCH_CACHE": "FOLDER/cache"},  # its files are smaller than the limit
        file_kb=64,
        early=False,
    ),
    Case(
        "full_run",
        "the disk is full while a checkpoint is written",
        f"{SMALL} head.hidden_dim=512",
        ("FOLDER/new/checkpoints/", "Free some space", "run=FOLDER/new"),
        environment={"STYLE_MATCH_CACHE": "FOLDER/cache"},
        file_kb=320,
        early=False,
    ),
]

CASES = [*WORDS, *TABLES, *PHOTOS, *BATCHES, *BACKBONES, *RUNS, *DISKS, *FINE]
