"""Which profiles are one person, and which keys connect items (user, group of copies, photo)."""

from style_match.data.dataset import DatasetFolder
from style_match.data.records import DUPLICATES
from style_match.utils.graph import Key, groups


def people_of(folder: DatasetFolder) -> dict[str, int]:
    """Profile id -> number of the person behind it; the definition of a person for splits, training and scores.

    Profiles are one person if they share a `user_id`, a `duplicate_group` or a photo's pixels, directly or through
    others.
    """
    persons = enumerate(groups(profile_keys(folder)))
    return {profile_id: number for number, profile_ids in persons for profile_id in profile_ids}


def item_keys(folder: DatasetFolder) -> dict[str, tuple[Key, ...]]:
    """Item id -> the keys that connect it with other items: its profiles, their users, their photos' pixels.

    Items are couples, or profiles for styles, in the order of their table.
    """
    of_profile = profile_keys(folder)
    if folder.task != "couple":
        return of_profile
    return {
        couple.item_id: tuple(dict.fromkeys(of_profile[couple.left_id] + of_profile[couple.right_id]))
        for couple in folder.couples
    }


def profile_keys(folder: DatasetFolder) -> dict[str, tuple[Key, ...]]:
    """Profile id -> its keys: itself, its `user_id`, its `duplicate_group`, its photos' pixels.

    Photos count after `check_photos`: two files are one photo if their decoded pixels are equal.
    """
    keys_of: dict[str, tuple[Key, ...]] = {}
    for profile_id in folder.profile_ids:
        keys = [("profile", profile_id)]
        keys += [(column, folder.columns[profile_id].get(column, "")) for column in ("user_id", DUPLICATES)]
        keys += [("photo", photo_identity(folder, photo.image)) for photo in folder.photos_of(profile_id)]
        keys_of[profile_id] = tuple(dict.fromkeys(key for key in keys if key[1]))
    return keys_of


def photo_identity(folder: DatasetFolder, image: str) -> str:
    """Hash of a photo's pixels, or of its bytes where it was not decoded; "" before `check_photos`."""
    facts = folder.photo_facts.get(image)
    return facts.pixels if facts and facts.pixels else folder.photo_sha256.get(image, "")


def describe_key(key: Key, folder: DatasetFolder) -> str:
    """A key for a message."""
    kind, name = key
    if kind == "photo":
        images = sorted(photo.image for photo in folder.photos if photo_identity(folder, photo.image) == name)
        return f"the same photo ({', '.join(images[:3])})"
    if kind == DUPLICATES:
        return f"a copy or near copy of one photo ({DUPLICATES} {name})"
    return f"{kind} {name}"
