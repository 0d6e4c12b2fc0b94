"""Tab completion: the words that segnet offers, and what bash makes of them."""

import shutil
import subprocess

import pytest

from segnet.cli import VERBS, main
from segnet.cli.completion import SCRIPT, completions, run_completion
from segnet.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("segnet tr", ["train "]),
        ("segnet train backbone=resnet50", ["backbone=resnet50 ", "backbone=resnet50_v1c ", "backbone=resnet50_vd "]),
        ("segnet train --loss=f", ["--loss=focal "]),
        ("segnet train  data.crop", ["data.crop_size="]),
        ("segnet train compile=", ["compile=false ", "compile=true "]),
        ("segnet train experiment=camvid_r", ["experiment=camvid_resnet18_vd "]),
        ("segnet train --multi", ["--multirun "]),
        ("segnet evaluate backbone", []),
        ("segnet compare a.ckpt b.ckpt dra", ["draws="]),
        ("segnet predict a.jpg --save", ["--save ", "--save-frames "]),
        ("segnet predict a.jpg --runtime o", ["onnxruntime ", "openvino "]),
        ("segnet predict a.jpg --checkpoint ", []),  # the shell offers files
        ("segnet nosuchverb ", []),
    ],
)
def test_completions_match_the_command_line(line, expected):
    assert completions(line, list(VERBS)) == expected


def test_all_verbs_are_offered():
    assert completions("segnet ", list(VERBS)) == sorted(f"{verb} " for verb in VERBS)


def test_a_query_takes_the_line_up_to_the_cursor(monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", "segnet eva best.ckpt")
    monkeypatch.setenv("COMP_POINT", "10")
    with pytest.raises(SystemExit) as ended:
        main(["--shell-completion", "query"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "evaluate \n"


@pytest.mark.parametrize("arguments", [["-sc", "install=bash"], ["train", "-sc", "install=bash"], ["-sc", "bash"]])
def test_the_script_is_printed(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{SCRIPT}\n"


def test_another_shell_is_refused():
    with pytest.raises(ConfigError, match="in zsh too"):
        run_completion(["fish"], list(VERBS))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("breaks", ["=", ""])
def test_bash_replaces_only_the_text_after_the_equals_sign(breaks):
    """bash splits words at "=" unless a user's settings say otherwise; it puts what it gets in place of the last."""
    script = f"""{SCRIPT}
segnet() {{ printf '%s\\n' 'backbone=resnet50 ' 'backbone=resnet50_vd '; }}
COMP_LINE='segnet train backbone=resnet5' COMP_POINT=29 COMP_WORDBREAKS='{breaks}'
_segnet
printf '<%s>' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    prefix = "" if breaks else "backbone="
    assert done.stdout == f"<{prefix}resnet50 ><{prefix}resnet50_vd >"
