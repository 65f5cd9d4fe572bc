"""The verb `publish`."""

from pathlib import Path
from typing import Annotated

import typer

from distxfer._console import say, width, write, write_json
from distxfer.cli._options import AsJson


def publish(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as results/plain/0123abcd-s0.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="The repository: NAMESPACE/NAME.", show_default=False)],
    push: Annotated[bool, typer.Option("--push", help="Push, and not only say what would be.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Let all see it. By default it is private.")] = False,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="With predictions.parquet, which has labels of the test examples.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a run's model with its card and result on the Hugging Face hub; without --push, say what would be pushed."""
    from distxfer.publishing import publication
    from distxfer.publishing import push as send
    from distxfer.reports import Table

    plan = publication(run, to, private=not public, predictions=predictions)
    if not as_json:
        sizes = plan.sizes()
        table = Table(("file", "bytes"), [*sizes.items(), ("all", sum(sizes.values()))], f"{plan.title}, to {to}")
        write(table.text(width()))
    for warning in plan.warnings:
        say(f"Warning: {warning}")
    done = send(plan) if push else None
    private = plan.private if done is None else done.private
    if as_json:
        files = [{"path": path, "bytes": size} for path, size in plan.sizes().items()]
        commit = None if done is None else done.commit
        write_json({"repository": to, "private": private, "files": files, "warnings": plan.warnings, "commit": commit})
    elif done is None:
        write(f"Nothing was pushed. With --push this goes to {to}, {_seen(private)}, in one commit.\n")
    else:
        write(f"Pushed, {_seen(private)}: {done.commit}\n")


def _seen(private: bool) -> str:
    return "private" if private else "public"
