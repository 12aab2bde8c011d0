"""`engine profiles`: the machines that come with the package."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from deploy.profiles import find_profile, read_profile, shipped_profiles
from engine.commands.options import json_option


@click.command()
@click.argument("name", required=False)
@json_option
def profiles(name: str | None, as_json: bool) -> None:
    """List the machine profiles that come with the package, or print one to copy and edit.

    NAME is one of the list, or a TOML file of your own, which is checked.

    \b
    Examples:
      engine profiles
      engine profiles slurm-cpu > my-cluster.toml
      engine run --profile my-cluster.toml --survey dr10
    """
    if name is None:
        _list(as_json)
        return
    path = find_profile(name)
    profile = read_profile(path)
    if as_json:
        click.echo(json.dumps({"name": path.stem, "path": str(path), **asdict(profile)}))
        return
    # Beside the text, so that what is redirected into a file is the profile alone.
    click.echo(f"{path}", err=True)
    click.echo(path.read_text(), nl=False)


def _list(as_json: bool) -> None:
    found = {name: (path, read_profile(path)) for name, path in shipped_profiles().items()}
    if as_json:
        click.echo(json.dumps([_row(name, path) for name, (path, _) in found.items()]))
        return
    click.echo(f"{'name':20} {'kind':10} {'workers':>7} {'GPUs':>4}  summary")
    for name, (_, profile) in found.items():
        workers = profile.workers or "all"  # `cuda`: one per GPU
        gpus = profile.workers * profile.gpus_per_worker if profile.workers else "all"
        click.echo(f"{name:20} {profile.kind:10} {workers:>7} {gpus:>4}  {profile.summary}")
    click.echo("\nNext\n  engine profiles NAME > my-machine.toml\n  engine run --profile NAME ...")


def _row(name: str, path: Path) -> dict[str, object]:
    profile = read_profile(path)
    return {
        "name": name,
        "path": str(path),
        "kind": profile.kind,
        "workers": profile.workers,
        "gpus_per_worker": profile.gpus_per_worker,
        "summary": profile.summary,
    }
