"""The verb `publish`."""

from pathlib import Path
from typing import Annotated

import typer

from distxfer._console import say, write, write_json
from distxfer.cli._options import AsJson, write_tables


def publish(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as results/plain/0123abcd-s0.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="The repository: NAMESPACE/NAME.", show_default=False)],
    push: Annotated[bool, typer.Option("--push", help="Push; without it, only print what would be pushed.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Make the repository public. Default: private.")] = False,
    predictions: Annotated[
        bool,
        typer.Option("--predictions", help="Include predictions.parquet, which holds the labels of the test examples."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Push a run's model with its card and result to the Hugging Face hub; without --push, print what would be pushed."""
    from distxfer.publishing import publication
    from distxfer.publishing import push as send
    from distxfer.reports.tables import Table

    plan = publication(run, to, private=not public, predictions=predictions)
    if not as_json:
        sizes = plan.sizes()
        table = Table(("file", "bytes"), [*sizes.items(), ("all", sum(sizes.values()))], f"{plan.title}, to {to}")
        write_tables([table])
    for warning in plan.warnings:
        say(f"Warning: {warning}")
    pushed = send(plan) if push else None
    private = plan.private if pushed is None else pushed.private
    if as_json:
        files = [{"path": path, "bytes": size} for path, size in plan.sizes().items()]
        commit = None if pushed is None else pushed.commit
        write_json({"repository": to, "private": private, "files": files, "warnings": plan.warnings, "commit": commit})
    elif pushed is None:
        write(f"Nothing was pushed. `--push` pushes this to {to}, {_visibility(private)}, in one commit.\n")
    else:
        write(f"Pushed, {_visibility(private)}: {pushed.commit}\n")


def _visibility(private: bool) -> str:
    return "private" if private else "public"
