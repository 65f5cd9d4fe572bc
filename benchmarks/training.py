"""Training beside `transformers.Trainer`: whole epochs on the same texts with the same encoder, in alternation step by step.

`python benchmarks/training.py [--rounds 3] [--threads N] [SCENARIO ...]` (on 2 cores about nine minutes a round).
Every method has a process of its own, and the one works that is least far in its epoch; so neighbours on the machine disturb
all alike. Nobody logs, evaluates or saves. Trainer gets ids that were tokenised before the clock starts, a batch is padded to
its longest text, and dropout, clipping, batch size and learning rate are distxfer's. What distxfer does at the start of a run
(such as encoding texts with the reference, from the cache where they are there) is on the clock.

A method's share of the machine's rate of matrix products: 6 x the weights of its linear maps x tokens without padding,
over its seconds, in operations a second, beside those of one large product on the same threads.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from record import write
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

from distxfer.config.recipe import load_recipe
from distxfer.data import load_parallel, save_task
from distxfer.data._sources import parallel_languages
from distxfer.encoders import BUNDLED, model_folder
from distxfer.reports.tables import Table
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes, _loop

Pause = Callable[[float], None]  # takes the share of the epoch that is done; returns when it is this method's turn
Settings = dict[str, Any]

LONG = 256  # texts of 20 to 60 tokens
TRAINER, GROUPED = "Trainer", "Trainer, length groups, fused AdamW"
_GROUPED: Settings = {"train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused"}
_ALL = "model.train_word_embeddings=true"


def scenarios(long: str) -> dict[str, dict[str, tuple[str, Settings | list[str]]]]:
    """Return each scenario's methods, the first one the denominator; `long` is the folder of the task of long texts."""
    texts = {"5 tokens": [], "20 to 60 tokens": [f"task={long}", "task.targets=deu", "parallel="]}
    made = {}
    for size, of_task in texts.items():
        for trained, words in (("frozen word embeddings", []), ("all parameters", [_ALL])):
            base = ["phase.finetune.epochs=1", *of_task, *words]
            made[f"{size}, {trained}"] = {
                GROUPED: ("Trainer", {**_GROUPED, "recipe": base}),
                TRAINER: ("Trainer", {"recipe": base}),
                f"{GROUPED}, bf16": ("Trainer", {**_GROUPED, "bf16": True, "recipe": base}),
                "plain": ("plain", [*base, "model.precision=float32"]),
                "plain, bf16": ("plain", [*base, "model.precision=bf16"]),
            }
    base = ["phase.finetune.epochs=4", "model.precision=float32"]
    made["interventions, 5 tokens, 4 epochs"] = {
        "plain": ("plain", base),
        "drift_reg": ("drift_reg", base),
        "dist_align": ("dist_align", base),
        "freeze_lower, lower half": ("freeze_lower", [*base, "intervention.freeze.layers=lower_half"]),
        "freeze_lower, lower half, cache_frozen": (
            "freeze_lower",
            [*base, "intervention.freeze.layers=lower_half", "phase.finetune.cache_frozen=true"],
        ),
        "all parameters": ("plain", [*base, _ALL]),
    }
    whole = ["model.precision=float32"]
    made["whole runs, 5 tokens, 16 epochs"] = {"plain": ("plain", whole), "drift_reg": ("drift_reg", whole)}
    return made


