"""Mistakes in the dataset folder, and what looks like one but simply works."""

import shutil

from tests.integration.mistakes import world
from tests.integration.mistakes.case import Case

DATA = "data=couples data.root=FOLDER/data"
STYLES = "data=styles data.root=FOLDER/data"

TABLES = [
    Case(
        "no_folder",
        "a dataset folder that is not there",
        "data=couples data.root=FOLDER/dat",
        ("data.root=FOLDER/dat", "does not exist", "profiles.csv"),
        remedies=("data.root=FOLDER/data",),
    ),
    Case(
        "no_root",
        "no dataset folder named",
        "data=couples",
        ("data.root is required", "data.root=FOLDER"),
        remedies=("data.root=FOLDER/data",),
    ),
    Case(
        "no_profiles",
        "profiles.csv is misspelt",
        DATA,
        ("neither profiles.csv nor profiles.parquet", "did you mean 'profile.csv'?", "profile_id, image"),
        world.move("data/profiles.csv", "data/profile.csv"),
        remedies=(world.move("data/profile.csv", "data/profiles.csv"),),
    ),
    Case(
        "no_couples",
        "couples.csv is missing",
        DATA,
        ("neither couples.csv nor couples.parquet", "female_id, male_id"),
        world.remove("data/couples.csv"),
        remedies=(world.write("data/couples.csv", world.COUPLES),),
    ),
    Case(
        "no_column",
        "a column is missing",
        DATA,
        ("profiles.csv: no column 'image'", "did you mean 'images'?"),
        world.edit("data/profiles.csv", "profile_id,image,", "profile_id,images,"),
        remedies=(world.edit("data/profiles.csv", "profile_id,images,", "profile_id,image,"),),
    ),
    Case(
        "no_class_column",
        "the class column has another name",
        f"{STYLES} data.label_column=style",
        ("profiles.csv: no column 'style'", "fashion_style"),
        remedies=("data.label_column=fashion_style",),
    ),
    Case(
        "no_cell",
        "a cell is missing",
        DATA,
        ("profiles.csv, line 8, column image", "the cell is missing", "fill it in or remove the row"),
        world.edit("data/profiles.csv", "f3,photos/f3.jpg,", "f3,,"),
        remedies=(
            world.edit("data/profiles.csv", "f3,,", "f3,photos/f3.jpg,"),
            world.without("f3"),
        ),
    ),
    Case(
        "no_photo",
        "a photo is missing",
        DATA,
        ("profiles.csv, line 8, column image", "'photos/f3.jpg' does not exist"),
        world.remove("data/photos/f3.jpg"),
        remedies=(
            world.copy("data/photos/f4.jpg", "data/photos/f3.jpg"),
            world.without("f3"),
        ),
    ),
    Case(
        "photos_elsewhere",
        "all photos are elsewhere",
        DATA,
        ("none of the 48 images exists", "set data.image_root"),
        world.move("data/photos", "album/photos"),
        remedies=(
            "data.image_root=FOLDER/album",
            world.move("album/photos", "data/photos"),
        ),
    ),
    Case(
        "row_twice",
        "the same row twice",
        DATA,
        ("profiles.csv, line 50", "'f3'", "in line 8; remove one"),
        world.add_row("data/profiles.csv", "f3,photos/f3.jpg,female,plain"),
        remedies=(
            world.drop_line("data/profiles.csv", 50),
            world.drop_line("data/profiles.csv", 8),
        ),
    ),
    Case(
        "id_twice",
        "one id for two people",
        DATA,
        ("profiles.csv, line 9, column gender", "profile 'f3'", "in line 8", "make them agree"),
        world.edit("data/profiles.csv", "m3,photos", "f3,photos"),
        remedies=(world.edit("data/profiles.csv", "f3,photos/m3", "m3,photos/m3"),),
    ),
    Case(
        "unknown_profile",
        "a couple names an unknown profile",
        DATA,
        ("couples.csv, line 5, column male_id", "no profile 'm99' in profiles.csv", "add it or correct the id"),
        world.edit("data/couples.csv", "f3,m3\n", "f3,m99\n"),
        remedies=(
            world.edit("data/couples.csv", "m99", "m3"),
            world.add_row("data/profiles.csv", "m99,photos/m3.jpg,male,plain"),
        ),
    ),
    Case(
        "with_oneself",
        "a profile is coupled with itself",
        DATA,
        ("couples.csv, line 5", "'f3' is coupled with itself", "remove or correct the row"),
        world.edit("data/couples.csv", "f3,m3\n", "f3,f3\n"),
        remedies=(
            world.edit("data/couples.csv", "f3,f3\n", "f3,m3\n"),
            world.drop_line("data/couples.csv", 5),
        ),
    ),
    Case(
        "couple_twice",
        "the same couple twice",
        DATA,
        ("couples.csv, line 26", "'f3', 'm3' is already in line 5", "remove one"),
        world.add_row("data/couples.csv", "f3,m3"),
        remedies=(
            world.drop_line("data/couples.csv", 26),
            world.drop_line("data/couples.csv", 5),
        ),
    ),
    Case(
        "couple_in_two_splits",
        "a couple in two splits",
        DATA,
        ("couples.csv, line 26", "in line 5", "in split train there and test here"),
        lambda folder: [
            world.with_splits(lambda couple: ("train", "train", "val", "test")[(couple - 3) % 4])(folder),
            world.add_row("data/couples.csv", "f3,m3,test")(folder),
        ],
        remedies=(
            world.drop_line("data/couples.csv", 26),
            world.drop_line("data/couples.csv", 5),
        ),
    ),
    Case(
        "person_in_two_splits",
        "a person in two splits",
        DATA,
        ("couples.csv", "profile f3", "f3 + m3 (train)", "f3 + m4 (val)", "put connected people into one split"),
        lambda folder: [
            world.with_splits(lambda couple: ("train", "val", "test")[couple % 3])(folder),
            world.edit("data/couples.csv", "f4,m4,val", "f3,m4,val")(folder),
        ],
        remedies=(world.edit("data/couples.csv", "f3,m4,val", "f3,m4,train"),),
    ),
    Case(
        "empty_split",
        "a split without rows",
        DATA,
        ("couples.csv, column split", "no row is in split 'val'", "each split needs rows"),
        world.with_splits(lambda couple: "train" if couple < 16 else "test"),
        remedies=(
            world.edit("data/couples.csv", "f20,m20,test", "f20,m20,val"),
            world.write("data/couples.csv", world.COUPLES),
        ),
    ),
    Case(
        "too_few_couples",
        "too few couples to split",
        DATA,
        ("3 couples", "val", "Add couples."),
        world.rewrite("data/couples.csv", lambda text: "\n".join(text.splitlines()[:4]) + "\n"),
        remedies=(world.write("data/couples.csv", world.COUPLES),),
    ),
    Case(
        "one_class",
        "one class only",
        STYLES,
        ("profiles.csv, column fashion_style", "every profile has the class 'plain'", "at least two classes"),
        world.rewrite("data/profiles.csv", lambda text: text.replace("dotted", "plain").replace("striped", "plain")),
        remedies=(world.edit("data/profiles.csv", "f3,photos/f3.jpg,female,plain", "f3,photos/f3.jpg,female,dotted"),),
    ),
    Case(
        "cp1252",
        "a table in the encoding of Windows",
        DATA,
        ("profiles.csv, line 8", "is not UTF-8", "Excel: 'CSV UTF-8'"),
        world.rewrite(
            "data/profiles.csv",
            lambda text: text.replace("f3.jpg,female,plain", "f3.jpg,female,plané").encode("cp1252"),
        ),
        remedies=(world.as_utf8("data/profiles.csv", "cp1252"),),
    ),
    Case(
        "utf16",
        "a table in UTF-16",
        DATA,
        ("couples.csv: is UTF-16, not UTF-8", "Excel: 'CSV UTF-8'"),
        world.rewrite("data/couples.csv", lambda text: text.encode("utf-16")),
        remedies=(world.as_utf8("data/couples.csv", "utf-16"),),
    ),
    Case(
        "one_user_couple",
        "a couple of one person",
        DATA,
        ("couples.csv, line 5: profiles 'f3' and 'm3' are one person, user_id 'u3'", "remove or correct the row"),
        world.rewrite("data/profiles.csv", lambda text: world.with_column(text, "user_id", {"f3": "u3", "m3": "u3"})),
        remedies=(
            world.drop_line("data/couples.csv", 5),
            world.edit("data/profiles.csv", "f3,photos/f3.jpg,female,plain,u3", "f3,photos/f3.jpg,female,plain,u4"),
        ),
    ),
    Case(
        "swapped",
        "the columns of couples.csv are swapped",
        DATA,
        (
            "couples.csv, line 2, column male_id: profile 'f0' has gender 'female'",
            "are the columns swapped?",
            "left_id, right_id",
        ),
        world.edit("data/couples.csv", "female_id,male_id", "male_id,female_id"),
        remedies=(
            world.edit("data/couples.csv", "male_id,female_id", "female_id,male_id"),
            lambda folder: [
                world.edit("data/couples.csv", "male_id,female_id", "left_id,right_id")(folder),
                shutil.rmtree(folder / "data/splits"),  # the split of a run with the former columns, named if it stays
            ],
        ),
    ),
    Case(
        "both_pairs_of_ids",
        "couples.csv names its sides twice",
        DATA,
        ("couples.csv: has female_id, male_id and left_id, right_id", "keep one of the two"),
        world.rewrite(
            "data/couples.csv", lambda text: text.replace("female_id,male_id", "female_id,male_id,left_id,right_id")
        ),
        remedies=(world.write("data/couples.csv", world.COUPLES),),
    ),
    Case(
        "both_tables",
        "a table as CSV and as Parquet",
        DATA,
        ("couples.csv and couples.parquet are both there", "remove one"),
        world.write("data/couples.parquet", ""),
        remedies=(world.remove("data/couples.parquet"),),
    ),
    Case(
        "class_spelling",
        "one class in two spellings",
        STYLES,
        (
            "profiles.csv, column fashion_style: classes 'Dotted' and 'dotted' differ only in spelling",
            "use one spelling",
        ),
        world.edit("data/profiles.csv", "f1,photos/f1.jpg,female,dotted", "f1,photos/f1.jpg,female,Dotted"),
        remedies=(world.edit("data/profiles.csv", "Dotted", "dotted"),),
    ),
    Case(
        "unknown_class",
        "a class that classes.json does not list",
        STYLES,
        (
            "profiles.csv, line 3, column fashion_style: 'plian' is no class of classes.json",
            "did you mean 'plain'?",
            "add it at the end",
        ),
        lambda folder: [
            world.write("data/classes.json", '{"column": "fashion_style", "classes": ["plain", "dotted", "striped"]}')(
                folder
            ),
            world.edit("data/profiles.csv", "m0,photos/m0.jpg,male,plain", "m0,photos/m0.jpg,male,plian")(folder),
        ],
        remedies=(
            world.edit("data/profiles.csv", "plian", "plain"),
            world.edit("data/classes.json", '"striped"]', '"striped", "plian"]'),
        ),
    ),
    Case(
        "classes_broken",
        "classes.json is cut off",
        STYLES,
        ("classes.json: is broken JSON", "restore it, or delete it to number the classes again"),
        world.write("data/classes.json", '{"column": "fashion_style", "classes": ["plain",'),
        remedies=(
            world.remove("data/classes.json"),
            world.write("data/classes.json", '{"column": "fashion_style", "classes": ["plain", "dotted", "striped"]}'),
        ),
    ),
    Case(
        "metadata_unknown_photo",
        "metadata of a photo that no profile has",
        DATA,
        ("metadata.jsonl, line 2: no photo 'photos/f33.jpg' in profiles.csv", "correct the name or remove the line"),
        world.write("data/metadata.jsonl", world.METADATA.replace("photos/f1.jpg", "photos/f33.jpg")),
        remedies=(world.edit("data/metadata.jsonl", "f33", "f3"), world.drop_line("data/metadata.jsonl", 2)),
    ),
    Case(
        "metadata_twice",
        "two lines of metadata for one photo",
        DATA,
        ("metadata.jsonl, line 2: image 'photos/f0.jpg' already has metadata in line 1", "remove one"),
        world.write("data/metadata.jsonl", world.METADATA.replace("photos/f1.jpg", "photos/f0.jpg")),
        remedies=(world.drop_line("data/metadata.jsonl", 1), world.drop_line("data/metadata.jsonl", 2)),
    ),
    Case(
        "metadata_cut_off",
        "a line of metadata that is cut off",
        DATA,
        ("metadata.jsonl, line 2: is broken JSON", "write one JSON object per line"),
        world.write("data/metadata.jsonl", world.METADATA[:-3]),
        remedies=(world.write("data/metadata.jsonl", world.METADATA), world.drop_line("data/metadata.jsonl", 2)),
    ),
]

