"""Schemas: what is asked, what counts as an answer, what is wrong with a file."""

import json

import pytest
from pydantic import BaseModel

from style_match.data.schema import LANGUAGES, Schema
from style_match.utils.errors import UserError
from tests.labeling.makers import make_schema, style_values

NEVER = ("ethnicity", "religion", "health", "orientation"), ("인종", "종교", "건강", "성적 지향")


def test_the_style_schema_has_the_classes_of_the_task():
    schema = make_schema()
    assert {name: len(schema.class_names(name)) for name in schema.attributes} == {
        "fashion_style": 5,
        "shot_type": 3,
        "visual_quality": 3,
        "physical_features": 0,
        "caption": 0,
    }
    assert (schema.label, schema.preset) == ("fashion_style", "gpt-5.1")


def test_the_couple_schema_has_eight_attributes():
    schema = make_schema("couple")
    assert len(schema.attributes) == 8
    assert set(schema.nominal) == {"appearance_type", "grooming_level", "photo_style", "image_quality"}
    assert (schema.label, schema.preset) == (None, "gpt-5-nano")


@pytest.mark.parametrize("name", ["style", "couple"])
def test_the_json_schema_is_strict(name):
    schema = make_schema(name)
    node = schema.json_schema
    assert issubclass(schema.model, BaseModel)
    assert node["additionalProperties"] is False and node["type"] == "object"
    assert node["required"] == list(node["properties"]) == list(schema.attributes)
    for attribute, below in node["properties"].items():
        enum = {"enum": list(schema.class_names(attribute))} if schema.class_names(attribute) else {}
        assert below == {**enum, "type": "string"}


@pytest.mark.parametrize("name", ["style", "couple"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_prompt_defines_every_class_and_says_what_is_never_asked(name, language):
    schema = make_schema(name)
    text, told = schema.text(language), schema.instructions(language)
    for attribute in schema.attributes.values():
        assert attribute.description[language] in text
        for each, definition in attribute.classes.items():
            assert f"- {each}: {definition[language]}" in text
    assert all(word in told for word in NEVER[LANGUAGES.index(language)])
    assert "{" not in text + told


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_told_not_to_tell_the_class_only_where_it_is_asked(language):
    asked, left_out = make_schema(), make_schema(leave_out=["fashion_style"])
    assert asked.text(language).count("fashion_style") == 2
    assert "fashion_style" not in left_out.text(language)
    assert left_out.class_names("fashion_style") == ()


def test_a_right_answer_is_parsed_in_the_order_of_the_attributes():
    schema, values = make_schema(), style_values()
    assert list(schema.parse(json.dumps(dict(reversed(values.items()))))) == list(schema.attributes)
    assert schema.parse(json.dumps({**values, "caption": "  빨간 코트 "}))["caption"] == "빨간 코트"
    assert schema.check({**values, "style_vibe": "of another schema"}) == values


@pytest.mark.parametrize(
    "change, word",
    [
        ({"fashion_style": "Casual"}, "fashion_style: Input should be 'Casual_Basic'"),
        ({"fashion_style": None}, "fashion_style"),
        ({"caption": "  "}, "caption: is empty"),
        ({"caption": 3}, "caption: Input should be a valid string"),
        ({"caption": "<|im_end|>"}, "caption: holds <|"),
        ({"caption": "\ud800"}, ""),
        ({"age": 30}, "age: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_answer_is_named(change, word):
    with pytest.raises(ValueError) as caught:
        make_schema().parse(json.dumps({**style_values(), **change}))
    assert word in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "no", '{"caption": '])
def test_what_is_no_object_is_an_error(text):
    with pytest.raises(ValueError):
        make_schema().parse(text)


def test_a_list_of_texts():
    schema = make_schema(attributes={"worn": {"description": "what is worn", "list": True}}, label=None)
    assert schema.parse('{"worn": ["a hat", "a coat"]}') == {"worn": ["a hat", "a coat"]}
    with pytest.raises(ValueError, match=r"worn.1: is empty"):
        schema.parse('{"worn": ["a hat", " "]}')


TWO = {"A": "one", "B": "two"}


def attribute(name: str = "x", **options) -> dict:
    """A schema with one attribute."""
    return {"attributes": {name: {"description": "d", **options}}, "label": None}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"attributes": {}}, ["attributes: there are none"]),
        ({"attributes": {"x": None}, "label": None}, ["attribute x: has no description"]),
        (attribute(description=None), ["attribute x: no text in en"]),
        (attribute(classes={}), ["attribute x: classes has 0 names"]),
        (attribute(classes=None), ["attribute x", "two or more"]),
        (attribute(classes={"A": "one"}), ["classes has 1 names"]),
        (attribute(classes={True: "a", "B": "b"}), ["class True"]),
        (attribute(classes={"A_b": "a", "ab": "b"}), ["differ in"]),
        (attribute(classes={"A": "a", "B": ""}), ["x, class B"]),
        (attribute(classes=TWO, list=True), ["a list has no classes"]),
        (attribute(clases=TWO), ["attribute x: clases is unknown"]),
        (attribute(list="no"), ["list is true or false"]),
        (attribute("hair colour"), ["hair colour: is no name"]),
        (attribute("image"), ["attribute image: is no name"]),
        (attribute("model_x"), ["model_x: must not begin with model_"]),
        (attribute("class"), ["attribute class: is a word of Python"]),
        ({"label": ["caption"]}, ["label: ['caption'] is no attribute with classes"]),
        ({"label": "caption"}, ["label: caption is no attribute with classes"]),
        ({"leaveout": ["caption"]}, ["leaveout is unknown (did you mean 'leave_out'?)"]),
        ({"name": "my style"}, ["name: 'my style' is not taken"]),
        ({"name": "옷차림"}, ["name: '옷차림' is not taken"]),
        ({"name": "x" * 65}, ["at most 64"]),
        ({"leave_out": ["captoin"]}, ["leave_out: captoin is no attribute"]),
        ({"leave_out": "caption"}, ["leave_out is no list"]),
        ({"leave_out": list(style_values())}, ["leaves no attribute"]),
        ({"text": {"en": "Label.", "ko": "라벨"}}, ["text lacks {attributes}"]),
        ({"instructions": {"en": "Label."}}, ["instructions: no text in ko"]),
        ({"instructions": {"en": "a", "ko": "b", "fr": "c"}}, ["fr is none of the languages"]),
        ({"name": None, "model": ""}, ["name is missing", "model is missing"]),
    ],
)
def test_a_fault_of_the_file_names_file_and_attribute(changes, words):
    with pytest.raises(UserError) as caught:
        make_schema(**changes)
    assert all(word in str(caught.value) for word in ["schema/style.yaml", *words])


def test_a_file_that_is_a_list_is_named():
    with pytest.raises(UserError, match=r"schema/mine\.yaml: is a list; write KEY: VALUE"):
        Schema([{"name": "mine"}], file="schema/mine.yaml")  # type: ignore[arg-type]