def trainer(settings: Settings, seed: int, pause: Pause) -> dict[str, float]:
    """Train an epoch with Trainer; return its tokens, with and without padding."""
    settings = dict(settings)
    prepared = prepare(load_recipe("plain", [*settings.pop("recipe"), f"seed={seed}"]))
    recipe, phase = prepared.recipe, prepared.recipe.phases["finetune"]
    examples = prepared.task.examples("train", "eng")
    logging.set_verbosity_error()
    model = AutoModelForSequenceClassification.from_pretrained(
        prepared.model_folder, num_labels=len(prepared.task.labels)
    )
    model.get_input_embeddings().weight.requires_grad_(recipe.model.train_word_embeddings)
    tokenizer = AutoTokenizer.from_pretrained(prepared.model_folder)
    rows = [
        {**tokenizer(example.text, truncation=True, max_length=recipe.task.max_length), "labels": example.label}
        for example in examples
    ]
    pad, tokens = DataCollatorWithPadding(tokenizer), {"tokens": 0, "padded": 0}

    def collate(features: list[Any]) -> Any:
        batch = pad(features)
        tokens["tokens"] += int(batch["attention_mask"].sum())
        tokens["padded"] += batch["attention_mask"].numel()
        return batch

    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=phase.batch_size, learning_rate=phase.learning_rate,
            weight_decay=phase.weight_decay, max_grad_norm=phase.clip, warmup_steps=2, seed=seed, use_cpu=True,
            save_strategy="no", eval_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
            dataloader_pin_memory=False, **settings,
        )  # fmt: skip
        loop = Trainer(model, arguments, data_collator=collate, train_dataset=rows)
        loop.remove_callback(PrinterCallback)
        pause(0.0)
        with _after_steps(-(-len(rows) // phase.batch_size), pause):
            loop.train()
    return {**tokens, "weights": _linear(model)}


def distxfer(recipe: str, settings: list[str], seed: int, pause: Pause) -> dict[str, float]:
    """Train with distxfer; return its tokens without padding."""
    _loop.write_checkpoint = lambda *arguments, **keywords: None
    loaded = load_recipe(recipe, [*settings, f"seed={seed}", "diagnostics.gradients=0", "diagnostics.states=0"])
    assembled = assemble(prepare(loaded), Processes(precision=loaded.model.precision))
    steps = sum(plan.steps for plan in assembled.training.plan())

    with TemporaryDirectory() as folder:
        pause(0.0)
        with _after_steps(steps, pause):
            cost = assembled.training.run(Path(folder), lambda *progress: None, dict)
    return {"tokens": cost.tokens, "weights": _linear(assembled.encoder.model)}


@contextmanager
def _after_steps(steps: int, pause: Pause) -> Iterator[None]:
    """Pause after each step of the optimiser."""
    done = count(1)
    hook = register_optimizer_step_post_hook(lambda *arguments: pause(next(done) / steps))
    try:
        yield
    finally:
        hook.remove()


def _linear(model: torch.nn.Module) -> int:
    return sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, torch.nn.Linear))


def _work(recipe: str, settings: Any, threads: int, rounds: int, turns: Connection) -> None:
    """Train once in every round, when it is this method's turn; send the share that is done, then the numbers."""
    torch.set_num_threads(threads)
    for seed in range(rounds):
        started, seconds = 0.0, 0.0

        def pause(done: float) -> None:
            nonlocal started, seconds
            if done:
                seconds += perf_counter() - started
            turns.send(done)
            turns.recv()
            started = perf_counter()

        numbers = trainer(settings, seed, pause) if recipe == "Trainer" else distxfer(recipe, settings, seed, pause)
        seconds += perf_counter() - started
        peak = getrusage(RUSAGE_SELF).ru_maxrss / 1024
        turns.send({**numbers, "seconds": seconds, "peak_mb": peak})
        turns.recv()


