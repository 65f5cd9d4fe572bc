"""Draw the pictures of README.md into `docs/images`, from the committed study of 120 languages and a run of `make demo`.

`python docs/draw_images.py` needs the extra `figures`, playwright with Chromium for the report page, and the result of
`make demo` in `results/`.
"""

import contextlib
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from distxfer import read_result, report
from distxfer.languages import language_name
from distxfer.reports.vega import COLOURS, SHAPES, write_chart
from studies.transfer.outcome import scores
from studies.transfer.protocol import read_protocol
from studies.transfer.runs import finished_runs, read_task

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
STUDY_120 = ROOT / "results" / "emoji-with-flags" / "reference-120"
TEXT = "#1f2328"
METHODS = ("plain", "align_consistency")
NAMED = ("deu", "jpn", "kor", "hin", "swa", "tur", "zho", "ara", "chr")
COLUMNS = 88  # of the terminal
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def main() -> None:
    """Draw all six."""
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "intervention.svg").write_text(diagram(), encoding="utf-8")
    write_chart(gain_by_language(), IMAGES / "gain.svg")
    write_chart(gain_by_contrast(), IMAGES / "evidence.svg")
    run = terminal("train drift_reg", ROOT / "results", before="  distance:")
    (IMAGES / "run.svg").write_text(run, encoding="utf-8")
    compare = terminal("compare plain dist_align align_consistency", STUDY_120, before="  random:")
    (IMAGES / "compare.svg").write_text(compare, encoding="utf-8")
    screenshot(IMAGES / "report.png")


def diagram() -> str:
    """Return one training step with interventions, as SVG."""
    parts: list[str] = []

    def box(x: int, y: int, width: int, height: int, colour: str, *lines: str, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{colour}" fill-opacity="0.13"'
            f' stroke="{colour}" stroke-width="1.6"{dash}/>'
        )
        for place, line in enumerate(lines):
            weight = ' font-weight="600"' if place == 0 else ""
            baseline = y + height / 2 + 5 + 18 * (place - (len(lines) - 1) / 2)
            parts.append(f'<text x="{x + width / 2}" y="{baseline}" text-anchor="middle"{weight}>{line}</text>')

    def arrow(x1: int, y1: int, x2: int, y2: int, colour: str) -> None:
        parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="2"'
            f' marker-end="url(#{"grey" if colour == GREY else colour[1:]})"/>'
        )

    blue, orange, green = COLOURS[:3]
    GREY = "#57606a"
    box(20, 24, 210, 62, GREY, "English text", "with labels")
    box(20, 124, 210, 80, orange, "translation pairs", "more of distant languages")
    box(20, 242, 210, 62, blue, "pretrained encoder", "frozen", dashed=True)
    box(310, 24, 190, 280, GREY, "encoder", "being fine-tuned", "layers 1 to 12")
    box(322, 236, 166, 58, green, "freeze, lora", "choose what trains")
    box(580, 24, 230, 62, GREY, "task loss", "cross-entropy")
    box(580, 124, 230, 80, orange, "+ 0.5 × align", "translations close together", "at layer 8")
    box(580, 242, 230, 62, blue, "+ 1.0 × drift", "1 − CKA(pretrained, now)")
    box(890, 124, 120, 80, GREY, "sum", "one step", "of AdamW")
    arrow(230, 55, 306, 55, GREY)
    arrow(230, 164, 306, 164, orange)
    arrow(500, 55, 576, 55, GREY)
    arrow(500, 164, 576, 164, orange)
    arrow(500, 264, 576, 264, blue)
    parts.append(
        f'<path d="M125 304 V338 H695 V310" fill="none" stroke="{blue}" stroke-width="2" marker-end="url(#{blue[1:]})"/>'
    )
    arrow(810, 55, 912, 119, GREY)
    arrow(810, 164, 886, 164, orange)
    arrow(810, 273, 912, 209, blue)
    parts.append(
        '<text x="515" y="372" text-anchor="middle">'
        "Before and after training, the same code measures drift, alignment and accuracy in every language.</text>"
    )
    markers = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
        for name, colour in (("grey", GREY), (blue[1:], blue), (orange[1:], orange), (green[1:], green))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1030 392" width="1030" height="392"'
        f' font-family="Helvetica, Arial, sans-serif" font-size="15" fill="{TEXT}">'
        f"<title>One training step with the interventions align, drift and freeze</title><defs>{markers}</defs>"
        f'<rect width="1030" height="392" fill="white"/>{"".join(parts)}</svg>\n'
    )


