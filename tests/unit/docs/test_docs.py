# SPDX-License-Identifier: Apache-2.0
"""The documents against the code: commands, options, fields, words, links."""
import os
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

TOP = pathlib.Path(__file__).resolve().parents[3]
CLI = os.environ.get("BLOCKFERRY_CLI", "")
PAGES = [TOP / "README.md", TOP / "HACKING.md", TOP / "CHANGELOG.md", *sorted((TOP / "docs").rglob("*.md"))]


def text(path):
    return (TOP / path).read_text(encoding="utf-8")


def openapi():
    return yaml.safe_load(text("docs/openapi.yaml"))["components"]["schemas"]


def words_of(macro, path):
    """The texts of an X macro: X(ID, "text")."""
    return re.findall(r'X\(\w+, "([a-z-]+)"\)', text(path).split(f"#define {macro}(X)")[1].split("\n\n")[0])


# --- commands ---------------------------------------------------------------------------------------

def run(*words):
    return subprocess.run([CLI, *words], capture_output=True, text=True, check=False, timeout=20).stdout


def commands():
    part = run("--help").split("Commands:\n")[1].split("\n\n")[0]
    found = (re.match(r"  (\S.*?)  +\S", line) for line in part.splitlines() if not line.startswith("   "))
    return [[w for w in one[1].split() if w.islower()] for one in found]


def told_commands():
    """Every command line that a page shows, in a block or between backquotes."""
    for page in PAGES + [TOP / "docs/blockferry.1", TOP / "docs/blockferryd.8"]:
        body = re.sub(r"\\e?\n", " ", page.read_text(encoding="utf-8"))
        if page.suffix == ".md":
            lines = re.findall(r"^    (blockferry .*)$", body, re.MULTILINE) + re.findall(r"`(blockferry [^`]*)`", body)
        else:
            blocks = "".join(re.findall(r"^\.Bd.*?^\.Ed", body, re.MULTILINE | re.DOTALL))
            lines = re.findall(r"^(blockferry .*)$", blocks, re.MULTILINE)
        for line in lines:
            for part in line.split("&&"):
                yield page.name, part.split("#")[0].split(" | ")[0].strip()


def test_commands_that_pages_show():
    known = commands()
    options = {}
    count = 0
    for page, line in told_commands():
        words = shlex.split(line)[1:]
        name = next((one for one in known if words[:len(one)] == one), None)
        assert name, f"{page}: {line}"
        if tuple(name) not in options:
            shown = run(*name, "--help") + run("--help")
            options[tuple(name)] = set(re.findall(r"^  --([a-z-]+)", shown, re.MULTILINE))
        for word in words:
            if word.startswith("--"):
                assert word[2:].split("=")[0] in options[tuple(name)], f"{page}: {line}: {word}"
        count += 1
    assert count > 30, "hardly any were found: the test shows little"


# --- words and fields -------------------------------------------------------------------------------

def test_states():
    states = words_of("BF_STATES", "daemon/state.h")
    assert openapi()["replication"]["properties"]["state"]["enum"] == states
    table = text("docs/architecture.md").split("## States")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z-]+) \| .* \| (.*) \|$", table, re.MULTILINE)[1:]
    assert [state for state, _ in rows if state != "---"] == states
    verbs = dict(re.findall(r'X\((\w+), "([a-z-]+)"\)', text("daemon/state.h").split("#define BF_VERBS(X)")[1]))
    code = text("daemon/state.c").split("verbs[BF_STATE_MAX] = {")[1].split("\n};")[0]
    code = code.replace("V_POINTS", "V(DRILL) | V(DRILL_END)")
    for state, expression in re.findall(r"\[BF_STATE_(\w+)\]\s*=\s*([^,]*),", code):
        told = dict(rows)[state.lower().replace("_", "-")]
        assert told == ", ".join(verbs[one] for one in re.findall(r"V\((\w+)\)", expression)), state
    completion = re.search(r'"state", "WORD",.*?"(new [a-z -]+)"', text("cli/commands.c"), re.DOTALL)[1]
    assert completion.split() == states


def test_verbs():
    verbs = words_of("BF_VERBS", "daemon/state.h")
    paths = yaml.safe_load(text("docs/openapi.yaml"))["paths"]
    there = [path.rsplit("/", 1)[1] for path, item in paths.items()
             if path.startswith("/v1/replications/{name}/") and "post" in item]
    assert sorted(there) == sorted(verbs)
    assert {tuple([verb]) for verb in verbs} <= {tuple(one) for one in commands()}


def test_kinds_of_errors():
    kinds = re.findall(r"^\| ([a-z-]+) \| \d+ \|", text("docs/errors.md"), re.MULTILINE)
    assert sorted(openapi()["error"]["properties"]["kind"]["enum"]) == sorted(kinds)