def alternate(methods: Mapping[str, tuple[str, Any]], threads: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return what each method measured in every round: seconds, tokens, peak of memory."""
    fork = multiprocessing.get_context("fork")  # the imports are done; no thread has started yet
    turns: dict[str, Connection] = {}
    workers = []
    for name, (recipe, settings) in methods.items():
        turns[name], end = fork.Pipe()
        workers.append(fork.Process(target=_work, args=(recipe, settings, threads, rounds, end), daemon=True))
        workers[-1].start()
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for _ in range(rounds):
        done = {name: turns[name].recv() for name in methods}  # all have loaded
        while done:
            name = min(done, key=lambda key: done[key])
            turns[name].send(None)
            answer = turns[name].recv()
            if isinstance(answer, dict):
                measured[name].append(answer)
                del done[name]
            else:
                done[name] = answer
        for name in methods:
            turns[name].send(None)
    for worker in workers:
        worker.join()
    return measured


def product_rate(threads: int, dtype: torch.dtype, size: int = 2048) -> float:
    """Return the operations a second of a large matrix product."""
    torch.set_num_threads(threads)
    x = torch.randn(size, size).to(dtype)
    seconds = []
    for _ in range(8):
        start = perf_counter()
        x @ x
        seconds.append(perf_counter() - start)
    return 2 * size**3 / median(seconds[1:])


def long_task(folder: Path) -> Path:
    """Write a task of sentences of 20 to 60 tokens, Django's messages in many languages, whose label is the language."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder(BUNDLED))
    languages = parallel_languages("django")
    rows = []
    for language in languages[:: max(1, len(languages) // 24)]:
        pairs = load_parallel("django", "eng", (language,)).train[language] if language != "eng" else ()
        fit = [pair.target.text for pair in pairs if 20 <= len(tokenizer(pair.target.text).input_ids) <= 60]
        rows += [{"text": text, "label": language} for text in fit]
    train = rows[:: max(1, len(rows) // LONG)][:LONG]
    return save_task({"eng": {"train": train, "dev": rows[:40], "test": rows[:40]}, "deu": {"test": rows[:40]}}, folder)


def table_of(scenario: str, measured: Mapping[str, list[dict[str, float]]], rates: Mapping[str, float]) -> Table:
    """Return the medians over the rounds; ratios are those of the same round."""
    first = next(iter(measured.values()))
    rows = []
    for name, rounds in measured.items():
        rate = rates["bf16" if name.endswith("bf16") else "float32"]
        products = [6 * row["weights"] * row["tokens"] / row["seconds"] / rate for row in rounds]
        padding = [row["padded"] / row["tokens"] for row in rounds if "padded" in row]
        ratios = {
            key: [row[key] / base[key] for row, base in zip(rounds, first, strict=True)]
            for key in ("seconds", "tokens", "peak_mb")
        }
        texts = [f"{median(row['seconds'] for row in rounds):.2f}", *(f"{median(ratios[key]):.2f}" for key in ratios)]
        texts.insert(2, f"{min(ratios['seconds']):.2f} to {max(ratios['seconds']):.2f}")
        share = f"{100 * median(products):.0f} %" if name.startswith(("Trainer", "plain")) else None
        rows.append((name, *texts, f"{median(padding):.2f}" if padding else None, share))
    columns = (
        "method",
        "seconds",
        "ratio",
        "range",
        "tokens",
        "peak memory",
        "padded / tokens",
        "of the products' rate",
    )
    return Table(columns, rows, scenario)


def main() -> None:
    """Measure the scenarios whose names contain one of the words of the command line, all without words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    with multiprocessing.get_context("fork").Pool(1) as pool:  # in a process of its own: threads do not survive a fork
        types = {"float32": torch.float32, "bf16": torch.bfloat16}
        rates = {name: pool.apply(product_rate, (chosen.threads, dtype)) for name, dtype in types.items()}
    results, drawn = {}, []
    with TemporaryDirectory() as folder:
        for name, methods in scenarios(str(long_task(Path(folder) / "messages"))).items():
            if not chosen.scenarios or any(word in name for word in chosen.scenarios):
                results[name] = alternate(methods, chosen.threads, chosen.rounds)
                drawn.append(table_of(name, results[name], rates))
                print(drawn[-1].text(), flush=True)
    rate = Table(
        ("dtype", "10⁹ operations a second"), [(name, f"{each / 1e9:.0f}") for name, each in rates.items()], "products"
    )
    name = "-".join(["training", str(chosen.threads), *chosen.scenarios]).replace(" ", "-")
    write(name, chosen.threads, [*drawn, rate], {"rates": rates, "scenarios": results})


if __name__ == "__main__":
    main()
