"""The command line: one word per step, in the order of the data.

Exit codes: 0 done; 1 a check failed; 2 the user's mistake, in one line; 3 done, but bricks were
quarantined or partitions given up; 4 the machine cannot go on; 128 + signal: told to stop.
"""

from __future__ import annotations

import errno
import os
import sys

import click

from deploy.profiles import ProfileError
from engine.commands.build import build
from engine.commands.catalogue import finish, verify
from engine.commands.evaluate import evaluate_command, importance_command
from engine.commands.export import export
from engine.commands.mock import mock
from engine.commands.options import EXIT_MACHINE_FAILED, EXIT_QUARANTINED, EXIT_USER_ERROR
from engine.commands.plan import plan
from engine.commands.profiles import profiles
from engine.commands.query import query_command
from engine.commands.report import report
from engine.commands.run import run
from engine.commands.status import status
from engine.commands.submit import submit
from engine.commands.targets import targets
from engine.commands.train import train
from engine.commands.truth import truth
from engine.config import UserError
from engine.schedule import RunFailedError, RunStoppedError
from engine.table.commands import table
from model.checkpoint import CheckpointError
from model.weights import WeightsError
from partitions.bricks import BrickError, SurveyError

# What the output's file system says when it cannot take more.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class _DataFlowGroup(click.Group):
    """Lists its commands in the order of the data flow, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_DataFlowGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="photoz-engine", prog_name="engine")
def cli() -> None:
    """Photometric redshifts for whole sky surveys.

    Streams survey bricks through a network and writes a HEALPix-partitioned Parquet catalogue.

    \b
    Example: engine run --healpix-nside 32
    """


for _command in (
    *(
        run,
        plan,
        submit,
        profiles,
        build,
        status,
        finish,
        verify,
        report,
        query_command,
        targets,
        export,
    ),
    *(mock, truth, train, table, evaluate_command, importance_command),
):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: the user's mistakes end in one line and exit code 2, bugs in a traceback."""
    try:
        cli.main(args=arguments, prog_name="engine", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; what is done is kept, repeat the command to go on", 130)
    except RunStoppedError as stop:
        _fail("stopped; what is done is kept, repeat the command to go on", stop.exit_code)
    except RunFailedError as error:
        _fail(f"{error}; what is done is kept, repeat the command to go on", EXIT_MACHINE_FAILED)
    except (UserError, SurveyError, WeightsError, CheckpointError, ProfileError) as error:
        _fail(str(error), EXIT_USER_ERROR)
    except BrickError as error:
        _fail(str(error), EXIT_QUARANTINED)
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        where = error.filename or "the output"
        _fail(
            f"{where}: {os.strerror(error.errno)}; finished partitions are kept, "
            "mend it and repeat the command",
            EXIT_USER_ERROR,
        )


def _fail(message: str, code: int) -> None:
    click.echo(f"engine: {' '.join(message.split())}", err=True)
    sys.exit(code)
