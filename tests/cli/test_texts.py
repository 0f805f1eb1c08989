"""A text of the command line is the text that is typed, whatever signs are in it."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from style_match.cli.plan import path_as_value
from tests.composed import composed

TYPED = ["a ${b} look", "${oc.env:HOME}", r"a \${b}", r"\\${x} \\", "x ${", "$ {b}", 'say "${b}"', "댄디룩, ${k}=1"]


def value(step: str, line: str, option: str) -> object:
    needed = "data.root=x" if step == "forget" else "model=m"
    return OmegaConf.select(composed(step, needed, path_as_value(line)), option)


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("option", ["query", "where", "++query"])
def test_nothing_in_a_text_is_expanded(option, typed):
    assert value("search", f"{option}={typed}", option.lstrip("+")) == typed


@given(typed=st.text(alphabet='$\\{}" ab', min_size=1, max_size=12))
def test_any_signs(typed):
    assume(not typed.strip(" ").startswith('"') or not typed.strip(" ").endswith('"'))  # quotes of the user's own
    override = OverridesParser.create().parse_override(path_as_value(f"query={typed}"))
    assert OmegaConf.create({"query": override.value()}).query == typed


@pytest.mark.parametrize(("typed", "meant"), [('"a ${b}"', "a ${b}"), ("'${b}'", "${b}"), ("null", None)])
def test_quotes_of_the_user_s_own(typed, meant):
    assert value("search", f"query={typed}", "query") == meant


def test_an_id_holds_no_interpolation():
    assert value("forget", "profile=${data.root}", "profile") == "${data.root}"
    assert list(value("forget", "profile=[${data.root},b]", "profile")) == ["${data.root}", "b"]
