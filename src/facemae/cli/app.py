"""The command line: parses, calls, prints. Nothing heavier than Typer is imported until a verb runs."""

from pathlib import Path
from typing import Annotated

import typer

from facemae.cli.audit import audit
from facemae.cli.bench import measure
from facemae.cli.common import (
    demand_one_process,
    execution,
    manifest_lines,
    report_set,
    report_stage,
    say,
    scratch,
    verification_lines,
    with_seed,
)
from facemae.cli.options import AsJson, Batch, Cache, Device, In, Out, Recipe, Seed, Settings, Workers
from facemae.cli.protect import protect
from facemae.cli.reproduce import reproduce_table
from facemae.errors import FaceMAEError

app = typer.Typer(
    name="facemae",
    help="Face sets that still train good recognisers but give their people away less, with the leakage measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def before(context: typer.Context) -> None:
    """What holds for every verb."""
    demand_one_process(context.invoked_subcommand)


@app.command("import", no_args_is_help=True)
def import_(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE... OUT", help="Folders, tars, zips, Parquet, or the word synthetic.")
    ],
    landmarks: Annotated[Path | None, typer.Option(help="CSV or JSON of five points a photo: align to them.")] = None,
    recipe: Recipe = None,
    settings: Settings = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Photos to a face set: folders of people, archives of them, labelled sets, LFW, CFP, AgeDB, synthetic people."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import ImportSpec
    from facemae.stages.import_ import import_faces

    if len(sources) < 2:
        raise FaceMAEError("import", got=" ".join(sources), needed="one or more sources and then OUT")
    spec = section_spec("import", ImportSpec, recipe, with_seed(settings, seed, "synthetic.seed"))
    out = import_faces(sources[:-1], Path(sources[-1]), spec, execution(), landmarks=landmarks)
    report_set(out, as_json)


@app.command("export", no_args_is_help=True)
def export(source: In, out: Out, recipe: Recipe = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """A face set, model or recogniser to the files of other tools (--set format=..., docs/recipes.md)."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import ExportSpec
    from facemae.stages.export import export as run

    made = run(source, out, section_spec("export", ExportSpec, recipe, settings or []))
    count = f"{made['records']} images" if "records" in made else ", ".join(made["files"])
    say({"out": str(out)} | made, as_json, f"{count} in {out}")


@app.command("mask", no_args_is_help=True)
def mask(
    faces: In,
    out: Out,
    like: Annotated[Path | None, typer.Option(help="Blur to the sharpness of this set (method=blur).")] = None,
    recipe: Recipe = None,
    settings: Settings = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Keep a quarter of every photo, shuffled and re-keyed; the way back stays in OUT.private."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import MaskSpec
    from facemae.stages.mask import mask as run

    out = run(faces, out, section_spec("mask", MaskSpec, recipe, with_seed(settings, seed)), execution(), like=like)
    report_set(out, as_json)


@app.command("pretrain", no_args_is_help=True)
def pretrain(
    faces: In,
    out: Out,
    phi: Annotated[
        Path | None, typer.Option(help="The feature network of the loss: .onnx, .pth or a recogniser.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from these weights: ours, facebookresearch/mae's, transformers'.")
    ] = None,
    cache: Cache = None,
    recipe: Recipe = None,
    settings: Settings = None,
    device: Device = "auto",
    workers: Workers = 0,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Train a masked autoencoder on public people, with the pixel, instance and relation losses."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import PretrainSpec
    from facemae.stages.pretrain import pretrain as run

    spec = section_spec("pretrain", PretrainSpec, recipe, with_seed(settings, seed))
    report_stage(run(faces, out, spec, execution(device, workers), phi=phi, init=init, cache=cache), as_json)


@app.command("reconstruct", no_args_is_help=True)
def reconstruct(
    model: In,
    masked: In,
    out: Out,
    recipe: Recipe = None,
    settings: Settings = None,
    device: Device = "auto",
    batch: Batch = 64,
    as_json: AsJson = False,
) -> None:
    """Masked photos to the set that is released; originals are refused."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import ReconstructSpec
    from facemae.stages.reconstruct import reconstruct as run

    spec = section_spec("reconstruct", ReconstructSpec, recipe, settings or [])
    report_set(run(model, masked, out, spec, execution(device, batch=batch)), as_json)


@app.command("recognize", no_args_is_help=True)
def recognize(
    faces: In,
    out: Out,
    real: Annotated[Path | None, typer.Option(help="Real photos to mix into a generated set (domain_mix).")] = None,
    recipe: Recipe = None,
    settings: Settings = None,
    device: Device = "auto",
    workers: Workers = 0,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Train a recogniser on any face set."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import RecognizeSpec
    from facemae.stages.recognize import recognize as run

    spec = section_spec("recognize", RecognizeSpec, recipe, with_seed(settings, seed))
    report_stage(run(faces, out, spec, execution(device, workers), real=real), as_json)


@app.command("embed", no_args_is_help=True)
def embed(
    embedder: In,
    faces: In,
    out: Out,
    recipe: Recipe = None,
    settings: Settings = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Raw vectors of every photo and of its mirror image, as one .npy."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import EmbedSpec
    from facemae.stages.embed import embed as run

    spec = section_spec("embed", EmbedSpec, recipe, settings or [])
    report_stage(run(embedder, faces, out, spec, execution(device)), as_json)


@app.command("verify", no_args_is_help=True)
def verify(
    embedder: In,
    faces: In,
    out: Annotated[Path | None, typer.Argument(help="Keep the result here.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="pairs.txt of LFW, a CSV left,right,same, or a protocol.")] = None,
    cache: Cache = None,
    recipe: Recipe = None,
    settings: Settings = None,
    device: Device = "auto",
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Ten-fold verification accuracy and TAR@FAR with intervals over people."""
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import VerifySpec
    from facemae.stages.verify import verify as run

    if pairs is None:
        raise FaceMAEError("--pairs", got="nothing", needed="a pair list such as LFW's pairs.txt")
    spec = section_spec("verify", VerifySpec, recipe, with_seed(settings, seed))
    with scratch(out, cache) as (place, kept):
        result = run(embedder, faces, pairs, place, spec, execution(device), cache=kept)
    say(result, as_json, "\n".join(verification_lines(result)))


app.command("audit", no_args_is_help=True)(audit)
app.command("protect", no_args_is_help=True)(protect)


@app.command("reproduce", no_args_is_help=True)
def reproduce(
    table: Annotated[
        str, typer.Argument(help="table1 to table8, figure3 to figure5, all of these, demo, real-small, or a file.")
    ],
    out: Annotated[Path | None, typer.Argument(help="Where results go (RUNS/report by default).")] = None,
    scale: Annotated[
        str | None, typer.Option(help="synthetic (default), small (shared real faces) or paper (the public sets).")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of the sets that the table names.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Where stages are kept (runs/SCALE or runs/TABLE).")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Run only jobs of this name (* for anything); publish nothing.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Make so many stages side by side, each with its share of the threads.")
    ] = 1,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would take, and run nothing.")] = False,
    device: Device = "auto",
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Run a table end to end, skip what is finished, and write its results and report."""
    run = execution(device, workers)
    places = {"out": out, "data": data, "runs": runs}
    part = only or []
    reproduce_table(table, run, scale=scale, **places, only=part, jobs=jobs, estimate=estimate, as_json=as_json)


@app.command("demo")
def demo(
    runs: Annotated[Path | None, typer.Option(help="Where stages are kept (runs/demo by default).")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """The synthetic version of Table 1, from nothing, in a few minutes on two cores."""
    reproduce_table("demo", execution(device), runs=runs, as_json=as_json)


@app.command("show", no_args_is_help=True)
def show(directory: In, as_json: AsJson = False) -> None:
    """What a finished directory is and what it was made from."""
    from facemae.spec.manifest import read_manifest

    manifest = read_manifest(directory).model_dump(by_alias=True)
    say(manifest, as_json, "\n".join(manifest_lines(manifest)))


@app.command("bench")
def bench(
    out: Annotated[
        Path | None, typer.Argument(help="Write bench-NAME.json and bench-NAME.md into this folder.")
    ] = None,
    device: Device = "auto",
    peers: Annotated[
        bool, typer.Option(help="Measure public tools at the same work, where they are installed.")
    ] = True,
    only: Annotated[str, typer.Option(metavar="GLOB", help="Measure only what matches, such as 'pretrain*'.")] = "*",
    quick: Annotated[bool, typer.Option("--quick", help="Small networks and sets, under a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """How fast each stage is beside this machine's own matrix product and beside public tools (OMP_NUM_THREADS=1)."""
    measure(out, device, peers, only, quick, as_json)