def gain_by_language() -> dict[str, Any]:
    """Return the chart of the gain of `align_consistency` over `plain` in each of 118 languages, means over seeds."""
    import altair

    plain, aligned = (
        [read_result(path.parent).data for path in sorted(STUDY_120.glob(f"{name}/*/result.json"))] for name in METHODS
    )
    seen = set(aligned[0]["recipe"]["intervention"]["align"]["languages"])
    distance = {row["language"]: row["value"] for row in aligned[0]["distances"]}
    gain = {language: _accuracy(aligned, language) - _accuracy(plain, language) for language in distance}
    ranked = sorted(gain, key=gain.__getitem__)
    rows = [
        {
            "distance": distance[language],
            "gain": gain[language],
            "text": "read" if language in seen else "not read",
            "name": language_name(language) if language in {*ranked[:3], *ranked[-5:], *NAMED} else "",
        }
        for language in gain
    ]
    x = altair.X("distance:Q", title="syntactic distance from English", scale=altair.Scale(domain=[0, 0.75]))
    y = altair.Y("gain:Q", title="points of accuracy gained over plain", scale=altair.Scale(domain=[0, 17]))
    colour = altair.Color("text:N", title="its parallel text", scale=altair.Scale(range=[*COLOURS[:2]]))
    shape = altair.Shape("text:N", title="its parallel text", scale=altair.Scale(range=[*SHAPES[:2]]))
    dots = altair.Chart(altair.InlineData(values=rows)).mark_point(filled=True, size=55, opacity=0.8)
    names = altair.Chart(altair.InlineData(values=rows)).mark_text(align="left", dx=7, fontSize=11, color=TEXT)
    zero = altair.Chart(altair.InlineData(values=[{"gain": 0}])).mark_rule(color="#999")
    chart = altair.layer(
        zero.encode(y=y), dots.encode(x=x, y=y, color=colour, shape=shape), names.encode(x=x, y=y, text="name:N")
    ).properties(width=720, height=360, background="white")
    return chart.configure_axis(labelFontSize=12, titleFontSize=13).configure_legend(orient="top").to_dict()


def gain_by_contrast() -> dict[str, Any]:
    """Return the chart of the registered contrasts of the study `transfer`: interval, mean, and each far language."""
    import altair

    protocol = read_protocol()
    recorded = finished_runs(protocol)
    tasks = {task: read_task(protocol, task, recorded) for task in dict.fromkeys(recorded["task"])}
    languages, intervals = [], []
    for row in protocol.contrast:
        test = tasks[row.task].test(row.method, row.baseline) if row.task in tasks else None
        if test is None:
            continue
        runs, name = tasks[row.task], {"contrast": f"{row.method} - {row.baseline}, {row.task}"}
        gains = scores(runs.items, runs.differences(row.method, row.baseline)).mean()
        languages += [{**name, "gain": 100 * gains[code], "name": language_name(code)} for code in runs.far]
        bounds = {"low": test.low, "gain": test.effect, "high": test.high}
        intervals.append(name | {key: None if value is None else 100 * value for key, value in bounds.items()})
    y = altair.Y("contrast:N", title=None, sort=None, axis=altair.Axis(labelLimit=320))
    x = altair.X(
        "gain:Q", title="points of accuracy gained in far languages: each, and their mean with its 95 % interval"
    )
    dots = altair.Chart(altair.InlineData(values=languages)).mark_tick(color=COLOURS[0], opacity=0.7, thickness=2)
    bars = altair.Chart(altair.InlineData(values=intervals))
    zero = altair.Chart(altair.InlineData(values=[{"gain": 0}])).mark_rule(color="#999")
    chart = altair.layer(
        zero.encode(x=x),
        dots.encode(x=x, y=y),
        bars.mark_rule(strokeWidth=2, color=TEXT).encode(x="low:Q", x2="high:Q", y=y),
        bars.mark_point(filled=True, size=70, color=TEXT, opacity=1).encode(x=x, y=y),
    ).properties(width=620, height=altair.Step(34), background="white")
    return chart.configure_axis(labelFontSize=12, titleFontSize=13).to_dict()


def _accuracy(runs: list[dict[str, Any]], language: str) -> float:
    """Return the test accuracy in percent, mean over seeds."""
    return 100 * fmean(
        score["value"]
        for data in runs
        for score in data["scores"]
        if (score["language"], score["split"], score["metric"]) == (language, "test", "accuracy")
    )


def terminal(command: str, results: Path, before: str) -> str:
    """Return what `distxfer COMMAND` prints on stdout before a line that begins with `before`, as an SVG of a terminal."""
    from rich.console import Console
    from rich.text import Text

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, COLUMNS))
    process = subprocess.Popen(
        [sys.executable, "-m", "distxfer", *command.split()],
        cwd=ROOT, env={**os.environ, "DISTXFER_RESULTS": str(results)}, stdout=theirs, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    printed = b""
    with contextlib.suppress(OSError):  # how a pseudo-terminal ends on Linux
        while part := os.read(ours, 4096):
            printed += part
    if process.wait() != 0:
        raise SystemExit(f"`distxfer {command}` failed.")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ distxfer {command}", style="bold"))
    lines = [line.rstrip() for line in printed.decode().splitlines()]
    shown = "\n".join(lines).partition(f"\n{before}")[0].strip("\n")
    console.print(Text.from_ansi(shown))
    svg = console.export_svg(title="distxfer", unique_id="terminal")
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # nothing is fetched


def screenshot(image: Path) -> None:
    """Write the top of the report page."""
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "report.html"
        report(("plain", "dist_align", "align_consistency"), page_file, results=STUDY_120)
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless=new", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 1420})
        page.goto(page_file.as_uri())
        page.wait_for_selector("canvas, svg")
        page.screenshot(path=image)
        browser.close()


if __name__ == "__main__":
    main()
