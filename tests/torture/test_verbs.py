"""Every verb with paths and values that nobody should give: it works, or one brief message and exit code 2; nothing else."""

from pathlib import Path

import pytest
from mutations import LONGEST, limited

from conftest import scaled

SETTINGS = ["model=TINY", "task=TASK", "parallel="]
COMMANDS = [
    "ls runs --results PATH",
    "ls tasks PATH",
    "ls parallel PATH",
    "show recipe=PATH",
    "show recipe=PATH.toml",
    "show recipe=plain model=PATH",
    "cp PATH new.toml",
    "cp plain PATH",
    "cp plain PATH.toml",
    "validate recipe=plain model=PATH task=TASK parallel=",
    "validate recipe=plain model=TINY task=PATH parallel=",
    "validate recipe=plain model=TINY task=TASK parallel=PATH",
    "validate recipe=plain model=TINY task=TASK parallel= distance.matrix=PATH",
    "validate recipe=freeze_guided model=TINY task=TASK parallel= intervention.freeze.measurement=PATH",
    "validate recipe=code_switch model=TINY task=TASK parallel= intervention.code_switch.dictionary=PATH",
    "train recipe=plain model=PATH task=TASK parallel=",
    "train recipe=plain model=TINY task=PATH parallel=",
    "compare PATH PATH",
    "compare PATH",
    "compare --results PATH",
    "compare --table PATH --baseline plain",
    "compare --table scores.csv --baseline plain --matrix PATH",
    "report PATH",
    "report --results PATH",
    "publish PATH --to me/model",
    "measure before=PATH after=TINY task=TASK parallel=",
    "measure before=TINY after=PATH task=TASK parallel=",
    "measure before=TINY after=TINY task=PATH parallel=",
    "language PATH",
    "language jpn --text PATH model=TINY task=TASK",
    "language jpn --parallel PATH model=TINY task=TASK",
    "language jpn --results PATH model=TINY task=TASK",
    "new-language cym --labelled PATH model=TINY task=TASK --dry-run",
    "new-language cym --labelled TASK/deu/test.jsonl --few-shot PATH model=TINY task=TASK --dry-run",
    "new-language cym --labelled TASK/deu/test.jsonl --text PATH model=TINY task=TASK --dry-run",
    "new-language cym --labelled TASK/deu/test.jsonl --parallel PATH model=TINY task=TASK --dry-run",
    "new-language cym --labelled TASK/deu/test.jsonl --dictionary PATH model=TINY task=TASK --dry-run",
    "new-language cym --labelled TASK/deu/test.jsonl --recipe PATH model=TINY task=TASK --dry-run",
    "sweep study=PATH --dry-run",
    "sweep study=PATH.toml --dry-run",
    "sweep recipe=PATH seed=0,1 --dry-run",
]
SCORES = "model,task,method,seed,language,metric,value\n" + "".join(
    f"m,t,{method},{seed},{language},accuracy,0.{seed}5\n"
    for method in ("plain", "lora") for seed in (1, 2) for language in ("eng", "deu", "jpn")
)  # fmt: skip
BINARY = bytes(range(256)) * 20


def make(kind: str) -> str:
    """Lay down a path of a kind, also with the suffixes that verbs look at, and return its name."""
    for name in ("odd", "odd.toml"):
        path = Path(name)
        match kind:
            case "empty":
                path.touch()
            case "binary":
                path.write_bytes(BINARY)
            case "folder":
                path.mkdir()
            case "loop":
                path.symlink_to(path)
            case "deep":
                path.write_text("a = " + "[" * 20_000)
            case "folder of binaries":
                for inside in (
                    "eng/train.jsonl",
                    "eng/test.jsonl",
                    "deu/test.jsonl",
                    "result.json",
                    "config.json",
                    "deu.tsv",
                ):
                    (path / inside).parent.mkdir(parents=True, exist_ok=True)
                    (path / inside).write_bytes(BINARY)
    return {"long": "x" * 5000, "unicode": "Türkçe\u202e日本"}.get(kind, "odd")


KINDS = ["missing", "empty", "binary", "folder", "loop", "deep", "folder of binaries", "long", "unicode"]


@pytest.mark.parametrize("kind", scaled(KINDS[:3], KINDS))
def test_paths(cli, tiny, task_folder, kind):
    Path("scores.csv").write_text(SCORES)
    name = make(kind)
    odd = []
    for command in COMMANDS:
        words = [
            word.replace("PATH", name).replace("TINY", str(tiny)).replace("TASK", str(task_folder))
            for word in command.split()
        ]
        try:
            with limited(20):
                done = cli(*words)
        except Exception as error:  # all of them are wanted, not the first alone
            odd.append(f"{command}: {error!r:.300}")
            continue
        said = done.stderr[done.stderr.rfind("Error: ") :] if "Error: " in done.stderr else done.stderr
        if done.exit_code not in (0, 2) or (done.exit_code == 2 and (not said or len(said) > LONGEST + 10)):
            odd.append(f"{command}: exit {done.exit_code}, {len(said)} characters: {said[:300]}")
        if command.startswith("cp"):
            Path("new.toml").unlink(missing_ok=True)
    assert not odd, "\n".join(odd)


NUMBERS = [
    "1e400",
    "-1",
    "9999999999999999999999",
    "18446744073709551616",
    "NaN",
    "inf",
    "0",
    "1e-400",
    "0x10",
    "1_000",
    "true",
]
NUMBERS += ["", "9" * 400, "9" * 5000]
KEYS = [
    "seed",
    "task.max_length",
    "task.shots",
    "phase.finetune.epochs",
    "phase.finetune.steps",
    "phase.finetune.batch_size",
    "phase.finetune.learning_rate",
    "phase.finetune.warmup",
    "phase.finetune.weight_decay",
    "phase.finetune.accumulation",
    "intervention.drift.weight",
    "intervention.drift.layers",
    "diagnostics.gradients",
    "diagnostics.states",
    "model.drop_last_layers",
]


@pytest.mark.parametrize("key", scaled(KEYS[::4], KEYS))
def test_numbers(cli, tiny, task_folder, key):
    odd = []
    for number in NUMBERS:
        words = ["validate", "recipe=drift_reg", f"model={tiny}", f"task={task_folder}", "parallel=", f"{key}={number}"]
        try:
            with limited():
                done = cli(*words)
        except Exception as error:
            odd.append(f"{key}={number[:20]}: {error!r:.300}")
            continue
        if done.exit_code not in (0, 2) or len(done.stderr) > LONGEST * 2:
            odd.append(f"{key}={number[:20]}: exit {done.exit_code}: {done.stderr[:300]}")
    assert not odd, "\n".join(odd)


@pytest.mark.parametrize(
    "words",
    [
        f"{verb} {option} {number}"
        for verb, option in (
            ("new-language cym --labelled TASK/deu/test.jsonl model=TINY task=TASK --dry-run", "--seeds"),
            ("sweep recipe=plain --dry-run", "--max-runs"),
            ("sweep recipe=plain --dry-run", "--workers"),
            ("sweep recipe=plain --dry-run", "--threads"),
            ("sweep recipe=plain --dry-run", "--gpus"),
            ("sweep recipe=plain --dry-run", "--shard"),
        )
        for number in ("-1", "0", "9" * 30, "1e400", "x", "1/0", "-1/3", f"{'9' * 5000}/1")
    ],
)
def test_options(cli, tiny, task_folder, words):
    with limited():
        done = cli(*words.replace("TINY", str(tiny)).replace("TASK", str(task_folder)).split(), f"model={tiny}")
    assert done.exit_code in (0, 2), done.output