PHOTOS = [
    Case(
        "parent",
        "a path that leaves the folder",
        DATA,
        ("profiles.csv, line 8, column image", "'../f3.jpg' leaves the folder by '..'", "data.image_root"),
        world.edit("data/profiles.csv", "photos/f3.jpg", "../f3.jpg"),
        remedies=(world.edit("data/profiles.csv", "../f3.jpg", "photos/f3.jpg"),),
    ),
    Case(
        "absolute",
        "an absolute path",
        DATA,
        ("profiles.csv, line 8, column image", "'/photos/f3.jpg' is an absolute path", "relative to FOLDER/data"),
        world.edit("data/profiles.csv", "photos/f3.jpg", "/photos/f3.jpg"),
        remedies=(world.edit("data/profiles.csv", "/photos/f3.jpg", "photos/f3.jpg"),),
    ),
    Case(
        "link_out",
        "a symbolic link out of the folder",
        DATA,
        ("profiles.csv, line 8, column image", "symbolic link out of FOLDER/data", "copy the file"),
        world.link_out,
        remedies=(world.copy("elsewhere.jpg", "data/photos/f3.jpg"),),
    ),
    Case(
        "bomb",
        "an image of 60,000 x 60,000",
        DATA,
        (
            "profiles.csv, line 8",
            "photos/f3.jpg",
            "60000 x 60000",
            "data.max_source_pixels",
            "data.on_bad_image=exclude",
        ),
        world.photo(world.png_that_claims(60_000, 60_000)),
        remedies=("data.on_bad_image=exclude",),
    ),
    Case(
        "truncated",
        "a JPEG that is cut off",
        DATA,
        ("profiles.csv, line 8", "photos/f3.jpg", "is damaged or cut off", "data.on_bad_image=exclude"),
        world.photo(lambda content: content[: len(content) // 2]),
        remedies=(
            "data.on_bad_image=exclude",
            world.copy("data/photos/f4.jpg", "data/photos/f3.jpg"),
        ),
    ),
    Case(
        "text",
        "a text file called .jpg",
        DATA,
        ("profiles.csv, line 8", "photos/f3.jpg", "is not an image", "data.on_bad_image=exclude"),
        world.photo(b"404: not found"),
        remedies=(
            "data.on_bad_image=exclude",
            world.copy("data/photos/f4.jpg", "data/photos/f3.jpg"),
        ),
    ),
]

FINE = [
    Case(
        "bom_crlf",
        "(no mistake) a table with byte order mark and CRLF, as Excel writes it",
        DATA,
        (),
        lambda folder: [
            world.rewrite(name, lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())(folder)
            for name in ("data/profiles.csv", "data/couples.csv")
        ],
        code=0,
        step="embed",
    ),
    Case(
        "semicolons",
        "(no mistake) a table with semicolons",
        DATA,
        (),
        world.rewrite("data/couples.csv", lambda text: text.replace(",", ";")),
        0,
        "embed",
    ),
    Case("link_root", "(no mistake) a dataset folder that is a symbolic link", DATA, (), world.link_root, 0, "embed"),
    Case(
        "image_root",
        "(no mistake) photos elsewhere, named by data.image_root",
        f"{DATA} data.image_root=FOLDER/album",
        (),
        world.move("data/photos", "album/photos"),
        code=0,
        step="embed",
    ),
    Case(
        "other_script",
        "(no mistake) paths with other scripts and spaces",
        "data=couples 'data.root=FOLDER/사진 é/data' 'features.root=FOLDER/특징 ü' 'hydra.run.dir=FOLDER/실행 ñ' "
        "sampler.batch_size=8 head.hidden_dim=16 head.dim=8 trainer.max_epochs=1",
        (),
        lambda folder: [
            world.move("data/photos/f3.jpg", "data/photos/여자 3.jpg")(folder),
            world.edit("data/profiles.csv", "photos/f3.jpg", "photos/여자 3.jpg")(folder),
            world.move("data", "사진 é/data")(folder),
        ],
        code=0,
    ),
]