def test_codes_that_pages_name():
    codes = set(re.findall(r"^\| `([a-z-]+)` \|", text("docs/errors.md"), re.MULTILINE))
    for page in PAGES:
        for code in re.findall(r"error `([a-z-]+)`|fails? with `([a-z-]+)`", page.read_text(encoding="utf-8")):
            assert (code[0] or code[1]) in codes, f"{page.name}: {code}"


def test_kinds_of_jobs():
    kinds = set()
    for path in (TOP / "daemon").glob("*.c"):
        found = re.findall(r"struct bf_job_kind \w+ = \{\s*\.name = \"([a-z-]+)\"", path.read_text(encoding="utf-8"))
        kinds |= set(found)
    assert kinds and set(openapi()["job"]["properties"]["kind"]["enum"]) == kinds
    metrics = text("daemon/api/metrics.c").split("kinds[] = {")[1].split("}")[0]
    assert set(re.findall(r'"([a-z-]+)"', metrics)) == kinds


def test_kinds_in_the_ledger():
    order = text("daemon/reconcile.c").split("order[] = {")[1].split("}")[0]
    assert sorted(openapi()["ledger-entry"]["properties"]["kind"]["enum"]) == sorted(re.findall(r'"([a-z]+)"', order))


@pytest.mark.parametrize("part", ["policy", "mapping"])
def test_settings(part):
    table = text("daemon/policy.c").split(f"{part}_members[] = {{")[1].split("\n};")[0]
    members = re.findall(r'\{"(\w+)", BF_MEMBER_(\w+), (true|false)', table)
    assert len(members) > 8
    schema = openapi()[part]["properties"]
    assert list(schema) and set(schema) == {name for name, _, _ in members}
    for name, _, none in members:
        kind = schema[name]["type"]
        assert ("null" in kind if isinstance(kind, list) else kind == "object") == (none == "true"), name
    # Each can be set by the command line, and taken back where it can be none.
    rows = text("cli/replication.c").split("} fields[] = {")[1].split("\n};")[0]
    told = re.findall(rf'\{{"[a-z-]+", "{part}", "(\w+)", \w+, (true|false)\}}', rows)
    assert {name: none for name, none in told} == {name: none for name, _, none in members}


def test_defaults_in_the_manual():
    manual = text("docs/blockferry.1").split(".Sh SETTINGS")[1].split(".Sh")[0]
    told = {}
    for item in manual.split(".It Fl Fl ")[1:]:
        default = re.search(r"^Default: (\S+)\.$", item, re.MULTILINE)
        if default:
            told[item.split()[0]] = default[1]
    rows = text("cli/replication.c").split("} fields[] = {")[1].split("\n};")[0]
    option = {field: name for name, field in re.findall(r'\{"([a-z-]+)", "policy", "(\w+)"', rows)}
    shown = {None: "none", False: "off", True: "on"}
    for field, schema in openapi()["policy"]["properties"].items():
        value = schema["default"]
        assert told.pop(option[field]) == str(shown.get(value, value) if not isinstance(value, int) or
                                              isinstance(value, bool) else value), field
    assert not told, "defaults of what is no policy"


def test_options_of_platforms():
    """Every option that a connector reads is in its page."""
    for page in sorted((TOP / "docs/platforms").glob("*.md")):
        body = page.read_text(encoding="utf-8")
        conf = TOP / "connectors" / page.stem / "conf.c"
        names = set(re.findall(r'(?:"options", |bf_option_\w+\(options, )"(\w+)"', conf.read_text(encoding="utf-8")))
        names |= set(re.findall(r'\{"(\w+)", (?:LOGIN|CLOUD|OURS), ', conf.read_text(encoding="utf-8")))
        assert len(names) > 5
        for name in names:
            assert f"`{name}`" in body, f"{page.name}: {name}"


# --- the tree ---------------------------------------------------------------------------------------

def test_rooms():
    table = text("docs/architecture.md").split("## Rooms")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE))
    done = subprocess.run(["git", "-C", str(TOP), "ls-files"], capture_output=True, text=True, check=False)
    there = {line.split("/")[0] for line in done.stdout.splitlines() if "/" in line}
    if not there:  # a tree without git
        there = {one.name for one in TOP.iterdir() if one.is_dir() and one.name != "build" and one.name[0] != "."}
    assert told == {name for name in there if name[0] != "."}


def test_links():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_files_that_pages_name():
    """What is named as a file of the tree is there (or is built of a file of that name)."""
    rooms = "base|nbd|connectors|guest|daemon|cli|mover|systemd|docs|tests|scripts"
    for page in PAGES:
        for name in re.findall(rf"`((?:{rooms})/[\w./-]+)`", page.read_text(encoding="utf-8")):
            assert (TOP / name).exists() or (TOP / (name + ".c")).exists(), f"{page.name}: {name}"
