"""Configurations of several files: merged by name, with every problem in its own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError
from gateway.config.include import find_files
from gateway.config.load import Loaded, load_kept, load_source
from gateway.config.load import keep as keep_loaded

MAIN = """\
include: {include}
upstreams:
  vllm: {{endpoints: [{{url: "http://10.0.0.5:8000"}}]}}
routes:
  - {{name: main, path: /main/, auth: anonymous, upstream: vllm}}
"""
TEAM = """\
models:
  {team}/chat: {{upstream: vllm}}
routes:
  - {{name: {team}-chat, path: /{team}/, auth: anonymous, models: [{team}/chat]}}
"""
OWNED = '[{path: teams, owns: {routes: "{file}-*", paths: ["/{file}/*"], models: "{file}/*"}}]'


def write(folder: Path, include: str, **teams: str) -> Path:
    """Write a main file and a file for each team. Return the path of the main file."""
    (folder / "teams").mkdir(exist_ok=True)
    for name, text in teams.items():
        (folder / "teams" / f"{name}.yaml").write_text(text)
    file = folder / "main.yaml"
    file.write_text(MAIN.format(include=include))
    return file


def loaded(folder: Path, include: str = "[teams/*.yaml]", **teams: str) -> Loaded:
    return load_source(write(folder, include, **teams))


def said(folder: Path, include: str = "[teams/*.yaml]", **teams: str) -> list[str]:
    """Return the problems, without the folder."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, include, **teams)
    return [str(one).replace(f"{folder}/", "") for one in caught.value.problems]


@pytest.mark.parametrize("include", ["[teams/*.yaml]", "[teams]", "[teams/a.yaml, teams/b.yaml]"])
def test_files_are_merged_by_name(tmp_path: Path, include: str) -> None:
    found = loaded(tmp_path, include, a=TEAM.format(team="a"), b=TEAM.format(team="b"))
    assert [route.name for route in found.config.routes] == ["main", "a-chat", "b-chat"]
    assert list(found.config.models) == ["a/chat", "b/chat"]


def test_a_problem_is_told_with_the_file_and_the_line_of_its_value(tmp_path: Path) -> None:
    bad = TEAM.format(team="b").replace("upstream: vllm", "upstream: vlm").replace("/b/,", "b,")
    assert said(tmp_path, a=TEAM.format(team="a"), b=bad) == [
        "teams/b.yaml:2:12: models.b/chat.upstream: there is no upstream 'vlm'; "
        "did you mean 'vllm'?",
        "teams/b.yaml:4:20: routes[2].path: not a path: begin with /, and use letters, digits, "
        ". _ ~ - and /",
    ]


def test_a_file_that_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    assert said(tmp_path, a="routes: [\n")[0].startswith("teams/a.yaml:1:9: the [ that opens here")
    assert said(tmp_path, a="- x\n") == ["teams/a.yaml:1:1: has to be a mapping of sections"]


def test_a_file_with_comments_only_adds_nothing(tmp_path: Path) -> None:
    assert len(loaded(tmp_path, a="# nothing yet\n").config.routes) == 1


def test_a_name_given_twice_is_told_with_both_places(tmp_path: Path) -> None:
    again = 'upstreams:\n  vllm: {endpoints: [{url: "http://10.0.0.6"}]}\n'
    assert said(tmp_path, a=again) == [
        "teams/a.yaml:2:3: upstreams.vllm: is given twice, also in main.yaml:3"
    ]
    model = "models:\n  m: {upstream: vllm}\n"
    assert said(tmp_path, a=model, b=model) == [
        "teams/b.yaml:2:3: models.m: is given twice, also in teams/a.yaml:2"
    ]


def test_a_route_given_twice_is_told_in_the_second_file(tmp_path: Path) -> None:
    route = "routes:\n  - {name: main, path: /x/, auth: anonymous, upstream: vllm}\n"
    (problem,) = said(tmp_path, a=route)
    assert problem.startswith("teams/a.yaml:2:")


def test_other_sections_are_in_one_file_only(tmp_path: Path) -> None:
    store = "store: {url: memory://}\n"
    assert loaded(tmp_path, a=store).config.store.location.url == "memory://"
    (problem,) = said(tmp_path, a=store, b=store)
    assert problem.startswith("teams/b.yaml:1:1: store: is given twice, also in teams/a.yaml:1; ")


def test_an_included_file_includes_no_other(tmp_path: Path) -> None:
    assert said(tmp_path, a="include: [x.yaml]\n") == [
        "teams/a.yaml:1:1: include: an included file cannot include others"
    ]


def test_a_file_that_is_missing_is_told_where_it_is_named(tmp_path: Path) -> None:
    (problem,) = said(tmp_path, "[none.yaml]")
    assert problem == (
        "main.yaml:1:11: include[0]: none.yaml cannot be read: No such file or directory"
    )


def test_a_path_with_a_nul_names_no_file(tmp_path: Path) -> None:
    (problem,) = said(tmp_path, '["a\\0b"]')
    assert problem.startswith("main.yaml:1:11: include[0]: ")


def test_a_pattern_may_match_nothing(tmp_path: Path) -> None:
    assert len(loaded(tmp_path, "[teams/*.yaml, teams]").config.routes) == 1


def test_an_invalid_entry_is_told(tmp_path: Path) -> None:
    (problem,) = said(tmp_path, "[{paht: teams}]")[:1]
    assert "include[0]" in problem


def test_a_team_defines_what_it_owns(tmp_path: Path) -> None:
    found = loaded(tmp_path, OWNED, a=TEAM.format(team="a"), b=TEAM.format(team="b"))
    assert len(found.config.routes) == 3


def test_a_team_cannot_define_what_it_does_not_own(tmp_path: Path) -> None:
    upstream = 'upstreams: {mine: {endpoints: [{url: "http://10.0.0.6"}]}}\n'
    bad = TEAM.format(team="b") + upstream
    assert said(tmp_path, OWNED, a=bad, b=TEAM.format(team="c").replace("/c/,", "/b/,")) == [
        "teams/a.yaml:2:3: models.b/chat: this file owns no models named 'b/chat'; it owns a/*",
        "teams/a.yaml:4:5: routes[1]: this file owns no routes named 'b-chat'; it owns a-*",
        "teams/a.yaml:4:20: routes[1].path: this file does not own the path; it owns /a/*",
        "teams/a.yaml:5:1: upstreams: this file owns no such section; it owns routes, models",
        "teams/b.yaml:2:3: models.c/chat: this file owns no models named 'c/chat'; it owns b/*",
        "teams/b.yaml:4:5: routes[2]: this file owns no routes named 'c-chat'; it owns b-*",
        "teams/b.yaml:4:20: routes[2].path: serves the same requests as route 'b-chat'",
    ]


def test_a_name_of_a_file_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams/[ab].yaml").write_text(TEAM.format(team="a"))
    assert len(said(tmp_path, OWNED)) == 3


def test_another_process_loads_the_same_texts(tmp_path: Path) -> None:
    found = loaded(tmp_path, OWNED, a=TEAM.format(team="a"))
    keep_loaded(found, tmp_path / "kept")
    (tmp_path / "teams/a.yaml").unlink()
    again = load_kept(tmp_path / "kept")
    assert again.config == found.config
    assert again.source == found.source


def test_hidden_files_and_editor_files_of_a_folder_are_left_out(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", ".a.yaml.swp", ".c.yaml", "a.yaml~", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub.yaml").mkdir()
    assert find_files(".", tmp_path) == ["a.yaml", "b.yml"]
    assert find_files("*", tmp_path) == ["a.yaml", "a.yaml~", "b.yml", "notes.txt"]
