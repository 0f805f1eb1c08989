"""Rendered prompts: their bytes, and what never appears in them."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from style_match.data.prompt import classes_named, metadata_text, render, render_all
from style_match.utils.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf"
CLASSES = ("Casual_Basic", "Street_Hip", "Sporty_Athleisure", "Chic_Modern", "Classy_Elegant")
GROUP = {
    "name": "image_metadata",
    "image": True,
    "metadata": True,
    "system": None,
    "instruction": "Describe this person.",
    "template": "{metadata}\n{instruction}",
}


def rendered(metadata, **changes):
    options = {name: GROUP[name] for name in ("image", "system", "instruction", "template")}
    return render(**({**options, "metadata": metadata, "leave_out": ()} | changes))


def test_the_bytes_of_each_kind_of_prompt():
    user = "<|im_start|>user\n"
    photo = "<|vision_start|><|image_pad|><|vision_end|>"
    assert rendered(None, template="{instruction}") == f"{user}{photo}Describe this person.<|im_end|>"
    assert rendered({"b": "x", "a": 2}) == f"{user}{photo}b: x\na: 2\nDescribe this person.<|im_end|>"
    assert rendered({"a": "x"}, image=False) == f"{user}a: x\nDescribe this person.<|im_end|>"
    assert "a: {instruction} 5 <| 6 |> <3\nDescribe" in rendered({"a": "{instruction} 5 <| 6 |> <3"})
    assert rendered({"a": "x"}, system="Be brief.").startswith(f"<|im_start|>system\nBe brief.<|im_end|>\n{user}")


def test_metadata_keeps_its_order_and_joins_what_is_nested():
    hair = {"colour": "black", "length": ["short", "straight"]}
    text = metadata_text({"hair": hair, "caption": "a neat\n  dandy\tlook", "분위기": "깔끔한"}, leave_out=())
    assert text == "hair: black, short, straight\ncaption: a neat dandy look\n분위기: 깔끔한"


def test_zero_and_false_are_values_and_only_what_is_empty_is_left_out():
    values = {0: 0, 1: 0.0, 2: False, 3: True, 4: "  a \n b ", 5: [0, None, "", "x"]}
    empty = dict(enumerate([None, "", " ", [], {}, [None, {"inner": ""}]], start=6))
    lines = metadata_text(values | empty, leave_out=()).splitlines()
    assert lines == ["0: 0", "1: 0.0", "2: no", "3: yes", "4: a b", "5: 0, x"]


WORDS = st.text("abcdefg ", min_size=1, max_size=12).filter(str.strip)
VALUES = st.recursive(
    WORDS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@given(
    metadata=st.dictionaries(WORDS, VALUES, min_size=1, max_size=4),
    key=st.sampled_from(["fashion_style", "Fashion Style", "fashionStyle", "FASHION-STYLE"]),
    depth=st.integers(0, 2),
    label=st.sampled_from(CLASSES),
)
def test_the_label_never_appears(metadata, key, depth, label):
    hidden: dict = {key: label, "kept": "something"}
    for _ in range(depth):
        hidden = {"outer": hidden}
    prompt = rendered(metadata | hidden, leave_out=("fashion_style",))
    assert "something" in prompt
    assert prompt.count("<|image_pad|>") == prompt.count("<|im_end|>") == 1 and prompt.endswith("<|im_end|>")
    assert label.split("_")[0].casefold() not in prompt.casefold()


@pytest.mark.parametrize("text", ["a <|im_end|> b", "<|im_start|>system", "<|image_pad|>", "<|anything|>"])
def test_control_tokens_are_refused(text):
    with pytest.raises(UserError, match="the metadata contains the control token"):
        rendered({"caption": text})
    with pytest.raises(UserError, match="the metadata contains the control token"):
        rendered({text: "value"})
    for option in ("system", "instruction", "template"):
        with pytest.raises(UserError, match=rf"prompt\.{option} contains the control token"):
            rendered({"caption": "x"}, **{option: text + "{metadata}"})


@pytest.mark.parametrize(
    ("template", "metadata", "message"),
    [
        (
            "{metadata} {mood}",
            {"a": "x"},
            r"has \{mood\}, which this prompt does not fill; it fills \{instruction\} and",
        ),
        ("{metadata}", None, r"has \{metadata\}, which this prompt does not fill"),
        ("{instruction}", {"a": "x"}, r"lacks \{metadata\}"),
    ],
)
def test_placeholders_must_fit(template, metadata, message):
    with pytest.raises(UserError, match=message):
        rendered(metadata, template=template)


def test_class_names_in_captions_are_found_however_written():
    for caption in (
        "a street hip boy",
        "STREET-HIP",
        "StreetHip look",
        "street_hip",
        "Street  Hip스타일",
        "street\u2013hip.",
    ):
        assert classes_named({"caption": caption}, CLASSES, leave_out=()) == ["Street_Hip"]
    for caption in ("street with a hip boy", "streethippie", "astreet hip", "street, hip", "casual"):
        assert classes_named({"caption": caption}, CLASSES, leave_out=()) == []


def test_korean_class_names_are_found_before_particles_and_in_decomposed_letters():
    caption = unicodedata.normalize("NFD", "댄디룩을 좋아하는 사람")
    assert classes_named({"caption": caption}, ["댄디_룩", "스트릿"], leave_out=()) == ["댄디_룩"]


def test_class_names_are_sought_in_every_rendered_value_but_not_in_what_is_left_out():
    metadata = {"fashion_style": "Chic_Modern", "vibe": {"first": ["chic modern"]}, "caption": "x"}
    assert classes_named(metadata, CLASSES, leave_out=("fashion_style",)) == ["Chic_Modern"]
    assert classes_named(metadata, CLASSES, leave_out=("fashion_style", "vibe")) == []


def test_render_all_renders_each_photo_in_order():
    metadata = {"a.jpg": {"caption": "one"}, "b.jpg": {"caption": "two"}}
    prompts = render_all(["b.jpg", "a.jpg", "b.jpg"], metadata, prompt=OmegaConf.create(GROUP))
    assert prompts == tuple(rendered({"caption": text}) for text in ("two", "one", "two"))
    without = GROUP | {"metadata": False, "template": "{instruction}"}
    assert render_all(["c.jpg"], {}, prompt=without) == (rendered(None, template="{instruction}"),)


def test_render_all_tells_every_fault_of_every_photo():
    metadata = {
        "a.jpg": {"caption": "fine"},
        "b.jpg": {"caption": "x <|im_end|>"},
        "c.jpg": {"caption": "very Street Hip"},
        "d.jpg": {"style": "Street_Hip"},
    }
    with pytest.raises(UserError) as caught:
        render_all([*metadata, "e.jpg"], metadata, prompt=GROUP, leave_out=("style",), class_names=CLASSES)
    lines = str(caught.value).splitlines()
    assert lines[0] == "prompt=image_metadata cannot be rendered for 4 of 5 photos:"
    for line, name, words in zip(
        lines[1:5], "bcde", ("<|im_end|>", "Street_Hip", "no attribute", "no metadata"), strict=True
    ):
        assert line.startswith(f"{name}.jpg: ") and words in line
    assert "style_match.label" in lines[-1] and "prompt=image" in lines[-1]


def test_render_all_names_a_broken_option_once_and_cuts_long_lists():
    images = [f"{i}.jpg" for i in range(50)]
    with pytest.raises(UserError, match=r"^prompt\.template lacks \{metadata\}[^\n]*$"):
        render_all(images, {}, prompt=GROUP | {"template": "x"})
    with pytest.raises(UserError, match=r"50 of 50 photos(.|\n)*\(and 30 more\)"):
        render_all(images, {}, prompt=GROUP)


@pytest.mark.parametrize("name", ["image", "image_metadata", "metadata"])
def test_the_yaml_of_a_prompt_renders(name):
    cfg = OmegaConf.load(CONF / "prompt" / f"{name}.yaml")
    assert cfg.name == name
    (prompt,) = render_all(["a.jpg"], {"a.jpg": {"caption": "neat"}}, prompt=cfg)
    assert ("caption: neat\n" in prompt) == ("metadata" in name)
    assert ("<|image_pad|>" in prompt) == ("image" in name)
    assert prompt.endswith("Describe this person.<|im_end|>")


def test_prompts_and_identity_are_imported_without_torch():
    code = (
        "import sys, style_match.data.prompt, style_match.backbone.feature_key, style_match.backbone.checkpoint\n"
        "heavy = {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
