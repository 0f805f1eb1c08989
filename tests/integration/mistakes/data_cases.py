"""Mistakes in the dataset folder, and what looks like one but simply works."""

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
    ),
    Case("no_root", "no dataset folder named", "data=couples", ("data.root is required", "data.root=FOLDER")),
    Case(
        "no_profiles",
        "profiles.csv is misspelt",
        DATA,
        ("neither profiles.csv nor profiles.parquet", "did you mean 'profile.csv'?", "profile_id, image"),
        world.move("data/profiles.csv", "data/profile.csv"),
    ),
    Case(
        "no_couples",
        "couples.csv is missing",
        DATA,
        ("neither couples.csv nor couples.parquet", "female_id, male_id"),
        world.remove("data/couples.csv"),
    ),
    Case(
        "no_column",
        "a column is missing",
        DATA,
        ("profiles.csv: no column 'image'", "did you mean 'images'?"),
        world.edit("data/profiles.csv", "profile_id,image,", "profile_id,images,"),
    ),
    Case(
        "no_class_column",
        "the class column has another name",
        f"{STYLES} data.label_column=style",
        ("profiles.csv: no column 'style'", "fashion_style"),
    ),
    Case(
        "no_cell",
        "a cell is missing",
        DATA,
        ("profiles.csv, line 8, column image", "the cell is missing", "fill it in or remove the row"),
        world.edit("data/profiles.csv", "f3,photos/f3.jpg,", "f3,,"),
    ),
    Case(
        "no_photo",
        "a photo is missing",
        DATA,
        ("profiles.csv, line 8, column image", "'photos/f3.jpg' does not exist"),
        world.remove("data/photos/f3.jpg"),
    ),
    Case(
        "photos_elsewhere",
        "all photos are elsewhere",
        DATA,
        ("none of the 48 images exists", "set data.image_root"),
        world.move("data/photos", "album/photos"),
    ),
    Case(
        "row_twice",
        "the same row twice",
        DATA,
        ("profiles.csv, line 50", "'f3'", "in line 8; remove one"),
        world.add_row("data/profiles.csv", "f3,photos/f3.jpg,female,plain"),
    ),
    Case(
        "id_twice",
        "one id for two people",
        DATA,
        ("profiles.csv, line 9, column gender", "profile 'f3'", "in line 8", "make them agree"),
        world.edit("data/profiles.csv", "m3,photos", "f3,photos"),
    ),
    Case(
        "unknown_profile",
        "a couple names an unknown profile",
        DATA,
        ("couples.csv, line 5, column male_id", "no profile 'm99' in profiles.csv", "add it or correct the id"),
        world.edit("data/couples.csv", "f3,m3\n", "f3,m99\n"),
    ),
    Case(
        "with_oneself",
        "a profile is coupled with itself",
        DATA,
        ("couples.csv, line 5", "'f3' is coupled with itself", "remove or correct the row"),
        world.edit("data/couples.csv", "f3,m3\n", "f3,f3\n"),
    ),
    Case(
        "couple_twice",
        "the same couple twice",
        DATA,
        ("couples.csv, line 26", "'f3', 'm3' is already in line 5", "remove one"),
        world.add_row("data/couples.csv", "f3,m3"),
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
    ),
    Case(
        "empty_split",
        "a split without rows",
        DATA,
        ("couples.csv, column split", "no row is in split 'val'", "each split needs rows"),
        world.with_splits(lambda couple: "train" if couple < 16 else "test"),
    ),
    Case(
        "too_few_couples",
        "too few couples to split",
        DATA,
        ("3 couples", "val", "split.fractions"),
        world.rewrite("data/couples.csv", lambda text: "\n".join(text.splitlines()[:4]) + "\n"),
    ),
    Case(
        "one_class",
        "one class only",
        STYLES,
        ("profiles.csv, column fashion_style", "every profile has the class 'plain'", "at least two classes"),
        world.rewrite("data/profiles.csv", lambda text: text.replace("dotted", "plain").replace("striped", "plain")),
    ),
    Case(
        "cp1252",
        "a table in the encoding of Windows",
        DATA,
        ("profiles.csv, line 8", "is not UTF-8", "Excel: 'CSV UTF-8'"),
        world.rewrite("data/profiles.csv", lambda text: text.replace("f3,", "f3é,").encode("cp1252")),
    ),
    Case(
        "utf16",
        "a table in UTF-16",
        DATA,
        ("couples.csv: is UTF-16, not UTF-8", "Excel: 'CSV UTF-8'"),
        world.rewrite("data/couples.csv", lambda text: text.encode("utf-16")),
    ),
]

PHOTOS = [
    Case(
        "parent",
        "a path that leaves the folder",
        DATA,
        ("profiles.csv, line 8, column image", "'../f3.jpg' leaves the folder by '..'", "data.image_root"),
        world.edit("data/profiles.csv", "photos/f3.jpg", "../f3.jpg"),
    ),
    Case(
        "absolute",
        "an absolute path",
        DATA,
        ("profiles.csv, line 8, column image", "'/photos/f3.jpg' is an absolute path", "relative to FOLDER/data"),
        world.edit("data/profiles.csv", "photos/f3.jpg", "/photos/f3.jpg"),
    ),
    Case(
        "link_out",
        "a symbolic link out of the folder",
        DATA,
        ("profiles.csv, line 8, column image", "symbolic link out of FOLDER/data", "copy the file"),
        world.link_out,
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
    ),
    Case(
        "truncated",
        "a JPEG that is cut off",
        DATA,
        ("profiles.csv, line 8", "photos/f3.jpg", "is damaged or cut off", "data.on_bad_image=exclude"),
        world.photo(lambda content: content[: len(content) // 2]),
    ),
    Case(
        "text",
        "a text file called .jpg",
        DATA,
        ("profiles.csv, line 8", "photos/f3.jpg", "is not an image", "data.on_bad_image=exclude"),
        world.photo(b"404: not found"),
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
